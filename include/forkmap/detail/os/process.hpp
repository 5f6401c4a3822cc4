// Child processes, and descriptors that refer to them (pidfd).
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <utility>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/fork_error.hpp>

namespace forkmap::detail {

// Descriptors of processes (pidfd), where the system has them.

/// Whether pidfd_open() has failed with ENOSYS. It is not called again then, because valgrind prints
/// five lines each time.
inline constinit std::atomic<int> has_no_process_handles = 0;

/// Returns: a descriptor that refers to the process; -1 on error, and errno is set.
inline int open_process_handle(pid_t pid) noexcept {
  if (has_no_process_handles.load(std::memory_order_relaxed) != 0) {
    errno = ENOSYS;
    return -1;
  }
  auto const handle = static_cast<int>(bound().syscall(SYS_pidfd_open, static_cast<long>(pid), 0L));
  if (handle < 0 && errno == ENOSYS) has_no_process_handles.store(1, std::memory_order_relaxed);
  return handle;
}

// Child processes, waited for and killed through a descriptor that never refers to another process.

/// How a process ended. Unknown if its status was collected elsewhere: by a SIGCHLD handler that waits
/// for any child, or because SIGCHLD is ignored.
struct process_end {
  bool known = false;
  int signal = 0;
  int exit_status = -1;
  std::size_t max_rss = 0;  // bytes

  /// Converts the results of wait4().
  static process_end of(int status, rusage const& used) noexcept {
    return {.known = true,
            .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
            .exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
            .max_rss = static_cast<std::size_t>(used.ru_maxrss) * 1024};
  }
};

/// One child process; empty (pid 0) after it has been waited for or abandoned.
///
/// Where the system has no pidfd (valgrind, gVisor, older container runtimes refuse it), the process is
/// identified by its pid, which is not reused before the process is waited for. poll() cannot wait for
/// such a process: call has_ended() from time to time.
class child_process {
 public:
  child_process() = default;
  child_process(child_process&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)),
        adopted_(other.adopted_),
        handle_(std::move(other.handle_)) {}
  child_process& operator=(child_process&& other) noexcept {
    end();
    pid_ = std::exchange(other.pid_, 0);
    adopted_ = other.adopted_;
    handle_ = std::move(other.handle_);
    return *this;
  }
  ~child_process() { end(); }

  /// Forks; the child runs `body`, which must not return.
  /// Errors: std::system_error naming fork (processes, memory) or pidfd_open (descriptors, memory);
  ///   no process is left then.
  template <class Body> static child_process start(Body const& body) {
    auto const pid = ::fork();
    if (pid == 0) {
      body();
      exit_now(127);
    }
    if (pid < 0) throw_fork_error(errno, "a worker");
    child_process child;
    child.pid_ = pid;
    if (!child.open_handle()) {
      auto const code = errno;
      child.end();
      throw_system_error(code, "pidfd_open of a worker");
    }
    return child;
  }

  /// A process that another process has forked and will wait for.
  /// Errors: std::system_error naming pidfd_open.
  static child_process adopt(pid_t pid) {
    child_process child;
    child.pid_ = pid;
    child.adopted_ = true;
    if (!child.open_handle()) {
      auto const code = errno;
      child.forget();
      throw_system_error(code, "pidfd_open of a worker");
    }
    return child;
  }

  /// A child of this process, identified by its pid alone, without a descriptor.
  static child_process of_number(pid_t pid) noexcept {
    child_process child;
    child.pid_ = pid;
    return child;
  }

  /// Makes this object empty: the process has been waited for, or is abandoned.
  void forget() noexcept {
    pid_ = 0;
    handle_.reset();
  }

  pid_t pid() const noexcept { return pid_; }
  explicit operator bool() const noexcept { return pid_ != 0; }

  /// A descriptor that is readable when the process has ended; -1 if there is none: call has_ended().
  int handle() const noexcept { return handle_.get(); }

  /// Whether the process has ended. Only for a child of this process, not for an adopted one.
  bool has_ended() const noexcept {
    if (handle_) {
      pollfd end{.fd = handle_.get(), .events = POLLIN, .revents = 0};
      if (auto const n = ::poll(&end, 1, 0); n >= 0) return n != 0;
    }
    siginfo_t info{};
    return look(info) == 0 ? info.si_pid == pid_ : is_collected();
  }

  /// Sends SIGKILL.
  /// Returns: false if this process may not kill it; true also if it has already ended.
  bool kill() const noexcept {
    if (pid_ == 0 || send(SIGKILL) || errno == ESRCH) return true;
    // Some systems have pidfd_open(), but no pidfd_send_signal().
    if (handle_ && ::kill(pid_, SIGKILL) == 0) return true;
    return errno == ESRCH;
  }

