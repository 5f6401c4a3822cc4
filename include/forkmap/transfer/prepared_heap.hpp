// Room on the heap for many small results, its pages present before they are written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include <forkmap/system/shared_memory.hpp>

namespace forkmap::detail {

/// After a fork each page of the caller's heap costs a page fault when it is next written, and so
/// does each new one: for many small results that is most of what taking them costs. This allocates
/// blocks, populates them and gives them back to the allocator, which makes the results of them.
/// The last block is kept for as long as this lives, so that the allocator does not return the
/// others to the system at once.
///
/// Harmless with any allocator; worth it with those that reuse what was freed, as glibc's does.
class prepared_heap {
 public:
  /// Prepares room for about n results of that many bytes in all; none if they are too few to
  /// matter or too many to hold twice.
  prepared_heap(std::size_t result_bytes, std::uint64_t n) noexcept {
    if (result_bytes == 0) return;
    constexpr std::size_t block_overhead = 24;  // of an allocation: its header, and rounding up
    auto const bytes = result_bytes + static_cast<std::size_t>(n) * block_overhead;
    if (bytes < least || bytes > most) return;
    for (std::size_t done = 0; done < bytes; done += block_bytes) {
      auto* const block = static_cast<void**>(std::malloc(block_bytes));
      if (block == nullptr) break;  // then the results' pages come one by one
      populate_for_writing(block, block_bytes);
      *block = last_;  // the one before it
      last_ = block;
    }
    auto* before = last_ == nullptr ? nullptr : *static_cast<void**>(last_);
    while (before != nullptr) std::free(std::exchange(before, *static_cast<void**>(before)));
  }
  prepared_heap(prepared_heap const&) = delete;
  prepared_heap& operator=(prepared_heap const&) = delete;
  ~prepared_heap() { std::free(last_); }

 private:
  static constexpr std::size_t block_bytes = std::size_t{64} << 10U;  // below any mmap threshold
  static constexpr std::size_t least = std::size_t{256} << 10U;
  static constexpr std::size_t most = std::size_t{64} << 20U;

  void* last_ = nullptr;
};

}  // namespace forkmap::detail
