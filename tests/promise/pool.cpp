// Pools: the same calls as parallel(), with tasks that are sent to persistent workers.
// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>
#include <variant>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/pool_tasks.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {
using support::nothing;
using support::text_of;
using support::wrapping_square;
}  // namespace

TEST_CASE("pool: results of every kind of call are in the order of the tasks", "[pool]") {
  fm::pool const workers(3);
  for (int round = 0; round != 3; ++round) {
    for (int const n : {0, 1, 2, 7, 1000}) {
      auto const squares = workers.map(wrapping_square, support::count_to(n));
      REQUIRE(squares.size() == static_cast<std::size_t>(n));
      for (int i = 0; i != n; ++i) REQUIRE(squares[static_cast<std::size_t>(i)] == i * i);
      auto const texts = workers(support::portable_tasks_of(n, text_of));
      REQUIRE(texts.size() == static_cast<std::size_t>(n));
      for (int i = 0; i != n; ++i) REQUIRE(texts[static_cast<std::size_t>(i)] == text_of(i));
      auto const total =
          workers.reduce(support::portable_tasks_of(n, wrapping_square), 5, std::plus<>());
      REQUIRE(total == std::accumulate(squares.begin(), squares.end(), 5));
    }
    auto const several =
        workers(fm::delayed(wrapping_square)(5), nothing, [] { return std::string("x"); });
    static_assert(
        std::same_as<decltype(several), std::tuple<int, std::monostate, std::string> const>);
    REQUIRE(std::get<0>(several) == 25);
    REQUIRE(std::get<2>(several) == "x");
    workers(std::vector(5, &nothing));
    auto const first = workers.first(support::portable_tasks_of(9, [](int i) {
      if (i < 4) throw std::runtime_error("not this one");
      return i;
    }));
    REQUIRE(first.index >= 4);
    REQUIRE(first.value == static_cast<int>(first.index));
  }
  REQUIRE_THROWS_AS(workers.first(std::vector<int (*)()>{}), std::invalid_argument);
}

TEST_CASE("pool: reduce returns the same result for any number of workers", "[pool]") {
  auto const cat = [](std::string a, std::string const& b) { return a + b; };
  std::string expected = ">";
  for (int i = 0; i != 3000; ++i) expected += text_of(i);
  for (int const n_jobs : {1, 2, 5}) {
    REQUIRE(fm::pool(n_jobs).reduce(support::portable_tasks_of(3000, text_of), std::string(">"),
                                    cat) == expected);
  }
}

TEST_CASE("pool: a pool with n_jobs = 1 has a worker process", "[pool]") {
  fm::pool const workers(1);
  auto const pids = workers(std::vector(4, &::getpid));
  REQUIRE(pids[0] != ::getpid());
  REQUIRE(std::ranges::count(pids, pids[0]) == 4);
}

TEST_CASE("pool: this_task and last_report() work as in parallel()", "[pool]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .seed = 5});
  auto const seen = workers(support::portable_tasks_of(20, [](int i) {
    return std::tuple(fm::this_task::index() == i, fm::this_task::in_worker(),
                      fm::this_task::worker(), fm::this_task::rng()());
  }));
  auto const forked = fm::parallel({.n_jobs = 2, .seed = 5})(
      support::portable_tasks_of(20, [](int) { return fm::this_task::rng()(); }));
  for (int i = 0; i != 20; ++i) {
    auto const& [index, inside, worker, random] = seen[static_cast<std::size_t>(i)];
    REQUIRE(index);
    REQUIRE(inside);
    REQUIRE((worker == 0 || worker == 1));
    REQUIRE(random == forked[static_cast<std::size_t>(i)]);
  }
  workers.map(wrapping_square, support::count_to(7));
  auto const report = fm::last_report();
  REQUIRE(report.tasks == 7);
  REQUIRE(report.workers.size() == 2);
  REQUIRE(report.workers[0].tasks + report.workers[1].tasks == 7);
}

TEST_CASE("pool: text that workers print has been written when the call returns", "[pool]") {
  support::temporary_directory const folder;
  auto const log = folder.path() / "out";
  auto const child = ::fork();
  if (child == 0) {
    if (std::freopen(log.c_str(), "w", stdout) == nullptr) ::_exit(1);
    fm::pool const workers(2);
    workers(support::portable_tasks_of(50, [](int i) { std::printf("line %d of the log\n", i); }));
    ::_exit(std::filesystem::file_size(log) == 10 * 18 + 40 * 19 ? 42 : 2);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WEXITSTATUS(status) == 42);
}

TEST_CASE("pool: invalid options are refused", "[pool]") {
  REQUIRE_THROWS_AS(fm::pool(0), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::pool(fm::options{.n_jobs = 2, .resume = "journal"}), std::invalid_argument);
}
