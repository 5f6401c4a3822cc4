// Runs of another program or a shell command, with its output and exit status.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "wait_until.hpp"

namespace support {

struct program_result {
  std::string out{};
  std::string err{};
  int exit_status = -1;    // -1 if a signal ended the program
  int signal = 0;          // 0 if the program exited
  bool timed_out = false;  // if true, the program was killed and `signal` is SIGKILL
  bool success() const { return exit_status == 0 && !timed_out; }
};

/// A program that runs in parallel to the test, in a process group of its own: a signal to the
/// group reaches only the program and its children. The destructor kills the group.
class running_program {
 public:
  /// `command[0]` is looked up in PATH. `environment` holds variables to add, each "NAME=value".
  explicit running_program(std::vector<std::string> command,
                           std::vector<std::string> environment = {}) {
    std::vector<char*> arguments;
    for (auto& argument : command) arguments.push_back(argument.data());
    arguments.push_back(nullptr);
    std::array<int, 2> out{}, err{};
    if (::pipe2(out.data(), O_CLOEXEC) != 0) fail("pipe2");
    if (::pipe2(err.data(), O_CLOEXEC) != 0) fail("pipe2");
    pid_ = ::fork();
    if (pid_ == -1) fail("fork");
    if (pid_ == 0) {
      ::setpgid(0, 0);
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::dup2(out[1], STDOUT_FILENO);
      ::dup2(err[1], STDERR_FILENO);
      for (auto& variable : environment) ::putenv(variable.data());
      ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
    ::setpgid(pid_, pid_);  // here too: the test may signal the group before the child has run
    ::close(out[1]);
    ::close(err[1]);
    sources_ = {pollfd{out[0], POLLIN, 0}, pollfd{err[0], POLLIN, 0}};
  }

  running_program(running_program const&) = delete;
  running_program& operator=(running_program const&) = delete;

  ~running_program() {
    if (!reaped_) {
      kill_group();
      reap();
    }
    for (auto const& source : sources_)
      if (source.fd >= 0) ::close(source.fd);
  }

  pid_t pid() const { return pid_; }
  void send(int signal) const { ::kill(pid_, signal); }
  void send_to_group(int signal) const { ::kill(-pid_, signal); }

  /// Waits until the standard output contains `text`.
  /// Returns: false if the limit has passed without it.
  [[nodiscard]] bool wait_for_output(std::string const& text,
                                     std::chrono::milliseconds limit = std::chrono::seconds(30)) {
    return read_until([&] { return result_.out.find(text) != std::string::npos; }, limit) ||
           result_.out.find(text) != std::string::npos;
  }

  /// Waits until the program, and every process that has inherited its outputs, has ended. Kills
  /// the group at the limit.
  program_result wait(std::chrono::milliseconds limit = std::chrono::seconds(60)) {
    auto const begin = std::chrono::steady_clock::now();
    bool ended = read_until([] { return false; }, limit);
    // Wait for the rest of the limit: a program may close its output and keep running.
    auto const remaining = limit - std::chrono::duration_cast<std::chrono::milliseconds>(
                                       std::chrono::steady_clock::now() - begin);
    ended = ended && wait_until([&] { return reap(WNOHANG); }, remaining);
    if (!ended) {
      result_.timed_out = true;
      kill_group();
      reap();
    }
    return result_;
  }

 private:
  /// Reads both outputs until `enough()` is true or both have ended.
  /// Returns: false if the limit has passed first.
  template <class Enough> bool read_until(Enough enough, std::chrono::milliseconds limit) {
    auto const end = std::chrono::steady_clock::now() + limit;
    while (!enough()) {
      if (sources_[0].fd < 0 && sources_[1].fd < 0) return true;
      auto const left = std::chrono::duration_cast<std::chrono::milliseconds>(
          end - std::chrono::steady_clock::now());
      if (left.count() <= 0) return false;
      if (::poll(sources_.data(), sources_.size(), static_cast<int>(left.count())) <= 0) continue;
      take(sources_[0], result_.out);
      take(sources_[1], result_.err);
    }
    return true;
  }

  static void take(pollfd& source, std::string& into) {
    if (source.fd < 0 || source.revents == 0) return;
    std::array<char, 65536> buffer;
    auto const count = ::read(source.fd, buffer.data(), buffer.size());
    if (count > 0) {
      into.append(buffer.data(), static_cast<std::size_t>(count));
    } else if (count == 0 || errno != EINTR) {
      ::close(std::exchange(source.fd, -1));
    }
  }

  bool reap(int flags = 0) {
    if (reaped_) return true;
    int status = 0;
    pid_t waited = 0;
    while ((waited = ::waitpid(pid_, &status, flags)) == -1 && errno == EINTR) {
    }
    if (waited == 0) return false;
    reaped_ = true;
    if (waited == pid_ && WIFEXITED(status)) result_.exit_status = WEXITSTATUS(status);
    if (waited == pid_ && WIFSIGNALED(status)) result_.signal = WTERMSIG(status);
    return true;
  }

  void kill_group() const {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
  }

  [[noreturn]] static void fail(char const* call) {
    throw std::system_error(errno, std::system_category(), call);
  }

  pid_t pid_ = -1;
  bool reaped_ = false;
  std::array<pollfd, 2> sources_{};
  program_result result_{};
};

inline program_result run_program(std::vector<std::string> command,
                                  std::chrono::milliseconds limit = std::chrono::seconds(60)) {
  return running_program(std::move(command)).wait(limit);
}

inline program_result run_shell(std::string const& command,
                                std::chrono::milliseconds limit = std::chrono::seconds(60)) {
  return run_program({"/bin/sh", "-c", command}, limit);
}

}  // namespace support
