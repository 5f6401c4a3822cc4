// Shared memory that a worker will soon write, its pages made present ahead of its tasks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <forkmap/system/shared_memory.hpp>

namespace forkmap::detail {

/// Which blocks of a mapping a worker has made present, where it serves more calls than one in it:
/// once is enough, as long as the memory stays.
class present_blocks {
 public:
  static constexpr std::size_t block_bytes = map_grain;

  /// From now on of that mapping. `made` says how often its memory has been made anew.
  void follow(std::byte* base, std::size_t bytes, std::uint64_t made) {
    auto const n = bytes / block_bytes;
    if (base != base_ || made != made_) blocks_.clear();
    base_ = base;
    made_ = made;
    blocks_.resize(n, false);
  }

  bool are_there(std::byte const* begin, std::byte const* end) const noexcept {
    for (auto i = block_of(begin); i <= block_of(end - 1); ++i) {
      if (!blocks_[i]) return false;
    }
    return true;
  }
  /// Extends [begin, end) to whole blocks, and notes that they are there.
  void add(std::byte*& begin, std::byte*& end) noexcept {
    auto const first = block_of(begin);
    auto const last = block_of(end - 1) + 1;
    begin = base_ + first * block_bytes;
    end = base_ + last * block_bytes;
    std::fill(blocks_.begin() + static_cast<std::ptrdiff_t>(first),
              blocks_.begin() + static_cast<std::ptrdiff_t>(last), true);
  }

 private:
  std::size_t block_of(std::byte const* at) const noexcept {
    return static_cast<std::size_t>(at - base_) / block_bytes;
  }

  std::byte* base_ = nullptr;
  std::uint64_t made_ = 0;
  std::vector<bool> blocks_{};
};

/// Keeps the pages that a worker will soon write present, ahead of its tasks.
class page_feeder {
 public:
  /// `known`: what is there already; null where this is the first call of all.
  page_feeder(std::byte* base, std::size_t item_bytes, present_blocks* known) noexcept
      : base_(base), item_bytes_(item_bytes), known_(known) {}

  /// Items [first, last) come next; items up to `bound` may come after them.
  void upcoming(std::uint64_t first, std::uint64_t last, std::uint64_t bound) noexcept {
    auto const begin = first * item_bytes_;
    auto const end = last * item_bytes_;
    if (populated_begin_ <= begin && end <= populated_end_) return;
    auto const stop = std::max<std::uint64_t>(
        end, std::min<std::uint64_t>(begin + next_bytes_, bound * item_bytes_));
    // One page is not worth a call of its own.
    if (stop - begin > page_bytes) populate(base_ + begin, base_ + stop);
    populated_begin_ = begin;
    populated_end_ = stop;
    next_bytes_ = std::min(next_bytes_ * 4, populate_bytes);
  }

 private:
  void populate(std::byte* begin, std::byte* end) noexcept {
    if (known_ != nullptr) {
      if (known_->are_there(begin, end)) return;
      known_->add(begin, end);
    }
    populate_for_writing(begin, static_cast<std::size_t>(end - begin));
  }

  std::byte* base_;
  std::size_t item_bytes_;
  present_blocks* known_;
  std::uint64_t populated_begin_ = 1;
  std::uint64_t populated_end_ = 0;
  std::size_t next_bytes_ = 4 * page_bytes;
};

}  // namespace forkmap::detail
