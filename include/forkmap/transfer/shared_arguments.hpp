// Where the arguments of a pool's tasks lie: written by the caller, read by workers in place.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/system/call.hpp>
#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/bytes.hpp>
#include <forkmap/transfer/call_cache.hpp>
#include <forkmap/transfer/sending.hpp>

namespace forkmap::detail {

/// Writes the tasks of one call after the other into [begin, begin + limit) of a shared file. What
/// it has mapped and made present stays so for the next call.
///
/// Large blocks that several tasks name are written once per call: they are known by their address
/// and size, and read when the call first meets them.
class argument_writer final : public writer {
 public:
  static constexpr std::uint64_t no_block = ~std::uint64_t{0};

  argument_writer(int fd, std::uint64_t begin, std::uint64_t limit) noexcept
      : fd_(fd), begin_(begin), limit_(limit) {}

  /// Begins a call. Blocks of more than `max_nbytes` are shared.
  void begin_call(std::size_t max_nbytes) {
    listener_ = nullptr;
    cursor_ = map_.data();
    end_ = map_.data() + present_;
    max_nbytes_ = max_nbytes;
    blocks_.clear();
  }

  /// Tasks are run while they are written: has every chunk told.
  void tell(chunk_listener& listener) noexcept { listener_ = &listener; }
  /// As the listener's.
  bool chunk_done() const noexcept { return listener_->chunk_done(); }

  /// The next n bytes, to be written now.
  std::byte* take(std::size_t n) {
    if (static_cast<std::size_t>(end_ - cursor_) < n) grow(n);
    return std::exchange(cursor_, cursor_ + n);
  }

  /// The bytes of this call from `offset` on, valid until the next are taken.
  std::byte* at(std::uint64_t offset) noexcept { return map_.data() + offset; }

  /// How many bytes of this call there are.
  std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(cursor_ - map_.data()); }

  bool is_shared(std::size_t bytes) const noexcept { return bytes > max_nbytes_; }

  /// Where that block has been written in this call; no_block if it has not.
  std::uint64_t find(void const* data, std::size_t bytes) const noexcept {
    return find_known({data, bytes, nullptr});
  }
  /// The same of an object that is no block, known by its address and its type's tag.
  std::uint64_t find_object(void const* object, void const* type) const noexcept {
    return find_known({object, 0, type});
  }

  /// The block has just been written: it is what the last `bytes` are.
  void remember(void const* data, std::size_t bytes) {
    blocks_.push_back({{data, bytes, nullptr}, size() - bytes});
  }
  void remember_object(void const* object, void const* type, std::uint64_t offset) {
    blocks_.push_back({{object, 0, type}, offset});
  }

  /// Gives memory back, all but what the next call of usual size needs.
  void trim(std::size_t kept) noexcept {
    if (present_ <= kept) return;
    kept = round_up(kept, map_grain);
    ::madvise(map_.data() + kept, map_.size() - kept, MADV_REMOVE);
    present_ = std::min(present_, kept);
  }

 private:
  struct identity {
    void const* data;
    std::size_t bytes;
    void const* type;  // of an object; null: a block
    bool operator==(identity const&) const = default;
  };
  struct block {
    identity what;
    std::uint64_t offset;
  };

  std::uint64_t find_known(identity const& what) const noexcept {
    for (auto const& known : blocks_) {
      if (known.what == what) return known.offset;
    }
    return no_block;
  }

  void grow(std::size_t n) override {
    auto const used = static_cast<std::size_t>(size());
    std::size_t needed = 0;
    if (__builtin_add_overflow(used, n, &needed) || needed > limit_) {
      throw_system_error(ENOMEM, "shared memory for arguments,", std::to_string(n) + " bytes");
    }
    if (needed > map_.size()) {
      auto const bytes =
          std::min<std::uint64_t>(round_up(std::max(needed, 2 * map_.size()), map_grain), limit_);
      map_ = mapping(fd_, begin_, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE);
    }
    // A page that there is no memory for would be a SIGBUS.
    auto const ahead = std::clamp(present_, map_grain, std::size_t{1} << 20U);
    auto const until = std::min(map_.size(), std::max(needed, present_ + ahead));
    if (!populate_for_writing(map_.data() + present_, until - present_)) {
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for arguments,",
                  std::to_string(n) + " bytes");
    }
    present_ = until;
    cursor_ = map_.data() + used;
    end_ = map_.data() + present_;
  }

  int fd_;
  std::uint64_t begin_;
  std::uint64_t limit_;
  mapping map_;
  std::size_t present_ = 0;  // bytes from the begin that cannot fault
  std::size_t max_nbytes_ = 0;
  std::vector<block> blocks_{};
  chunk_listener* listener_ = nullptr;
};

/// A worker's view of what an argument_writer has written. Stays where it is during a call.
class argument_reader {
 public:
  argument_reader(int fd, std::uint64_t begin, std::size_t max_nbytes, call_cache& cache) noexcept
      : fd_(fd), begin_(begin), max_nbytes_(max_nbytes), cache_(&cache) {}

  /// Makes the first `bytes` readable.
  void begin_call(std::uint64_t bytes) {
    bytes_ = bytes;
    if (map_.size() < bytes) {
      map_ = mapping(fd_, begin_, round_up(static_cast<std::size_t>(bytes), map_grain), PROT_READ);
    }
  }

  std::byte const* at(std::uint64_t offset) const noexcept { return map_.data() + offset; }
  std::uint64_t size() const noexcept { return bytes_; }
  bool is_shared(std::size_t bytes) const noexcept { return bytes > max_nbytes_; }
  call_cache& cache() const noexcept { return *cache_; }

 private:
  int fd_;
  std::uint64_t begin_;
  std::size_t max_nbytes_;
  call_cache* cache_;
  std::uint64_t bytes_ = 0;
  mapping map_;
};

}  // namespace forkmap::detail
