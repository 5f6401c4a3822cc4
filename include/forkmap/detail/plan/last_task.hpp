// The last task of a worker that has exited or crashed, read from its state.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>

namespace forkmap::detail {

/// The last task that a worker began, and the remaining tasks of its claim.
struct last_task {
  bool was_running = false;  // `task` had begun and not ended
  bool ended = false;        // `task` had ended: its result or failure is published
  bool timed_out = false;    // `task` ran past its time limit
  std::uint64_t task = 0;
  task_range remaining{};
};

/// Reads the last task of a worker that has exited or crashed. Exact: see plan/claim_table.hpp. A
/// state that contradicts the claim table has been overwritten and is ignored; the result then
/// names no task. `ended(task)` tells whether the worker had published the task's result or
/// failure.
template <class Ended>
last_task moment_of_death(dispatch_plan const& plan, claim_table claims, worker_state const& state,
                          std::uint32_t worker, bool whole_batches, Ended const& ended) {
  last_task last;
  auto const current = state.current.load(std::memory_order_acquire);
  if (current == nothing_running) return last;
  auto const task = task_of(current);
  auto end = state.batch_end.load(std::memory_order_acquire);
  if (task >= end || end > plan.n_tasks) return last;
  auto const first_batch = task / plan.batch_tasks;
  // If not, another worker claimed that batch first.
  if (claims.owner_entry(first_batch) != worker + 1U) return last;
  auto const last_batch = (end - 1) / plan.batch_tasks;
  if (last_batch - first_batch >= claim_table::entries_per_word) return last;
  for (auto batch = first_batch + 1; batch <= last_batch; ++batch) {
    if (claims.owner_entry(batch) != worker + 1U) end = std::min(end, batch * plan.batch_tasks);
  }
  if ((current & not_begun) != 0) {
    // A batch with one result runs again from its first task.
    last.remaining = {whole_batches ? first_batch * plan.batch_tasks : task, end};
    return last;
  }
  last.task = task;
  last.ended = ended(task);
  last.was_running = !last.ended;
  last.timed_out = (current & timed_out_bit) != 0;
  last.remaining = {task + 1, end};
  if (whole_batches) last.remaining.begin = std::min(end, (first_batch + 1) * plan.batch_tasks);
  return last;
}

}  // namespace forkmap::detail
