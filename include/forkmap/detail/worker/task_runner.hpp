// A worker's loop over claims, and the number of batches in a claim.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/memory/prefault.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/claimant.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/detail/worker/loop.hpp>
#include <forkmap/detail/worker/setup.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

// The number of batches in a claim: one if tasks are long, one word of the claim table if they are
// short.

/// Estimates how long claims take without reading the clock for each: reading it costs as much as
/// ten empty tasks. The clock is due after as many claims as fit into about 20 microseconds.
class pace {
 public:
  using duration = std::chrono::nanoseconds;

  std::uint64_t most_batches() const noexcept { return most_; }

  /// Counts a claim whose tasks have run.
  /// Returns: whether the clock is due.
  bool claim_done() noexcept { return --claims_left_ == 0; }

  /// The number of claims between two readings of the clock.
  std::int64_t claims() const noexcept { return claims_; }

  /// `elapsed`: the time that the claims since the last reading took.
  void reading(duration elapsed) noexcept {
    auto const per_claim = std::max<std::int64_t>(1, elapsed.count() / claims_);
    most_ = per_claim < short_claim.count() ? claim_table::entries_per_word : 1;
    claims_ = std::clamp<std::int64_t>(between_readings.count() / per_claim, 1, 2 * claims_);
    claims_left_ = claims_;
  }

