// What has become of each task, read from shared memory: exact, whatever has died when.
#pragma once

#include <atomic>
#include <cstdint>

#include <forkmap/engine/shared_results.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/worker/death.hpp>
#include <forkmap/worker/failure_log.hpp>

namespace forkmap::detail {

class fates {
 public:
  fates(job const& work, dispatch_plan const& plan, shared_results& results) noexcept
      : work_(work), plan_(plan), results_(results) {}

  /// Of worker k, which has ended.
  last_moment last_moment_of(std::uint32_t k) {
    auto const& slot = results_.memory.slots()[k];
    return moment_of_death(plan_, results_.memory.lanes(), slot, k, work_.whole_batches,
                           [&](std::uint64_t task) { return has_ended(slot, task); });
  }

  /// Whether every batch has been claimed. A false "no" is possible: after a death.
  bool all_claimed() const noexcept {
    std::uint64_t claimed = 0;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      claimed += results_.memory.slots()[k].claimed.load(std::memory_order_acquire);
    }
    return claimed >= plan_.n_batches;
  }

  /// Records as failures the tasks that had not ended when their call did: all of them, or only the
  /// first where one failure is the call's. After the end of all workers.
  void note_unfinished(ended_call ended) {
    for (std::uint64_t task = 0; task != plan_.n_tasks; ++task) {
      auto reason = failure::never_started;
      if (!is_unfinished(task, reason)) continue;
      results_.failures.add(cancelled_task(task + work_.first_index, reason, 0, ended));
      if (work_.stop_at_failure) return;
    }
  }

 private:
  /// Whether the task, the last that was run in that slot, had recorded its result or its failure.
  bool has_ended(worker_slot const& slot, std::uint64_t task) {
    if (has_failed(results_.arenas, slot, task)) return true;
    if (work_.flat) return false;  // what `current` has not committed is not there
    return results_.name_of(work_.whole_batches ? task / plan_.batch_tasks : task) != 0;
  }

  bool is_unfinished(std::uint64_t task, failure::kind& reason) {
    auto const lanes = results_.memory.lanes();
    auto const mark = lanes.owner_mark(task / plan_.batch_tasks);
    if (mark == 0) return true;
    if (mark == ledger::restored) return false;
    auto const& slot = results_.memory.slots()[mark - 1];
    auto const seen = slot.current.load(std::memory_order_acquire);
    if (seen == nothing_running) return false;
    auto const current = seen & task_bits;
    bool const in_last_claim = current <= task &&
                               task < slot.batch_end.load(std::memory_order_acquire) &&
                               lanes.owner_mark(current / plan_.batch_tasks) == mark;
    if (!in_last_claim) return false;
    if (current == task && (seen & not_begun) == 0) {
      // One that was given up has its failure.
      if ((seen & over_limit) != 0 || has_ended(slot, task)) return false;
      reason = failure::cancelled;
    }
    return true;
  }

  job const& work_;
  dispatch_plan const& plan_;
  shared_results& results_;
};

}  // namespace forkmap::detail
