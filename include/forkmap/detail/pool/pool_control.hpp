// The layout of a pool's one file, and a process's view of it. The protocol is in pool_channel.hpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>

namespace forkmap::detail {

/// The layout of a pool's one file:
///
///   0                pool_header, call_control[most_calls], pool_orders[n_workers]
///   bells_at         pool_bells, call_bell[most_calls], worker_bell[n_workers]
///   place_at(k)      pool_worker_state
///   common(c)        the common part of the call in call slot c
///   table(c)         where each of its tasks begins
///   arguments(c)     the bytes of its tasks
///   own(c)           the own part of each worker
///   arenas(c)        the arena of each worker
///   setups_at        see setups.hpp
///
/// The file is sparse: unused bytes of a region take no memory. The regions share the largest size
/// that a file can have.
struct pool_layout {
  std::uint32_t n_workers = 0;
  std::size_t header_bytes = 0;
  std::size_t bells_bytes = 0;
  std::uint64_t stride = 0;

  static constexpr std::size_t place_bytes = map_grain;

  explicit pool_layout(std::uint32_t n) : n_workers(n) {
    header_bytes =
        round_up(sizeof(pool_header) + most_calls * sizeof(call_control) + n * sizeof(pool_orders),
                 map_grain);
    bells_bytes = round_up(
        sizeof(pool_bells) + most_calls * sizeof(call_bell) + n * sizeof(worker_bell), map_grain);
    constexpr auto most = std::uint64_t{1} << 52U;
    auto const largest = std::min(shared_file::largest(), most);
    constexpr std::uint64_t grain = 8 * map_grain;
    stride = largest <= calls_at() ? 0 : (largest - calls_at()) / (most_calls + 1) / grain * grain;
    constexpr std::uint64_t least_arena = std::uint64_t{1} << 20U;
    if (each_worker() < least_arena) {
      throw_system_error(EFBIG, "shared memory for a pool of",
                         std::to_string(n) + " workers (is RLIMIT_FSIZE, ulimit -f, too low?)");
    }
  }

  std::uint64_t bells_at() const { return header_bytes; }
  std::uint64_t place_at(std::uint32_t k) const {
    return header_bytes + bells_bytes + k * place_bytes;
  }
  std::size_t all_places_bytes() const { return n_workers * place_bytes; }
  std::uint64_t file_bytes() const { return common(most_calls + 1); }
  std::uint64_t setups_at() const { return common(most_calls); }
  std::uint64_t setups_bytes() const { return stride; }
  std::uint64_t common(std::uint32_t call) const { return calls_at() + call * stride; }
  std::uint64_t table(std::uint32_t call) const { return common(call) + stride / 8; }
  std::uint64_t part_bytes() const { return stride / 8; }  // of common(), and of table()
  std::uint64_t arguments(std::uint32_t call) const { return common(call) + stride / 4; }
  std::uint64_t arguments_bytes() const { return stride / 4; }
  std::uint64_t own(std::uint32_t call) const { return common(call) + stride / 2; }
  /// Bytes of one own part, and of one arena.
  std::uint64_t each_worker() const { return stride / 4 / n_workers / map_grain * map_grain; }
  arena_map arenas(std::uint32_t call) const {
    return {.first = common(call) + stride / 4 * 3, .stride = each_worker()};
  }

 private:
  std::uint64_t calls_at() const { return place_at(n_workers); }
};

/// A process's view of a pool's file. The caller may write all of it, a worker only its own part
/// and what all processes write.
class pool_control {
 public:
  /// `places`: the states of all workers. `own`: the state that this worker may write; null in the
  /// caller, which may write all.
  pool_control(std::byte* header, std::byte* bells, std::byte* places, pool_worker_state* own,
               std::uint32_t n_workers) noexcept
      : header_(header), bells_(bells), places_(places), own_(own), n_workers_(n_workers) {}

