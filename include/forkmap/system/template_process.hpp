// A small process, forked early, that forks others when told: they start from the state that the
// program had then, whatever it has become.
//
// Requests and replies are packets of one socket. The process collects a child only when told, so
// that a child's number stays its own until then and pidfd_open cannot mean another. It ends, with
// all that it has forked, when its maker does: it keeps a descriptor of that process, for a socket's
// end is inherited by whatever the program forks.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <system_error>

#include <forkmap/system/bound.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>
#include <forkmap/system/per_worker.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/process_tree.hpp>

namespace forkmap::detail {

class template_process {
 public:
  /// Forks it. `body(k, signals)` is what a child with the number k < n_children runs, of which there
  /// is one at a time; it must not return.
  /// Errors: std::system_error naming what the system refused; nothing is left then.
  template <class Body> template_process(std::uint32_t n_children, Body const& body) {
    per_worker<pid_t> children(n_children);  // made here: a child of threads had better not
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
      throw_errno("socketpair of a pool");
    }
    socket_ = descriptor(ends[0]);
    descriptor other(ends[1]);
    descriptor const maker(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
    if (!maker) throw_errno("pidfd_open of a pool's process");
    sigset_t all;
    sigfillset(&all);
    sigset_t before;
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      process_ = child_process::start([&] {
        socket_.reset();
        serve(other.get(), maker.get(), children, before, body);
      });
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  /// What is thrown when somebody has killed it.
  static std::exception_ptr exception_when_gone() {
    return std::make_exception_ptr(
        std::system_error(ECONNRESET, std::system_category(),
                          "forkmap: the process that a pool forks its workers from has been "
                          "killed; make a new pool"));
  }

  /// Readable when it has ended.
  int handle() const noexcept { return process_.handle(); }

  /// Forks child k.
  /// Errors: std::system_error naming fork, pidfd_open, or that the process is gone.
  child_process start(std::uint32_t k) {
    auto const made = ask({request_kind::fork, k}).value;
    if (made < 0) throw_system_error(static_cast<int>(-made), "fork of a pool's worker");
    if (made == 0) std::rethrow_exception(exception_when_gone());  // kill(0) would be everybody
    auto const pid = static_cast<pid_t>(made);
    try {
      return child_process::adopt(pid);
    } catch (...) {
      ::kill(pid, SIGKILL);
      static_cast<void>(ask({request_kind::collect, static_cast<std::uint32_t>(pid)}));
      throw;
    }
  }

  /// Collects a child, which ends: waits for it.
  /// Returns: how it ended; unknown if this process itself is gone.
  process_end collect(child_process& child) noexcept {
    auto const pid = child.pid();
    child.forget();
    try {
      return ask({request_kind::collect, static_cast<std::uint32_t>(pid)}).end;
    } catch (...) {
      return {};
    }
  }

 private:
  enum class request_kind : std::uint32_t { fork, collect };
  struct request {
    request_kind kind;
    std::uint32_t number;  // of the child to be, or its pid
  };
  struct reply {
    std::int64_t value = 0;  // pid, or -errno
    process_end end{};
  };

  reply ask(request what) {
    if (lost_) std::rethrow_exception(exception_when_gone());
    reply answer;
    if (retry_interrupted([&] { return ::send(socket_.get(), &what, sizeof what, MSG_NOSIGNAL); }) <
        0) {
      if (errno == EPIPE || errno == ECONNRESET) std::rethrow_exception(exception_when_gone());
      throw_errno("send to the process that a pool forks its workers from");
    }
    auto const got =
        retry_interrupted([&] { return ::recv(socket_.get(), &answer, sizeof answer, 0); });
    if (got < 0 && errno != ECONNRESET) {
      auto const code = errno;
      // Its answer is there, or still to come, and would be taken for the next one: what is killed
      // may not be dead yet when it is asked again.
      lost_ = true;
      process_.kill();
      throw_system_error(code, "recv from the process that a pool forks its workers from");
    }
    if (got != static_cast<ssize_t>(sizeof answer)) std::rethrow_exception(exception_when_gone());
    return answer;
  }

  /// What it does all its life. Signals are blocked, so that only SIGKILL ends it before its maker.
  template <class Body>
  [[noreturn]] static void serve(int socket, int maker, per_worker<pid_t>& children,
                                 sigset_t const& mask, Body const& body) {
    struct sigaction usual{};
    usual.sa_handler = SIG_DFL;
    ::sigaction(SIGCHLD, &usual, nullptr);  // ignored, it would leave no child to collect
    ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    for (;;) {
      pollfd events[2] = {{socket, POLLIN, 0}, {maker, POLLIN, 0}};
      if (::poll(events, 2, -1) < 0) continue;
      if (events[1].revents != 0) break;
      request what{};
      auto const got = ::recv(socket, &what, sizeof what, MSG_DONTWAIT);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (static_cast<std::size_t>(got) != sizeof what) break;
      reply answer;
      if (what.kind == request_kind::fork) {
        auto const self = ::getpid();
        auto const pid = ::fork();
        if (pid == 0) {
          ::close(socket);
          ::close(maker);
          body(what.number, self, mask);
          exit_now(127);
        }
        answer.value = pid < 0 ? -errno : pid;
        if (pid > 0) children[what.number] = pid;
      } else {
        answer.end = collect(static_cast<pid_t>(what.number));
        std::replace(children.begin(), children.end(), static_cast<pid_t>(what.number), pid_t{0});
        collect_orphans(children);
      }
      if (::send(socket, &answer, sizeof answer, MSG_NOSIGNAL) < 0) break;
    }
    end_all();
    exit_now(0);
  }

  static process_end collect(pid_t pid) noexcept {
    process_end end;
    int status = 0;
    rusage used{};
    if (retry_interrupted([&] { return ::wait4(pid, &status, 0, &used); }) == pid) {
      end.known = true;
      end.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
      end.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      end.max_rss = static_cast<std::size_t>(used.ru_maxrss) * 1024;
    }
    return end;
  }

  /// Collects what dead children have left to this process and is dead, too. Not all of it where the
  /// kernel names another of the children first: its own turn comes.
  static void collect_orphans(per_worker<pid_t> const& children) noexcept {
    for (;;) {
      siginfo_t dead{};
      if (::waitid(P_ALL, 0, &dead, WEXITED | WNOHANG | WNOWAIT) != 0 || dead.si_pid == 0) return;
      if (std::find(children.begin(), children.end(), dead.si_pid) != children.end()) return;
      ::waitid(P_PID, static_cast<id_t>(dead.si_pid), &dead, WEXITED | WNOHANG);
    }
  }

  /// Kills every child, and theirs, which come to this process when their parents are gone.
  static void end_all() noexcept {
    auto const self = ::getpid();
    for (;;) {
      try {
        for_each_living_child(self, [](pid_t child) { ::kill(child, SIGKILL); });
      } catch (...) {  // no memory for a text: the kernel ends the children of this process
      }
      if (retry_interrupted([&] { return ::waitpid(-1, nullptr, 0); }) < 0) return;
    }
  }

  child_process process_;
  descriptor socket_;  // closed first: then the process goes by itself
  bool lost_ = false;  // an answer of its: nothing more is asked
};

}  // namespace forkmap::detail
