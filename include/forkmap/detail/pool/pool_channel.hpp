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

#include <atomic>
#include <cstdint>

#include <forkmap/detail/crash/backtrace.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
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
  std::uint64_t order_at;     // of the order of the batches in the table, plus 1; 0: there is none
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
  std::atomic<std::uint32_t> in_setup;  // 1: it runs tasks of pool::everywhere
  raw_backtrace backtrace;
};

/// The begin of the memory that workers can only read, and of the memory that all write.
struct alignas(128) pool_header {
  std::atomic<std::uint32_t> closing;   // not 0: workers leave
  std::atomic<std::uint32_t> n_setups;  // see setups.hpp
};
struct alignas(128) pool_bells {
  std::atomic<std::uint64_t> open_calls;  // one bit for each call slot
};

static_assert(std::atomic<waits_for_call>::is_always_lock_free &&
                  std::atomic<worker_phase>::is_always_lock_free,
              "forkmap: these atomics must be lock-free, because a worker that is killed while it "
              "holds a lock never releases it");

}  // namespace forkmap::detail
