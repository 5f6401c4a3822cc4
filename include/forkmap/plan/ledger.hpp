// The dispatch protocol: which worker has which batch, in memory shared by all of them.
//
// A worker may be killed at any instruction, so there is no lock, no queue end that two workers
// move, and no moment at which a batch has been taken but nobody can tell by whom. Claiming a batch
// and recording its owner is one atomic instruction: the owner's number is written into the batch's
// lane of the ledger.
//
//   1. The worker finds free lanes (0) side by side in one word of the ledger.
//   2. It stores slot.current = the first task of what it is about to claim | not_begun, which
//      commits the last result of the batch before, and then slot.batch_end (release: whoever sees
//      the claim sees these, and whoever sees the new end sees the new task).
//   3. It claims by compare-and-swap of the word: lanes become worker + 1 (acq_rel). On failure it
//      goes back to 1.
//   4. For each task i of the batch: slot.current = i (release: commits the result of i - 1), then
//      runs i and writes its result.
//   5. When there is nothing left to claim, slot.current = nothing_running (release).
//
// After a worker's death the caller therefore knows exactly: if slot.current is a task whose lane
// has this worker's number, that task was running (or, with not_begun, was next), those before it
// in the batch are committed, and those up to slot.batch_end are not begun; otherwise nothing was
// running. No lane is ever freed: the replacement takes over the slot and the rest of the batch
// with it. Lanes of results that an earlier run has left (options::resume) are `restored`.
//
// Where a task may be ended by the caller (options::timeout), 4 becomes:
//
//   4a. slot.started = now (relaxed), then slot.current = i (release).
//   4b. After the task the worker leaves it by compare-and-swap: i becomes the next task | not_begun
//       or nothing_running (acq_rel). On failure it waits for its end.
//   4c. The caller that finds i (acquire) running for too long compares and swaps i -> i |
//       over_limit (acq_rel). Only then it ends the worker: whoever comes first decides, and no
//       task pays for the one before it.
//
// slot.cursor and slot.region_end (where the worker goes on, how far) are hints: they make claims
// cheap and spread workers out. Thieves lower region_end of others. Whatever a hint says, a batch
// is run by the one whose number is in its lane; a last sweep finds what hints have lost.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <forkmap/plan/dispatch.hpp>

namespace forkmap::detail {

// What slot.current holds: the number of a task, these bits, or nothing_running.
inline constexpr std::uint64_t nothing_running = ~std::uint64_t{0};
inline constexpr std::uint64_t not_begun = std::uint64_t{1} << 62U;
inline constexpr std::uint64_t over_limit = std::uint64_t{1} << 63U;
inline constexpr std::uint64_t task_bits = not_begun - 1;

/// What slot.current holds while no worker runs what is left of its last claim.
constexpr std::uint64_t waiting_for_replacement(task_range left) noexcept {
  return left.begin < left.end ? left.begin | not_begun : nothing_running;
}

/// A retiring worker has left work to its replacement (options::max_tasks_per_worker).
enum class worker_phase : std::uint32_t { starting, working, leaving, finished, retiring, retired };

/// What one worker tells the others and the caller. Written by its worker alone, but for region_end,
/// and by the caller between a worker and its replacement.
struct alignas(128) worker_slot {  // two lines: the neighbour's prefetcher takes pairs
  std::atomic<std::uint64_t> current;
  std::atomic<std::uint64_t> batch_end;
  std::atomic<std::uint64_t> cursor;
  std::atomic<std::uint64_t> region_end;
  std::atomic<std::uint64_t> claimed;     // batches; too few after a death
  std::atomic<std::uint64_t> arena_next;  // where in the file its next record goes
  std::atomic<std::uint64_t> failures;    // its last failure record; 0 = none
  std::atomic<worker_phase> phase;
  std::atomic<std::int64_t> started;  // when the current task began; only where tasks have limits
  // For the report; in steady_clock's nanoseconds.
  std::atomic<std::int64_t> began;  // the first worker its first task
  std::atomic<std::int64_t> working_from;
  std::atomic<std::int64_t> busy;  // of predecessors, too, until it ends
  struct timed_task {
    std::atomic<std::uint64_t> task;
    std::atomic<std::int64_t> took;
  } slowest[2];  // descending; 0 nanoseconds: none
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free,
              "forkmap: a lock inside an atomic would not survive the death of its holder");
static_assert(sizeof(std::atomic<std::uint64_t>) == 8 && sizeof(worker_slot) == 128,
              "forkmap: the layout of shared memory is part of the protocol");

/// The lanes of all batches: 16 bits each, four to a word.
class ledger {
 public:
  static constexpr std::uint64_t lanes = 4;
  static constexpr std::uint64_t restored = 0xffff;

  static constexpr std::uint64_t words_for(std::uint64_t n_batches) {
    return divide_up(n_batches, lanes);
  }

  ledger() = default;
  explicit ledger(std::atomic<std::uint64_t>* words) noexcept : words_(words) {}

