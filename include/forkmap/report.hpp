// What a map did, and what it cost.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace forkmap {

/// One worker of a map, and its replacements.
struct worker_report {
  std::size_t tasks = 0;
  std::chrono::nanoseconds start_up{};  // from the call to its first task
  std::chrono::nanoseconds busy{};      // with tasks
  std::chrono::nanoseconds idle{};      // the rest of the call
  int replacements = 0;
};

/// One task that took long.
struct slow_task {
  std::size_t index = 0;
  int worker = 0;
  std::chrono::nanoseconds took{};
};

/// What last_report() tells of a map.
struct map_report {
  std::chrono::nanoseconds wall{};
  std::vector<worker_report> workers{};
  /// The slowest first, at most two of each worker. Tasks of under 20 microseconds are not timed one
  /// by one, nor are those that are taken several at a time (options::batch_size).
  std::vector<slow_task> slowest{};
  std::size_t tasks = 0;
  std::size_t resumed = 0;   // of these: not run, but taken from the journal (options::resume)
  std::size_t failures = 0;  // tasks without a result
  std::size_t retries = 0;   // further attempts
  /// The largest resident memory of a worker, in bytes, what it shares with the caller included.
  std::size_t max_rss = 0;
  /// Memory in bytes that workers no longer shared with the caller at their end, because one of the
  /// two has written to it, or that they have allocated. The sum of those that lived for at least
  /// 50 ms: looking costs too much for others. 0 for a pool's calls, whose workers live on.
  std::size_t unshared = 0;
};

namespace detail {
inline thread_local map_report report_of_this_thread;

/// In place, with what room it has: a page of the heap that is written between two forks costs a
/// page fault.
inline void clear(map_report& report) noexcept {
  report.wall = {};
  report.workers.clear();
  report.slowest.clear();
  report.tasks = report.resumed = report.failures = report.retries = 0;
  report.max_rss = report.unshared = 0;
}

/// Whether a call of that many tasks has nothing to run: its report says so.
inline bool nothing_to_run(std::uint64_t n_tasks) {
  if (n_tasks == 0) clear(report_of_this_thread);
  return n_tasks == 0;
}
}  // namespace detail

/// This thread's last map, whether it returned or threw.
inline map_report last_report() { return detail::report_of_this_thread; }

}  // namespace forkmap
