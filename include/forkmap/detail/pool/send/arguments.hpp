// The arguments of a pool's tasks in shared memory, and how far they have been written.
// SPDX-License-Identifier: MIT
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

#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/serialize/call_cache.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

// The number of tasks sent so far, for workers that run the first tasks meanwhile.
//
// Workers can read `chunks`, but not write it: a stray write of one task cannot make another worker
// run tasks that are not sent. The variables that workers write only decide which of them sleep.
//
//   1. The caller writes a chunk of tasks, adds 1 to `chunks`, then reads `awaited`: the first
//      chunk that a worker wants to be woken for. If that chunk is sent now, the caller resets
//      `awaited` and wakes all workers that sleep.
//   2. A worker that comes to a task of a later chunk lowers `awaited` to the chunk that it waits
//      for; for a moment that is some chunks more than it needs. It reads `chunks` again, and
//      sleeps while that has not changed. A worker that is woken too early starts this step again.
//   All of it is seq_cst, so that either the caller sees `awaited` or the worker sees `chunks`. One
//   case remains: if two workers go to sleep at once, the caller may reset `awaited` for both and
//   wake only one. The other one looks again by itself after a while. A worker that is killed in
//   its sleep costs one system call.
//
// Workers that have no core beside the caller's sleep at first: they would take the caller's core,
// and all would wait for tasks. The first process to see that tasks have been coming for long,
// wants_all(), wakes them.

/// Is told of each chunk while the tasks of a call are written.
class chunk_listener {
 public:
  /// A chunk of tasks has been written.
  /// Returns: whether to write the other chunks.
  virtual bool chunk_done() noexcept = 0;

 protected:
  ~chunk_listener() = default;
};

/// The variables that workers write.
struct chunk_waiters {
  std::atomic<std::uint32_t> awaited;
  std::atomic<std::int64_t> all_wanted_from;  // when to wake all workers, as nanoseconds_now()
};

class sending {
 public:
  /// Tasks of a chunk: few enough for a cache, many enough to make waking cheap.
  static constexpr std::uint64_t chunk = 4096;

  sending(std::atomic<std::uint32_t>& chunks, chunk_waiters& waiters) noexcept
      : chunks_(&chunks), waiters_(&waiters) {}

  /// Nothing is sent. To be called before any worker comes to the call.
  void begin() const noexcept {
    chunks_->store(0);
    waiters_->awaited.store(nothing);
    waiters_->all_wanted_from.store(nanoseconds_now() + at_once_ns);
  }
  /// One more chunk is sent.
  void advance() const noexcept {
    auto const n = chunks_->fetch_add(1) + 1;
    if (n <= waiters_->awaited.load()) return;
    waiters_->awaited.store(nothing);
    wake_all(*chunks_);
  }
  /// All is sent.
  void end() const noexcept {
    chunks_->store(all);
    waiters_->all_wanted_from.store(never);
    if (waiters_->awaited.load() != nothing) wake_all(*chunks_);
  }

  /// Whether all workers should be woken now. Returns true once.
  bool wants_all() const noexcept {
    auto from = waiters_->all_wanted_from.load(std::memory_order_relaxed);
    return from != never && from < nanoseconds_now() &&
           waiters_->all_wanted_from.compare_exchange_strong(from, never);
  }

  /// Waits until task i is sent. A worker that has caught up with the caller leaves the core to it
  /// for a moment, so that both have more to do at a time. Calls `wake_others` if wants_all()
  /// returns true here.
  template <class Wake>
  [[gnu::noinline]] void wait_for(std::uint64_t i, Wake const& wake_others) const {
    if (wants_all()) wake_others();
    constexpr std::uint32_t chunks_ahead = 16;
    constexpr std::int64_t a_moment_ns = 200'000;
    constexpr std::int64_t a_while_ns = 10'000'000;
    auto const needed = static_cast<std::uint32_t>(i / chunk);
    if (needed < chunks_->load()) return;
    auto const begin = nanoseconds_now();
    for (auto time = begin;; time = nanoseconds_now()) {
      auto const rest = begin + a_moment_ns - time;
      auto const wanted = rest > 0 ? needed + chunks_ahead : needed;
      auto awaited = waiters_->awaited.load();
      while (wanted < awaited && !waiters_->awaited.compare_exchange_weak(awaited, wanted)) {
      }
      auto const seen = chunks_->load();
      if (wanted < seen) return;
      if (wants_all()) wake_others();
      wait_while_equal(*chunks_, seen, rest > 0 ? rest : a_while_ns);
    }
  }

