// The processes of a call: how they end, and the guardian that ends them if the caller is killed.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include <forkmap/detail/crash/current_backtrace.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/marked_processes.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/process_mark.hpp>
#include <forkmap/detail/worker/setup.hpp>

namespace forkmap::detail {

// The guardian: a process that, if the caller is killed, kills all that the call has started.
//
// Workers exit by themselves when their caller ends (worker/setup.hpp), except those that block the
// signal or have changed their user. A pool's fork server kills these workers. A fork_join call has
// a guardian instead. The caller forks it while it sleeps, and only if the call takes longer than a
// delay that depends on how long forks take in this caller. The delay is shorter for a program that
// can change its user.

class guardian {
 public:
  /// Starts the delay. `fork_ns`: the time that the fork of one worker took.
  void begin(process_mark call, std::int64_t fork_ns) noexcept {
    uid_t real = 0, effective = 0, saved = 0;
    bool const has_one_user = ::getresuid(&real, &effective, &saved) == 0 && real != 0 &&
                              real == effective && effective == saved;
    std::int64_t const least_delay_ns = has_one_user ? 20'000'000 : 5'000'000;
    std::int64_t const forks = has_one_user ? 50 : 10;
    call_ = call;
    due_ = nanoseconds_now() + std::max(least_delay_ns, forks * fork_ns);
  }
  guardian() = default;
  guardian(guardian const&) = delete;
  guardian& operator=(guardian const&) = delete;
  ~guardian() {
    if (!process_) return;
    process_.kill();
    process_.wait();
  }

  /// Forks the guardian if the delay is over.
  /// Returns: the longest time that the caller may sleep before the next call, in nanoseconds;
  ///   INT64_MAX: no limit.
  std::int64_t sleep_at_most() noexcept {
    if (due_ == INT64_MAX) return INT64_MAX;
    auto const remaining_ns = due_ - nanoseconds_now();
    if (remaining_ns > 0) return remaining_ns;
    due_ = INT64_MAX;
    start();
    return INT64_MAX;
  }

  /// The guardian's process ID; 0: none.
  pid_t pid() const noexcept { return process_.pid(); }

  /// Kills the guardian. The destructor waits for its end.
  void end() noexcept {
    due_ = INT64_MAX;
    process_.kill();
  }

 private:
  void start() noexcept {
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    auto const caller = ::getpid();
    auto const pid = bare_fork();
    if (pid == 0) guard(caller, call_);
    // Without a guardian the workers still exit by themselves.
    if (pid > 0) process_ = child_process::of_number(pid);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  /// A fork without the program's atfork handlers: the child makes system calls only.
  static pid_t bare_fork() noexcept {
#if __GLIBC_PREREQ(2, 34)
    return ::_Fork();
#else
    return ::fork();
#endif
  }

  /// The guardian process. Precondition: all signals are blocked.
  [[noreturn]] static void guard(pid_t caller, process_mark call) noexcept {
    bound().syscall(SYS_prctl, static_cast<long>(PR_SET_PDEATHSIG), static_cast<long>(SIGTERM), 0L,
                    0L, 0L);
    bound().syscall(SYS_prctl, static_cast<long>(PR_SET_NAME), "forkmap guard", 0L, 0L, 0L);
    wear_mark(no_mark);  // if the caller is a worker, the guardian must not be killed with it
    close_all();
    wait_for_end_of(caller);
    constexpr std::int64_t patience_ns = 5'000'000'000;
    static_cast<void>(kill_marked(call, mark_of_all, patience_ns));
    exit_now(0);
  }

  static void wait_for_end_of(pid_t caller) noexcept {
    constexpr std::uint64_t term = std::uint64_t{1} << (SIGTERM - 1);
    for (;;) {
      auto const now = static_cast<pid_t>(bound().syscall(SYS_getppid));
      if (now != caller && now != 0) return;
      siginfo_t info{};
      if (bound().syscall(SYS_rt_sigtimedwait, &term, &info, nullptr, sizeof term) == SIGTERM) {
        // The parent-death signal: the calling thread has ended, because another thread of the
        // caller has called exec. A SIGTERM from any other process is ignored.
        if (info.si_pid == caller || info.si_pid == 0) return;
      } else if (errno != EINTR) {
        timespec const pause{.tv_sec = 0, .tv_nsec = 100'000'000};
        bound().syscall(SYS_nanosleep, &pause, nullptr);
      }
    }
  }

  /// Closes the caller's files, pipes and locks, which the guardian must not keep open.
  static void close_all() noexcept {
#if defined(SYS_close_range)
    if (bound().syscall(SYS_close_range, 0L, ~0L, 0L) == 0) return;
#endif
    // Skips the descriptor of the folder that is being read.
    for_each_numbered("/proc/self/fd", [](int fd, long folder) {
      if (fd != folder) bound().syscall(SYS_close, static_cast<long>(fd));
    });
  }

  process_mark call_ = no_mark;
  std::int64_t due_ = INT64_MAX;
  child_process process_{};
};

// The processes of a call: its workers, and the processes that its tasks have started.

/// Serves one call at a time.
class call_processes {
 public:
  call_processes() noexcept : end_signal_(signal_of_end()), mark_(new_mark()) {}
  call_processes(call_processes const&) = delete;
  call_processes& operator=(call_processes const&) = delete;
  ~call_processes() {
    if (!is_over_) end_all_started();  // an exception was thrown
    constexpr pid_t init = 1;
    // If the caller is PID 1 or a subreaper, it has inherited the orphans of tasks and must collect
    // those that have ended.
    int is_subreaper = 0;
    if (births_.oldest() != 0 &&
        (::getpid() == init ||
         (::prctl(PR_GET_CHILD_SUBREAPER, &is_subreaper) == 0 && is_subreaper != 0)) &&
        !births_.are_all()) {
      collect_marked_children(mark_, mark_of_all);
    }
  }

