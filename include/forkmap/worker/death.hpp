// What the caller makes of a worker that ended before its work did.
#pragma once

#include <string.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/plan/ledger.hpp>
#include <forkmap/system/backtrace.hpp>
#include <forkmap/system/fault_place.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/time_limit.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/worker/stuck.hpp>

namespace forkmap::detail {

/// "SIGSEGV", "exit status 3", or that nobody can tell.
inline std::string text_of(process_end const& end) {
  if (!end.known) return "its status was collected by somebody else (a SIGCHLD handler?)";
  if (end.signal == 0) return "it exited with status " + std::to_string(end.exit_status);
  auto const* name = ::sigabbrev_np(end.signal);
  return name != nullptr ? std::string("SIG") + name : "signal " + std::to_string(end.signal);
}

/// What a worker process has noted of its own end.
struct last_words {
  bool there = false;
  int code = 0;  // siginfo_t::si_code
  std::uint64_t fault_address = 0;
  std::vector<std::uintptr_t> frames{};  // innermost first
  std::string fault_place{};             // what is mapped at the address, if that matters
  std::string remark{};                  // what the caller knows of the address

  /// `number`: the process's own. `from`: what the processes in its place have noted.
  static last_words of(std::uint32_t number, process_end const& end, raw_backtrace const& from) {
    // SIGKILL leaves no time for words, and a page that nobody has touched untouched.
    if (end.signal == 0 || end.signal == SIGKILL) return {};
    if (!has_backtrace(from, number) || from.signal != end.signal) return {};
    return {.there = true,
            .code = from.code,
            .fault_address = from.fault_address,
            .frames = frames_of(from),
            .fault_place = fault_place_of(from),
            .remark = {}};
  }
};

/// A worker process that has been waited for.
struct ended_process {
  pid_t pid;
  process_end end;
  last_words words;
};

/// Where a fault was: " at address 0x0", and in which file; nothing for other signals, or if it is not known.
inline std::string text_of_address(int signal, last_words const& words) {
  if (signal != SIGSEGV && signal != SIGBUS) return {};
  if (words.code <= 0) return {};                                       // somebody sent it
  if (words.code == SI_KERNEL) return " at an address that cannot be";  // the processor did not say
  constexpr char digits[] = "0123456789abcdef";
  std::string hex;
  auto left = words.fault_address;
  do {
    hex.insert(hex.begin(), digits[left % 16]);
    left /= 16;
  } while (left != 0);
  bool const was_code = !words.frames.empty() && words.frames.front() == words.fault_address;
  return " at address 0x" + hex +
         text_of_fault_place(words.fault_place, signal, words.fault_address, was_code);
}

/// The task that a dead worker was running, and what is left of its batch.
struct last_moment {
  bool was_running = false;  // the task below, which had not ended
  bool ended = false;        // it had
  bool given_up = false;     // it was over its limit
  std::uint64_t task = 0;
  task_range left_over{};
};

/// Reads a dead worker's last moment from its slot. Exact: see plan/ledger.hpp.
/// `ended(task)` tells whether the task had recorded its result or its failure.
template <class Ended>
last_moment moment_of_death(dispatch_plan const& plan, ledger lanes, worker_slot const& slot,
                            std::uint32_t worker, bool whole_batches, Ended const& ended) {
  last_moment moment;
  auto const seen = slot.current.load(std::memory_order_acquire);
  if (seen == nothing_running) return moment;
  auto const task = seen & task_bits;
  auto const batch = task / plan.batch_tasks;
  if (lanes.owner_mark(batch) != worker + 1U) return moment;  // it lost the race for that batch
  auto const end = slot.batch_end.load(std::memory_order_acquire);
  if ((seen & not_begun) != 0) {
    moment.left_over = {task, end};
    return moment;
  }
  moment.task = task;
  moment.ended = ended(task);
  moment.was_running = !moment.ended;
  moment.given_up = (seen & over_limit) != 0;
  moment.left_over = {task + 1, end};
  if (whole_batches) moment.left_over.begin = end;
  return moment;
}

/// The stack of a task, without what called it.
inline std::string text_of_task_frames(std::vector<std::uintptr_t> const& frames) {
  return text_of_backtrace(frames, "forkmap::detail::task_runner::");
}

/// What all failures of dead workers have.
inline task_failure failure_of_worker(ended_process const& it) {
  task_failure failure;
  failure.reason = forkmap::failure::died;
  failure.pid = it.pid;
  failure.signal = it.end.signal;
  failure.exit_status = it.end.exit_status;
  failure.max_rss = it.end.max_rss;
  return failure;
}

/// Adds what the worker itself has noted of its end.
inline void add_last_words(task_failure& failure, last_words words) {
  if (!words.there) return;
  failure.what.message += text_of_address(failure.signal, words) + words.remark;
  failure.frames = std::move(words.frames);
  failure.text_of_frames = text_of_task_frames;
}

/// The failure of the task that killed its worker.
inline task_failure death_of(std::uint64_t task, ended_process it) {
  auto failure = failure_of_worker(it);
  failure.index = task;
  failure.what.message = "task " + std::to_string(task) + " killed its worker (pid " +
                         std::to_string(it.pid) + "): " + text_of(it.end);
  add_last_words(failure, std::move(it.words));
  return failure;
}

/// The failure of a task that was over its limit.
inline task_failure timeout_of(std::uint64_t task, ended_process const& it,
                               std::chrono::nanoseconds limit, whereabouts where) {
  auto failure = failure_of_worker(it);
  failure.reason = forkmap::failure::timed_out;
  failure.index = task;
  failure.what.message = "task " + std::to_string(task) + " ran longer than its limit of " +
                         text_of(limit) + ", and its worker (pid " + std::to_string(it.pid) +
                         ") was ended";
  failure.frames = std::move(where.frames);
  failure.text_of_frames = text_of_task_frames;
  failure.what.trace = std::move(where.text);
  return failure;
}

/// The failure of a call whose worker died where no task can be blamed.
inline task_failure death_outside_tasks(ended_process it, worker_phase phase) {
  auto failure = failure_of_worker(it);
  bool const starting = phase == worker_phase::starting;
  bool const leaving = phase == worker_phase::leaving || phase == worker_phase::retiring;
  failure.what.message = "forkmap: a worker (pid " + std::to_string(it.pid) + ") died " +
                         (starting  ? "before its first task"
                          : leaving ? "after its last task"
                                    : "between two tasks, again and again") +
                         ": " + text_of(it.end);
  add_last_words(failure, std::move(it.words));
  return failure;
}

}  // namespace forkmap::detail
