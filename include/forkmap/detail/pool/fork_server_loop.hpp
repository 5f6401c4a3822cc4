// The loop of a fork server: it forks and collects children on request, and ends them all when its
// maker has ended.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/marked_processes.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/process_mark.hpp>

namespace forkmap::detail {

struct fork_request {
  enum class kind : std::uint32_t { fork, collect, kill, look, leave };
  kind action;
  std::uint32_t number;  // of the child to fork; else the child's pid
  process_mark mark;     // of the processes to kill that a collected child has started
};

/// Has no padding, which would be sent uninitialised.
struct fork_reply {
  std::int64_t value = 0;  // pid, or -errno
  std::uint64_t max_rss = 0;
  std::int32_t known = 0;
  std::int32_t signal = 0;
  std::int32_t exit_status = -1;
  std::int32_t unused = 0;

  process_end end() const noexcept {
    return {.known = known != 0,
            .signal = signal,
            .exit_status = exit_status,
            .max_rss = static_cast<std::size_t>(max_rss)};
  }
};
static_assert(sizeof(fork_reply) == 32);

/// The main loop of the process. Signals are blocked, so that only SIGKILL ends it before its maker
/// ends.
template <class Body> struct fork_server_loop {
  int socket;
  int maker;  // a pidfd; -1: the system has none
  pid_t made_by;
  per_worker<pid_t>& children;
  sigset_t const& mask;
  Body const& body;
  process_mark mark;
  struct sigaction of_children{};  // the program's disposition of SIGCHLD
  own_births births{};

  [[noreturn]] void serve() {
    // If SIGCHLD were ignored, no child could be collected. The handler only interrupts ppoll().
    struct sigaction nothing{};
    nothing.sa_handler = [](int) {};
    ::sigaction(SIGCHLD, &nothing, &of_children);
    sigset_t waiting;
    sigfillset(&waiting);
    sigdelset(&waiting, SIGCHLD);
    wear_mark(no_mark);  // not to be killed with a worker that owns this pool
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    ::prctl(PR_SET_NAME, "forkmap server", 0, 0, 0);
    for (;;) {
      pollfd events[2] = {{socket, POLLIN, 0}, {maker, POLLIN, 0}};
      timespec const often{.tv_sec = 0, .tv_nsec = 50'000'000};
      auto const n = ::ppoll(events, 2, maker < 0 ? &often : nullptr, &waiting);
      bool const refused = n < 0 && errno != EINTR && errno != EAGAIN;
      if (refused) {
        timespec const pause{.tv_sec = 0, .tv_nsec = 1'000'000};
        ::nanosleep(&pause, nullptr);
      }
      collect_orphans();
      if (events[1].revents != 0 || ((refused || maker < 0) && ::getppid() != made_by)) break;
      if (n <= 0 && !refused) continue;
      fork_request request{};
      auto const got = ::recv(socket, &request, sizeof request, MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (static_cast<std::size_t>(got) != sizeof request) break;
      if (request.action == fork_request::kind::leave) leave();
      auto const answer = answer_to(request);
      if (::send(socket, &answer, sizeof answer, MSG_NOSIGNAL) < 0) break;
    }
    end_all();
    exit_now(0);
  }

  fork_reply answer_to(fork_request const& request) {
    auto const pid = static_cast<pid_t>(request.number);
    switch (request.action) {
      case fork_request::kind::fork:
        return {.value = start(request.number)};
      case fork_request::kind::kill:
        if (!is_child(pid)) return {.value = -ESRCH};
        return {.value = ::kill(pid, SIGKILL) == 0 ? 0 : -errno};
      case fork_request::kind::look:
        return {.value = !is_child(pid) || has_ended(pid) ? 1 : 0};
      default:
        return collect(pid, request.mark);
    }
  }

  std::int64_t start(std::uint32_t k) {
    auto const self = ::getpid();
    auto const pid = ::fork();
    if (pid == 0) {
      ::close(socket);
      if (maker >= 0) ::close(maker);
      ::sigaction(SIGCHLD, &of_children, nullptr);
      body(k, self, mask);
      exit_now(127);
    }
    if (pid < 0) return -errno;
    children[k] = pid;
    births.note(pid);
    return pid;
  }

  bool is_child(pid_t pid) const noexcept {
    return pid > 0 && std::find(children.begin(), children.end(), pid) != children.end();
  }

  static bool has_ended(pid_t pid) noexcept {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
           info.si_pid == pid;
  }

  fork_reply collect(pid_t pid, process_mark child_mark) noexcept {
    constexpr int most_looks = 1'000;
    fork_reply answer;
    int status = 0;
    rusage used{};
    pid_t collected = 0;
    // The child has ended, or is about to.
    for (int look = 0; collected == 0 && look != most_looks; ++look) {
      if (look != 0) {
        timespec const pause{.tv_sec = 0, .tv_nsec = 1'000'000};
        ::nanosleep(&pause, nullptr);
      }
      collected = ::wait4(pid, &status, WNOHANG, &used);
    }
    if (collected == pid) {
      auto const end = process_end::of(status, used);
      answer.max_rss = end.max_rss;
      answer.known = 1;
      answer.signal = end.signal;
      answer.exit_status = end.exit_status;
    }
    std::replace(children.begin(), children.end(), pid, pid_t{0});
    constexpr std::int64_t patience_ns = 2'000'000'000;  // of one that forks itself and exits
    if (child_mark != no_mark && !births.are_all())
      answer.value =
          kill_marked(child_mark, ~process_mark{0}, patience_ns, births.oldest()).refused;
    collect_orphans();
    return answer;
  }

  /// Collects processes that have exited and that workers or their tasks, which exited before, left
  /// to this process. Stops if the kernel names a worker first: workers are collected on request.
  void collect_orphans() const noexcept {
    for (;;) {
      siginfo_t ended{};
      if (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) != 0 || ended.si_pid == 0) return;
      if (is_child(ended.si_pid)) return;
      ::waitid(P_PID, static_cast<id_t>(ended.si_pid), &ended, WEXITED | WNOHANG);
    }
  }

  /// Ends the fork server and its children, on request of the maker.
  [[noreturn]] void leave() const noexcept {
    for (auto const pid : children) {
      if (pid != 0) ::kill(pid, SIGKILL);
    }
    exit_now(0);
  }

  /// Called when the maker has ended. Kills every child, every process with their marks, and every
  /// process that this one inherits because its parent has ended.
  void end_all() const noexcept {
    constexpr std::int64_t patience_ns = 5'000'000'000;
    auto const until = nanoseconds_now() + patience_ns;
    auto const self = ::getpid();
    for (;;) {
      for_each_numbered("/proc", [&](pid_t pid, long) {
        auto const stat = process_stat::of(pid);
        if (stat.parent == self && stat.is_alive()) ::kill(pid, SIGKILL);
      });
      for (auto const pid : children) {  // where there is no /proc
        if (pid != 0 && !has_ended(pid)) ::kill(pid, SIGKILL);
      }
      static_cast<void>(kill_marked(mark, mark_of_all, until - nanoseconds_now()));
      pid_t any = 0;
      while ((any = ::waitpid(-1, nullptr, WNOHANG)) > 0) {
      }
      if (any < 0 || nanoseconds_now() >= until) return;
      timespec const pause{.tv_sec = 0, .tv_nsec = 1'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }
};

}  // namespace forkmap::detail