  int end_signal() const noexcept { return end_signal_; }
  parent_ties ties_of(std::uint32_t number) const noexcept {
    return {.parent = ::getpid(), .end_signal = end_signal_, .mark = mark_of_worker(mark_, number)};
  }

  /// Call when all workers have been forked. `fork_ns`: the time that each fork took.
  void begin(std::int64_t fork_ns) noexcept { guardian_.begin(mark_, fork_ns); }
  void started(child_process const& worker) noexcept {
    is_over_ = false;
    births_.note(worker.pid());
  }

  /// Sleeps until a worker has ended, or for `longest_ns` nanoseconds (INT64_MAX: no limit).
  /// Returns: false if the time limit was reached first.
  bool sleep(per_worker<pollfd>& ends, std::int64_t longest_ns) {
    longest_ns = std::min(longest_ns, guardian_.sleep_at_most());
    if (!has_guardian_ && guardian_.pid() != 0) {
      has_guardian_ = true;
      births_.note(guardian_.pid());
    }
    timespec const timeout{.tv_sec = longest_ns / 1'000'000'000,
                           .tv_nsec = longest_ns % 1'000'000'000};
    auto const n_ended =
        ::ppoll(ends.data(), ends.size(), longest_ns == INT64_MAX ? nullptr : &timeout, nullptr);
    if (n_ended < 0 && errno != EINTR && errno != EAGAIN)
      throw_errno("poll for the end of workers");
    return n_ended != 0;
  }

  /// Kills a worker. After its end, end_started_by() kills the processes that it has started.
  /// Returns: false if the system refuses.
  bool kill(child_process const& worker, std::uint32_t number) const noexcept {
    return kill_tree(worker, mark_of_worker(mark_, number));
  }

  /// Kills a worker and collects it. A worker that may not be killed is left running, and so is one
  /// that the kernel does not end within 5 seconds.
  /// Returns: whether it has ended.
  bool end(child_process& worker, std::uint32_t number, process_end& end) const noexcept {
    constexpr int patience_ms = 5'000;
    return worker.wait_or_leave(end, kill(worker, number) ? patience_ms : 0);
  }

  /// Kills the processes that a worker has started. Precondition: the worker has ended.
  /// Returns: the process ID of one that may not be killed; 0: none.
  pid_t end_started_by(std::uint32_t number) noexcept {
    return end_marked(mark_of_worker(mark_, number), ~process_mark{0});
  }
  /// Kills the remaining workers and the processes that workers have started.
  /// Returns: as end_started_by().
  pid_t end_all_started() noexcept { return end_marked(mark_, mark_of_all); }

  /// Call when no worker is running.
  void end() noexcept {
    is_over_ = true;
    guardian_.end();
  }

 private:
  pid_t end_marked(process_mark mark, process_mark mask) noexcept {
    constexpr std::int64_t patience_ns = 2'000'000'000;  // of one that forks itself and exits
    return births_.are_all() ? 0 : kill_marked(mark, mask, patience_ns, births_.oldest()).refused;
  }

  int end_signal_;
  process_mark mark_;
  own_births births_;
  bool has_guardian_ = false;
  bool is_over_ = true;
  guardian guardian_;
};

}  // namespace forkmap::detail