 private:
  static constexpr std::uint32_t all = ~std::uint32_t{0};
  static constexpr std::uint32_t nothing = ~std::uint32_t{0};
  static constexpr std::int64_t at_once_ns = 5'000'000;
  static constexpr std::int64_t never = INT64_MAX;

  std::atomic<std::uint32_t>* chunks_;  // a futex
  chunk_waiters* waiters_;
};

// The arguments of a pool's tasks: written by the caller, read by workers in place.

/// Writes the tasks of one call after the other into [begin, begin + limit) of a shared file.
/// Memory that it has mapped and prefaulted is kept for the next call.
///
/// A large block that several tasks refer to is written once per call. It is identified by its
/// address and size, and read when the first task that refers to it is written.
class argument_writer final : public writer {
 public:
  static constexpr std::uint64_t no_block = ~std::uint64_t{0};

  argument_writer(int fd, std::uint64_t begin, std::uint64_t limit) noexcept
      : fd_(fd), begin_(begin), limit_(limit) {}

  /// Begins a call. Blocks of more than `max_nbytes` bytes are shared.
  void begin_call(std::size_t max_nbytes) {
    listener_ = nullptr;
    cursor_ = map_.data();
    end_ = map_.data() + present_;
    max_nbytes_ = max_nbytes;
    blocks_.clear();
  }

  /// Sets the listener, for tasks that run while they are written.
  void tell(chunk_listener& listener) noexcept { listener_ = &listener; }
  /// Calls chunk_done() of the listener.
  bool chunk_done() const noexcept { return listener_->chunk_done(); }

  /// The next n bytes, to be written now.
  std::byte* take(std::size_t n) {
    if (static_cast<std::size_t>(end_ - cursor_) < n) grow(n);
    return std::exchange(cursor_, cursor_ + n);
  }

  /// The bytes of this call from `offset` on, valid until take() is called.
  std::byte* at(std::uint64_t offset) noexcept { return map_.data() + offset; }

  /// How many bytes of this call there are.
  std::uint64_t size() const noexcept { return static_cast<std::uint64_t>(cursor_ - map_.data()); }

  bool is_shared(std::size_t bytes) const noexcept { return bytes > max_nbytes_; }

  /// The offset at which that block has been written in this call; no_block if it has not.
  std::uint64_t find(void const* data, std::size_t bytes) const noexcept {
    return find_known({data, bytes, nullptr});
  }
  /// The same for an object that is not a block: identified by its address and its type's tag.
  std::uint64_t find_object(void const* object, void const* type,
                            std::size_t bytes = 0) const noexcept {
    return find_known({object, bytes, type});
  }

  /// Notes a block that has just been written: the last `bytes` bytes.
  void remember(void const* data, std::size_t bytes) {
    blocks_.push_back({{data, bytes, nullptr}, size() - bytes});
  }
  void remember_object(void const* object, void const* type, std::uint64_t offset,
                       std::size_t bytes = 0) {
    blocks_.push_back({{object, bytes, type}, offset});
  }

  /// Gives memory back, except the first `kept` bytes, for the next call of usual size.
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
    identity id;
    std::uint64_t offset;
  };

  std::uint64_t find_known(identity const& id) const noexcept {
    for (auto const& known : blocks_) {
      if (known.id == id) return known.offset;
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
    // Prefault: a write to a page for which there is no memory would raise SIGBUS.
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
  std::size_t present_ = 0;  // prefaulted bytes, from the begin
  std::size_t max_nbytes_ = 0;
  std::vector<block> blocks_{};
  chunk_listener* listener_ = nullptr;
};

/// A worker's view of what an argument_writer has written. The view does not move during a call.
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
