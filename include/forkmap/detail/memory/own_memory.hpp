// A worker's mappings of a call's shared memory: the common part, its own part and its arena, each
// between guard pages. Processes that its tasks fork do not inherit them.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/os/guarded_memory.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/plan/claim_table.hpp>

namespace forkmap::detail {

class own_memory {
 public:
  own_memory() = default;
  /// Maps the memory of worker k. If the system refuses, the object is empty and errno is set.
  own_memory(call_layout const& layout, std::uint32_t k, int file) noexcept
      : common_bytes_(round_up(layout.common_bytes, map_grain)),
        own_bytes_(round_up(layout.own_bytes, map_grain)),
        range_(common_bytes_ + own_bytes_ + map_grain + 4 * guard_bytes) {
    if (!range_) return;
    auto* const common_at = range_.data() + guard_bytes;
    auto* const own_at = common_at + common_bytes_ + guard_bytes;
    auto* const arena_at = own_at + own_bytes_ + guard_bytes;
    constexpr int read_write = PROT_READ | PROT_WRITE;
    if (!range_.put(common_at, common_bytes_, file, layout.common_at, read_write) ||
        !range_.put(own_at, own_bytes_, file, layout.own(k), read_write)) {
      return;
    }
    // The arena continues after the blobs of predecessors. arena_next may have been overwritten.
    auto const stride = layout.arenas.stride;
    next_ = reinterpret_cast<worker_state*>(own_at)->arena_next.load(std::memory_order_relaxed);
    next_ = std::min(next_, stride);  // stride: the arena is full
    if (!range_.put(arena_at, map_grain, file,
                    layout.arenas.begin(k) + arena_writer::window_begin(next_, stride),
                    read_write)) {
      return;
    }
    range_.keep_from_children();
    arena_ = arena_at;
    limit_ = stride;
  }

  /// The window of the arena; null if the object is empty.
  std::byte* arena() const noexcept { return arena_; }
  std::byte* common() const noexcept { return range_.data() + guard_bytes; }
  std::byte* own() const noexcept { return common() + common_bytes_ + guard_bytes; }
  std::size_t own_bytes() const noexcept { return own_bytes_; }
  arena_writer arena_from_here() const noexcept {
    return arena_writer(arena_, map_grain, next_, limit_);
  }

 private:
  std::size_t common_bytes_ = 0;
  std::size_t own_bytes_ = 0;
  address_range range_{};
  std::byte* arena_ = nullptr;
  std::uint64_t next_ = 0;
  std::uint64_t limit_ = 0;
};

/// Tells the caller why a worker could not map its memory. Writes to the file, as nothing is
/// mapped.
inline void note_start_error(call_layout const& layout, std::uint32_t k, int file,
                             int code) noexcept {
  std::int32_t const value = code;
  static_cast<void>(
      !::pwrite(file, &value, sizeof value,
                static_cast<off_t>(layout.own(k) + offsetof(worker_state, start_error))));
}

}  // namespace forkmap::detail
