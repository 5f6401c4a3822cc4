// The outcome of each task, read from shared memory. It is exact whenever and wherever workers
// crash.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <forkmap/detail/engine/shared_results.hpp>
#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/worker/failure_log.hpp>

namespace forkmap::detail {

class task_outcomes {
 public:
  task_outcomes(job const& this_job, dispatch_plan const& plan, shared_results& results) noexcept
      : job_(this_job), plan_(plan), results_(results), again_(plan.n_workers) {}

  /// Notes the tasks that worker k's replacement retries. They had begun.
  void note_retry(std::uint32_t k, task_range tasks) noexcept { again_[k] = tasks; }

  /// The last task of worker k, and the remaining tasks. Takes over the ranges that it has
  /// published.
  /// Precondition: the worker has ended.
  last_task last_task_of(std::uint32_t k) {
    results_.ranges.take_over(k);
    auto const& state = results_.memory.state(k);
    bool has_ended = false;
    auto const last = moment_of_death(
        plan_, results_.memory.lanes(), state, k, job_.whole_batches,
        [&](std::uint64_t task) { return has_ended = results_.has_ended(k, task); });
    results_.ranges.take_over_open(k, has_ended);
    return last;
  }

  /// Resets worker k's state for its replacement, which runs the remaining tasks first.
  void leave(std::uint32_t k, task_range remaining) noexcept {
    auto& state = results_.memory.state(k);
    constexpr auto relaxed = std::memory_order_relaxed;
    results_.ranges.starts_anew(k);
    state.n_ranges.store(0, relaxed);
    state.range_begin.store(remaining.begin, relaxed);
    state.digest.store(digest_of_call(results_.call_number), relaxed);
    state.start_error.store(0, relaxed);
    keep_blobs(k);
    // Release: a reader that counts the results of the running call sees those of the ended worker.
    state.current.store(waiting_for_replacement(remaining), std::memory_order_release);
  }

  /// Has worker k's replacement write its blobs behind those of its predecessor, which may have
  /// overwritten arena_next.
  void keep_blobs(std::uint32_t k) noexcept {
    auto const& arenas = results_.memory.layout().arenas;
    auto const begin = arenas.begin(k);
    auto const written = results_.memory.file().end_of_data(begin, begin + arenas.stride) - begin;
    if (written < arenas.stride)
      results_.memory.state(k).arena_next.store(written, std::memory_order_relaxed);
  }

  /// Whether every batch has been claimed. After a crash it may be false although all are claimed.
  bool all_claimed() const noexcept {
    std::uint64_t claimed = 0;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      claimed += results_.memory.hints()[k].claimed.load(std::memory_order_acquire);
    }
    return claimed == plan_.n_batches;
  }

  /// Notes a task that was running when the call ended.
  void was_running(std::uint64_t task) { running_.push_back(task); }

  /// Adds a failure for each task that had not ended when the call ended; only for the first one if
  /// the call stops at a failure. Precondition: all workers have ended.
  void note_unfinished(ended_call ended) {
    std::sort(running_.begin(), running_.end());
    results_.failures.sort();
    failure_list unfinished;
    auto known = results_.failures.begin();
    results_.ranges.for_each_gap([&](std::uint64_t begin, std::uint64_t end) {
      if (job_.stop_at_failure && !unfinished.empty()) return;
      for (auto task = begin; task != end; ++task) {
        auto const index = task + job_.first_index;
        while (known != results_.failures.end() && known->index < index) ++known;
        if (known != results_.failures.end() && known->index == index) continue;
        bool const had_begun =
            std::binary_search(running_.begin(), running_.end(), task) || waits_for_retry(task);
        unfinished.add(cancelled_task(
            index, had_begun ? failure::cancelled : failure::never_started, 0, ended));
        if (job_.stop_at_failure) return;
      }
    });
    for (auto const& cancelled : unfinished) results_.failures.add(cancelled);
  }

  /// Takes over all published results and adds a failure for every other task. `ended`: what has
  /// ended the call before its tasks ended, or by_nothing. Precondition: all workers have ended.
  void collect(ended_call ended, options const& opts) {
    results_.take_over_all();
    bool const cancelled = results_.memory.header().cancelled.load(std::memory_order_acquire) != 0;
    if (ended == ended_call::by_nothing && cancelled && limits_failures(job_, opts))
      ended = ended_call::by_failures;
    if (job_.race) {
      auto const winner = results_.memory.header().winner.load(std::memory_order_acquire);
      if (results_.has_result(winner - 1)) results_.winner = winner;
    }
    if (ended != ended_call::by_nothing) note_unfinished(ended);
    results_.note_lost_tasks();
    results_.failures.sort();
  }

 private:
  bool waits_for_retry(std::uint64_t task) const noexcept {
    return std::any_of(again_.begin(), again_.end(), [&](task_range const& tasks) {
      return tasks.begin <= task && task < tasks.end;
    });
  }

  job const& job_;
  dispatch_plan const& plan_;
  shared_results& results_;
  std::vector<std::uint64_t> running_{};
  per_worker<task_range> again_;
};

}  // namespace forkmap::detail
