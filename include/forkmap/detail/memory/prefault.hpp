// Prefaulting and prefetching of memory: cache lines, pages and heap blocks.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include <forkmap/detail/os/pages.hpp>
#include <forkmap/detail/os/shared_memory.hpp>

namespace forkmap::detail {

// Prefetching of cache lines that will be written.

/// The bytes that are prefetched at a time: as many lines as a core can wait for at once.
inline constexpr std::size_t prefetched_bytes = 1024;

/// Prefetches the cache lines that begin in the next `bytes` bytes for writing, at most
/// prefetched_bytes. If another core holds the lines, they are then fetched together instead of one
/// after the other.
inline void prefetch_to_write(std::byte const* to, std::size_t bytes) noexcept {
  constexpr std::size_t line = 64;
  auto at = (line - reinterpret_cast<std::uintptr_t>(to) % line) % line;
  for (bytes = std::min(bytes, prefetched_bytes); at < bytes; at += line) {
#if defined(__x86_64__)
    // On x86-64 __builtin_prefetch prefetches for reading, because the first 64-bit processors lack
    // prefetchw. Later processors without it treat it as a no-op.
    asm volatile("prefetchw %0" : : "m"(to[at]));
#else
    __builtin_prefetch(to + at, 1);
#endif
  }
}

// Streaming stores of bytes that another core will read. They bypass the caches: the other core's
// cache holds the old bytes, and a normal store would first have to take every line from it.

/// The most streams at a time: each stream collects its lines in one of a processor's few buffers.
inline constexpr std::size_t most_streams = 4;

/// Writes an object of whole 64-bit words as the next part of a stream. A stream writes adjacent
/// parts. An ordinary store if the processor has no streaming stores.
///
/// Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, 10.4.6.2,
/// "Caching
///   of Temporal vs. Non-Temporal Data".
template <class T>
[[gnu::always_inline]] inline void store_streaming(std::byte* to, T const& from) noexcept {
  using word = long long;
  static_assert(sizeof(T) % sizeof(word) == 0);
#if defined __x86_64__ && __has_builtin(__builtin_ia32_movnti64)
  constexpr std::size_t n_words = sizeof(T) / sizeof(word);
  std::array<word, n_words> words;
  std::memcpy(words.data(), std::addressof(from), sizeof from);
  [&]<std::size_t... W>(std::index_sequence<W...>) __attribute__((always_inline)) {
    (__builtin_ia32_movnti64(reinterpret_cast<word*>(to + W * sizeof(word)), words[W]), ...);
  }(std::make_index_sequence<n_words>{});
#else
  std::memcpy(to, std::addressof(from), sizeof from);
#endif
}

/// Orders the streaming stores before it with the stores after it: a core that sees a later store
/// sees them, too.
inline void end_streaming() noexcept {
#if defined __x86_64__ && __has_builtin(__builtin_ia32_movnti64)
  __builtin_ia32_sfence();
#endif
}

// Prefaulted heap memory for many small results.

/// After a fork, the next write to each page of the caller's heap costs a page fault, and so does
/// the first write to a new page. For many small results that is most of the cost of collecting
/// them. The constructor allocates blocks, prefaults them and frees them, so that the allocator
/// reuses them for the results. The last block is kept until destruction, so that the allocator
/// does not return the others to the system at once.
///
/// Harmless with any allocator; useful with allocators that reuse freed memory, as glibc's does.
class prefaulted_heap {
 public:
  /// Prefaults memory for n results of `result_bytes` bytes in all. Does nothing if they are too
  /// small to matter or too large to hold twice.
  prefaulted_heap(std::size_t result_bytes, std::uint64_t n) noexcept {
    if (result_bytes == 0) return;
    constexpr std::size_t block_overhead = 24;  // of an allocation: its header, and rounding up
    auto const bytes = result_bytes + static_cast<std::size_t>(n) * block_overhead;
    if (bytes < least || bytes > most) return;
    for (std::size_t done = 0; done < bytes; done += block_bytes) {
      auto* const block = static_cast<void**>(std::malloc(block_bytes));
      if (block == nullptr) break;  // the results then cause page faults one by one
      populate_for_writing(block, block_bytes);
      *block = last_;  // a list: each block points to the previous one
      last_ = block;
    }
    auto* previous = last_ == nullptr ? nullptr : *static_cast<void**>(last_);
    while (previous != nullptr) std::free(std::exchange(previous, *static_cast<void**>(previous)));
  }
  prefaulted_heap(prefaulted_heap const&) = delete;
  prefaulted_heap& operator=(prefaulted_heap const&) = delete;
  ~prefaulted_heap() { std::free(last_); }

 private:
  static constexpr std::size_t block_bytes = std::size_t{64} << 10U;  // below any mmap threshold
  static constexpr std::size_t least = std::size_t{256} << 10U;
  static constexpr std::size_t most = std::size_t{64} << 20U;

  void* last_ = nullptr;
};

// Prefaulting of shared memory that a worker's next tasks will write.

/// The blocks of a mapping that a worker has prefaulted. A worker that serves several calls in the
/// same memory needs to prefault a block only once.
class present_blocks {
 public:
  static constexpr std::size_t block_bytes = map_grain;

  /// Switches to that mapping. `made`: how often its memory was replaced.
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
  /// Extends [begin, end) to whole blocks and marks them as present.
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

/// Prefaults the pages that a worker's next tasks will write.
class page_prefaulter {
 public:
  /// `known`: the blocks that are already present; null if the memory serves only one call.
  page_prefaulter(std::byte* base, std::size_t item_bytes, present_blocks* known) noexcept
      : base_(base), item_bytes_(item_bytes), known_(known) {}

  /// Items [first, last) are written next; items up to `bound` may be written after them.
  void upcoming(std::uint64_t first, std::uint64_t last, std::uint64_t bound) noexcept {
    auto const begin = first * item_bytes_;
    auto const end = last * item_bytes_;
    if (populated_begin_ <= begin && end <= populated_end_) return;
    auto const stop = std::max<std::uint64_t>(
        end, std::min<std::uint64_t>(begin + next_bytes_, bound * item_bytes_));
    // One page is not worth a system call.
    if (stop - begin > page_size()) populate(base_ + begin, base_ + stop);
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
  std::size_t next_bytes_ = 4 * page_size();
};

}  // namespace forkmap::detail
