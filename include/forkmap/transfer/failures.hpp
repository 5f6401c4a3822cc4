// What is recorded of a failed task, and the exception that the caller makes of it.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/error.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/transfer/thrown.hpp>

namespace forkmap::detail {

inline constexpr std::uint64_t outside_tasks = ~std::uint64_t{0} - 1;  // worker_init, worker_exit

/// One failed task.
struct task_failure {
  std::uint64_t index = outside_tasks;
  failure::kind reason = failure::threw;
  pid_t pid = 0;
  int attempt = 0;
  thrown what{};  // its type matters where reason is threw; else the message
  int signal = 0;
  int exit_status = -1;
  std::size_t max_rss = 0;

  task_context context() const {
    auto details = std::make_shared<task_details>();
    details->index =
        index == outside_tasks ? task_details::no_index : static_cast<std::size_t>(index);
    details->pid = pid;
    details->attempt = attempt;
    details->type_name = what.type_name;
    details->trace = what.trace;
    details->message = what.message;
    details->signal = signal;
    details->exit_status = exit_status;
    details->max_rss = max_rss;
    return task_context(std::move(details));
  }

  // Templates, here and in failure_list: see rebuild().

  /// What the call throws for it.
  template <class = void> std::exception_ptr exception() const {
    if (reason == failure::threw) return rebuild(what, context());
    if (reason == failure::died) {
      return std::make_exception_ptr(worker_died(context(), what.message));
    }
    return std::make_exception_ptr(task_cancelled(context(), what.message));
  }

  template <class = void> failed_task outcome() const {
    return {std::make_shared<failure const>(failure{context(), reason, what.message}), exception()};
  }
};

/// A task that a stop has kept from ending.
inline task_failure cancelled_task(std::uint64_t index, failure::kind reason, pid_t pid) {
  task_failure f;
  f.index = index;
  f.reason = reason;
  f.pid = pid;
  f.what.message = "forkmap: the call was stopped (options::stop) before task " +
                   std::to_string(index) +
                   (reason == failure::never_started ? " had begun" : " had ended");
  return f;
}

/// The failures of a call, in the order of their tasks.
class failure_list {
 public:
  void add(task_failure failure) { all_.push_back(std::move(failure)); }

  void sort() {
    // A failure outside any task has the largest index: a task's own is thrown before it.
    std::sort(all_.begin(), all_.end(), [](task_failure const& a, task_failure const& b) {
      return a.index != b.index ? a.index < b.index : a.reason < b.reason;
    });
  }

  bool empty() const noexcept { return all_.empty(); }
  auto begin() const noexcept { return all_.begin(); }
  auto end() const noexcept { return all_.end(); }

  template <class = void> void throw_first() const {
    if (!all_.empty()) std::rethrow_exception(all_.front().exception());
  }
  /// Throws the failure of worker_init or worker_exit, if there is one: no task's outcome can hold
  /// it.
  template <class = void> void throw_outside_tasks() const {
    if (!all_.empty() && all_.back().index == outside_tasks) {
      std::rethrow_exception(all_.back().exception());
    }
  }

 private:
  std::vector<task_failure> all_;
};

}  // namespace forkmap::detail
