// What a pool's caller and workers share beside the calls' own memory, and how they meet.
//
// A call lies in one of most_calls places. Nobody assigns it to workers: they look for it.
//
//   1. The caller writes the call and its memory, then sets its bit in open_calls, then looks for
//      parked workers and wakes one, and the others when it is seen to have more to do; or at once
//      as many as there are batches (all seq_cst: a worker that parks looks at open_calls after it
//      has said that it parks).
//   2. A worker that sees the bit stores serving = place, then looks at the bits again. If that one
//      is gone, the call may be gone too: the worker touches nothing of it. Otherwise it serves the
//      call that is in the place by now, which cannot be used for another one until serving says
//      something else. If there are others it wakes a parked worker, which does the same: who made
//      them may have counted on this one.
//   3. It claims batches (plan/ledger.hpp) until there are none, and then clears the bit, so that
//      nobody else comes for nothing.
//   4. It stores serving = place | leaving, and from then on touches nothing of the call but its
//      event, and given_up if it has cancelled the call. If it sees no worker that serves the call
//      and is not leaving, or if the call is cancelled, it raises the event and wakes who waits. Of
//      two that leave at the same time at least the second sees the first leaving (seq_cst).
//      Who ends a call compares and swaps serving = place -> place | doomed, and only then kills the
//      worker; leaving is a compare-and-swap, too, and waits for that end if it comes second. So no
//      worker is killed that has gone on to another call.
//   5. The call is over when all is claimed, or it is given up or ended, its bit is gone, and then
//      no worker serves it (leaving ones do not). Only who made it decides that, and looks in this
//      order: workers that it finds elsewhere might come afterwards, and claim the rest. What still
//      runs of a call that was cancelled is ended when who has cancelled it has left, and has
//      therefore printed all that it had to.
//
// A worker may be killed at any instruction: `serving` then tells which call it was in, and the
// call's ledger what it was doing. Who collects it raises every event.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include <forkmap/plan/dispatch.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/system/backtrace.hpp>
#include <forkmap/system/futex.hpp>
#include <forkmap/transfer/arena.hpp>
#include <forkmap/transfer/call_memory.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/sending.hpp>
#include <forkmap/worker/birth.hpp>

namespace forkmap::detail {

/// Calls of one pool that are under way at once; others wait.
inline constexpr std::uint32_t most_calls = 64;

/// Who wants to know of a call's event.
enum class waits_for_call : std::uint32_t { nobody, a_thread, the_supervisor };

/// A call as its workers see it. All but the atomics is written before the call is open; its tasks
/// may follow while the first ones run.
struct alignas(128) pool_call {
  std::atomic<std::uint32_t> event;  // a futex
  std::atomic<waits_for_call> waiting;
  std::atomic<std::uint64_t> number;  // among the pool's: the lowest is served first
  std::atomic<std::uint64_t> given_up;  // the last one here that a worker has cancelled and left
  job work;                           // without pointers into the caller
  dispatch_plan plan;
  call_layout layout;
  std::uint64_t front_bytes;  // to be mapped: the layout's, and the table of tasks
  std::uint64_t front_made;   // how often its memory has been made anew
  std::uint64_t table;        // from the stretch's begin: where each task begins, and the last ends
  std::uint64_t task_bytes;   // of each, where there is no table; else 0
  bool in_chunks;             // the table says where each chunk of tasks is instead
  std::uint64_t argument_bytes;
  sending sent;  // how far the tasks are there
};

/// One worker as others see it.
struct alignas(128) pool_place {
  static constexpr std::uint32_t leaving = 0x8000'0000U;
  static constexpr std::uint32_t doomed = 0x4000'0000U;

  std::atomic<std::uint32_t> work;     // a futex: changes when there may be work
  std::atomic<std::uint32_t> parked;   // 1: sleeps, or is about to
  std::atomic<std::uint32_t> serving;  // a call's place + 1, perhaps | leaving or doomed; 0: none
  std::atomic<worker_phase> phase;
  // What a replacement is born with, written before it is forked.
  std::uint32_t process;
  task_range left_over;  // of the call that `serving` names
  retry again;
  raw_backtrace backtrace;
};

struct alignas(128) pool_header {
  std::atomic<std::uint64_t> open_calls;  // a bit each
  std::atomic<bool> closing;              // workers go
};

static_assert(std::atomic<waits_for_call>::is_always_lock_free &&
                  std::atomic<worker_phase>::is_always_lock_free,
              "forkmap: a lock inside an atomic would not survive the death of its holder");

/// Where in a pool's one file what lies:
///
///   0               pool_header, pool_call[most_calls], pool_place[n_workers]
///   stretch(c)      the call's memory, its table of tasks
///   arguments(c)    the bytes of its tasks
///   arenas(c)       of each worker
///
/// The file is sparse, so that a stretch is a bound on nothing but the largest file there can be.
struct pool_layout {
  std::uint32_t n_workers = 0;
  std::size_t control_bytes = 0;
  std::uint64_t stride = 0;

