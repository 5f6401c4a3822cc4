// What the death of a worker means for the task that it was running: another try, or a failure.
#pragma once

#include <signal.h>

#include <utility>

#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/system/oom.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/worker/birth.hpp>
#include <forkmap/worker/death.hpp>
#include <forkmap/worker/stuck.hpp>

namespace forkmap::detail {

/// Processes in a row that may die before they come to a task: of themselves, for the next would,
/// too; and by SIGKILL, which somebody sends, or the kernel for want of memory.
inline constexpr int most_idle_deaths = 3;
inline constexpr int most_idle_kills = 100;

/// Whether one death more before any task is too many.
inline bool is_last_idle_death(int& in_a_row, process_end const& end) noexcept {
  bool const killed = !end.known || end.signal == SIGKILL;
  return ++in_a_row >= (killed ? most_idle_kills : most_idle_deaths);
}

/// Notes a further attempt at the task that a worker has died of.
/// Returns: false if there have been enough: it has failed.
inline bool try_again(retry& tries, last_moment const& last, job const& work,
                      dispatch_plan const& plan, options const& how) noexcept {
  auto const attempt = tries.attempt_at(last.task);
  if (attempt >= how.retries) return false;
  auto const begin = last.task / plan.batch_tasks * plan.batch_tasks;
  tries.tasks = work.whole_batches ? task_range{begin, last.left_over.end}
                                   : task_range{last.task, last.task + 1};
  tries.attempt = attempt + 1;
  return true;
}

/// The death of a worker of the task that it was running.
struct death_in_task {
  last_moment last;
  ended_process gone;
  whereabouts stuck;  // where the task was when it was given up
  retry tries;
  bool out_of_memory;  // as its cgroup counts
};

/// Whether that end is the kernel's for want of memory. To be asked soon: the next such end is counted
/// in the same place.
inline bool is_out_of_memory(last_moment const& last, process_end const& end,
                             oom_counter const& oom) {
  return end.signal == SIGKILL && !last.given_up && oom.has_killed();
}

/// The failure of that task.
inline task_failure failure_after(death_in_task it, job const& work, options const& how) {
  auto const index = it.last.task + work.first_index;
  auto failure = it.last.given_up
                     ? timeout_of(index, it.gone, how.timeout.value(), std::move(it.stuck))
                     : death_of(index, std::move(it.gone));
  failure.attempt = it.tries.attempt_at(it.last.task);
  if (it.out_of_memory) failure.what.message += ", out of memory, as its cgroup counts";
  return failure;
}

}  // namespace forkmap::detail
