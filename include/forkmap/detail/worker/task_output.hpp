// Redirects what a worker's tasks print, as options::output says.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <utility>

#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/detail/messages/sender.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/os/output_files.hpp>
#include <forkmap/detail/os/stdio.hpp>
#include <forkmap/detail/os/worker_output.hpp>
#include <forkmap/output.hpp>

namespace forkmap::detail {

/// In a worker: begin() and end() around each task.
class task_output {
 public:
  /// `files`: the caller's, of which this worker k uses its own.
  task_output(output_mode const& mode, output_files const& files, std::uint32_t k) : mode_(mode) {
    for (int const standard : {STDOUT_FILENO, STDERR_FILENO}) {
      auto& here = streams_[standard - 1];
      here.own = files ? files.of(k, standard) : -1;
      if (here.own >= 0) ::fstat(here.own, &here.status);
      here.original = descriptor(::fcntl(standard, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
      if (here.original) {
        move_up(here.original);
        ::fstat(here.original.get(), &here.status_of_original);
      } else if (errno != EBADF) {  // else it is closed
        error_ = errno;
      }
    }
  }
  task_output(task_output const&) = delete;
  task_output& operator=(task_output const&) = delete;
  ~task_output() { worker_output::when_printed(nullptr, nullptr); }

  /// Begins a call. `printed`: for each stream, where printed lines end, which the caller reads if this
  /// worker dies. `sender`: gets the output of tasks that is kept; else null.
  void begin_call(std::atomic<std::uint64_t>* printed, message_sender* sender) noexcept {
    for (int i = 0; i != 2; ++i) streams_[i].printed = printed + i;
    sender_ = sender;
  }

  /// Errors: std::system_error naming the system call, and open's file.
  void begin(std::uint64_t task, int attempt) {
    if (error_ != 0) throw_system_error(error_, "fcntl(F_DUPFD_CLOEXEC) for the output of a task");
    task_ = task;
    attempt_ = attempt;
    if (!is_unbuffered_) unbuffer();
    if (mode_.what() == output_mode::directory) return open_file();
    for (auto& each : streams_) {
      empty(each);
      each.printed->store(0, std::memory_order_relaxed);
    }
    is_redirected_ = true;
    for (int const standard : {STDOUT_FILENO, STDERR_FILENO}) {
      auto const& redirected = streams_[standard - 1];
      if (is_still_open(redirected)) ::dup2(redirected.own, standard);
    }
  }

  void end() noexcept {
    if (!is_redirected_) return;
    flush_output();
    // The task may have closed the file, but not the standard descriptor that refers to it, too.
    auto& kept = streams_[0];
    bool const is_lost_here = is_lost();
    int const file = is_lost_here && is_still(STDOUT_FILENO, kept.status)
                         ? ::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1)
                         : -1;
    descriptor const other(file);
    is_redirected_ = false;
    for (int const standard : {STDOUT_FILENO, STDERR_FILENO}) restore(standard);
    if (mode_.what() == output_mode::line_prefix) print(true);
    if (sender_ != nullptr && (other || is_still_open(kept))) {
      try {
        auto const text = end_of_text(other ? other.get() : kept.own);
        if (!text.empty() || attempt_ != 0) sender_->send_output(task_, text);
      } catch (...) {  // out of memory: the output is lost
      }
    }
    if (mode_.what() != output_mode::directory)
      for (auto const& each : streams_) empty(each);
    if (other) static_cast<void>(!::ftruncate(other.get(), 0));
  }

  /// Whether a task has closed this worker's files. A replacement has them.
  bool is_lost() const noexcept { return streams_[0].own >= 0 && !is_still_open(streams_[0]); }

 private:
  struct stream {
    int own = -1;           // a file of the caller
    struct stat status{};   // of it: a task may close it
    descriptor original{};  // the worker's own stdout or stderr
    struct stat status_of_original{};
    std::atomic<std::uint64_t>* printed = nullptr;
  };

  static bool is_still_open(stream const& which) noexcept {
    return which.own >= 0 && is_still(which.own, which.status);
  }
  /// Empties a file for a task. An earlier one may have changed the flags, which all tasks share.
  static void empty(stream const& which) noexcept {
    if (!is_still_open(which)) return;
    ::fcntl(which.own, F_SETFL, O_APPEND);
    ::lseek(which.own, 0, SEEK_SET);
    if (size_of_file(which.own) != 0) static_cast<void>(!::ftruncate(which.own, 0));
  }

  /// Has everything that is printed from now on written at once.
  void unbuffer() noexcept {
    is_unbuffered_ = true;
    for (auto* const file : {stdout, stderr}) bound().setvbuf(file, nullptr, _IONBF, 0);
    if (mode_.what() != output_mode::line_prefix) return;
    worker_output::when_printed(
        [](void* self) noexcept {
          // Processes that a task forks do not have the memory with the positions.
          if (is_this_process()) static_cast<task_output*>(self)->print(false);
        },
        this);
  }

  void restore(int standard) const noexcept {
    auto const& which = streams_[standard - 1];
    if (!which.original)
      ::close(standard);  // as it was
    else if (is_still(which.original.get(), which.status_of_original))
      ::dup2(which.original.get(), standard);
  }

  void open_file() {
    auto const path = mode_.folder() / ("task-" + std::to_string(task_) + ".log");
    auto const flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (attempt_ == 0 ? O_TRUNC : 0);
    descriptor file(::open(path.c_str(), flags, 0666));
    if (!file) throw_errno("open of a file for the output of a task,", path.string());
    if (file.get() <= STDERR_FILENO) {  // the program has closed its standard descriptors
      descriptor higher(::fcntl(file.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
      if (!higher) throw_errno("fcntl(F_DUPFD_CLOEXEC) for the output of a task");
      file = std::move(higher);
    }
    is_redirected_ = true;
    for (int const standard : {STDOUT_FILENO, STDERR_FILENO}) {
      if (::dup2(file.get(), standard) < 0) throw_errno("dup2 for the output of a task");
    }
  }

  /// Prints the whole lines that the task has written since the last call, and `all` of its text.
  void print(bool all) noexcept {
    try {
      std::lock_guard const lock(printing_);
      for (auto const& each : streams_) {
        if (!is_still_open(each) || !each.original) continue;
        auto const begin = each.printed->load(std::memory_order_relaxed);
        auto const end = print_lines(each.own, begin, all, [&](std::string const& text) {
          worker_output::print(each.original.get(), with_prefix(task_, text));
        });
        if (end == begin) continue;
        each.printed->store(end, std::memory_order_relaxed);
        constexpr std::uint64_t worth_it = std::uint64_t{1} << 20U;
        if (end / worth_it != begin / worth_it) free_begin(each.own, end);
      }
    } catch (...) {  // out of memory: the text is printed later
    }
  }

  output_mode const& mode_;
  stream streams_[2]{};
  message_sender* sender_ = nullptr;
  std::uint64_t task_ = 0;
  int attempt_ = 0;
  int error_ = 0;  // of the constructor
  bool is_redirected_ = false;
  bool is_unbuffered_ = false;
  std::mutex printing_;
};

}  // namespace forkmap::detail
