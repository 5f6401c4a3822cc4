// A pool when a system call fails, for each call in turn. The exception names the system call,
// results that are returned are correct, and all resources are released (the test program checks
// children, descriptors and files after each test).
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdint>
#include <ranges>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/detail/pool/fork_server.hpp>
#include <forkmap/forkmap.hpp>

#include "fail_each.hpp"
#include "injection.hpp"
#include "support/catch.hpp"

namespace fm = forkmap;
using fault::fail_each;
using fault::function;

namespace {

int plus(int a, int b) { return a + b; }
std::string text_of(int i) { return std::to_string(i); }
std::string repeated(std::string const& text, int n) {
  std::string all;
  for (int i = 0; i != n; ++i) all += text;
  return all;
}
int crash_at_three(int i) {
  if (i == 3) ::raise(SIGKILL);
  return i;
}

auto six_tasks_with_one_crash() {
  return std::views::iota(0, 6) |
         std::views::transform([](int i) { return fm::delayed(crash_at_three)(i); });
}
/// The signal that killed the task's worker.
int signal_of(fm::outcome<int> const& outcome) {
  try {
    return outcome.value();
  } catch (fm::worker_died const& e) {
    return e.signal();
  }
}

void use_a_pool() {
  fm::pool const workers(2);
  auto const texts = workers.map(text_of, std::views::iota(0, 30));
  REQUIRE(texts.size() == 30);
  REQUIRE(texts[29] == "29");
}

/// Sends so many tasks that the first ones run while the last ones are sent.
void send_many_calls() {
  constexpr int n = 100'000;
  fm::pool const workers(2);
  auto const sums = workers(std::views::iota(0, n) | std::views::transform([](int i) {
                              return fm::delayed(plus)(i, 2 * i);
                            }));
  REQUIRE(sums.size() == n);
  REQUIRE(sums[n - 1] == 3 * (n - 1));
}

/// Streams texts. Each task needs shared memory of its own.
void stream_texts() {
  fm::pool const workers(fm::options{.n_jobs = 2, .pre_dispatch = 4});
  int n_seen = 0;
  for (auto const& text : workers.stream(std::views::iota(0, 20) | std::views::transform([](int i) {
                                           return fm::delayed(repeated)(std::to_string(i), 1000);
                                         }))) {
    REQUIRE(text.starts_with(std::to_string(n_seen)));
    REQUIRE(text.size() == 1000 * std::to_string(n_seen).size());
    ++n_seen;
  }
  REQUIRE(n_seen == 20);
}

/// Streams texts from workers that are forked for this stream, so that tasks may use references.
void stream_texts_of_forked_workers() {
  std::string const text(1000, 'x');
  auto const tasks = std::views::iota(0, 20) | std::views::transform([&](int i) {
                       return [&text, i] { return text + text_of(i); };
                     });
  int n_seen = 0;
  for (auto const& result : fm::parallel({.n_jobs = 2, .pre_dispatch = 4}).stream(tasks)) {
    REQUIRE(result == text + text_of(n_seen));
    ++n_seen;
  }
  REQUIRE(n_seen == 20);
}

/// Runs `action` `rounds` times, failing the nth call of f in the nth round.
/// Returns: the number of rounds that threw.
template <class Action> int fail_some(function f, int code, int rounds, Action action) {
  int thrown = 0;
  for (int nth = 1; nth <= rounds; ++nth) {
    INFO(fault::name_of(f) << ", call " << nth);
    fault::arm(f, nth, code);
    try {
      action();
    } catch (std::system_error const& e) {
      REQUIRE(e.code() == std::error_code(code, std::system_category()));
      REQUIRE(std::string(e.what()).find("forkmap: ") != std::string::npos);
      ++thrown;
    }
    fault::disarm();
  }
  return thrown;
}

}  // namespace

