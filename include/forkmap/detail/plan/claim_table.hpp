// The claim table: the shared-memory protocol by which workers claim batches and report progress.
//
// The protocol uses two kinds of shared memory:
//
//   * All workers can write the claim table and the claim hints. A stray write by a task can damage
//     them, so they decide only which worker runs which batch.
//   * A worker's state and its published ranges are writable in that worker alone. The caller takes
//     results only from these, and only where they are consistent (plan/published.hpp).
//
// A worker can be killed at any instruction. So there are no locks, no queue end is moved by two
// workers, and no batch is ever claimed without a known owner: one atomic instruction claims a
// batch and stores its owner, because a claim writes the owner's number into the batch's entry.
//
//   1. The worker finds adjacent free entries (value 0) in one word of the claim table.
//   2. It stores state.current = (first task of the intended claim) | not_begun, which publishes
//      the last result of the previous batch, and then state.batch_end. Both stores are release: a
//      reader that sees the claim sees both, and a reader that sees the new end sees the new task.
//      If that task does not continue the open range (plan/published.hpp), the worker first closes
//      the range in its log, stores state.current = 0, and opens a new range.
//   3. It claims by compare-and-swap on the word: the entries become worker + 1 (acq_rel). If that
//      fails, it goes back to step 1.
//   4. For each task i of the batch, it stores state.current = i (release: publishes the result of
//      i - 1), runs i, and writes the result of i.
//   5. When nothing is left to claim, it closes its range and stores state.current = 0 (release).
//
// So the state of a worker that has exited or crashed is exact. If the entry of the task in
// state.current holds the worker's number, that task was running (or, with not_begun, was next),
// the results of the tasks before it in the batch are published, and the tasks after it up to
// state.batch_end have not begun. Otherwise no task was running. Entries are never freed: the
// replacement takes over the worker's state and the rest of its batch. The entries of results from
// an earlier run (options::resume) hold `restored`.
//
// If the caller may end a task (options::timeout), step 4 becomes:
//
//   4a. The worker stores state.started = now (relaxed), then state.current = i (release).
//   4b. After the task, it replaces i by (next task) | not_begun with a compare-and-swap (acq_rel).
//       If that fails, the task has timed out and the worker waits to be killed.
//   4c. The caller, when it finds that i (acquire) has run for too long, replaces i by
//       i | timed_out_bit with a compare-and-swap (acq_rel), and kills the worker if that succeeds.
//       The first swap decides, so a task is never killed for the task before it. A worker whose
//       state has not changed for the limit by the caller's own clock is killed without a swap
//       (task_pulse in worker/limits.hpp): a stray write may have damaged `current` or `started`.
//
// hint.cursor and hint.region_end tell where a worker's next claim begins and where its region
// ends. They make claims cheap and keep workers apart. A worker that steals lowers another worker's
// region_end. Hints may be wrong: only the entry decides which worker runs a batch, and a final
// sweep finds the batches that no hint covers.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <forkmap/detail/plan/dispatch.hpp>

