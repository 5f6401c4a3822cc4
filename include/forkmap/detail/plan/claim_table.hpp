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

/// The worker's side of the protocol. Range: published_range_writer, or a replacement for it in
/// tests.
template <class Range> class claimant {
 public:
  claimant(dispatch_plan const& plan, claim_table claims, claim_hint* hints, worker_state& state,
           std::uint32_t me, Range& range) noexcept
      : plan_(plan),
        claims_(claims),
        hints_(hints),
        hint_(hints[me]),
        state_(state),
        me_(me),
        range_(range) {}

  /// Claims up to `most` batches. Precondition: most <= claim_table::entries_per_word.
  /// Returns: false if every batch is claimed.
  bool next(task_range& tasks, std::uint64_t most) {
    do {
      if (claim_in_region(tasks, most)) return true;
      // If a task keeps overwriting the claim table, the loop must still end.
      if (n_claimed_ >= plan_.n_batches) return false;
    } while (steal() || sweep());
    return false;
  }

 private:
  bool claim_in_region(task_range& tasks, std::uint64_t most) {
    constexpr auto relaxed = std::memory_order_relaxed;
    auto at = hint_.cursor.load(relaxed);
    for (;;) {
      // Read again each time: another worker may have lowered it. It may also have been
      // overwritten.
      auto const end = std::min(hint_.region_end.load(relaxed), plan_.n_batches);
      if (at >= end || n_claimed_ >= plan_.n_batches) break;
      auto& word = claims_.word(at);
      auto seen = word.load(relaxed);
      auto const word_end =
          std::min(end, (at / claim_table::entries_per_word + 1) * claim_table::entries_per_word);
      while (at < word_end && claim_table::entry_in(seen, at) != 0) ++at;
      if (at == word_end) continue;
      auto last = at;
      auto claimed = seen;
      while (last < word_end && last - at < most && claim_table::entry_in(seen, last) == 0) {
        claimed |= std::uint64_t{me_ + 1U} << (last % claim_table::entries_per_word * 16);
        ++last;
      }
      tasks = plan_.tasks_of(at, last);
      range_.moves_to(tasks.begin);
      // In this order: after a crash, the old current with the new end would give the replacement
      // batches of other workers.
      state_.current.store(as_current(tasks.begin) | not_begun, std::memory_order_release);
      state_.batch_end.store(tasks.end, std::memory_order_release);
      if (word.compare_exchange_strong(seen, claimed, std::memory_order_acq_rel, relaxed)) {
        hint_.cursor.store(last, relaxed);
        n_claimed_ += last - at;
        // Release: a reader that sees all batches claimed sees that this worker is in the call.
        hint_.claimed.store(hint_.claimed.load(relaxed) + (last - at), std::memory_order_release);
        return true;
      }
    }
    range_.close();
    state_.current.store(nothing_running, std::memory_order_release);
    hint_.cursor.store(at, relaxed);
    return false;
  }

  /// Takes the upper half of the longest region that another worker has left.
  bool steal() {
    constexpr auto relaxed = std::memory_order_relaxed;
    if (plan_.in_order || plan_.one_each) return false;  // one region for all, or for each its own
    for (;;) {
      claim_hint* victim = nullptr;
      std::uint64_t from = 0, end = 0;
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        auto const region_end = hints_[k].region_end.load(relaxed);
        auto const cursor = hints_[k].cursor.load(relaxed);
        if (k != me_ && cursor < region_end && region_end <= plan_.n_batches &&
            region_end - cursor > end - from) {
          victim = &hints_[k];
          from = cursor;
          end = region_end;
        }
      }
      if (victim == nullptr) return false;
      auto const middle = from + (end - from) / 2;
      // The compare-and-swap keeps two workers from stealing the same half. The half itself may be
      // out of date: it is only a hint.
      auto expected = end;
      if (victim->region_end.compare_exchange_strong(expected, middle, relaxed, relaxed)) {
        hint_.cursor.store(middle, relaxed);
        hint_.region_end.store(end, relaxed);
        return true;
      }
    }
  }

  /// Finds a free batch anywhere in the table.
  bool sweep() {
    constexpr auto relaxed = std::memory_order_relaxed;
    if (plan_.one_each) return false;
    std::uint64_t claimed = 0;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) claimed += hints_[k].claimed.load(relaxed);
    if (claimed == plan_.n_batches) return false;
    for (std::uint64_t at = 0; at != plan_.n_batches; ++at) {
      if (claim_table::entry_in(claims_.word(at).load(relaxed), at) == 0) {
        hint_.cursor.store(at, relaxed);
        hint_.region_end.store(std::min(plan_.n_batches, at + claim_table::entries_per_word),
                               relaxed);
        return true;
      }
    }
    return false;
  }

  dispatch_plan plan_;
  claim_table claims_;
  claim_hint* hints_;
  claim_hint& hint_;
  worker_state& state_;
  std::uint32_t me_;
  Range& range_;
  std::uint64_t n_claimed_ = 0;
};

}  // namespace forkmap::detail