  pool_header& header() const noexcept { return *at<pool_header>(header_, 0); }
  call_control& call(std::uint32_t c) const noexcept {
    return at<call_control>(header_, sizeof(pool_header))[c];
  }
  pool_orders& orders(std::uint32_t k) const noexcept {
    return at<pool_orders>(header_, sizeof(pool_header) + most_calls * sizeof(call_control))[k];
  }
  std::atomic<std::uint64_t>& open_calls() const noexcept {
    return at<pool_bells>(bells_, 0)->open_calls;
  }
  call_bell& bell(std::uint32_t c) const noexcept {
    return at<call_bell>(bells_, sizeof(pool_bells))[c];
  }
  worker_bell& worker(std::uint32_t k) const noexcept {
    return at<worker_bell>(bells_, sizeof(pool_bells) + most_calls * sizeof(call_bell))[k];
  }
  /// Read-only in a worker.
  pool_worker_state& place(std::uint32_t k) const noexcept {
    return *at<pool_worker_state>(places_, k * pool_layout::place_bytes);
  }
  pool_worker_state& own_place() const noexcept { return *own_; }
  sending sent(std::uint32_t c) const noexcept { return {call(c).chunks, bell(c).sent}; }
  std::uint32_t n_workers() const noexcept { return n_workers_; }

  /// Whether a worker serves that call and is not leaving it.
  bool is_served(std::uint32_t c) const noexcept {
    for (std::uint32_t k = 0; k != n_workers_; ++k) {
      if ((place(k).serving.load() & ~pool_worker_state::killed) == c + 1) return true;
    }
    return false;
  }

  /// Clears the call's bit: workers that look for a call no longer find it.
  void close(std::uint32_t c) const noexcept { open_calls().fetch_and(~(std::uint64_t{1} << c)); }

  /// Raises a call's event, and wakes a thread that waits for it.
  /// Returns: what waits.
  waits_for_call raise_event(std::uint32_t c) const noexcept {
    bell(c).event.fetch_add(1);
    auto const waiting = bell(c).waiting.load();
    if (waiting == waits_for_call::a_thread) wake_all(bell(c).event);
    return waiting;
  }

  /// Wakes worker k if it is parked.
  bool unpark(std::uint32_t k) const noexcept {
    if (worker(k).parked.load() == 0 || worker(k).parked.exchange(0) == 0) return false;
    worker(k).work.fetch_add(1);
    wake_all(worker(k).work);
    return true;
  }
  void unpark_all() const noexcept {
    for (std::uint32_t k = 0; k != n_workers_; ++k) unpark(k);
  }
  void unpark_one() const noexcept {
    for (std::uint32_t k = 0; k != n_workers_ && !unpark(k); ++k) {
    }
  }

  /// Has up to `wanted` idle workers awake, waking those that are parked. If other calls are open
  /// and too few workers serve any, wakes as many more: the woken workers serve older calls first.
  void wake(std::uint64_t wanted) const noexcept {
    auto const open = static_cast<std::uint64_t>(std::popcount(open_calls().load()));
    std::uint64_t serving = 0;
    for (std::uint32_t k = 0; k != n_workers_; ++k) serving += place(k).serving.load() != 0;
    if (open > serving + 1) wanted += open - serving - 1;
    for (std::uint32_t k = 0; k != n_workers_ && wanted != 0; ++k) {
      auto const& state = place(k);
      // A worker that is starting or leaving does not count: that may take long.
      if (state.serving.load() != 0 || state.phase.load() != worker_phase::working) continue;
      --wanted;
      unpark(k);
    }
  }

  /// Wakes all sleeping workers, whatever `parked` says.
  void rouse() const noexcept {
    for (std::uint32_t k = 0; k != n_workers_; ++k) {
      worker(k).work.fetch_add(1);
      wake_all(worker(k).work);
    }
  }

 private:
  template <class T> static T* at(std::byte* base, std::size_t offset) noexcept {
    return std::launder(reinterpret_cast<T*>(base + offset));
  }

  std::byte* header_;
  std::byte* bells_;
  std::byte* places_;
  pool_worker_state* own_;
  std::uint32_t n_workers_;
};

}  // namespace forkmap::detail
