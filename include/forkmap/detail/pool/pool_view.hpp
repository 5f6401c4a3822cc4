// A pool worker's inherited state, and its mappings of the memory of the pool and of calls.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <utility>

#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/memory/own_memory.hpp>
#include <forkmap/detail/memory/prefault.hpp>
#include <forkmap/detail/messages/sender.hpp>
#include <forkmap/detail/os/guarded_memory.hpp>
#include <forkmap/detail/os/output_files.hpp>
#include <forkmap/detail/os/process_mark.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/os/thread_limits.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_control.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/serialize/call_cache.hpp>
#include <forkmap/message_handler.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

// The inherited state of a pool's workers.

/// The state that all workers of a pool inherit from the memory of the fork server.
struct pool_birth {
  options const& opts;
  pool_layout const& layout;
  shared_file const& file;
  thread_limits const& threads;
  int supervisor_event;  // an eventfd
  int share;             // of the machine's cores
  int probe_signal;
  int end_signal;
  process_mark mark;
  output_files const& files;  // for what tasks print
};

/// Calls worker_exit, and prints what it throws: there is no call that could throw it.
inline void call_worker_exit(options const& opts, std::uint32_t k) {
  if (!opts.worker_exit) return;
  try {
    opts.worker_exit(static_cast<int>(k));
  } catch (std::exception const& e) {
    std::fprintf(stderr, "forkmap: worker_exit of a pool's worker threw: %s\n", e.what());
  } catch (...) {
    std::fputs("forkmap: worker_exit of a pool's worker threw\n", stderr);
  }
}

// A pool worker's mappings of the pool's memory, and of the memory of the calls that it serves.

/// The pool's memory as worker k maps it, between guard pages.
class pool_view {
 public:
  /// If the system refuses, the view is empty and errno says why.
  pool_view(pool_layout const& layout, std::uint32_t k, int file) noexcept
      : layout_(layout),
        range_(layout.header_bytes + layout.bells_bytes + layout.all_places_bytes() +
               pool_layout::place_bytes + 5 * guard_bytes) {
    if (!range_) return;
    bool const all =
        range_.put(header(), layout.header_bytes, file, 0, PROT_READ) &&
        range_.put(bells(), layout.bells_bytes, file, layout.bells_at(), PROT_READ | PROT_WRITE) &&
        range_.put(places(), layout.all_places_bytes(), file, layout.place_at(0), PROT_READ) &&
        range_.put(own(), pool_layout::place_bytes, file, layout.place_at(k),
                   PROT_READ | PROT_WRITE);
    if (!all) return;
    range_.keep_from_children();
    is_whole_ = true;
  }
  explicit operator bool() const noexcept { return is_whole_; }
  pool_control control() const noexcept {
    return {header(), bells(), places(), std::launder(reinterpret_cast<pool_worker_state*>(own())),
            layout_.n_workers};
  }

 private:
  std::byte* header() const noexcept { return range_.data() + guard_bytes; }
  std::byte* bells() const noexcept { return header() + layout_.header_bytes + guard_bytes; }
  std::byte* places() const noexcept { return bells() + layout_.bells_bytes + guard_bytes; }
  std::byte* own() const noexcept { return places() + layout_.all_places_bytes() + guard_bytes; }

  pool_layout const& layout_;
  address_range range_;
  bool is_whole_ = false;
};

/// A worker's mappings of a call slot, kept until the worker ends.
struct call_extent {
  own_memory memory;
  arena_writer arena;
  mapping table{};
  argument_reader arguments;
  present_blocks common_present{};
  present_blocks own_present{};
  std::size_t own_bytes;
  std::size_t common_bytes;

  call_extent(int file, std::uint64_t arguments_at, std::uint32_t k, call_layout const& layout,
              std::size_t max_nbytes, call_cache& cache)
      : memory(layout, k, file),
        arena(memory.arena_from_here()),
        arguments(file, arguments_at, max_nbytes, cache),
        own_bytes(round_up(layout.own_bytes, map_grain)),
        common_bytes(round_up(layout.common_bytes, map_grain)) {}

  /// The begin of the next blob of call `number`. A worker that comes to a call again does not read
  /// it from shared memory, which a task may have overwritten.
  std::uint64_t arena_begin(call_layout const& layout, std::uint32_t k,
                            std::uint64_t number) noexcept {
    if (std::exchange(last_call_, number) == number) return arena.next();
    auto const& state = call_memory(layout, memory.common(), memory.own()).state(k);
    return std::min(state.arena_next.load(std::memory_order_relaxed), layout.arenas.stride);
  }

  /// Wakes what waits for the call in a slot: wake(worker, slot).
  struct caller_waker {
    void (*wake)(void* worker, std::uint32_t slot) noexcept;
    void* worker;
    std::uint32_t slot;
  };
  /// The sender of the messages and of the output of call `number`; null if the pool has neither.
  message_sender* sender(message_handler const& handler, call_memory const& shared, std::uint32_t k,
                         std::uint64_t number, caller_waker waker) {
    if (!shared.layout().has_messages()) return nullptr;
    if (!messages_) {
      waker_ = waker;
      messages_.reset(new message_sender(
          handler, shared.messages(k),
          [](void* erased) noexcept {
            auto const& to = *static_cast<caller_waker*>(erased);
            to.wake(to.worker, to.slot);
          },
          &waker_));
    }
    messages_->begin_call(number);
    return messages_.get();
  }

  bool has(call_layout const& layout) const noexcept {
    return layout.own_bytes <= own_bytes && layout.common_bytes <= common_bytes;
  }

  /// Sets the begin of blobs.
  /// Returns: false if that is not mapped, or more than arena_writer::kept_bytes are.
  bool rewind(std::uint64_t next) noexcept {
    if (!arena.reaches(next) || arena.window_bytes() > arena_writer::kept_bytes) return false;
    arena.rewind(next);
    return true;
  }
  /// Does the same after mapping the arena there.
  /// Returns: false if the system refuses.
  bool map_arena(int file, call_layout const& layout, std::uint32_t k,
                 std::uint64_t next) noexcept {
    address_range range(map_grain + 2 * guard_bytes);
    auto* const window = range.data() + guard_bytes;
    if (!range ||
        !range.put(window, map_grain, file,
                   layout.arenas.begin(k) + arena_writer::window_begin(next, layout.arenas.stride),
                   PROT_READ | PROT_WRITE)) {
      return false;
    }
    range.keep_from_children();
    arena.rewind(next, std::move(range), window, map_grain);
    return true;
  }

 private:
  std::uint64_t last_call_ = 0;
  caller_waker waker_{};
  owner<message_sender> messages_{};
};

}  // namespace forkmap::detail
