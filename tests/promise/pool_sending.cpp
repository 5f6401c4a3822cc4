// Calls of a pool with so many tasks that the first ones run before the last ones are made.
// SPDX-License-Identifier: MIT
#include <signal.h>

#include <chrono>
#include <cstddef>
#include <ranges>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/pool_tasks.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;

namespace {
using support::die_at_three;
using support::fail_at_three;
using support::stay;
using support::wrapping_square;

/// Tasks fn(0), ..., fn(n - 1). Counts those that are made: the range is evaluated while tasks are
/// sent.
auto counted_tasks(int n, int (*fn)(int), int& n_made) {
  return std::views::iota(0, n) | std::views::transform([fn, &n_made](int i) {
           ++n_made;
           return fm::delayed(fn)(i);
         });
}
constexpr int too_many = 50'000'000;
int plus(int a, int b) { return a + b; }
int minus(int a, int b) { return a - b; }
int twice(int i) { return 2 * i; }
int twice_or_crash(int i) {
  if (i == 4095 || i == 4096 || i == 20'000) {
    // Task 20'000 succeeds at its second attempt.
    if (i != 20'000 || fm::this_task::attempt() == 0) ::raise(SIGKILL);
  }
  return 2 * i;
}
struct third_of {
  int index;
  double third;
};
third_of third_or_delay(int i) {
  if (i % 100'000 == 70'000) std::this_thread::sleep_for(5ms);
  if ((i == 1000 || i == 150'000 || i == 399'999) && fm::this_task::attempt() == 0)
    ::raise(SIGKILL);
  return {i, i / 3.0};
}
int fail_at_the_end(int i) {
  if (i == 399'990) throw std::out_of_range("the last ones");
  return i;
}
int twice_or_error(int i) {
  if (i % 1000 == 999) throw std::invalid_argument("every thousandth");
  return 2 * i;
}
}  // namespace

TEST_CASE("pool: tasks run while later ones are sent", "[pool]") {
  fm::pool const workers(2);
  SECTION("each task runs once") {
    for (int const n : {4096, 4097, 100'000}) {
      int n_made = 0;
      auto const results = workers(counted_tasks(n, wrapping_square, n_made));
      REQUIRE(n_made == n);
      REQUIRE(results.size() == static_cast<std::size_t>(n));
      int wrong = 0;
      for (int i = 0; i != n; ++i) {
        wrong += results[static_cast<std::size_t>(i)] !=
                 static_cast<int>(static_cast<unsigned>(i) * static_cast<unsigned>(i));
      }
      REQUIRE(wrong == 0);
    }
  }
  SECTION("tasks whose function or arguments change in the middle of a call") {
    constexpr int n = 20'000;
    auto const task = [](int i) {
      return fm::delayed(i % 5000 < 4990 ? plus : minus)(i < 7000 ? 1000 : 2000, i);
    };
    auto const results = workers(std::views::iota(0, n) | std::views::transform(task));
    int wrong = 0;
    for (int i = 0; i != n; ++i) wrong += results[static_cast<std::size_t>(i)] != task(i)();
    REQUIRE(wrong == 0);
  }
  SECTION("tasks without arguments") {
    auto const five = [](int) { return fm::delayed([] { return 5; })(); };
    REQUIRE(workers(std::views::iota(0, 10'000) | std::views::transform(five)) ==
            std::vector(10'000, 5));
  }
  SECTION("options that split chunks at other places") {
    constexpr int n = 30'000;
    auto const check = [](fm::options opts, int (*fn)(int), int n_lost) {
      opts.n_jobs = 2;
      fm::pool const others(opts);
      int n_made = 0;
      auto const outcomes = others.outcomes(counted_tasks(n, fn, n_made));
      int lost = 0, wrong = 0;
      for (int i = 0; i != n; ++i) {
        auto const& outcome = outcomes[static_cast<std::size_t>(i)];
        lost += !outcome.has_value();
        wrong += outcome.has_value() && *outcome != 2 * i;
      }
      REQUIRE(lost == n_lost);
      REQUIRE(wrong == 0);
    };
    check({.batch_size = 1000}, twice, 0);
    check({.max_tasks_per_worker = 5000}, twice, 0);
    check({.retries = 1}, twice_or_crash, 2);
    check({}, twice_or_error, 30);
  }
  SECTION("results are collected while other tasks run") {
    constexpr int n = 400'000;
    fm::pool const others({.n_jobs = 2, .retries = 1});
    auto const results =
        others(std::views::iota(0, n) | std::views::transform(fm::delayed(third_or_delay)));
    REQUIRE(results.size() == std::size_t{n});
    int wrong = 0;
    for (int i = 0; i != n; ++i) {
      wrong += results[static_cast<std::size_t>(i)].index != i ||
               results[static_cast<std::size_t>(i)].third != i / 3.0;
    }
    REQUIRE(wrong == 0);
    int n_made = 0;
    REQUIRE_THROWS_AS(others(counted_tasks(n, fail_at_the_end, n_made)),
                      fm::remote<std::out_of_range>);
    REQUIRE(others(counted_tasks(n, twice, n_made)).back() == 2 * (n - 1));
  }
  SECTION("a failure ends the call before the last task is made") {
    int n_made = 0;
    REQUIRE_THROWS_AS(workers(counted_tasks(too_many, fail_at_three, n_made)),
                      fm::remote<std::invalid_argument>);
    REQUIRE(n_made < too_many);
    REQUIRE_THROWS_AS(workers(counted_tasks(100'000, die_at_three, n_made)), fm::worker_died);
  }
  SECTION("first returns before the last task is made") {
    int n_made = 0;
    auto const won = workers.first(counted_tasks(too_many, wrapping_square, n_made));
    REQUIRE(won.value == static_cast<int>(static_cast<unsigned>(won.index * won.index)));
    REQUIRE(n_made < too_many);
  }
  SECTION("a range that throws ends the tasks that run") {
    auto tasks = std::views::iota(0, too_many) | std::views::transform([](int i) {
                   if (i == 50'000) throw std::out_of_range("the range ends here");
                   return fm::delayed(stay)(i);
                 });
    REQUIRE_THROWS_WITH(workers(tasks), ContainsSubstring("the range ends here"));
  }
  SECTION("a crash fails only its task") {
    int n_made = 0;
    auto const outcomes = workers.outcomes(counted_tasks(50'000, die_at_three, n_made));
    int lost = 0;
    for (auto const& outcome : outcomes) lost += !outcome.has_value();
    REQUIRE(lost == 1);
    REQUIRE_FALSE(outcomes[3].has_value());
  }
  SECTION("with a time limit all tasks are sent before the first runs") {
    fm::pool const limited(fm::options{.n_jobs = 2, .timeout = 1min});
    int n_made = 0;
    REQUIRE(limited(counted_tasks(10'000, wrapping_square, n_made)).size() == 10'000);
  }
  REQUIRE(workers(fm::delayed(wrapping_square)(3), fm::delayed(wrapping_square)(4)) ==
          std::tuple(9, 16));
}
