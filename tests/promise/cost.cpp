// The order of tasks by their costs: options::cost.
// SPDX-License-Identifier: MIT
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <ranges>
#include <stdexcept>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

double cost_of_task(std::size_t i) { return static_cast<double>(i * 7919 % 1009); }

/// Notes when the task begins, as a number.
int note_begin(int i, fm::shared_array<int> begins) {
  auto const last = begins.size() - 1;
  begins[static_cast<std::size_t>(i)] = std::atomic_ref(begins[last]).fetch_add(1);
  return i;
}

/// Whether one worker has begun the tasks in the order of their costs.
bool began_by_cost(fm::shared_array<int> const& begins) {
  std::vector<std::size_t> order(begins.size() - 1);
  for (std::size_t i = 0; i != order.size(); ++i) order[static_cast<std::size_t>(begins[i])] = i;
  return std::ranges::is_sorted(order, [](std::size_t a, std::size_t b) {
    return cost_of_task(a) != cost_of_task(b) ? cost_of_task(a) > cost_of_task(b) : a < b;
  });
}

}  // namespace

TEST_CASE("cost: tasks begin in the order of falling costs, and results keep theirs", "[cost]") {
  for (int const n : {1, 2, 7, 100, 1500, 5000}) {
    CAPTURE(n);
    fm::shared_array<int> begins(fm::shape{static_cast<std::size_t>(n) + 1});
    auto const tasks = std::views::iota(0, n) | std::views::transform([&](int i) {
                         return fm::delayed(note_begin)(i, begins);
                       });
    std::vector<int> expected(static_cast<std::size_t>(n));
    std::iota(expected.begin(), expected.end(), 0);
    fm::options const opts{.n_jobs = 1, .isolate = true, .cost = cost_of_task};
    CHECK(fm::parallel(opts)(tasks) == expected);
    if (n > 1) CHECK(began_by_cost(begins));
    std::ranges::fill(begins, 0);
    fm::pool const worker(opts);
    CHECK(worker(tasks) == expected);
    if (n > 1) CHECK(began_by_cost(begins));
    for (int const n_jobs : {2, 3}) {
      auto several = opts;
      several.n_jobs = n_jobs;
      CHECK(fm::parallel(several)(tasks) == expected);
      CHECK(fm::pool(several)(tasks) == expected);
    }
  }
}

TEST_CASE("cost: with batches, those of the largest sum begin first", "[cost]") {
  fm::shared_array<int> begins(fm::shape{13});
  auto const cost = [](std::size_t i) { return i >= 4 && i < 8 ? 10.0 : 1.0; };
  fm::parallel({.n_jobs = 1, .batch_size = 4, .isolate = true, .cost = cost})
      .map([&](int i) { return note_begin(i, begins); }, std::views::iota(0, 12));
  CHECK(std::vector(begins.begin(), begins.end() - 1) ==
        std::vector{4, 5, 6, 7, 0, 1, 2, 3, 8, 9, 10, 11});
}

TEST_CASE("cost: crashes, retries, replaced workers and reduce", "[cost]") {
  auto const crash_at_odd = [](int i) {
    if (i % 2 == 1 && fm::this_task::attempt() == 0) ::raise(SIGKILL);
    return i;
  };
  for (auto opts : {fm::options{.n_jobs = 2, .cost = cost_of_task},
                    fm::options{.n_jobs = 2, .retries = 1, .cost = cost_of_task},
                    fm::options{.n_jobs = 2, .max_tasks_per_worker = 3, .cost = cost_of_task}}) {
    fm::pool const workers(opts);
    for (auto const& outcomes : {fm::parallel(opts).outcomes(crash_at_odd, std::views::iota(0, 60)),
                                 workers.outcomes(crash_at_odd, std::views::iota(0, 60))}) {
      for (std::size_t i = 0; i != 60; ++i) {
        CHECK(outcomes[i].has_value() == (i % 2 == 0 || opts.retries == 1));
        if (outcomes[i]) CHECK(*outcomes[i] == static_cast<int>(i));
      }
    }
    auto const numbers = std::views::iota(0, 5000) | std::views::transform([](int i) {
                           return fm::delayed([](int k) { return k; })(i);
                         });
    auto const add = [](int a, int b) { return a + b; };
    CHECK(fm::parallel(opts).reduce(numbers, 0, add) == 4999 * 2500);
    CHECK(workers.reduce(numbers, 0, add) == 4999 * 2500);
  }
}

TEST_CASE("cost: a journal is continued", "[cost]") {
  support::temporary_directory const folder;
  fm::options const opts{.n_jobs = 2, .resume = folder.path() / "journal", .cost = cost_of_task};
  auto const half = fm::parallel(opts).outcomes(
      [](int i) {
        if (i % 3 == 0) throw std::runtime_error("not yet");
        return i;
      },
      std::views::iota(0, 30));
  CHECK(std::ranges::count_if(half, [](auto const& o) { return o.has_value(); }) == 20);
}

TEST_CASE("cost: NaN and exceptions of the function are errors of the call", "[cost]") {
  auto const identity = [](int i) { return i; };
  auto const nan = [](std::size_t i) {
    return i == 3 ? std::numeric_limits<double>::quiet_NaN() : 1.0;
  };
  auto const thrower = [](std::size_t) -> double { throw std::out_of_range("no cost"); };
  auto const numbers = std::views::iota(0, 9);
  CHECK_THROWS_WITH(fm::parallel({.n_jobs = 2, .cost = nan}).map(identity, numbers),
                    "forkmap: options::cost of task 3 is NaN");
  CHECK_THROWS_AS(fm::parallel({.n_jobs = 2, .cost = thrower}).map(identity, numbers),
                  std::out_of_range);
  fm::pool const workers({.n_jobs = 2, .cost = nan});
  CHECK_THROWS_AS(workers.map(identity, numbers), std::invalid_argument);
  CHECK(workers.map(identity, std::views::iota(0, 3)) == std::vector{0, 1, 2});
}
