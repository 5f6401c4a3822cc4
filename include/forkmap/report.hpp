// Report of a call: run times, workers, failures and memory.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace forkmap {

/// Report of one worker of a call, with the workers that replaced it.
struct worker_report {
  std::size_t tasks = 0;                // tasks that it ran
  std::chrono::nanoseconds start_up{};  // from the call to its first task
  std::chrono::nanoseconds busy{};      // in tasks
  std::chrono::nanoseconds idle{};      // the rest of the call
  int replacements = 0;                 // times that the worker was replaced
};

/// Run time of one of the slowest tasks of a call.
struct slow_task {
  std::size_t index = 0;            // of the task in its range
  int worker = 0;                   // number of the worker that ran it
  std::chrono::nanoseconds took{};  // run time
};

/// Report of a call: the return type of last_report().
struct map_report {
  /// Wall-clock time of the call.
  std::chrono::nanoseconds wall{};
  /// One report per worker.
  std::vector<worker_report> workers{};
  /// The slowest tasks, slowest first, at most two of each worker. Tasks shorter than 20
  /// microseconds are not timed, nor are tasks that are claimed several at a time
  /// (options::batch_size).
  std::vector<slow_task> slowest{};
  /// The number of tasks.
  std::size_t tasks = 0;
  /// The number of these that were not run, because their results were in the journal
  /// (options::resume).
  std::size_t resumed = 0;
  /// The number of tasks without a result.
  std::size_t failures = 0;
  /// The number of further attempts (options::retries).
  std::size_t retries = 0;
  /// The largest peak resident memory of a worker, in bytes, including memory that the worker
  /// shares with the caller.
  std::size_t max_rss = 0;
  /// Memory of the workers in bytes, at their exit, that they did not share with the caller: pages
  /// that the worker or the caller had written to, and pages that the worker had allocated. The sum
  /// over workers that ran for at least 50 ms; for others the measurement would take too long. 0
  /// for calls of a pool, whose workers do not exit.
  std::size_t unshared = 0;
};

namespace detail {
/// In a function, because the first use of another thread_local object with a constructor would also
/// construct those of the user's file, in the caller instead of in the worker that uses them.
inline map_report& report_of_this_thread() {
  static thread_local map_report report;
  return report;
}

/// Clears a report and keeps its allocated memory: a heap page that is written between two forks
/// costs a page fault.
inline void clear(map_report& report) noexcept {
  report.wall = {};
  report.workers.clear();
  report.slowest.clear();
  report.tasks = report.resumed = report.failures = report.retries = 0;
  report.max_rss = report.unshared = 0;
}

/// Whether a call has no tasks. If so, clears this thread's report.
inline bool nothing_to_run(std::uint64_t n_tasks) {
  if (n_tasks == 0) clear(report_of_this_thread());
  return n_tasks == 0;
}
}  // namespace detail

/// The report of this thread's last call, whether the call returned or threw.
///
/// Cost: a copy of the report.
/// Example: `auto const seconds = forkmap::last_report().wall;`
inline map_report last_report() { return detail::report_of_this_thread(); }

}  // namespace forkmap