namespace forkmap::detail {

// Values of state.current: nothing_running, or a task's number plus 1, combined with these bits.
inline constexpr std::uint64_t nothing_running = 0;
inline constexpr std::uint64_t not_begun = std::uint64_t{1} << 62U;
inline constexpr std::uint64_t timed_out_bit = std::uint64_t{1} << 63U;
inline constexpr std::uint64_t task_bits = not_begun - 1;

constexpr std::uint64_t as_current(std::uint64_t task) noexcept { return task + 1; }
/// Precondition: current is not nothing_running.
constexpr std::uint64_t task_of(std::uint64_t current) noexcept {
  return (current & task_bits) - 1;
}

/// The value of state.current while the remaining tasks of a claim wait for the replacement.
constexpr std::uint64_t waiting_for_replacement(task_range remaining) noexcept {
  return remaining.begin < remaining.end ? as_current(remaining.begin) | not_begun
                                         : nothing_running;
}

/// retiring, retired: the worker has left tasks to its replacement (options::max_tasks_per_worker).
/// late: it did not finish starting in time (worker/limits.hpp).
enum class worker_phase : std::uint32_t {
  starting,
  working,
  leaving,
  finished,
  retiring,
  retired,
  late
};

/// The shared state of one worker and its replacements. All zeros: the worker has not begun. Only
/// the worker writes it, except that the caller writes it between a worker and its replacement.
struct alignas(128) worker_state {  // two cache lines: prefetchers fetch lines in pairs
  std::atomic<std::uint64_t> current;
  // The open range: see plan/published.hpp.
  std::atomic<std::uint64_t> digest;
  std::atomic<std::uint64_t> range_begin;
  std::atomic<std::uint64_t> n_ranges;  // closed ranges in the log
  std::atomic<std::uint64_t> batch_end;
  std::atomic<std::uint64_t> arena_next;  // bytes in use in the worker's arena
  std::atomic<std::uint64_t> failures;    // the blob of its last failure; 0: none
  std::atomic<worker_phase> phase;
  std::atomic<std::int32_t> start_error;  // the errno with which its start failed
  std::atomic<std::int64_t> started;  // when the current task began; set only if tasks have limits
  // For the report, in nanoseconds of steady_clock.
  std::atomic<std::int64_t> began;  // when the first worker began its first task
  std::atomic<std::int64_t> working_from;
  std::atomic<std::int64_t> busy;  // excludes the time since working_from; includes predecessors
  struct timed_task {
    std::atomic<std::uint64_t> task;
    std::atomic<std::int64_t> took;
  } slowest[2];  // longest first; 0 nanoseconds: none
};

/// Where a worker claims next. All workers write it.
struct alignas(64) claim_hint {
  std::atomic<std::uint64_t> cursor;
  std::atomic<std::uint64_t> region_end;
  std::atomic<std::uint64_t> claimed;  // batches; may be too low after a worker has crashed
};

static_assert(
    std::atomic<std::uint64_t>::is_always_lock_free,
    "forkmap: shared memory needs lock-free 64-bit atomics, because a worker can be killed "
    "while it holds a lock");
static_assert(sizeof(std::atomic<std::uint64_t>) == 8 && sizeof(worker_state) == 128 &&
                  sizeof(claim_hint) == 64,
              "forkmap: the layout of shared memory is part of the protocol");

/// The claim table: a 16-bit entry for each batch, four entries in a word.
class claim_table {
 public:
  static constexpr std::uint64_t entries_per_word = 4;
  static constexpr std::uint64_t restored = 0xffff;

  static constexpr std::uint64_t words_for(std::uint64_t n_batches) {
    return divide_up(n_batches, entries_per_word);
  }

  claim_table() = default;
  explicit claim_table(std::atomic<std::uint64_t>* words) noexcept : words_(words) {}

  std::atomic<std::uint64_t>& word(std::uint64_t batch) const noexcept {
    return words_[batch / entries_per_word];
  }
  static std::uint64_t entry_in(std::uint64_t word, std::uint64_t batch) noexcept {
    return (word >> (batch % entries_per_word * 16)) & 0xffffU;
  }
  /// The memory of the words.
  std::byte* bytes() const noexcept { return reinterpret_cast<std::byte*>(words_); }
  /// Marks a batch as done by an earlier run. Precondition: no worker has started.
  void restore(std::uint64_t batch) const noexcept {
    word(batch).fetch_or(restored << (batch % entries_per_word * 16), std::memory_order_relaxed);
  }
  /// The number of the batch's owner plus 1; 0 if the batch is free.
  std::uint64_t owner_entry(std::uint64_t batch) const noexcept {
    return entry_in(word(batch).load(std::memory_order_acquire), batch);
  }

 private:
  std::atomic<std::uint64_t>* words_ = nullptr;
};

}  // namespace forkmap::detail