 private:
  static constexpr duration short_claim{5'000};
  static constexpr duration between_readings{20'000};

  std::uint64_t most_ = 1;  // the duration of the first task is unknown
  std::int64_t claims_ = 1;
  std::int64_t claims_left_ = 1;
};

// A worker's loop over claims, until no task is left.

/// Keeps the worker's two longest tasks for the report.
inline void note_duration(worker_state& state, std::uint64_t task, std::int64_t took) noexcept {
  constexpr auto relaxed = std::memory_order_relaxed;
  auto& [first, second] = state.slowest;
  if (took <= second.took.load(relaxed)) return;
  if (took > first.took.load(relaxed)) {
    second.task.store(first.task.load(relaxed), relaxed);
    second.took.store(first.took.load(relaxed), relaxed);
    first.task.store(task, relaxed);
    first.took.store(took, relaxed);
  } else {
    second.task.store(task, relaxed);
    second.took.store(took, relaxed);
  }
}

/// Up to this many batches the clock is read after each claim; above, when a worker's `pace` says
/// so.
inline constexpr std::uint64_t paced_batches = 256;

/// This many batches per worker, at the end of a region, are claimed one by one.
inline constexpr std::uint64_t tail_batches = 8;

/// The number of tasks that a new worker may run.
inline std::uint64_t tasks_per_worker(options const& opts) noexcept {
  return opts.max_tasks_per_worker > 0 ? static_cast<std::uint64_t>(opts.max_tasks_per_worker)
                                       : ~std::uint64_t{0};
}

/// Claims tasks and runs them until none is left, or until this worker has run its share.
class task_runner {
 public:
  /// `remaining`: the tasks until this worker is replaced (options::max_tasks_per_worker).
  task_runner(worker_birth const& birth, worker_loop& loop, std::uint64_t& remaining)
      : birth_(birth),
        loop_(loop),
        state_(birth.memory->state(birth.number)),
        hint_(birth.memory->hints()[birth.number]),
        claims_(birth.plan, birth.memory->lanes(), birth.memory->hints(), state_, birth.number,
                loop.open_range()),
        remaining_(remaining) {}

  /// Returns: whether tasks are left for a replacement.
  bool run() {
    auto const& inherited = birth_.remaining;
    bool has_run_inherited = inherited.begin == inherited.end;
    if (!has_run_inherited) {
      loop_.open_range().resumes_at(inherited.begin);
      handed_on_ = loop_.cancelled();  // the tasks stay marked as not begun
      has_run_inherited = !handed_on_ && run_range(inherited);
    }
    bool const is_long = birth_.plan.n_batches > paced_batches && birth_.plan.order == nullptr;
    bool const retires = !has_run_inherited || (is_long ? run_many() : run_few());
    loop_.open_range().close();
    if (!handed_on_) state_.current.store(nothing_running, std::memory_order_release);
    return retires;
  }

 private:
  /// Runs a few batches, claimed one by one.
  bool run_few() {
    task_range tasks;
    auto last = loop_.clock.now();
    while (goes_on() && claims_.next(tasks, 1)) {
      if (!run_range(tasks)) return true;
      auto const now = loop_.clock.now();
      if (tasks.end - tasks.begin == 1) note_duration(state_, tasks.begin, now - last);
      last = now;
    }
    return is_spent();
  }

  /// Runs many batches: claims whole words of the claim table while tasks are short, and prefaults
  /// the pages that they write.
  bool run_many() {
    auto const& plan = birth_.plan;
    pace speed;
    task_range tasks;
    auto last = loop_.clock.now();
    page_prefaulter results(loop_.results, loop_.result_bytes, birth_.present);
    page_prefaulter claim_table_words(birth_.memory->lanes().bytes(), sizeof(std::uint64_t),
                                      birth_.common_present);
    auto const prefault_claim_table = [&] {
      auto const next =
          hint_.cursor.load(std::memory_order_relaxed) / claim_table::entries_per_word;
      auto const region = hint_.region_end.load(std::memory_order_relaxed);
      claim_table_words.upcoming(next, next + 1, claim_table::words_for(region));
    };
    prefault_claim_table();
    while (goes_on() && claims_.next(tasks, most_batches(speed))) {
      prefault_claim_table();
      if (!birth_.this_job.whole_batches) {
        auto const region_end = hint_.region_end.load(std::memory_order_relaxed);
        results.upcoming(tasks.begin, tasks.end, plan.tasks_of(0, region_end).end);
      }
      if (!run_range(tasks)) return true;
      if (speed.claim_done()) {
        auto const now = loop_.clock.now();
        if (speed.claims() == 1 && tasks.end - tasks.begin == 1)
          note_duration(state_, tasks.begin, now - last);
        speed.reading(std::chrono::nanoseconds(now - last));
        last = now;
      }
    }
    return is_spent();
  }

  /// Whether this worker has run its share of tasks, or has no room to publish more.
  bool is_spent() {
    if (loop_.open_range().is_full() || loop_.has_lost_output()) remaining_ = 0;
    return remaining_ == 0;
  }
  bool goes_on() { return !is_spent() && !loop_.cancelled(); }

  std::uint64_t most_batches(pace const& speed) const noexcept {
    constexpr auto relaxed = std::memory_order_relaxed;
    auto const& plan = birth_.plan;
    // One batch if the user gives its size, or if batches are claimed in order. Also one near the
    // end of the region: claims are never returned, and the last tasks may be long although others
    // are short.
    if (birth_.this_job.batch_tasks != 0 || plan.in_order) return 1;
    auto const last_ones = hint_.cursor.load(relaxed) + tail_batches * plan.n_workers;
    if (last_ones >= hint_.region_end.load(relaxed)) return 1;
    return std::min(speed.most_batches(), remaining_);
  }

  /// Runs tasks that this worker owns.
  /// Returns: false if some of them are left to the replacement.
  bool run_range(task_range tasks) {
    // One worker must run the whole batch if the batch has one result.
    bool const is_whole = birth_.this_job.whole_batches;
    auto const n =
        is_whole ? tasks.end - tasks.begin : std::min(remaining_, tasks.end - tasks.begin);
    auto end = tasks.begin + n;
    // A task may close the files that keep the output of the next one.
    auto const step = loop_.redirects_output() && !is_whole ? std::min<std::uint64_t>(n, 1) : n;
    auto at = tasks.begin;
    do {
      auto const stop = std::min(at + step, end);
      loop_.begin = at;
      loop_.end = stop;
      birth_.this_job.run(birth_.this_job.tasks, loop_);
      auto const done = loop_.done_before(stop);
      loop_.open_range().extends_to(done);
      remaining_ -= std::min(remaining_, stop - at);
      loop_.leave(done);
      at = stop;
      if (done != stop) break;  // a failure or a winner has ended the call
      if (at != end && loop_.has_lost_output()) {
        end = at;
        remaining_ = 0;
      }
    } while (at != end);
    if (end != tasks.end) {
      hand_on(end);
      return false;
    }
    return true;
  }

  /// Leaves the tasks of the batch from `next` on, which have not begun, to the replacement.
  void hand_on(std::uint64_t next) {
    handed_on_ = true;
    state_.current.store(as_current(next) | not_begun, std::memory_order_release);
  }

  worker_birth const& birth_;
  worker_loop& loop_;
  worker_state& state_;
  claim_hint& hint_;
  claimant<published_range_writer> claims_;
  std::uint64_t& remaining_;  // tasks until this worker is replaced
  bool handed_on_ = false;    // state.current tells the replacement where to begin
};

}  // namespace forkmap::detail
