// n_jobs, defaults, hooks, random numbers and this_task.
// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <numeric>
#include <ranges>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;

namespace {
pid_t own_pid(int) { return ::getpid(); }
}  // namespace

TEST_CASE("options: n_jobs has the same meaning as in joblib", "[options]") {
  REQUIRE_THROWS_AS(fm::parallel(0), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::parallel({.n_jobs = 0}), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::effective_n_jobs(0), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::parallel(1L << 40), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::parallel(1ULL << 63), std::invalid_argument);
  REQUIRE(fm::cpu_count() >= 1);
  REQUIRE(fm::effective_n_jobs(-1) == fm::cpu_count());
  REQUIRE(fm::effective_n_jobs(-2) == std::max(1, fm::cpu_count() - 1));
  REQUIRE(fm::effective_n_jobs(-1000) == 1);
  REQUIRE(fm::effective_n_jobs(7) == 7);
  REQUIRE(fm::effective_n_jobs() == fm::cpu_count());
}

TEST_CASE("options: n_jobs = 1 runs in the caller, isolate and hooks fork, -1 always forks",
          "[options]") {
  auto const here = ::getpid();
  REQUIRE(fm::parallel(1).map(own_pid, support::count_to(3)) == std::vector<pid_t>(3, here));
  REQUIRE(fm::parallel({.n_jobs = 1, .isolate = true}).map(own_pid, support::count_to(3))[0] !=
          here);
  REQUIRE(fm::parallel({.n_jobs = 1, .worker_init = [](int) {}})
              .map(own_pid, support::count_to(3))[0] != here);
  for (auto const pid : fm::parallel(-1).map(own_pid, support::count_to(3))) REQUIRE(pid != here);
  for (auto const pid : fm::parallel().map(own_pid, support::count_to(3))) REQUIRE(pid != here);
}

TEST_CASE("options: scoped_config sets this thread's defaults, nests and restores", "[options]") {
  auto const here = ::getpid();
  {
    fm::scoped_config const outer({.n_jobs = 1, .seed = 5});
    REQUIRE(fm::effective_n_jobs() == 1);
    REQUIRE(fm::parallel().map(own_pid, support::count_to(2)) == std::vector<pid_t>(2, here));
    auto const random = [](int) { return fm::this_task::rng()(); };
    auto const expected = fm::parallel({.n_jobs = 2, .seed = 5}).map(random, support::count_to(4));
    REQUIRE(fm::parallel(2).map(random, support::count_to(4)) == expected);
    {
      fm::scoped_config const inner({.n_jobs = 3});
      REQUIRE(fm::effective_n_jobs() == 3);
      REQUIRE(fm::parallel(2).map(random, support::count_to(4)) != expected);
    }
    REQUIRE(fm::effective_n_jobs() == 1);
  }
  REQUIRE(fm::effective_n_jobs() == fm::cpu_count());
}

TEST_CASE("options: hooks run once in each worker, before and after its tasks", "[options]") {
  fm::shared_array<int> began({8}), ended({8}), between({8});
  fm::options opts{.n_jobs = 3};
  opts.worker_init = [&](int worker) { ++began[static_cast<std::size_t>(worker)]; };
  opts.worker_exit = [&](int worker) { ++ended[static_cast<std::size_t>(worker)]; };
  fm::parallel(opts).map(
      [&](int) {
        auto const w = static_cast<std::size_t>(fm::this_task::worker());
        if (began[w] == 1 && ended[w] == 0)
          between[w] = 1;
        else
          between[w] = -1000;
      },
      support::count_to(50));
  REQUIRE(std::accumulate(began.begin(), began.end(), 0) == 3);
  REQUIRE(std::accumulate(ended.begin(), ended.end(), 0) == 3);
  REQUIRE(std::ranges::min(between) >= 0);
}

TEST_CASE("options: the call throws the exception of a hook, without a task's index", "[options]") {
  for (bool const at_exit : {false, true}) {
    fm::options opts{.n_jobs = 2};
    (at_exit ? opts.worker_exit : opts.worker_init) = [](int) {
      throw std::length_error("no licence");
    };
    auto const check = [](auto const& call) {
      try {
        call();
        FAIL("nothing was thrown");
      } catch (std::length_error const& e) {
        REQUIRE(std::string(e.what()) == "no licence");
        REQUIRE(dynamic_cast<fm::task_context const&>(e).index() == static_cast<std::size_t>(-1));
      }
    };
    check([&] { fm::parallel(opts).map([](int i) { return i; }, support::count_to(4)); });
    check([&] {
      fm::parallel(opts).outcomes(support::count_to(4) |
                                  std::views::transform([](int i) { return [i] { return i; }; }));
    });
  }
}

