// The options before_fork and after_fork, and the names of forkmap's processes.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"

namespace fm = forkmap;

namespace {

std::string name_of(std::string const& process) {
  std::ifstream file("/proc/" + process + "/comm");
  std::string name;
  std::getline(file, name);
  return name;
}

int kill_worker_at_three(int i) {
  if (i == 3 && fm::this_task::attempt() == 0) ::raise(SIGKILL);
  return i;
}

/// Options whose hooks write to `log`: b before a fork, a after it.
fm::options logging(std::string& log) {
  return {.n_jobs = 3,
          .retries = 1,
          .before_fork = [&log] { log += 'b'; },
          .after_fork = [&log] { log += 'a'; }};
}

}  // namespace

TEST_CASE("before_fork: the hooks run once around all forks of a call, and around a replacement",
          "[options]") {
  std::string log;
  auto const caller = ::getpid();
  auto opts = logging(log);
  opts.before_fork = [&, before = opts.before_fork] {
    before();
    CHECK(::getpid() == caller);
    CHECK(support::child_processes().empty());
  };
  fm::parallel(opts).map([](int i) { return i; }, std::views::iota(0, 9));
  CHECK(log == "ba");
  log.clear();
  opts.before_fork = logging(log).before_fork;
  CHECK(fm::parallel(opts).map(kill_worker_at_three, std::views::iota(0, 5)) ==
        std::vector{0, 1, 2, 3, 4});
  CHECK(log == "baba");
}

TEST_CASE("before_fork: the hooks run once for a pool, and for a stream of parallel()",
          "[options]") {
  std::string log;
  {
    fm::pool const workers(logging(log));
    CHECK(log == "ba");
    for (int n = 0; n != 2; ++n) workers.map(kill_worker_at_three, std::views::iota(0, 5));
    CHECK(log == "ba");
  }
  log.clear();
  for (int const x :
       fm::parallel(logging(log)).stream(kill_worker_at_three, std::views::iota(0, 5)))
    CHECK(x < 5);
  CHECK(log == "ba");
}

TEST_CASE("before_fork: no hook runs where nothing is forked", "[options]") {
  std::string log;
  auto opts = logging(log);
  opts.n_jobs = 1;
  opts.retries = 0;
  fm::parallel(opts).map([](int i) { return i; }, std::views::iota(0, 3));
  fm::parallel(logging(log)).map([](int i) { return i; }, std::vector<int>{});
  CHECK(log.empty());
}

TEST_CASE("before_fork: an exception of a hook fails the call and leaves no worker", "[options]") {
  std::string log;
  auto refuse = logging(log);
  refuse.before_fork = [] { throw std::runtime_error("not now"); };
  auto fail = logging(log);
  fail.after_fork = [] { throw std::runtime_error("after the fork"); };
  auto const run = [](fm::options const& opts) {
    fm::parallel(opts).map([](int i) { return i; }, std::views::iota(0, 9));
  };
  CHECK_THROWS_WITH(run(refuse), "not now");
  CHECK(log.empty());
  CHECK_THROWS_WITH(run(fail), "after the fork");
  CHECK(log == "b");
  CHECK_THROWS_WITH(fm::pool(refuse), "not now");
  CHECK_THROWS_WITH(fm::pool(fail), "after the fork");
  CHECK(support::child_processes().empty());
}

TEST_CASE("process names: ps shows which processes are workers", "[surroundings]") {
  auto const own_name = name_of("self");
  auto const name = [](int) { return name_of("self"); };
  auto const names = fm::parallel({.n_jobs = 2, .batch_size = 1}).map(name, std::views::iota(0, 8));
  for (auto const& worker : names) CHECK((worker == "forkmap w0" || worker == "forkmap w1"));
  fm::pool const workers(fm::options{.n_jobs = 12, .batch_size = 1});
  fm::shared_array<int> n_begun({1});
  // Each worker gets one task, because a task ends only when all have begun.
  auto of_pool = workers.map(
      [](int, fm::shared_array<int> begun) {
        std::atomic_ref(begun[0]).fetch_add(1);
        while (std::atomic_ref(begun[0]).load() != 12) ::usleep(500);
        return name_of("self");
      },
      std::views::iota(0, 12), std::vector(12, n_begun));
  std::ranges::sort(of_pool);
  CHECK(of_pool == std::vector<std::string>{"forkmap w0", "forkmap w1", "forkmap w10",
                                            "forkmap w11", "forkmap w2", "forkmap w3", "forkmap w4",
                                            "forkmap w5", "forkmap w6", "forkmap w7", "forkmap w8",
                                            "forkmap w9"});
  CHECK(std::ranges::count_if(support::child_processes(), [](pid_t pid) {
          return name_of(std::to_string(pid)) == "forkmap server";
        }) == 1);
  CHECK(name_of("self") == own_name);
}