  explicit pool_layout(std::uint32_t n) : n_workers(n) {
    control_bytes = round_up(
        sizeof(pool_header) + most_calls * sizeof(pool_call) + n * sizeof(pool_place), map_grain);
    auto const largest =
        std::min(shared_file::largest(), std::uint64_t{1} << record_name::offset_bits);
    constexpr std::uint64_t grain = 4 * map_grain;
    stride = largest <= control_bytes ? 0 : (largest - control_bytes) / most_calls / grain * grain;
    constexpr std::uint64_t least_arena = std::uint64_t{1} << 20U;
    if (arena_stride() < least_arena) {
      throw_system_error(EFBIG, "shared memory for a pool of",
                         std::to_string(n) + " workers (is RLIMIT_FSIZE, ulimit -f, too low?)");
    }
  }

  std::uint64_t file_bytes() const { return stretch(most_calls); }
  std::uint64_t stretch(std::uint32_t call) const { return control_bytes + call * stride; }
  std::uint64_t stretch_bytes() const { return stride / 4; }
  std::uint64_t arguments(std::uint32_t call) const { return stretch(call) + stride / 4; }
  std::uint64_t arguments_bytes() const { return stride / 4; }
  arena_map arenas(std::uint32_t call) const {
    return {.first = stretch(call) + stride / 2, .stride = arena_stride()};
  }

 private:
  std::uint64_t arena_stride() const { return stride / 2 / n_workers / map_grain * map_grain; }
};

/// The pool's control block, mapped at the same place in all its processes.
class pool_control {
 public:
  pool_control(std::byte* base, std::uint32_t n_workers) noexcept
      : base_(base), n_workers_(n_workers) {}

  pool_header& header() const noexcept { return *at<pool_header>(0); }
  pool_call& call(std::uint32_t c) const noexcept { return at<pool_call>(sizeof(pool_header))[c]; }
  pool_place& place(std::uint32_t k) const noexcept {
    return at<pool_place>(sizeof(pool_header) + most_calls * sizeof(pool_call))[k];
  }
  std::uint32_t n_workers() const noexcept { return n_workers_; }

  /// Whether a worker is in that call, and not leaving it.
  bool is_served(std::uint32_t c) const noexcept {
    for (std::uint32_t k = 0; k != n_workers_; ++k) {
      if ((place(k).serving.load() & ~pool_place::doomed) == c + 1) return true;
    }
    return false;
  }

  /// Nobody who looks for a call finds this one any more.
  void close(std::uint32_t c) const noexcept {
    header().open_calls.fetch_and(~(std::uint64_t{1} << c));
  }

  /// Raises a call's event, and wakes a thread that waits for it.
  /// Returns: who waits.
  waits_for_call raise_event(std::uint32_t c) const noexcept {
    call(c).event.fetch_add(1);
    auto const waiting = call(c).waiting.load();
    if (waiting == waits_for_call::a_thread) wake_all(call(c).event);
    return waiting;
  }

  /// Wakes worker k if it is parked.
  bool unpark(std::uint32_t k) const noexcept {
    if (place(k).parked.load() == 0 || place(k).parked.exchange(0) == 0) return false;
    place(k).work.fetch_add(1);
    wake_all(place(k).work);
    return true;
  }
  void unpark_all() const noexcept {
    for (std::uint32_t k = 0; k != n_workers_; ++k) unpark(k);
  }
  void unpark_one() const noexcept {
    for (std::uint32_t k = 0; k != n_workers_ && !unpark(k); ++k) {
    }
  }

 private:
  template <class T> T* at(std::size_t offset) const noexcept {
    return std::launder(reinterpret_cast<T*>(base_ + offset));
  }

  std::byte* base_;
  std::uint32_t n_workers_;
};

}  // namespace forkmap::detail