  std::atomic<std::uint64_t>& word(std::uint64_t batch) const noexcept {
    return words_[batch / lanes];
  }
  static std::uint64_t lane(std::uint64_t word, std::uint64_t batch) noexcept {
    return (word >> (batch % lanes * 16)) & 0xffffU;
  }
  /// The memory that the words lie in.
  std::byte* bytes() const noexcept { return reinterpret_cast<std::byte*>(words_); }
  /// Marks a batch as done before this call. Before any worker is there.
  void restore(std::uint64_t batch) const noexcept {
    word(batch).fetch_or(restored << (batch % lanes * 16), std::memory_order_relaxed);
  }
  /// A batch's owner plus 1; 0 if nobody has claimed it.
  std::uint64_t owner_mark(std::uint64_t batch) const noexcept {
    return lane(word(batch).load(std::memory_order_acquire), batch);
  }

 private:
  std::atomic<std::uint64_t>* words_ = nullptr;
};

/// One worker's side of the protocol.
class claimant {
 public:
  claimant(dispatch_plan const& plan, ledger lanes, worker_slot* slots, std::uint32_t me) noexcept
      : plan_(plan), ledger_(lanes), slots_(slots), slot_(slots[me]), me_(me) {}

  /// Claims up to `most` batches (at most ledger::lanes).
  /// Returns: false when every batch has been claimed.
  bool next(task_range& tasks, std::uint64_t most) {
    do {
      if (claim_in_region(tasks, most)) return true;
    } while (steal() || sweep());
    return false;
  }

 private:
  bool claim_in_region(task_range& tasks, std::uint64_t most) {
    constexpr auto relaxed = std::memory_order_relaxed;
    auto at = slot_.cursor.load(relaxed);
    for (;;) {
      auto const end = slot_.region_end.load(relaxed);  // a thief may have lowered it
      if (at >= end) break;
      auto& word = ledger_.word(at);
      auto seen = word.load(relaxed);
      auto const word_end = std::min(end, (at / ledger::lanes + 1) * ledger::lanes);
      while (at < word_end && ledger::lane(seen, at) != 0) ++at;
      if (at == word_end) continue;
      auto last = at;
      auto claimed = seen;
      while (last < word_end && last - at < most && ledger::lane(seen, last) == 0) {
        claimed |= std::uint64_t{me_ + 1U} << (last % ledger::lanes * 16);
        ++last;
      }
      tasks = plan_.tasks_of(at, last);
      // In this order: with the old current and the new end, a death would hand on others' batches.
      slot_.current.store(tasks.begin | not_begun, std::memory_order_release);
      slot_.batch_end.store(tasks.end, std::memory_order_release);
      if (word.compare_exchange_strong(seen, claimed, std::memory_order_acq_rel, relaxed)) {
        slot_.cursor.store(last, relaxed);
        // Release: whoever sees all batches claimed sees this worker in the call.
        slot_.claimed.store(slot_.claimed.load(relaxed) + (last - at), std::memory_order_release);
        return true;
      }
    }
    slot_.current.store(nothing_running, std::memory_order_release);
    slot_.cursor.store(at, relaxed);
    return false;
  }

  /// Takes the upper half of the longest region that another worker has before it.
  bool steal() {
    constexpr auto relaxed = std::memory_order_relaxed;
    if (plan_.in_order) return false;  // all regions are the same one
    for (;;) {
      worker_slot* victim = nullptr;
      std::uint64_t from = 0, end = 0;
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        auto const its_end = slots_[k].region_end.load(relaxed);
        auto const its_cursor = slots_[k].cursor.load(relaxed);
        if (k != me_ && its_cursor < its_end && its_end - its_cursor > end - from) {
          victim = &slots_[k];
          from = its_cursor;
          end = its_end;
        }
      }
      if (victim == nullptr) return false;
      auto const middle = from + (end - from) / 2;
      // The exchange keeps two thieves from the same half; that it is the right half is a hint.
      auto expected = end;
      if (victim->region_end.compare_exchange_strong(expected, middle, relaxed, relaxed)) {
        slot_.cursor.store(middle, relaxed);
        slot_.region_end.store(end, relaxed);
        return true;
      }
    }
  }

  /// Looks for a free batch anywhere.
  bool sweep() {
    constexpr auto relaxed = std::memory_order_relaxed;
    std::uint64_t claimed = 0;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) claimed += slots_[k].claimed.load(relaxed);
    if (claimed >= plan_.n_batches) return false;
    for (std::uint64_t at = 0; at != plan_.n_batches; ++at) {
      if (ledger::lane(ledger_.word(at).load(relaxed), at) == 0) {
        slot_.cursor.store(at, relaxed);
        slot_.region_end.store(std::min(plan_.n_batches, at + ledger::lanes), relaxed);
        return true;
      }
    }
    return false;
  }

  dispatch_plan plan_;
  ledger ledger_;
  worker_slot* slots_;
  worker_slot& slot_;
  std::uint32_t me_;
};

}  // namespace forkmap::detail
