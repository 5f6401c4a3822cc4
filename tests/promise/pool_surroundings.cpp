// Pools in programs that fork, close descriptors that they did not open, or wait for ever.
// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <ranges>
#include <ratio>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

int unchanged(int x) { return x; }
/// Waits for a byte from the pipe.
int byte_from(int pipe_end) {
  char byte = 0;
  return ::read(pipe_end, &byte, 1) == 1 ? byte : -1;
}
auto unchanged_tasks(int n) {
  return std::views::iota(0, n) |
         std::views::transform([](int i) { return fm::delayed(unchanged)(i); });
}

/// Calls f in a forked child of this program, with its result as exit status.
/// Returns: the exit status; -1 if the child did not exit.
template <class F> int status_in_forked_child(F const& f) {
  auto const child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    ::alarm(60);
    int status = 99;
    try {
      status = f();
    } catch (...) {
    }
    ::_exit(status);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// Returns: 0 if f throws the error for use in another process, 1 for another text, 2 if nothing is
/// thrown.
template <class F> int refused_as_not_ours(F const& f) {
  try {
    f();
  } catch (std::logic_error const& e) {
    return std::string(e.what()).find("process that did not make it") != std::string::npos ? 0 : 1;
  }
  return 2;
}

/// Closes all descriptors, as a program does that becomes a daemon.
int close_everything(int x) {
  ::syscall(SYS_close_range, 3U, ~0U, 0);
  return x;
}
/// Closes all descriptors and opens a file under their numbers.
int close_everything_and_open(std::string const& name) {
  ::syscall(SYS_close_range, 3U, ~0U, 0);
  int last = -1;
  while (last < 20) last = ::open(name.c_str(), O_RDWR | O_APPEND);
  return last;
}

/// Exits while it has a zombie child.
int exit_with_zombie_child(int x) {
  auto const child = ::fork();
  if (child == 0) ::_exit(0);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  ::_exit(x);
}

}  // namespace

TEST_CASE("pool: a forked child of the program does not disturb the program's streams", "[pool]") {
  auto const child_ends_copy = [](auto stream) {
    auto it = stream.begin();
    REQUIRE(status_in_forked_child([&] {
              auto const mine = std::move(stream);
              return 0;
            }) == 0);
    REQUIRE(status_in_forked_child([&] { return refused_as_not_ours([&] { ++it; }); }) == 0);
    int n = 0;
    for (; it != stream.end(); ++it) ++n;
    REQUIRE(n == 200);
  };
  fm::pool const workers(2);
  child_ends_copy(workers.stream(unchanged_tasks(200)));
  child_ends_copy(workers.unordered(unchanged_tasks(200)));
  child_ends_copy(fm::parallel(2).stream(unchanged_tasks(200)));
  child_ends_copy(fm::parallel(2).unordered(unchanged_tasks(200)));
}