  /// Returns: false if the signal was not sent, and errno is set: ESRCH if the process is known to have
  ///   ended.
  bool send(int signal) const noexcept {
    if (handle_) {
      if (::syscall(SYS_pidfd_send_signal, handle_.get(), signal, nullptr, 0) == 0) return true;
      if (errno != ENOSYS) return false;
    } else if (!adopted_ && is_collected()) {
      errno = ESRCH;  // the pid may have been reused
      return false;
    }
    return ::kill(pid_, signal) == 0;
  }

  /// Waits until the process has ended, and reaps it.
  process_end wait() noexcept { return collect(0); }

  /// The same for at most `milliseconds`. A process that has not ended by then, because it cannot be
  /// killed or is blocked in the kernel, is abandoned.
  /// Returns: whether it has ended.
  bool wait_or_leave(process_end& end, int milliseconds) noexcept {
    if (!ends_within(milliseconds)) {
      forget();
      return false;
    }
    end = collect(WNOHANG);
    return true;
  }

  /// Waits at most `milliseconds`, without reaping the process.
  /// Returns: whether the process has ended.
  bool ends_within(int milliseconds) const noexcept {
    pollfd end{.fd = handle_.get(), .events = POLLIN, .revents = 0};
    constexpr int poll_interval_ms = 2;
    for (int remaining_ms = milliseconds;;) {
      if (has_ended()) return true;
      if (remaining_ms <= 0) return false;
      // With a descriptor poll() waits for the process; without one it only sleeps.
      auto const wait_ms = handle_ ? remaining_ms : std::min(remaining_ms, poll_interval_ms);
      auto const before = nanoseconds_now();
      if (::poll(&end, 1, wait_ms) < 0 && errno != EINTR) {
        timespec const pause{.tv_sec = 0, .tv_nsec = poll_interval_ms * 1'000'000};
        ::nanosleep(&pause, nullptr);
      }
      remaining_ms -= std::max(1, static_cast<int>((nanoseconds_now() - before) / 1'000'000));
    }
  }

 private:
  int look(siginfo_t& info) const noexcept {
    return retry_interrupted([&] {
      return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
    });
  }
  /// Whether this child's exit status was collected elsewhere.
  bool is_collected() const noexcept {
    siginfo_t info{};
    return look(info) != 0 && errno == ECHILD;
  }

  /// Returns: false if the limit of descriptors is reached or memory is short.
  bool open_handle() noexcept {
    handle_ = descriptor(open_process_handle(pid_));
    // Other errors: there is no pidfd_open(), or the process has ended and was collected elsewhere.
    return handle_ || (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENODEV);
  }

  process_end collect(int flags) noexcept {
    process_end end;
    rusage used{};
    siginfo_t info{};
    auto const by_handle = !handle_ ? -1 : retry_interrupted([&] {
      return ::syscall(SYS_waitid, static_cast<int>(P_PIDFD), handle_.get(), &info, WEXITED | flags,
                       &used);
    });
    if (by_handle == 0) {
      if (info.si_pid != 0) {
        bool const exited = info.si_code == CLD_EXITED;
        end = {.known = true,
               .signal = exited ? 0 : info.si_status,
               .exit_status = exited ? info.si_status : -1,
               .max_rss = static_cast<std::size_t>(used.ru_maxrss) * 1024};
      }
    } else if (pid_ != 0 && (!handle_ || errno != ECHILD)) {
      int status = 0;
      if (retry_interrupted([&] { return ::wait4(pid_, &status, flags, &used); }) == pid_) {
        end = process_end::of(status, used);
      }
    }
    forget();
    return end;
  }

  void end() noexcept {
    if (pid_ == 0) return;
    constexpr int patience_ms = 5'000;
    process_end unused;
    wait_or_leave(unused, kill() ? patience_ms : 0);
  }

  pid_t pid_ = 0;
  bool adopted_ = false;
  descriptor handle_;
};

/// Removes a signal from a set; 0 stands for no signal. For a new child, in which sigdelset() would have
/// to be bound first (os/bound.hpp).
/// Source: Linux: its signal sets have 64 bits, the lowest is signal 1.
[[gnu::hot]] inline void unblock(sigset_t& mask, int signal) noexcept {
  if (signal != 0) mask.__val[0] &= ~(1UL << static_cast<unsigned>(signal - 1));
}

/// Blocks SIGINT on this thread during the lifetime of this object.
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

  /// Restores the mask in a child, where the destructor never runs, and unblocks two more signals; 0
  /// stands for no signal.
  void restore_in_child(int unblocked, int also_unblocked) const noexcept {
    auto mask = before_;
    unblock(mask, unblocked);
    unblock(mask, also_unblocked);
    set_signal_mask(mask);
  }

 private:
  sigset_t before_;
};

}  // namespace forkmap::detail
