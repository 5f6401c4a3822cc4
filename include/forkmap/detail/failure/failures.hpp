// Failures of tasks, and the exceptions that the caller throws for them.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/failure/thrown.hpp>
#include <forkmap/error.hpp>
#include <forkmap/outcome.hpp>

namespace forkmap::detail {

inline constexpr std::uint64_t outside_tasks = ~std::uint64_t{0} - 1;  // worker_init, worker_exit

/// What ended a call before all its tasks had ended, if anything did.
enum class ended_call { by_stop, by_deadline, by_cancel, by_end_of_pool, by_failures, by_nothing };

/// One failed task.
struct task_failure {
  std::uint64_t index = outside_tasks;
  failure::kind reason = failure::threw;
  ended_call ended = ended_call::by_stop;  // where reason is cancelled or never_started
  pid_t pid = 0;
  int attempt = 0;
  thrown what{};  // all of it where reason is threw; else only its message
  int signal = 0;
  int exit_status = -1;
  std::size_t max_rss = 0;
  std::string output{};
  std::vector<std::uintptr_t> frames{};  // backtrace of a worker that has crashed or timed out
  std::string (*text_of_frames)(std::vector<std::uintptr_t> const&) = nullptr;

  task_context context() const {
    std::shared_ptr<task_details> const details(new task_details);
    details->index =
        index == outside_tasks ? task_details::no_index : static_cast<std::size_t>(index);
    details->pid = pid;
    details->attempt = attempt;
    details->type_name = what.type_name;
    details->trace = what.trace;
    details->message = what.message;
    bool const of_inner_call = reason == failure::threw;
    details->signal = of_inner_call ? what.own.signal : signal;
    details->exit_status = of_inner_call ? what.own.exit_status : exit_status;
    details->max_rss = of_inner_call ? what.own.max_rss : max_rss;
    details->output = output;
    details->frames = frames;
    details->text_of_frames = text_of_frames;
    return task_context(details);
  }

  // exception() and its callers, here and in failure_list, are templates: rebuild() says why.

  /// The exception that the call throws for this failure.
  template <class = void> std::exception_ptr exception() const {
    if (reason == failure::threw) return rebuild(what, context());
    if (reason == failure::died) {
      return std::make_exception_ptr(worker_died(context(), what.message));
    }
    if (reason == failure::timed_out) {
      return std::make_exception_ptr(task_timeout(context(), what.message));
    }
    if (ended == ended_call::by_deadline) {
      return std::make_exception_ptr(deadline_exceeded(context(), what.message));
    }
    return std::make_exception_ptr(task_cancelled(context(), what.message));
  }

  template <class = void> failed_task outcome() const {
    return {std::make_shared<failure const>(failure{context(), reason, what.message}), exception()};
  }
};

/// The failure of a task that had not ended when its call ended.
inline task_failure cancelled_task(std::uint64_t index, failure::kind reason, pid_t pid,
                                   ended_call ended = ended_call::by_stop) {
  task_failure f;
  f.index = index;
  f.reason = reason;
  f.ended = ended;
  f.pid = pid;
  constexpr char const* causes[] = {
      "forkmap: the call was stopped (options::stop) before task ",
      "forkmap: the call's deadline (options::deadline) passed before task ",
      "forkmap: the future was cancelled before task ",
      "forkmap: the pool was destroyed before task ",
      "forkmap: the call had too many failures (options::max_failures) before task "};
  f.what.message = causes[static_cast<int>(ended)] + std::to_string(index) +
                   (reason == failure::never_started ? " had begun" : " had ended");
  return f;
}

/// The failures of a call, in the order of their tasks.
class failure_list {
 public:
  void add(task_failure failure) { all_.push_back(std::move(failure)); }

  void sort() {
    // A failure outside all tasks has the largest index, so that a task's failure is thrown first.
    all_.sort([](task_failure const& a, task_failure const& b) {
      return a.index != b.index ? a.index < b.index : a.reason < b.reason;
    });
  }

  /// Appends to the messages of all cancelled tasks, or if there is none to that of the first failure.
  void remark(std::string const& text) {
    if (text.empty()) return;
    bool any = false;
    for (auto& task : all_) {
      if (task.reason != failure::cancelled) continue;
      task.what.message += text;
      any = true;
    }
    if (!any && !all_.empty()) all_.front().what.message += text;
  }

  template <class Change> void for_each(Change const& change) {
    for (auto& task : all_) change(task);
  }

  bool empty() const noexcept { return all_.empty(); }
  std::size_t size() const noexcept { return all_.size(); }
  auto begin() const noexcept { return all_.begin(); }
  auto end() const noexcept { return all_.end(); }

  template <class = void> void throw_first() const {
    if (!all_.empty()) std::rethrow_exception(all_.front().exception());
  }
  /// Throws the failure of worker_init or worker_exit, if there is one: it is part of no task's
  /// outcome.
  template <class = void> void throw_outside_tasks() const {
    if (!all_.empty() && all_.back().index == outside_tasks) {
      std::rethrow_exception(all_.back().exception());
    }
  }
  /// Throws the failure of a race without a winner: what ended the race before its tasks had ended, else
  /// the failure of the lowest index.
  template <class = void> void throw_of_race() const {
    for (auto const& task : all_) {
      if (task.reason == failure::cancelled || task.reason == failure::never_started) {
        std::rethrow_exception(task.exception());
      }
    }
    throw_outside_tasks();
    throw_first();
  }

 private:
  std::list<task_failure> all_;
};

}  // namespace forkmap::detail