TEST_CASE("fault: a pool without shared memory, processes or descriptors", "[fault]") {
  REQUIRE(fail_each(function::memfd_create, EMFILE, "memfd_create", use_a_pool) == 1);
  REQUIRE(fail_each(function::ftruncate, ENOMEM, "ftruncate of shared memory", use_a_pool) == 1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory", use_a_pool) >= 3);
  REQUIRE(fail_each(function::fork, EAGAIN, "fork of", use_a_pool) == 1);
  // Only these numbers: waking a futex and waiting for a child do not fail in practice.
  for (long const number : {SYS_pidfd_open, SYS_madvise}) {
    fault::count_only(number);
    REQUIRE(fail_some(function::syscall, ENOMEM, 8, use_a_pool) >= 2);
  }
  fault::count_only(-1);
  use_a_pool();
}

TEST_CASE("fault: a pool without memory for a call whose tasks run while others are sent",
          "[fault]") {
  fault::count_only(SYS_madvise);
  // Memory for the call, for its growing arguments, and for its results, which are then allocated
  // page by page.
  REQUIRE(fail_some(function::syscall, ENOMEM, 12, send_many_calls) >= 3);
  fault::count_only(-1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory", send_many_calls) >= 3);
  send_many_calls();
}

// A task that cannot be dispatched is an error of its element. All elements before it are correct.
TEST_CASE("fault: a stream of a pool whose dispatch fails", "[fault]") {
  fault::count_only(SYS_madvise);
  // The number of calls depends on how many tasks run at once.
  REQUIRE(fail_some(function::syscall, ENOMEM, 30, stream_texts) >= 3);
  fault::count_only(-1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory", stream_texts) >= 3);
  stream_texts();
}

TEST_CASE("fault: a stream of forked workers without memory, processes or descriptors", "[fault]") {
  REQUIRE(fail_each(function::memfd_create, EMFILE, "memfd_create",
                    stream_texts_of_forked_workers) == 1);
  REQUIRE(fail_each(function::fork, EAGAIN, "fork of", stream_texts_of_forked_workers) == 1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory",
                    stream_texts_of_forked_workers) >= 3);
  fault::count_only(SYS_madvise);
  REQUIRE(fail_some(function::syscall, ENOMEM, 20, stream_texts_of_forked_workers) >= 2);
  fault::count_only(-1);
  stream_texts_of_forked_workers();
}

TEST_CASE("fault: a pool without its socket, its eventfd, or a reply of the fork server",
          "[fault]") {
  REQUIRE(fail_each(function::socketpair, EMFILE, "socketpair of a pool", use_a_pool) == 1);
  REQUIRE(fail_each(function::eventfd, EMFILE, "eventfd of a pool", use_a_pool) == 1);
  // The two requests to start a worker must succeed. Those for an exit status may fail.
  REQUIRE(fail_some(function::send, ENOBUFS, 6, use_a_pool) == 2);
  REQUIRE(fail_some(function::recv, ENOMEM, 6, use_a_pool) == 2);
  REQUIRE(fail_some(function::send, EINTR, 6, use_a_pool) == 0);
  REQUIRE(fail_some(function::recv, EINTR, 6, use_a_pool) == 0);
  REQUIRE(fail_some(function::write, EINTR, 6, use_a_pool) == 0);
}

TEST_CASE("fault: a worker whose exit status cannot be read is reported as died, cause unknown",
          "[fault]") {
  fm::pool const workers(1);
  fault::arm(function::send, 1, ENOBUFS);
  auto const outcomes = workers.outcomes(six_tasks_with_one_crash());
  REQUIRE(fault::disarm());
  CHECK(signal_of(outcomes[3]) == 0);
  CHECK(*outcomes[2] == 2);
  CHECK(*outcomes[5] == 5);
  // The next call works as usual.
  CHECK(signal_of(workers.outcomes(six_tasks_with_one_crash())[3]) == SIGKILL);
}

TEST_CASE("fault: a pool that lost a reply of the fork server refuses all further calls",
          "[fault]") {
  fm::pool const workers(1);
  fault::arm(function::recv, 1, ENOMEM);
  REQUIRE_THROWS_AS(workers.outcomes(six_tasks_with_one_crash()), std::system_error);
  REQUIRE(fault::disarm());
  REQUIRE_THROWS_AS(workers.outcomes(six_tasks_with_one_crash()), std::system_error);
}

// A killed fork server may live on for a moment, and its last reply may still be in the socket.
// Read as the reply to the next request, it would give 0 as the pid of a child, and kill() with pid
// 0 signals the whole process group.
TEST_CASE("fault: after a reply is lost, the fork server gets no further request", "[fault]") {
  fm::detail::fork_server server(1, [](std::uint32_t, pid_t, sigset_t const&) {});
  auto child = server.start(0);
  fault::arm(function::recv, 1, ENOMEM);
  CHECK_FALSE(server.collect(child).known);
  REQUIRE(fault::disarm());
  fault::arm(function::send, 1, ENOBUFS);
  CHECK_THROWS_WITH(server.start(1), Catch::Matchers::ContainsSubstring("make a new pool"));
  CHECK_FALSE(fault::disarm());
}

TEST_CASE("fault: the supervisor of a pool retries an interrupted poll", "[fault]") {
  REQUIRE(fail_some(function::ppoll, EINTR, 5, use_a_pool) == 0);
}

TEST_CASE("fault: if a worker of a pool cannot be replaced, only the running call is affected",
          "[fault]") {
  fm::pool const workers(2);
  for (int round = 0; round != 5; ++round) {
    fault::count_only(SYS_pidfd_open);
    fault::arm(function::syscall, 1 + round % 2, EMFILE);
    try {
      auto const outcomes =
          workers.outcomes(std::views::iota(0, 20) | std::views::transform([](int i) {
                             return fm::delayed(crash_at_three)(i);
                           }));
      for (int i = 0; i != 20; ++i) {
        REQUIRE(outcomes[static_cast<std::size_t>(i)].has_value() == (i != 3));
      }
    } catch (std::system_error const& e) {
      REQUIRE(e.code().value() == EMFILE);
    }
    fault::disarm();
    fault::count_only(-1);
    REQUIRE(workers.map(text_of, std::views::iota(0, 3)) ==
            std::vector<std::string>{"0", "1", "2"});
  }
}