TEST_CASE("this_task: index, worker and attempt are those of the running task", "[options]") {
  using fm::this_task::attempt, fm::this_task::in_worker, fm::this_task::index,
      fm::this_task::worker;
  REQUIRE(index() == -1);
  REQUIRE(worker() == -1);
  REQUIRE(attempt() == 0);
  REQUIRE(!in_worker());
  for (int const n_jobs : {1, 2}) {
    auto const indices =
        fm::parallel(n_jobs).map([](int) { return index(); }, support::count_to(100));
    for (int i = 0; i != 100; ++i) REQUIRE(indices[static_cast<std::size_t>(i)] == i);
    auto const inside =
        fm::parallel(n_jobs).map([](int) { return in_worker(); }, support::count_to(3));
    REQUIRE(inside == std::vector<bool>(3, n_jobs != 1));
    // A nested map has indices of its own. After it, index() is that of the outer task again.
    auto const around = fm::parallel(n_jobs).map(
        [](int) {
          auto const before = index();
          auto const inner = fm::parallel(1).map([](int) { return index(); }, support::count_to(7));
          return before == index() && inner.back() == 6;
        },
        support::count_to(3));
    REQUIRE(around == std::vector<bool>(3, true));
  }
  REQUIRE(index() == -1);
}

TEST_CASE("this_task: rng depends only on seed and index", "[options]") {
  auto const draw = [](int) {
    auto& rng = fm::this_task::rng();
    return std::pair(rng(), rng());
  };
  auto const run = [&](int n_jobs, std::uint64_t seed) {
    return fm::parallel({.n_jobs = n_jobs, .seed = seed}).map(draw, support::count_to(200));
  };
  auto const expected = run(1, 42);
  REQUIRE(run(2, 42) == expected);
  REQUIRE(run(5, 42) == expected);
  REQUIRE(run(1, 42) == expected);
  REQUIRE(run(2, 43) != expected);
  std::set<std::uint64_t> distinct;
  for (auto const& [a, b] : expected) distinct.insert({a, b});
  REQUIRE(distinct.size() == 400);
  // The second of two calls restarts the random numbers of its task.
  auto const one = [&] { return fm::parallel(1).map(draw, support::count_to(1)); };
  REQUIRE(one() == one());
}

TEST_CASE("options: a nested n_jobs = -1 uses the worker's share of the cores", "[options]") {
  auto const cpus = fm::cpu_count();
  auto const nested = fm::parallel(cpus).map([](int) { return fm::effective_n_jobs(); },
                                             support::count_to(4 * cpus));
  for (auto const n_jobs : nested) REQUIRE(n_jobs == (cpus > 1 ? 1 : cpus));
  REQUIRE(fm::parallel({.n_jobs = 1, .isolate = true})
              .map([](int) { return fm::effective_n_jobs(); }, support::count_to(1)) ==
          std::vector<int>{cpus});
}

TEST_CASE("options: scoped defaults apply to the caller, not to its workers", "[options]") {
  auto const cpus = fm::cpu_count();
  fm::scoped_config const defaults({.n_jobs = cpus + 3});
  auto const nested =
      fm::parallel(2).map([](int) { return fm::effective_n_jobs(); }, support::count_to(4));
  for (auto const n_jobs : nested) REQUIRE(n_jobs == std::max(1, cpus / 2));
}

TEST_CASE("options: worker_init runs outside of any task, also in a replacement", "[options]") {
  fm::shared_array<std::ptrdiff_t> seen({2});
  fm::options opts{.n_jobs = 1, .batch_size = 4};
  opts.worker_init = [&](int) { seen[0] += fm::this_task::index(); };
  fm::parallel(opts).outcomes(support::count_to(4) | std::views::transform([](int i) {
                                return [i] {
                                  if (i == 1) ::_exit(1);
                                };
                              }));
  REQUIRE(seen[0] == -2);
}

TEST_CASE("options: a requested stop cancels a call", "[options]") {
  for (int const n_jobs : {1, 2}) {
    fm::options opts{.n_jobs = n_jobs};
    std::stop_source source;
    opts.stop = source.get_token();
    REQUIRE(fm::parallel(opts).map([](int i) { return i; }, support::count_to(3)).size() == 3);
    source.request_stop();
    try {
      fm::parallel(opts).map([](int) { ::pause(); }, support::count_to(3));
      FAIL("nothing was thrown");
    } catch (fm::task_cancelled const& e) {
      REQUIRE(e.index() == 0);
    }
  }
}

TEST_CASE(
    "options: after a stop, outcomes tells which tasks had ended, were running or had not begun",
    "[options]") {
  std::stop_source source;
  fm::shared_array<int> running({1});
  fm::options opts{.n_jobs = 2};
  opts.stop = source.get_token();
  std::jthread const stopper([&] {
    while (std::atomic_ref(running[0]).load() < 2) std::this_thread::yield();
    source.request_stop();
  });
  auto const outcomes =
      fm::parallel(opts).outcomes(support::count_to(20) | std::views::transform([&](int i) {
                                    return [&running, i] {
                                      if (i < 2) return i;
                                      ++std::atomic_ref(running[0]);
                                      for (;;) ::pause();
                                    };
                                  }));
  REQUIRE(outcomes.size() == 20);
  REQUIRE(*outcomes[0] == 0);
  REQUIRE(*outcomes[1] == 1);
  REQUIRE(outcomes[2].error().reason == fm::failure::cancelled);
  REQUIRE(outcomes[3].error().reason == fm::failure::cancelled);
  for (std::size_t i = 4; i != 20; ++i) {
    REQUIRE(outcomes[i].error().reason == fm::failure::never_started);
  }
  REQUIRE_THROWS_AS(outcomes[5].value(), fm::task_cancelled);
}
