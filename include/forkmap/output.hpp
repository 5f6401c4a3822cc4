// Destinations of the output of tasks: the values of options::output.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <filesystem>
#include <utility>

namespace forkmap {

/// The value of options::output: one of the members of forkmap::output.
class output_mode {
 public:
  enum kind { inherit, line_prefix, capture, directory };

  output_mode() = default;
  output_mode(kind mode) noexcept : kind_(mode) {}
  explicit output_mode(std::filesystem::path const& folder)
      : kind_(directory), folder_(std::filesystem::absolute(folder)) {}

  kind what() const noexcept { return kind_; }
  /// The folder of output::directory; else empty.
  std::filesystem::path const& folder() const noexcept { return folder_; }
  friend bool operator==(output_mode const&, output_mode const&) = default;

 private:
  kind kind_ = inherit;
  std::filesystem::path folder_{};
};

/// What becomes of what a task, and the programs that it starts, print to stdout and stderr.
///
/// All modes but inherit redirect file descriptors 1 and 2 of a worker while it runs a task. Its stdout
/// and stderr are unbuffered meanwhile, so that what a task has printed before it dies is kept, half a
/// line too; only text in std::wcout after sync_with_stdio(false) is lost then. What a process that
/// outlives its task prints later may become part of the worker's next task. The descriptors are files: a
/// program that opens /dev/stdout or /dev/stderr for writing truncates them.
/// Cost: some microseconds per task, and a system call for each piece that it prints.
/// Example: `auto outcomes = fm::parallel({.n_jobs = 4, .output = fm::output::capture}).outcomes(tasks);`
struct output {
  /// Default: to the caller's stdout and stderr, in whole lines.
  static constexpr output_mode::kind inherit = output_mode::inherit;
  /// The same, with "[17] " before each line of task 17. Lines of programs that a task starts appear
  /// when the task prints a line itself, at the latest when it ends, and are kept in memory until then.
  static constexpr output_mode::kind line_prefix = output_mode::line_prefix;
  /// Into outcome::output() and failure::output(), and output() of the exceptions that calls throw:
  /// the last 64 KiB of each task. Memory: what running tasks print is kept in memory; of a task that
  /// prints a lot, the caller drops the begin several times a second.
  static constexpr output_mode::kind capture = output_mode::capture;
  /// Into a file for each task: task-17.log in that folder, which is created if it does not exist. An
  /// existing file is replaced; a retry of the task appends to it.
  static output_mode directory(std::filesystem::path folder) {
    return output_mode(std::move(folder));
  }
};

}  // namespace forkmap
