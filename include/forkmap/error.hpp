// What a map throws when a task fails: the standard exception it threw, plus where and by whom.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace forkmap {
namespace detail {

/// What is known of a failed task; shared, so that copying an exception cannot throw.
struct task_details {
  std::size_t index = no_index;
  pid_t pid = 0;
  int attempt = 0;
  std::string type_name{};
  std::string trace{};
  std::string message{};
  int signal = 0;
  int exit_status = -1;
  std::size_t max_rss = 0;

  /// The stack of a dead worker, innermost first, and what makes text of it: when it is asked for,
  /// for that takes milliseconds.
  std::vector<std::uintptr_t> frames{};
  std::string (*text_of_frames)(std::vector<std::uintptr_t> const&) = nullptr;

  std::string const& full_trace() const noexcept {
    std::call_once(resolved_, [this] {
      try {
        if (text_of_frames != nullptr) full_trace_ = text_of_frames(frames);
        full_trace_ += trace;
      } catch (...) {  // no memory for a text: no text
      }
    });
    return full_trace_;
  }

  static constexpr std::size_t no_index = static_cast<std::size_t>(-1);

 private:
  mutable std::once_flag resolved_{};
  mutable std::string full_trace_{};
};

}  // namespace detail

/// Which task failed, in which worker, how. Not a std::exception, so that catching a remote<E>
/// either as E or as task_context is never ambiguous.
class task_context {
 public:
  explicit task_context(std::shared_ptr<detail::task_details const> details) noexcept
      : details_(std::move(details)) {}

  /// The task's place in its range; std::size_t(-1) for a worker_init or worker_exit that failed.
  std::size_t index() const noexcept { return details_->index; }
  /// The process that ran the task: the caller's own with n_jobs = 1.
  pid_t worker_pid() const noexcept { return details_->pid; }
  /// 0 for the first attempt.
  int attempt() const noexcept { return details_->attempt; }
  /// Demangled dynamic type of what was thrown; empty if nothing was.
  std::string const& type_name() const noexcept { return details_->type_name; }
  /// Where it died or was stuck, if known: the stack, a line per function; the chain of nested
  /// exceptions of what was thrown.
  /// Cost: at the first call some milliseconds, if there is a stack whose functions are looked up.
  std::string const& trace() const noexcept { return details_->full_trace(); }

 protected:
  detail::task_details const& details() const noexcept { return *details_; }

 private:
  std::shared_ptr<detail::task_details const> details_;
};

/// The task threw a type without a standard base that would catch it, so that the caller cannot
/// rebuild it.
class task_error : public std::runtime_error, public task_context {
 public:
  explicit task_error(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}
};

/// The worker was ended by a signal or by exit() while it ran the task.
class worker_died : public std::runtime_error, public task_context {
 public:
  explicit worker_died(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}

  /// The signal that ended it; 0 if none did, or if somebody else collected its status.
  int signal() const noexcept { return details().signal; }
  /// What it gave to exit(); -1 if it did not exit, or if somebody else collected its status.
  int exit_status() const noexcept { return details().exit_status; }
  /// The most memory it had resident, in bytes; 0 if unknown.
  std::size_t max_rss() const noexcept { return details().max_rss; }
};

/// The task ran longer than options::timeout and was ended; trace() tells where it was stuck.
class task_timeout : public std::runtime_error, public task_context {
 public:
  explicit task_timeout(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}
};

/// The call took longer than options::deadline; index() is the first task that had not ended.
class deadline_exceeded : public std::runtime_error, public task_context {
 public:
  explicit deadline_exceeded(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}
};

/// The call was cancelled from outside before this task had ended (options::stop).
class task_cancelled : public std::runtime_error, public task_context {
 public:
  explicit task_cancelled(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}
};

/// A standard exception that a task threw, rebuilt in the caller: catch it as E, as task_context or
/// as std::exception. E is the type thrown or its nearest standard base (one of them where it has
/// several that are no std::exception together); what() is the original text.
template <class E> class remote : public E, public task_context {
 public:
  explicit remote(E error, task_context context)
      : E(std::move(error)), task_context(std::move(context)) {}

  char const* what() const noexcept override { return details().message.c_str(); }
};

/// A failed task as a value: what outcome::error() gives.
struct failure : task_context {
  enum kind { threw, died, timed_out, cancelled, never_started };
  kind reason;
  std::string message;
};

}  // namespace forkmap
