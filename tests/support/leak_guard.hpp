// What a test may leave behind: nothing.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace support {

/// Compares the process before and after each test case. One per test executable.
class leak_guard {
 public:
  leak_guard() = default;
  leak_guard(leak_guard const&) = delete;
  leak_guard& operator=(leak_guard const&) = delete;

  /// Makes a folder that becomes $TMPDIR and the working directory, so that whatever a test writes
  /// without saying where is found afterwards.
  void run_begins();
  void run_ends();

  void test_begins(std::string const& name);
  /// Prints what is left behind, takes it away so that the next test starts clean, and counts it.
  void test_ends();
  int complaints() const { return complaints_; }
  int tests() const { return tests_; }
  bool is_used() const { return owner_ != 0; }

  /// Whether this is a process that a test forked: there an assertion would go unnoticed.
  bool in_child() const { return owner_ != 0 && ::getpid() != owner_; }
  /// Ends such a process and makes the test fail in the process that runs it.
  [[noreturn]] void fail_from_child(std::string const& why);

 private:
  struct shared_record;  // in memory that the forked children share
  using names = std::set<std::string>;

  void complain(std::string const& what);
  void check_children();
  void check_orphans();
  void check_descriptors();
  void check_shared_memory();
  void check_files();
  void check_signal_mask();
  void check_record();

  static std::map<int, std::string> open_descriptors();
  static names shared_memory_names();

  pid_t owner_ = 0;
  int complaints_ = 0;
  int tests_ = 0;
  std::string test_{};
  std::string marker_{};  // the name of the shared mapping, which marks every process forked here
  shared_record* record_ = nullptr;
  std::filesystem::path folder_{};
  std::filesystem::path previous_working_directory_{};
  std::map<int, std::string> descriptors_{};
  names shared_memory_{};
  sigset_t mask_{};
};

}  // namespace support