TEST_CASE("future: in a forked child, get() returns a result that was there and otherwise throws",
          "[pool]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  fm::pool const workers(1);
  auto finished = workers.submit(fm::delayed(unchanged)(7));
  REQUIRE(finished.wait_for(std::chrono::hours::max()));
  auto pending = workers.submit(fm::delayed(byte_from)(ends[0]));
  REQUIRE(status_in_forked_child([&] { return finished.get() == 7 ? 0 : 1; }) == 0);
  REQUIRE(status_in_forked_child(
              [&] { return refused_as_not_ours([&] { static_cast<void>(pending.get()); }); }) == 0);
  REQUIRE(status_in_forked_child([&] {
            return refused_as_not_ours([&] { static_cast<void>(pending.wait_for(1h)); });
          }) == 0);
  REQUIRE(finished.get() == 7);
  REQUIRE(::write(ends[1], "8", 1) == 1);
  REQUIRE(pending.get() == '8');
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("future: wait_for accepts durations of every length", "[pool]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  fm::pool const workers(1);
  auto pending = workers.submit(fm::delayed(byte_from)(ends[0]));
  REQUIRE_FALSE(pending.wait_for(0s));
  REQUIRE_FALSE(pending.wait_for(-1h));
  REQUIRE_FALSE(pending.wait_for(std::chrono::hours::min()));
  std::jthread later([&] {
    ::usleep(50'000);
    static_cast<void>(!::write(ends[1], "8", 1));
  });
  REQUIRE(pending.wait_for(std::chrono::hours::max()));
  REQUIRE(pending.wait_for(std::chrono::duration<double, std::ratio<31556952>>(1e9)));
  REQUIRE(pending.get() == '8');
  later.join();
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("pool: using a pool that was moved from throws", "[pool]") {
  fm::pool first(1);
  fm::pool const second(std::move(first));
  REQUIRE_THROWS_WITH(first.map(unchanged, std::views::iota(0, 3)),
                      ContainsSubstring("moved from"));
  REQUIRE_THROWS_WITH(first.submit(fm::delayed(unchanged)(1)), ContainsSubstring("moved from"));
  REQUIRE_THROWS_WITH(first.stream(unchanged_tasks(3)), ContainsSubstring("moved from"));
  REQUIRE(second.map(unchanged, std::views::iota(0, 3)).back() == 2);
}

TEST_CASE("pool: a task that closes every descriptor ends its worker and damages no file",
          "[pool]") {
  support::temporary_directory const folder;
  auto const name = (folder.path() / "the program's").string();
  for (int const n_workers : {1, 3}) {
    fm::pool const workers(n_workers);
    for (int round = 0; round != 5; ++round) {
      REQUIRE(workers.map(close_everything, std::views::iota(0, 20)).back() == 19);
      REQUIRE(workers.map(unchanged, std::views::iota(0, 20)).back() == 19);
    }
  }
  fm::pool const worker(1);
  for (int round = 0; round != 5; ++round) {
    // The first result of a worker needs a mapping, which must exist before the descriptors are
    // closed.
    REQUIRE(worker.submit(fm::delayed(unchanged)(round)).get() == round);
    REQUIRE(worker.submit(fm::delayed(close_everything)(round)).get() == round);
    REQUIRE(worker.submit(fm::delayed(unchanged)(round)).get() == round);
    support::write_bytes(name, "");
    REQUIRE(worker.submit(fm::delayed(close_everything_and_open)(name)).get() == 20);
    REQUIRE(support::file_bytes(name).empty());
  }
}

TEST_CASE("pool: a deadline ends the wait for a worker that hangs in worker_init", "[pool]") {
  fm::options opts{.n_jobs = 2, .deadline = 100ms};
  opts.worker_init = [](int) {
    for (;;) ::pause();
  };
  REQUIRE_THROWS_AS(fm::parallel(opts).stream(unchanged_tasks(3)).begin(), fm::deadline_exceeded);
  fm::pool const workers(opts);
  REQUIRE_THROWS_AS(workers.map(unchanged, std::views::iota(0, 3)), fm::deadline_exceeded);
}

TEST_CASE("pool: a worker that is stopped by SIGSTOP ends with its pool", "[pool]") {
  std::optional<fm::pool> workers(std::in_place, 2);
  for (pid_t const pid : (*workers)(std::vector(2, &::getpid))) REQUIRE(::kill(pid, SIGSTOP) == 0);
  workers.reset();
  REQUIRE(support::child_processes().empty());
}

TEST_CASE("pool: zombie children of workers that have exited are reaped", "[pool]") {
  fm::pool const workers(1);
  for (int round = 0; round != 20; ++round) {
    REQUIRE_THROWS_AS(workers.submit(fm::delayed(exit_with_zombie_child)(1)).get(),
                      fm::worker_died);
  }
  REQUIRE(workers.submit(fm::delayed(unchanged)(7)).get() == 7);
  auto const family = support::child_processes();
  auto const all = support::all_processes();
  REQUIRE(std::ranges::none_of(all, [&](support::process const& p) {
    return p.state == 'Z' && std::ranges::find(family, p.parent) != family.end();
  }));
}

TEST_CASE("pool: a program that has closed stdin and stdout may still write to them", "[pool]") {
  auto const with_closed = [] {
    ::close(STDIN_FILENO);
    ::close(STDOUT_FILENO);
    fm::pool const workers(2);
    bool right = workers.map(unchanged, std::vector{1, 2}) == std::vector{1, 2};
    // The pool's own descriptors must not have these numbers.
    for (int const fd : {STDIN_FILENO, STDOUT_FILENO}) static_cast<void>(!::write(fd, "text", 4));
    for (int n = 0; n != 3; ++n)
      right = right && workers.map(unchanged, std::vector{1, 2}) == std::vector{1, 2};
    // A worker that dies is replaced by a request to the fork server.
    auto const outcomes =
        workers.outcomes([](int i) { return i == 1 ? ::raise(SIGKILL) : i; }, std::vector{0, 1, 2});
    return right && outcomes[0] && !outcomes[1] && outcomes[2];
  };
  auto const outcomes =
      fm::parallel({.n_jobs = 1, .isolate = true}).outcomes(std::vector{with_closed});
  CHECK(outcomes[0].value());
}
