// Exceptions that calls throw for failed tasks, and exceptions of array files.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace forkmap {
namespace detail {

/// Details of a failed task. Exceptions share them, so that copying an exception cannot throw.
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
  std::string output{};

  /// The stack of a worker that crashed, innermost frame first, and the function that symbolizes
  /// it. The function is called only when the text is requested, because it takes milliseconds.
  std::vector<std::uintptr_t> frames{};
  std::string (*text_of_frames)(std::vector<std::uintptr_t> const&) = nullptr;

  std::string const& full_trace() const noexcept {
    std::call_once(resolved_, [this] {
      try {
        if (text_of_frames != nullptr) full_trace_ = text_of_frames(frames);
        full_trace_ += trace;
      } catch (...) {  // out of memory: the trace stays empty
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

/// The task that failed, its worker, and how it failed: a base of every exception that a call
/// throws for a task.
///
/// It does not derive from std::exception, so that catching a remote<E> as E, as task_context or as
/// std::exception is never ambiguous. Copying it does not throw.
/// Example: `catch (forkmap::task_context const& e) { retry_later(e.index()); }`
class task_context {
 public:
  explicit task_context(std::shared_ptr<detail::task_details const> details) noexcept
      : details_(std::move(details)) {}

  /// The task's index in its range; std::size_t(-1) if worker_init or worker_exit failed.
  std::size_t index() const noexcept { return details_->index; }
  /// The process that ran the task; the caller's process if n_jobs = 1 ran it there.
  pid_t worker_pid() const noexcept { return details_->pid; }
  /// The number of the attempt that failed: 0 for the first one, more with options::retries.
  int attempt() const noexcept { return details_->attempt; }
  /// The demangled dynamic type of the exception; empty if none was thrown. If the task let out an
  /// exception of a nested call, the type that the nested call's task threw.
  std::string const& type_name() const noexcept { return details_->type_name; }
  /// The place of the failure, as text; empty if unknown.
  ///
  /// For a worker that crashed and a task that timed out: the stack, one line per function. For an
  /// exception: the chain of its nested exceptions, at most 64. For an exception of a nested call:
  /// "in task i of a nested call", then the trace of the nested failure.
  /// Cost: some milliseconds at the first call if a stack must be symbolized.
  std::string const& trace() const noexcept { return details_->full_trace(); }
  /// What the task had printed to stdout and stderr: the last 64 KiB. Empty unless options::output is
  /// output::capture.
  std::string const& output() const noexcept { return details_->output; }

 protected:
  detail::task_details const& details() const noexcept { return *details_; }

 private:
  std::shared_ptr<detail::task_details const> details_;
};

/// The task threw an exception without a standard base class, which the caller cannot rebuild.
/// type_name() is its type.
class task_error : public std::runtime_error, public task_context {
 public:
  explicit task_error(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}
};

/// The worker crashed, was killed or exited while it ran the task.
///
/// Also thrown if this happened to a worker of a nested call and the task let the nested call's
/// worker_died out; failure::reason is then `threw`.
class worker_died : public std::runtime_error, public task_context {
 public:
  explicit worker_died(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}

  /// The signal that ended the worker. 0 if it exited, or if the program collected its exit status
  /// (waitpid, or SIGCHLD ignored).
  int signal() const noexcept { return details().signal; }
  /// The worker's exit status. -1 if a signal ended it, or if the program collected its exit
  /// status.
  int exit_status() const noexcept { return details().exit_status; }
  /// The worker's peak resident memory in bytes; 0 if unknown.
  std::size_t max_rss() const noexcept { return details().max_rss; }
};

/// The task ran longer than options::timeout and its worker was killed. trace() shows where the
/// task was.
class task_timeout : public std::runtime_error, public task_context {
 public:
  explicit task_timeout(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}
};

/// The call took longer than options::deadline. index() is the first task that had not ended.
class deadline_exceeded : public std::runtime_error, public task_context {
 public:
  explicit deadline_exceeded(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}
};

/// The task was cancelled before it had ended: by options::stop, by future::cancel(), or because
/// its pool was destroyed.
class task_cancelled : public std::runtime_error, public task_context {
 public:
  explicit task_cancelled(task_context context, std::string const& what)
      : std::runtime_error(what), task_context(std::move(context)) {}
};

/// A standard exception that a task threw, rebuilt in the caller. Catch it as E, as task_context or
/// as std::exception.
///
/// E is the type thrown if it is a standard one, else its nearest standard base. If it has several
/// standard bases through which it is not unambiguously a std::exception, E is one of them. A
/// std::system_error keeps its code, a std::filesystem::filesystem_error its paths.
/// Example: `catch (std::invalid_argument const& e) { std::puts(e.what()); }`
template <class E> class remote : public E, public task_context {
 public:
  explicit remote(E error, task_context context)
      : E(std::move(error)), task_context(std::move(context)) {}

  /// The text of the original exception.
  char const* what() const noexcept override { return details().message.c_str(); }
};

/// The failure of a task as a value: the result of outcome::error().
struct failure : task_context {
  enum kind {
    threw,         // the task threw an exception
    died,          // its worker crashed, was killed or exited
    timed_out,     // it ran longer than options::timeout
    cancelled,     // it was running when the call ended early (stop, deadline, first())
    never_started  // it had not started when the call ended early
  };
  kind reason;
  std::string message;  // what() of the exception that the call would have thrown

  // As worker_died has them. 0, -1 and 0 if no worker has ended.
  int signal() const noexcept { return details().signal; }
  int exit_status() const noexcept { return details().exit_status; }
  std::size_t max_rss() const noexcept { return details().max_rss; }
};

/// The name of a reason: "threw", "died", "timed out", "cancelled", "never started".
inline std::string to_string(failure::kind reason) {
  constexpr char const* names[] = {"threw", "died", "timed out", "cancelled", "never started"};
  auto const i = static_cast<std::size_t>(reason);
  return i < std::size(names) ? names[i] : "failed";
}

/// A failure as a sentence: "task 7 threw std::out_of_range: no such row", or the message, which
/// names the task, if the task did not throw.
///
/// Example: `std::cerr << outcome.error() << '\n';`
inline std::string to_string(failure const& failed) {
  if (failed.reason != failure::threw) return failed.message;
  auto text = failed.index() == detail::task_details::no_index
                  ? std::string("worker_init or worker_exit threw")
                  : "task " + std::to_string(failed.index()) + " threw";
  if (!failed.type_name().empty()) text += ' ' + failed.type_name();
  return text + ": " + failed.message;
}
template <class Stream>
  requires requires(Stream& stream, std::string const& text) { stream << text; }
Stream& operator<<(Stream& stream, failure const& failed) {
  stream << to_string(failed);
  return stream;
}

/// The file's elements are of another type, or in another byte order, than the caller requested.
/// what() names both types.
class dtype_error : public std::runtime_error {
 public:
  dtype_error(std::string const& what, std::filesystem::path const& file)
      : std::runtime_error(what), file_(new std::filesystem::path(file)) {}

  /// The file.
  std::filesystem::path const& path() const noexcept { return *file_; }

 private:
  std::shared_ptr<std::filesystem::path const> file_;  // shared: copying must not throw
};

/// The file is malformed, truncated, hostile, or in an unknown format. what() says what is wrong.
class format_error : public std::runtime_error {
 public:
  format_error(std::string const& what, std::filesystem::path const& file)
      : std::runtime_error(what), file_(new std::filesystem::path(file)) {}

  /// The file.
  std::filesystem::path const& path() const noexcept { return *file_; }

 private:
  std::shared_ptr<std::filesystem::path const> file_;
};

}  // namespace forkmap
