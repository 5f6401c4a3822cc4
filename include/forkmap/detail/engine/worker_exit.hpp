// Exits of workers before the end of their work, turned into failures or retries.
// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>
#include <string.h>
#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/crash/backtrace.hpp>
#include <forkmap/detail/crash/current_backtrace.hpp>
#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/os/library.hpp>
#include <forkmap/detail/os/oom.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/plan/last_task.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/detail/worker/setup.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// "SIGSEGV", "it exited with status 3", or that the exit status is unknown.
inline std::string text_of(process_end const& end) {
  if (!end.known) return "its exit status was collected by other code (a SIGCHLD handler?)";
  if (end.signal == 0) return "it exited with status " + std::to_string(end.exit_status);
  auto const* name = ::sigabbrev_np(end.signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(end.signal);
}

/// What a crashing worker has written about its own crash.
struct crash_report {
  bool exists = false;
  int code = 0;  // siginfo_t::si_code
  std::uint64_t fault_address = 0;
  std::vector<std::uintptr_t> frames{};  // innermost first
  std::string fault_place{};             // the mapping at the address, if it matters
  std::string remark{};                  // what the caller knows about the address

  /// `number`: the number of the process. `from`: the memory in which it, or one of its
  /// predecessors, has written a report.
  static crash_report of(std::uint32_t number, process_end const& end, raw_backtrace const& from) {
    // A process killed by SIGKILL writes no report. Reading `from` would only allocate its page.
    if (end.signal == 0 || end.signal == SIGKILL) return {};
    if (!has_backtrace(from, number) || from.signal != end.signal) return {};
    return {.exists = true,
            .code = from.code,
            .fault_address = from.fault_address,
            .frames = frames_of(from),
            .fault_place = fault_place_of(from),
            .remark = {}};
  }
};

/// Adds a remark if the fault is in a module that was loaded after `modules`: workers do not have
/// it.
inline void note_later_module(crash_report& report, loaded_modules const& modules) {
  auto const file = report.exists && report.code > 0 ? modules.later_module_at(report.fault_address)
                                                     : std::string();
  if (file.empty()) return;
  report.remark = " in " + file +
                  ", which was loaded after the pool was made: its workers do not have it "
                  "(make the pool later)";
}

/// The exit status of a worker whose shared state a task has overwritten.
inline constexpr int status_of_damaged = 86;

/// A worker process that has been waited for.
struct ended_process {
  pid_t pid;
  process_end end;
  crash_report report;
};

/// " at address 0x0" and the file mapped there; empty for other signals and unknown addresses.
inline std::string text_of_address(int signal, crash_report const& report) {
  if (signal != SIGSEGV && signal != SIGBUS) return {};
  if (report.code <= 0) return {};  // the signal was sent by a process
  // The processor did not report the address.
  if (report.code == SI_KERNEL) return " at an invalid address";
  constexpr char digits[] = "0123456789abcdef";
  std::string hex;
  auto rest = report.fault_address;
  do {
    hex.insert(hex.begin(), digits[rest % 16]);
    rest /= 16;
  } while (rest != 0);
  bool const was_code = !report.frames.empty() && report.frames.front() == report.fault_address;
  return " at address 0x" + hex +
         text_of_fault_place(report.fault_place, signal, report.fault_address, was_code);
}

/// The backtrace of a task, without the frames of its callers in forkmap.
inline std::string text_of_task_frames(std::vector<std::uintptr_t> const& frames) {
  return text_of_backtrace(frames, "forkmap::detail::task_runner::");
}

/// The parts that all failures of crashed or killed workers have.
inline task_failure failure_of_worker(ended_process const& worker) {
  task_failure failure;
  failure.reason = forkmap::failure::died;
  failure.pid = worker.pid;
  failure.signal = worker.end.signal;
  failure.exit_status = worker.end.exit_status;
  failure.max_rss = worker.end.max_rss;
  return failure;
}

/// Adds the worker's crash report, if there is one.
inline void add_crash_report(task_failure& failure, crash_report report) {
  if (!report.exists) return;
  failure.what.message += text_of_address(failure.signal, report) + report.remark;
  failure.frames = std::move(report.frames);
  failure.text_of_frames = text_of_task_frames;
}

/// The failure of the task that killed its worker.
inline task_failure death_of(std::uint64_t task, ended_process worker) {
  auto failure = failure_of_worker(worker);
  failure.index = task;
  failure.what.message = "task " + std::to_string(task) + " killed its worker (pid " +
                         std::to_string(worker.pid) + "): " + text_of(worker.end);
  add_crash_report(failure, std::move(worker.report));
  return failure;
}

/// The failure of a task that has timed out.
inline task_failure timeout_of(std::uint64_t task, ended_process const& worker,
                               std::chrono::nanoseconds limit, current_backtrace where) {
  auto failure = failure_of_worker(worker);
  failure.reason = forkmap::failure::timed_out;
  failure.index = task;
  failure.what.message = "task " + std::to_string(task) + " ran longer than its limit of " +
                         text_of(limit) + ", and its worker (pid " + std::to_string(worker.pid) +
                         ") was killed";
  failure.frames = std::move(where.frames);
  failure.text_of_frames = text_of_task_frames;
  failure.what.trace = std::move(where.text);
  return failure;
}

/// The failure of a call whose worker died outside any task.
inline task_failure death_outside_tasks(ended_process worker, worker_phase phase) {
  auto failure = failure_of_worker(worker);
  bool const starting = phase == worker_phase::starting;
  bool const leaving = phase == worker_phase::leaving || phase == worker_phase::retiring;
  failure.what.message = "forkmap: a worker (pid " + std::to_string(worker.pid) + ") died " +
                         (starting  ? "before its first task"
                          : leaving ? "after its last task"
                                    : "between two tasks, as its predecessors did") +
                         ": " + text_of(worker.end);
  add_crash_report(failure, std::move(worker.report));
  return failure;
}

// Consequences of a worker's exit for the task that it was running: a retry or a failure.

/// The most processes in a row that may end before they run a task. Few if they crash or exit,
/// because the next one would, too. Many if they are killed by SIGKILL, which another process
/// sends, or the kernel when memory runs out.
inline constexpr int most_idle_deaths = 3;
inline constexpr int most_idle_kills = 100;

/// Counts one more process that has ended before it ran a task.
/// Returns: whether that is too many.
inline bool is_last_idle_death(int& in_a_row, process_end const& end) noexcept {
  bool const killed = !end.known || end.signal == SIGKILL;
  return ++in_a_row >= (killed ? most_idle_kills : most_idle_deaths);
}

/// The same for a process that ended in `phase`. A late process has waited for worker_init, which
/// would delay the next one, too, or for a lock at its start, which may not delay the next one.
inline bool is_last_idle_death(int& in_a_row, process_end const& end, worker_phase phase,
                               options const& opts) noexcept {
  if (phase != worker_phase::late) return is_last_idle_death(in_a_row, end);
  return ++in_a_row >= most_idle_deaths || opts.worker_init;
}

/// The failure of a call whose worker did not reach its first task in time.
inline task_failure late_start(ended_process const& worker, options const& opts,
                               current_backtrace where) {
  auto failure = failure_of_worker(worker);
  failure.reason = forkmap::failure::timed_out;
  failure.what.message = std::string("forkmap: ") +
                         (opts.worker_init ? "worker_init ran longer than the limit of a task, "
                                           : "a worker did not reach its first task within ") +
                         text_of(start_limit::of(opts)) + ", and the worker (pid " +
                         std::to_string(worker.pid) + ") was killed";
  failure.frames = std::move(where.frames);
  failure.text_of_frames = text_of_task_frames;
  failure.what.trace = std::move(where.text);
  return failure;
}

/// The failure of a call whose worker ended in `phase`. `where`: its backtrace if it was late.
inline task_failure idle_failure(ended_process worker, worker_phase phase, options const& opts,
                                 current_backtrace where) {
  return phase == worker_phase::late ? late_start(worker, opts, std::move(where))
                                     : death_outside_tasks(std::move(worker), phase);
}

/// Notes another attempt at the task that killed its worker.
/// Returns: false if no attempt is left: the task has failed.
inline bool try_again(retry& tries, last_task const& last, job const& this_job,
                      dispatch_plan const& plan, options const& opts) noexcept {
  auto const attempt = tries.attempt_at(last.task);
  if (attempt >= opts.retries) return false;
  auto const begin = last.task / plan.batch_tasks * plan.batch_tasks;
  tries.tasks = this_job.whole_batches ? task_range{begin, last.remaining.end}
                                       : task_range{last.task, last.task + 1};
  tries.attempt = attempt + 1;
  return true;
}

/// A message for a process that this program may not kill; empty if `pid` is 0.
inline std::string text_of_left(char const* whose, pid_t pid) {
  if (pid == 0) return {};
  return std::string("; ") + whose + std::to_string(pid) +
         ") could not be killed (missing permission?) and is left running";
}

/// A worker that was killed by the task that it was running, or because of it.
struct death_in_task {
  last_task last;
  ended_process worker;
  current_backtrace where;  // of the task when it timed out
  retry tries;
  bool out_of_memory;  // according to the worker's cgroup
  pid_t left = 0;      // a process that the task had started and that could not be killed; 0: none
};

/// Whether the kernel killed the worker because memory ran out. Call it soon after the worker's
/// end: later kills are counted in the same counter.
inline bool is_out_of_memory(last_task const& last, process_end const& end,
                             oom_counter const& oom) {
  return end.signal == SIGKILL && !last.timed_out && oom.has_killed();
}

/// The failure of the task that was running.
inline task_failure failure_after(death_in_task death, job const& this_job, options const& opts) {
  auto const index = death.last.task + this_job.first_index;
  auto failure = death.last.timed_out
                     ? timeout_of(index, death.worker, opts.timeout.value(), std::move(death.where))
                     : death_of(index, std::move(death.worker));
  failure.attempt = death.tries.attempt_at(death.last.task);
  failure.what.message += text_of_left("a process that it has started (pid ", death.left);
  if (death.out_of_memory) failure.what.message += ", out of memory according to its cgroup";
  return failure;
}

// Failures of tasks that have killed their workers, added after the replacement has started.

class death_notes {
 public:
  death_notes(job const& this_job, options const& opts, failure_list& into)
      : job_(this_job), opts_(opts), into_(into) {}

  /// Adds the failure now.
  void note(death_in_task death) {
    death.out_of_memory = is_out_of_memory(death.last, death.worker.end, oom_);
    into_.add(failure_after(std::move(death), job_, opts_));
  }

  /// Adds the failure later, when the replacement runs. Adding it takes time and writes to memory
  /// that the caller and the replacement would both have to copy, so it would delay the
  /// replacement.
  void postpone(death_in_task death) {
    note();
    postponed_ = std::move(death);
    any_ = true;
  }
  bool has_any() const noexcept { return any_; }
  /// `pid`: a process that the task had started and that could not be killed; 0: none.
  void left(pid_t pid) noexcept { postponed_.left = pid; }
  /// Adds the failure that was postponed, if there is one.
  void note() {
    if (std::exchange(any_, false)) note(std::move(postponed_));
  }

 private:
  job const& job_;
  options const& opts_;
  failure_list& into_;
  oom_counter oom_;
  death_in_task postponed_{};
  bool any_ = false;
};

}  // namespace forkmap::detail
