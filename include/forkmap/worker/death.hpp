// What the caller makes of a worker that ended before its work did.
#pragma once

#include <string.h>

#include <cstdint>
#include <string>

#include <forkmap/plan/ledger.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/job.hpp>

namespace forkmap::detail {

/// "SIGSEGV", "exit status 3", or that nobody can tell.
inline std::string text_of(process_end const& end) {
  if (!end.known) return "its status was collected by somebody else (a SIGCHLD handler?)";
  if (end.signal == 0) return "it exited with status " + std::to_string(end.exit_status);
  auto const* name = ::sigabbrev_np(end.signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(end.signal);
}

/// The task that a dead worker was running, and what is left of its batch.
struct last_moment {
  bool was_running = false;  // the task below, which had not ended
  bool ended = false;        // it had
  std::uint64_t task = 0;
  task_range left_over{};
};

/// Reads a dead worker's last moment from its slot. Exact: see plan/ledger.hpp.
/// `ended(task)` tells whether the task had recorded its result or its failure.
template <class Ended>
last_moment moment_of_death(dispatch_plan const& plan, ledger lanes, worker_slot const& slot,
                            std::uint32_t worker, bool whole_batches, Ended const& ended) {
  last_moment moment;
  auto const task = slot.current.load(std::memory_order_acquire);
  if (task == nothing_running) return moment;
  auto const batch = task / plan.batch_tasks;
  if (lanes.owner_mark(batch) != worker + 1U) return moment;  // it lost the race for that batch
  auto const end = slot.batch_end.load(std::memory_order_acquire);
  if (slot.phase.load(std::memory_order_acquire) == worker_phase::starting) {
    moment.left_over = {task, end};  // its predecessor's, which it had not come to
    return moment;
  }
  moment.task = task;
  moment.ended = ended(task);
  moment.was_running = !moment.ended;
  moment.left_over = {task + 1, end};
  if (whole_batches) moment.left_over.begin = end;
  return moment;
}

/// The failure of the task that killed its worker.
inline task_failure death_of(std::uint64_t task, pid_t pid, process_end const& end) {
  task_failure failure;
  failure.index = task;
  failure.reason = forkmap::failure::died;
  failure.pid = pid;
  failure.signal = end.signal;
  failure.exit_status = end.exit_status;
  failure.max_rss = end.max_rss;
  failure.what.message = "task " + std::to_string(task) + " killed its worker (pid " +
                         std::to_string(pid) + "): " + text_of(end);
  return failure;
}

/// The failure of a call whose worker died where no task can be blamed.
inline task_failure death_outside_tasks(pid_t pid, worker_phase phase, process_end const& end) {
  task_failure failure;
  failure.reason = forkmap::failure::died;
  failure.pid = pid;
  failure.signal = end.signal;
  failure.exit_status = end.exit_status;
  failure.max_rss = end.max_rss;
  failure.what.message = "forkmap: a worker (pid " + std::to_string(pid) + ") died " +
                         (phase == worker_phase::starting  ? "before its first task"
                          : phase == worker_phase::leaving ? "after its last task"
                                                           : "between two tasks, again and again") +
                         ": " + text_of(end);
  return failure;
}

}  // namespace forkmap::detail
