// SPDX-License-Identifier: MIT
#include "leak_guard.hpp"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <system_error>
#include <thread>

#include "child_processes.hpp"
#include "wait_until.hpp"

namespace support {
namespace {

/// How long an orphan that is about to exit, or a name of another program in /dev/shm, may stay.
constexpr auto grace = std::chrono::seconds(2);

[[noreturn]] void give_up(char const* call) {
  std::perror(call);
  ::_exit(EXIT_FAILURE);
}

std::string describe(process const& p) {
  return std::to_string(p.pid) + " (" + p.name + ", state " + p.state + ")";
}

}  // namespace

struct leak_guard::child_failures {
  std::atomic<int> count;
  std::array<char, 1024> first_message;
};

void leak_guard::run_begins() {
  owner_ = ::getpid();

  marker_ = "forkmap-test-" + std::to_string(owner_);
  int const memory = ::memfd_create(marker_.c_str(), MFD_CLOEXEC);
  if (memory < 0 || ::ftruncate(memory, sizeof(child_failures)) != 0) give_up("memfd_create");
  void* const address =
      ::mmap(nullptr, sizeof(child_failures), PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (address == MAP_FAILED) give_up("mmap");
  ::close(memory);
  child_failures_ = static_cast<child_failures*>(address);

  previous_working_directory_ = std::filesystem::current_path();
  std::string name = std::filesystem::temp_directory_path() / (marker_ + "-XXXXXX");
  if (::mkdtemp(name.data()) == nullptr) give_up("mkdtemp");
  folder_ = name;
  std::filesystem::current_path(folder_);
  ::setenv("TMPDIR", name.c_str(), 1);
}

void leak_guard::run_ends() {
  std::filesystem::current_path(previous_working_directory_);
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void leak_guard::test_begins(std::string const& name) {
  test_ = name;
  ++tests_;
  descriptors_ = open_descriptors();
  shared_memory_ = shared_memory_names();
  ::sigprocmask(SIG_SETMASK, nullptr, &mask_);
}

void leak_guard::test_ends() {
  check_child_failures();
  check_children();
  check_orphans();
  check_descriptors();
  check_shared_memory();
  check_files();
  check_signal_mask();
}

void leak_guard::fail_from_child(std::string const& why) {
  auto& first = child_failures_->first_message;
  if (child_failures_->count.fetch_add(1) == 0)
    std::snprintf(first.data(), first.size(), "%s", why.c_str());
  std::fprintf(stderr, "\nin \"%s\", in the forked process %d: %s\n", test_.c_str(), ::getpid(),
               why.c_str());
  ::_exit(EXIT_FAILURE);
}

void leak_guard::complain(std::string const& what) {
  ++complaints_;
  std::fprintf(stderr, "\n\"%s\" %s\n", test_.c_str(), what.c_str());
}

void leak_guard::check_child_failures() {
  if (child_failures_->count.exchange(0) != 0)
    complain(std::string("failed in a forked process: ") + child_failures_->first_message.data());
}

void leak_guard::check_children() {
  for (;;) {
    siginfo_t info{};
    if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0) return;  // ECHILD
    if (info.si_pid != 0) {
      complain("left a child that was not waited for: " + std::to_string(info.si_pid));
      ::waitpid(info.si_pid, nullptr, __WALL);
      continue;
    }
    for (auto const& child : all_processes()) {
      // A zombie that cannot be waited for yet still has threads, which are exiting.
      if (child.parent != owner_ || child.state == 'Z') continue;
      complain("left a running child: " + describe(child));
      ::kill(child.pid, SIGKILL);
      ::waitpid(child.pid, nullptr, __WALL);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void leak_guard::check_orphans() {
  // A process that still maps the shared memory was forked by a test and has not called exec.
  auto const find = [this] {
    std::vector<process> found;
    for (auto& candidate : all_processes()) {
      if (candidate.pid == owner_ || candidate.state == 'Z') continue;
      std::ifstream maps("/proc/" + std::to_string(candidate.pid) + "/maps");
      for (std::string line; std::getline(maps, line);) {
        // The space after the name keeps process 12 from matching the marker of process 123.
        if (line.find("/memfd:" + marker_ + " ") == std::string::npos) continue;
        found.push_back(candidate);
        break;
      }
    }
    return found;
  };
  if (wait_until([&] { return find().empty(); }, grace)) return;
  for (auto const& orphan : find()) {
    complain("left an orphan: " + describe(orphan));
    ::kill(orphan.pid, SIGKILL);
  }
}

void leak_guard::check_descriptors() {
  for (auto const& [number, target] : open_descriptors()) {
    if (descriptors_.contains(number)) continue;
    complain("left an open descriptor: " + std::to_string(number) + " -> " + target);
    ::close(number);
  }
  auto const now = open_descriptors();
  for (auto const& [number, target] : descriptors_)
    if (!now.contains(number))
      complain("closed a descriptor that it did not open: " + std::to_string(number) + " -> " +
               target);
}

void leak_guard::check_shared_memory() {
  auto const find = [this] {
    names fresh;
    for (auto const& name : shared_memory_names())
      if (!shared_memory_.contains(name)) fresh.insert(name);
    return fresh;
  };
  if (wait_until([&] { return find().empty(); }, grace)) return;
  for (auto const& name : find()) complain("left a name in /dev/shm: " + name);
}

void leak_guard::check_files() {
  for (auto const& entry : std::filesystem::directory_iterator(folder_)) {
    complain("left a file: " + entry.path().string());
    std::error_code ignored;
    std::filesystem::remove_all(entry.path(), ignored);
  }
}

void leak_guard::check_signal_mask() {
  sigset_t now{};
  ::sigprocmask(SIG_SETMASK, nullptr, &now);
  for (int signal = 1; signal < SIGRTMIN; ++signal)
    if (::sigismember(&now, signal) != ::sigismember(&mask_, signal))
      complain("left a changed signal mask: signal " + std::to_string(signal));
  ::sigprocmask(SIG_SETMASK, &mask_, nullptr);
}

std::map<int, std::string> leak_guard::open_descriptors() {
  std::map<int, std::string> open;
  std::string const listing = "/proc/" + std::to_string(::getpid()) + "/fd";
  for (auto const& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    std::string const target = std::filesystem::read_symlink(entry.path(), error);
    if (error || target == listing) continue;  // `listing` is the descriptor of this loop itself
    open.emplace(std::stoi(entry.path().filename()), target);
  }
  return open;
}

leak_guard::names leak_guard::shared_memory_names() {
  // Tests run in parallel. Skip names of other users and the folders of other test processes.
  std::string const own = "forkmap-test-" + std::to_string(::getpid()) + "-";
  names found;
  std::error_code none;
  for (auto const& entry : std::filesystem::directory_iterator("/dev/shm", none)) {
    std::string const name = entry.path().filename();
    struct stat info{};
    if (::lstat(entry.path().c_str(), &info) != 0 || info.st_uid != ::geteuid()) continue;
    if (name.starts_with("forkmap-test-") && !name.starts_with(own)) continue;
    found.insert(name);
  }
  return found;
}

}  // namespace support
