// Child processes: made, waited for and ended by a descriptor that cannot mean another process.
#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <optional>
#include <utility>

#include <forkmap/system/bound.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>

namespace forkmap::detail {

/// How a process ended. Unknown when somebody else collected its status: a SIGCHLD handler that
/// waits for any child, or SIGCHLD ignored.
struct process_end {
  bool known = false;
  int signal = 0;
  int exit_status = -1;
  std::size_t max_rss = 0;  // bytes
};

/// One child process; empty (pid 0) when it has been waited for.
class child_process {
 public:
  child_process() = default;
  child_process(child_process&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)), handle_(std::move(other.handle_)) {}
  child_process& operator=(child_process&& other) noexcept {
    end();
    pid_ = std::exchange(other.pid_, 0);
    handle_ = std::move(other.handle_);
    return *this;
  }
  ~child_process() { end(); }

  /// Forks; the child runs `body`, which must not return.
  /// Errors: std::system_error naming fork (processes, memory) or pidfd_open (descriptors, kernel
  ///   older than 5.4); no process is left then.
  template <class Body> static child_process start(Body const& body) {
    auto const pid = ::fork();
    if (pid == 0) {
      body();
      exit_now(127);
    }
    if (pid < 0) throw_errno("fork of a worker");
    child_process child;
    child.pid_ = pid;
    child.handle_ = descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    // ESRCH: it has ended and somebody else has already collected it.
    if (!child.handle_ && errno != ESRCH) {
      auto const code = errno;
      ::kill(pid, SIGKILL);
      child.wait_by_pid();
      throw_system_error(code, "pidfd_open of a worker");
    }
    return child;
  }

  /// A process that another one has forked, and will collect.
  /// Errors: std::system_error naming pidfd_open.
  static child_process adopt(pid_t pid) {
    child_process child;
    child.handle_ = descriptor(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!child.handle_) throw_errno("pidfd_open of a worker");
    child.pid_ = pid;
    return child;
  }

  /// It has been collected.
  void forget() noexcept {
    pid_ = 0;
    handle_.reset();
  }

  pid_t pid() const noexcept { return pid_; }
  explicit operator bool() const noexcept { return pid_ != 0; }

  /// Readable when the process has ended; -1 if that is known already.
  int handle() const noexcept { return handle_.get(); }

  void kill() const noexcept { send(SIGKILL); }

  /// Returns: false if it is known to have ended.
  bool send(int signal) const noexcept {
    return handle_ && ::syscall(SYS_pidfd_send_signal, handle_.get(), signal, nullptr, 0) == 0;
  }

  /// Waits for its end and collects it.
  process_end wait() noexcept {
    process_end end;
    siginfo_t info{};
    rusage used{};
    if (handle_ && retry_interrupted([&] {
                     return ::syscall(SYS_waitid, static_cast<int>(P_PIDFD), handle_.get(), &info,
                                      WEXITED, &used);
                   }) == 0) {
      end.known = true;
      end.signal = info.si_code == CLD_EXITED ? 0 : info.si_status;
      end.exit_status = info.si_code == CLD_EXITED ? info.si_status : -1;
      end.max_rss = static_cast<std::size_t>(used.ru_maxrss) * 1024;
    }
    forget();
    return end;
  }

 private:
  void wait_by_pid() noexcept {
    retry_interrupted([&] { return ::waitpid(pid_, nullptr, 0); });
    pid_ = 0;
  }

  void end() noexcept {
    if (pid_ == 0) return;
    kill();
    wait();
  }

  pid_t pid_ = 0;
  descriptor handle_;
};

/// Blocks SIGINT on this thread for as long as it lives.
class sigint_blocked {
 public:
  sigint_blocked() noexcept {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  sigint_blocked(sigint_blocked const&) = delete;
  sigint_blocked& operator=(sigint_blocked const&) = delete;
  ~sigint_blocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  /// The same in a child, whose copy of this is never destroyed, but for one signal more that gets
  /// through (0: none).
  void restore_in_child(int unblocked) const noexcept {
    auto mask = before_;
    if (unblocked != 0) sigdelset(&mask, unblocked);
    set_signal_mask(mask);
  }

 private:
  sigset_t before_;
};

/// In a child: ends with its parent, and leaves Ctrl-C to it. What it starts and leaves behind stays
/// its own child, so that it can be ended with it.
/// The kernel's signal comes when the parent's *thread* that forked ends; that thread waits here
/// for the call to end, so it is the same.
[[gnu::hot]] inline void follow_parent(pid_t parent) noexcept {
  bound().syscall(SYS_prctl, static_cast<long>(PR_SET_PDEATHSIG), static_cast<long>(SIGKILL), 0L,
                  0L, 0L);
  // It may have ended before it could be followed. 0: it lives in another PID namespace.
  auto const now = static_cast<pid_t>(bound().syscall(SYS_getppid));
  if (now != parent && now != 0) exit_now(1);
  ignore_signal(SIGINT);
  bound().syscall(SYS_prctl, static_cast<long>(PR_SET_CHILD_SUBREAPER), 1L, 0L, 0L, 0L);
}

}  // namespace forkmap::detail
