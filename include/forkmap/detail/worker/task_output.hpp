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
#include <string>

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
      if (here.original) move_up(here.original);
    }
    for (auto* const file : {stdout, stderr}) bound().setvbuf(file, nullptr, _IONBF, 0);
    if (mode_.what() == output_mode::line_prefix)
      worker_output::when_printed(
          [](void* self) noexcept { static_cast<task_output*>(self)->print(false); }, this);
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

  /// Errors: std::system_error naming open, dup2 or the file.
  void begin(std::uint64_t task, int attempt) {
    task_ = task;
    if (mode_.what() == output_mode::directory) return open_file(attempt);
    for (auto& each : streams_) {
      each.printed->store(0, std::memory_order_relaxed);
      empty(each);
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
    is_redirected_ = false;
    for (int const standard : {STDOUT_FILENO, STDERR_FILENO}) {
      auto const& original = streams_[standard - 1].original;
      if (original)
        ::dup2(original.get(), standard);
      else
        ::close(standard);
    }
    if (mode_.what() == output_mode::line_prefix) print(true);
    if (sender_ != nullptr && is_still_open(streams_[0])) {
      try {
        auto const text = end_of_text(streams_[0].own);
        if (!text.empty()) sender_->send_output(task_, text);
      } catch (...) {  // out of memory: the output is lost
      }
      empty(streams_[0]);
    }
  }

  /// Whether a task has closed this worker's files. A replacement has them.
  bool is_lost() const noexcept { return streams_[0].own >= 0 && !is_still_open(streams_[0]); }

 private:
  struct stream {
    int own = -1;           // a file of the caller
    struct stat status{};   // of it: a task may close it
    descriptor original{};  // the worker's own stdout or stderr
    std::atomic<std::uint64_t>* printed = nullptr;
  };

  static bool is_still_open(stream const& which) noexcept {
    return which.own >= 0 && is_still(which.own, which.status);
  }
  static void empty(stream const& which) noexcept {
    struct stat now{};
    if (is_still_open(which) && ::fstat(which.own, &now) == 0 && now.st_size != 0)
      static_cast<void>(!::ftruncate(which.own, 0));
  }

  void open_file(int attempt) {
    auto const path = mode_.folder() / ("task-" + std::to_string(task_) + ".log");
    auto const flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (attempt == 0 ? O_TRUNC : 0);
    descriptor const file(::open(path.c_str(), flags, 0666));
    if (!file) throw_errno("open of a file for the output of a task,", path.string());
    is_redirected_ = true;
    for (int const standard : {STDOUT_FILENO, STDERR_FILENO}) {
      if (::dup2(file.get(), standard) < 0) throw_errno("dup2 for the output of a task");
    }
  }

  /// Prints the whole lines that the task has written since the last call, and `all` of its text.
  void print(bool all) noexcept {
    try {
      for (auto const& each : streams_) {
        if (!is_still_open(each) || !each.original) continue;
        auto const begin = each.printed->load(std::memory_order_relaxed);
        auto text = text_from(each.own, begin);
        if (!all) text.resize(text.rfind('\n') + 1);
        if (text.empty()) continue;
        each.printed->store(begin + text.size(), std::memory_order_relaxed);
        worker_output::print(each.original.get(), with_prefix(task_, text));
      }
    } catch (...) {  // out of memory: the text is printed later
    }
  }

  output_mode const& mode_;
  stream streams_[2]{};
  message_sender* sender_ = nullptr;
  std::uint64_t task_ = 0;
  bool is_redirected_ = false;
};

}  // namespace forkmap::detail
