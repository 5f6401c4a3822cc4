// A check that a test leaves nothing behind.
// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace support {

/// Compares the state of the process before and after each test case. A test executable has one.
class leak_guard {
 public:
  leak_guard() = default;
  leak_guard(leak_guard const&) = delete;
  leak_guard& operator=(leak_guard const&) = delete;

  /// Makes a folder that becomes $TMPDIR and the working directory, so that files which a test
  /// writes to a relative path or to the default place for temporary files are found afterwards.
  void run_begins();
  void run_ends();

  void test_begins(std::string const& name);
  /// Prints and counts what the test has left behind. Removes it, so that the next test starts
  /// clean.
  void test_ends();
  int complaints() const { return complaints_; }
  int tests() const { return tests_; }
  bool is_used() const { return owner_ != 0; }

  /// Whether this process was forked by a test. Catch2 does not report a failed assertion there.
  bool in_child() const { return owner_ != 0 && ::getpid() != owner_; }
  /// Ends a process that a test forked, and makes the test fail in the process that runs it.
  [[noreturn]] void fail_from_child(std::string const& why);

 private:
  struct child_failures;  // in memory that the forked children share
  using names = std::set<std::string>;

  void complain(std::string const& what);
  void check_children();
  void check_orphans();
  void check_descriptors();
  void check_shared_memory();
  void check_files();
  void check_signal_mask();
  void check_child_failures();

  static std::map<int, std::string> open_descriptors();
  static names shared_memory_names();

  pid_t owner_ = 0;
  int complaints_ = 0;
  int tests_ = 0;
  std::string test_{};
  std::string marker_{};  // the name of the shared mapping, which every forked process has
  child_failures* child_failures_ = nullptr;
  std::filesystem::path folder_{};
  std::filesystem::path previous_working_directory_{};
  std::map<int, std::string> descriptors_{};
  names shared_memory_{};
  sigset_t mask_{};
};

}  // namespace support
