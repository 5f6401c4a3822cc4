// The memory that a pool's caller and workers share, apart from that of calls, and the protocol by
// which workers find, serve and leave calls.
//
// There are three kinds of memory. The caller writes call_control and pool_orders; workers can only
// read them. All processes write the bits of open calls and the bells, which only decide which
// process looks at what, and when. Each worker writes its own pool_worker_state; others can only
// read it. A stray write of a task therefore costs its own worker, or time: threads that wait for
// a call check it again from time to time even if nothing wakes them.
//
// A call lies in one of most_calls call slots. It is not assigned to workers: workers look for it.
//
//   1. The caller writes the call and its memory, then sets its bit in open_calls, then looks for
//      parked workers. It wakes one of them, and the others when that one turns out to have more to
//      do; or it wakes as many at once as there are batches. All of this is seq_cst: a worker that
//      parks first stores that it parks and then reads open_calls.
//   2. A worker that sees the bit stores serving = the call slot, then reads the bits again. If the
//      bit has been cleared, the call may be over: the worker does not touch it. Otherwise the
//      worker serves the call that is in the slot now; the slot is not used for another call until
//      `serving` changes. If other calls are open, the worker wakes a parked worker, which does the
//      same: the threads that opened them may have woken no other worker because this one was idle.
//   3. The worker claims batches (plan/claim_table.hpp) until none is left, and then clears the
//      bit, so that no other worker comes in vain.
//   4. The worker stores serving = the call slot | leaving. From then on it touches nothing of the
//      call but its event, and `abandoned` if it has cancelled the call. If no other worker serves
//      the call without leaving it, or if the call is cancelled, the worker raises the event and
//      wakes the thread that waits. Of two workers that leave at the same time, at least the second
//      sees that the first is leaving (seq_cst). To end a call, the caller first compares and swaps
//      serving = slot -> slot | killed, and only then kills the worker. Leaving is a
//      compare-and-swap, too; a worker whose swap comes second waits to be killed. So no worker is
//      killed that has gone on to another call.
//   5. The call is over when all its batches are claimed, or it is abandoned or ended; and its bit
//      is clear; and after that no worker serves it (leaving workers do not count). Only the caller
//      decides that. It checks in this order because a worker that it does not see in the call
//      might otherwise come later and claim the remaining batches. Tasks of a cancelled call that
//      still run are ended when the worker that cancelled it has left, and has therefore printed
//      all its output.
//
// A worker may be killed at any instruction. `serving` then tells which call it served, the call's
// claim table which batch it had. The supervisor collects it and raises the event of every call.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include <forkmap/detail/crash/backtrace.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/worker/setup.hpp>

namespace forkmap::detail {

/// At most this many calls of one pool run at once; others wait.
inline constexpr std::uint32_t most_calls = 64;

/// What waits for a call's event.
enum class waits_for_call : std::uint32_t { nobody, a_thread, the_supervisor };

/// A call as workers see it; they can only read it. All but the atomics is written before the call
/// is opened; tasks may still be sent while the first ones run.
struct alignas(128) call_control {
  std::atomic<std::uint64_t> number;  // among the pool's calls: the lowest is served first
  std::atomic<std::uint32_t> chunks;  // of tasks, sent so far: a futex
  job this_job;                       // without pointers into the caller
  dispatch_plan plan;
  call_layout layout;
  std::uint64_t common_made;  // how often the common part has got new memory,
  std::uint64_t own_made;     // and the workers' own parts
  std::uint64_t table_bytes;  // of the table: where each task begins, and where the last one ends
  std::uint64_t task_bytes;   // of each task, if there is no table; else 0
  bool in_chunks;             // the table says where each chunk of tasks begins instead
  std::uint64_t argument_bytes;
};

/// The orders of one worker, written before it is forked. Workers can only read them.
struct alignas(64) pool_orders {
  std::uint32_t process;
  std::atomic<std::uint32_t> inherits;  // the call to continue: its call slot + 1; 0: none
  task_range remaining;                 // tasks of that call
  retry again;
};

/// The part of a call that all processes write.
struct alignas(128) call_bell {
  std::atomic<std::uint32_t> event;  // a futex
  std::atomic<waits_for_call> waiting;
  std::atomic<std::uint64_t> abandoned;  // the slot's last call that a worker cancelled and left
  chunk_waiters sent;
};

/// The part of a worker that all processes write.
struct alignas(64) worker_bell {
  std::atomic<std::uint32_t> work;    // a futex: changes when there may be work
  std::atomic<std::uint32_t> parked;  // 1: the worker sleeps, or is about to
};

/// The part of a worker that it writes itself; other workers can only read it.
struct alignas(128) pool_worker_state {
  static constexpr std::uint32_t leaving = 0x8000'0000U;
  static constexpr std::uint32_t killed = 0x4000'0000U;

  /// Whether a worker or the caller may have stored that in `serving`.
  static constexpr bool is_possible(std::uint32_t serving) noexcept {
    auto const slot = serving & ~(serving >= leaving ? leaving : killed);
    return slot <= most_calls && (slot != 0 || serving == 0);
  }

  std::atomic<std::uint32_t> serving;  // call slot + 1, perhaps | leaving or killed; 0: none
  std::atomic<worker_phase> phase;
  raw_backtrace backtrace;
};

/// The begin of the memory that workers can only read, and of the memory that all write.
struct alignas(128) pool_header {
  std::atomic<std::uint32_t> closing;  // not 0: workers leave
};
struct alignas(128) pool_bells {
  std::atomic<std::uint64_t> open_calls;  // one bit for each call slot
};

static_assert(std::atomic<waits_for_call>::is_always_lock_free &&
                  std::atomic<worker_phase>::is_always_lock_free,
              "forkmap: these atomics must be lock-free, because a worker that is killed while it "
              "holds a lock never releases it");

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
    stride = largest <= calls_at() ? 0 : (largest - calls_at()) / most_calls / grain * grain;
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
  std::uint64_t file_bytes() const { return common(most_calls); }
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
