// A fork server: a small process, forked early, that forks other processes on request. They start
// from the state that the program had when the fork server was forked.
//
// Requests and replies are packets of one socket. The fork server collects a child only on request,
// so that the pid is not reused before that and pidfd_open cannot open another process. When
// its maker ends, the fork server ends all its children and itself. It watches a pidfd of its maker
// for that, not the socket: every process that the program forks inherits the other end of the
// socket.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/single_threaded.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <system_error>

#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/exits.hpp>
#include <forkmap/detail/os/fork_error.hpp>
#include <forkmap/detail/os/marked_processes.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/process_mark.hpp>
#include <forkmap/detail/pool/fork_server_loop.hpp>

namespace forkmap::detail {

class fork_server {
 public:
  /// Forks the fork server. Child k < n_children runs `body(k, parent, signals)`, which must not
  /// return; there is one child k at a time. `mark`: the common mark of all children; no_mark: they
  /// have none.
  /// Errors: std::system_error naming the operation that failed; nothing is left behind.
  template <class Body>
  fork_server(std::uint32_t n_children, Body const& body, process_mark mark = no_mark) {
    per_worker<pid_t> children(n_children);  // allocated here: a child of threads should not
    descriptor const maker(open_process_handle(::getpid()));
    if (!maker && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
      throw_errno("pidfd_open of a pool's process");
    }
    auto const made_by = ::getpid();
    constexpr int most_tries = 100;
    for (int tries = 0; tries != most_tries; ++tries) {
      int ends[2] = {-1, -1};
      if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        throw_errno("socketpair of a pool");
      }
      socket_ = descriptor(ends[0]);
      descriptor other(ends[1]);
      // Away from 0, 1 and 2, which a program may have closed and may open again.
      move_up(socket_);
      move_up(other);
      bool const beside_threads = __libc_single_threaded == 0;
      sigset_t all;
      sigfillset(&all);
      sigset_t before;
      ::pthread_sigmask(SIG_SETMASK, &all, &before);
      try {
        process_ = child_process::start([&] {
          socket_.reset();
          leave_at_exit();
          reply const ready;
          if (beside_threads) ::send(other.get(), &ready, sizeof ready, MSG_NOSIGNAL);
          fork_server_loop<Body>{other.get(), maker.get(), made_by, children, before, body, mark}
              .serve();
        });
      } catch (...) {
        ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
      }
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      if (!beside_threads || is_ready()) return;
    }
    std::rethrow_exception(exception_when_killed());
  }
  fork_server(fork_server const&) = delete;
  fork_server& operator=(fork_server const&) = delete;
  /// Ends the fork server. Processes that its children's children left running are not killed.
  ~fork_server() {
    constexpr int patience_ms = 1'000;
    request const leave{request_kind::leave, 0, no_mark};
    if (lost_ || ::send(socket_.get(), &leave, sizeof leave, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
      process_.kill();
    socket_.reset();
    process_.send(SIGCONT);
    process_.ends_within(patience_ms);
  }

  /// The exception for a fork server that has been killed.
  static std::exception_ptr exception_when_killed() {
    return std::make_exception_ptr(
        std::system_error(ECONNRESET, std::system_category(),
                          "forkmap: the process that a pool forks its workers from has been "
                          "killed; make a new pool"));
  }

  /// Readable when the fork server has ended; -1: ask has_ended().
  int handle() const noexcept { return process_.handle(); }
  bool has_ended() const noexcept { return process_.has_ended(); }

  /// Forks child k.
  /// Errors: std::system_error naming fork or pidfd_open, or saying that the fork server was
  ///   killed.
  child_process start(std::uint32_t k) {
    auto const value = ask({request_kind::fork, k, no_mark}).value;
    if (value < 0) throw_fork_error(static_cast<int>(-value), "a pool's worker");
    if (value == 0)
      std::rethrow_exception(exception_when_killed());  // kill(0) kills the whole group
    auto const pid = static_cast<pid_t>(value);
    try {
      return child_process::adopt(pid);
    } catch (...) {
      static_cast<void>(ask({request_kind::kill, static_cast<std::uint32_t>(pid), no_mark}));
      static_cast<void>(ask({request_kind::collect, static_cast<std::uint32_t>(pid), no_mark}));
      throw;
    }
  }

  /// Waits for the end of a child and collects it. Kills the processes that it has started and that
  /// have `mark`. `left`: set to the pid of one of these that may not be killed; 0: none.
  /// Returns: how the child ended; unknown if the fork server has ended.
  process_end collect(child_process& child, process_mark mark = no_mark,
                      pid_t* left = nullptr) noexcept {
    auto const pid = child.pid();
    child.forget();
    try {
      auto const answer = ask({request_kind::collect, static_cast<std::uint32_t>(pid), mark});
      if (left != nullptr) *left = static_cast<pid_t>(answer.value);
      return answer.end();
    } catch (...) {
      return {};
    }
  }

  /// Kills a child with the privileges that the maker had when it forked the fork server.
  /// Returns: false if the system refuses it.
  bool kill(child_process const& child) noexcept {
    return answer_to(request_kind::kill, child) == 0;
  }

  /// Whether a child has ended.
  bool has_ended(child_process const& child) noexcept {
    return answer_to(request_kind::look, child) != 0;
  }

  /// Waits at most that many milliseconds for the end of a child; without a pidfd, also until this
  /// process has ended.
  /// Returns: whether the child has ended; false, too, if a signal interrupts the wait.
  bool ends_within(child_process const& child, int milliseconds) noexcept {
    if (child.handle() >= 0) {
      pollfd end{child.handle(), POLLIN, 0};
      auto const n = ::poll(&end, 1, milliseconds);
      if (n >= 0 || errno == EINTR) return n > 0;
    }
    for (int waited = 0; waited < milliseconds; ++waited) {
      if (has_ended(child)) return true;
      timespec const pause{.tv_sec = 0, .tv_nsec = 1'000'000};
      ::nanosleep(&pause, nullptr);
    }
    return false;
  }

 private:
  using request_kind = fork_request::kind;
  using request = fork_request;
  using reply = fork_reply;

  /// Waits until the fork server serves requests.
  /// Returns: false if it has ended before, because a thread of the program held a lock of the C
  ///   library at the fork: see exits.hpp.
  bool is_ready() noexcept {
    constexpr int look_ms = 5;  // without a pidfd, whose end poll() could wait for
    for (;;) {
      pollfd events[2] = {{socket_.get(), POLLIN, 0}, {process_.handle(), POLLIN, 0}};
      auto const n = ::poll(events, 2, process_.handle() >= 0 ? -1 : look_ms);
      if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      reply ready;
      if (::recv(socket_.get(), &ready, sizeof ready, MSG_DONTWAIT) ==
          static_cast<ssize_t>(sizeof ready)) {
        return true;
      }
      if (n != 0 || process_.has_ended()) break;
    }
    process_ = {};
    return false;
  }

  /// Returns: 1 if there is no answer because the fork server has ended.
  std::int64_t answer_to(request_kind kind, child_process const& child) noexcept {
    try {
      return ask({kind, static_cast<std::uint32_t>(child.pid()), no_mark}).value;
    } catch (...) {
      return 1;
    }
  }

  /// Waits until an answer can be received, or the fork server has ended. Continues a fork server
  /// that was stopped (SIGSTOP).
  /// Returns: false if it does not answer in time.
  bool answer_comes() const noexcept {
    constexpr int look_ms = 20;
    constexpr std::int64_t patience_ns = 30'000'000'000;         // a fork of much memory takes long
    constexpr std::int64_t stopped_patience_ns = 1'000'000'000;  // a debugger may hold it
    auto const asked_at = nanoseconds_now();
    for (;;) {
      pollfd event{socket_.get(), POLLIN, 0};
      auto const n = ::poll(&event, 1, look_ms);
      if (n > 0) return true;
      if (n < 0 && errno != EINTR && errno != EAGAIN) return true;  // recv() waits, too
      auto const waited = nanoseconds_now() - asked_at;
      auto const state = process_stat::of(process_.pid()).state;
      bool const stopped = state == 'T' || state == 't';
      if (stopped) process_.send(SIGCONT);
      if (waited > (stopped ? stopped_patience_ns : patience_ns)) return false;
    }
  }

  reply ask(request question) {
    if (lost_) std::rethrow_exception(exception_when_killed());
    reply answer;
    if (retry_interrupted(
            [&] { return ::send(socket_.get(), &question, sizeof question, MSG_NOSIGNAL); }) < 0) {
      if (errno == EPIPE || errno == ECONNRESET) std::rethrow_exception(exception_when_killed());
      throw_errno("send to the process that a pool forks its workers from");
    }
    bool const comes = answer_comes();
    auto const got =
        comes ? retry_interrupted([&] { return ::recv(socket_.get(), &answer, sizeof answer, 0); })
              : ssize_t{-1};
    if (!comes) errno = ETIMEDOUT;
    if (got < 0 && errno != ECONNRESET) {
      auto const code = errno;
      // The answer may be there or still come, and would be taken for the next one: the killed
      // process may not have ended yet when the next request is sent.
      lost_ = true;
      process_.kill();
      throw_system_error(code, "recv from the process that a pool forks its workers from");
    }
    if (got != static_cast<ssize_t>(sizeof answer)) std::rethrow_exception(exception_when_killed());
    return answer;
  }

  child_process process_;
  descriptor socket_;  // closed first: then the fork server ends by itself
  bool lost_ = false;  // an answer was lost: no more requests are sent
};

}  // namespace forkmap::detail
