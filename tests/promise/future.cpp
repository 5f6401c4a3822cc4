// Futures of tasks that are submitted to a pool one by one.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <numeric>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/pool_tasks.hpp"
#include "support/tasks.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;

static_assert(!std::is_copy_constructible_v<fm::future<int>> &&
              std::is_nothrow_move_constructible_v<fm::future<int>> &&
              std::is_nothrow_move_assignable_v<fm::future<int>>);
using namespace std::chrono_literals;

namespace {
using support::die_at_three;
using support::fail_at_three;
using support::nothing;
using support::stay;
using support::text_of;
using support::wrapping_square;
}  // namespace

TEST_CASE("future: get returns the result of a submitted task or throws its failure", "[pool]") {
  fm::pool const workers(2);
  auto future = workers.submit(fm::delayed(text_of)(7));
  REQUIRE(future.valid());
  REQUIRE(future.get() == text_of(7));
  REQUIRE(!future.valid());
  REQUIRE_THROWS_AS(future.get(), std::logic_error);

  auto failed = workers.submit(fm::delayed(fail_at_three)(3));
  REQUIRE_THROWS_AS(failed.get(), std::invalid_argument);
  auto died = workers.submit(fm::delayed(die_at_three)(3));
  REQUIRE_THROWS_AS(died.get(), fm::worker_died);
  workers.submit(nothing).get();

  auto endless = workers.submit(fm::delayed(stay)(1));
  REQUIRE(!endless.wait_for(10ms));
  endless.cancel();
  REQUIRE_THROWS_AS(endless.get(), fm::task_cancelled);
  REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("future: wait() returns when the task has ended and keeps the result", "[pool]") {
  fm::pool const workers(1);
  auto future = workers.submit([] {
    ::usleep(20'000);
    return 7;
  });
  future.wait();
  REQUIRE(future.valid());
  REQUIRE(future.wait_for(0s));
  REQUIRE(future.get() == 7);
  REQUIRE_THROWS_AS(future.wait(), std::logic_error);
  auto failed = workers.submit(fail_at_three, 3);
  failed.wait();
  REQUIRE_THROWS_AS(failed.get(), std::invalid_argument);
}

TEST_CASE("future: submit(fn, args...) is submit(delayed(fn)(args...))", "[pool]") {
  fm::pool const workers(2);
  REQUIRE(workers.submit(text_of, 7).get() == text_of(7));
  std::vector<double> const xs(1000, 0.5);
  REQUIRE(workers
              .submit(
                  [](std::span<double const> all, double factor) {
                    return std::accumulate(all.begin(), all.end(), 0.0) * factor;
                  },
                  std::cref(xs), 2.0)
              .get() == 1000.0);
}

TEST_CASE("pool: a pool without options has a worker for every usable core", "[pool]") {
  fm::pool const workers;
  REQUIRE(workers.map(wrapping_square, support::count_to(100))[9] == 81);
  REQUIRE(fm::last_report().workers.size() ==
          static_cast<std::size_t>(std::min(100, fm::cpu_count())));
  fm::scoped_config const three({.n_jobs = 3});
  fm::pool const others;
  others.map(wrapping_square, support::count_to(100));
  REQUIRE(fm::last_report().workers.size() == 3);
}

TEST_CASE("future: more tasks than call slots all run, even if no future is read", "[pool]") {
  fm::pool const workers(2);
  fm::shared_array<int> ran({1});
  std::vector<fm::future<int>> futures;
  for (int i = 0; i != 300; ++i) {
    futures.push_back(workers.submit(fm::delayed([](fm::shared_array<int> to, int k) {
      std::atomic_ref(to[0]).fetch_add(1);
      return k;
    })(ran, i)));
  }
  REQUIRE(support::wait_until([&] { return std::atomic_ref(ran[0]).load() == 300; }));
  for (int i = 299; i >= 0; --i) REQUIRE(futures[static_cast<std::size_t>(i)].get() == i);
}

TEST_CASE("future: cancelling a task that is about to end does not kill the next task", "[pool]") {
  fm::pool const workers(2);
  int wrong = 0;
  for (int round = 0; round != 300; ++round) {
    // `ending` ends at about the time at which it is cancelled, while `next` waits for a worker.
    auto ending = workers.submit(fm::delayed(wrapping_square)(3));
    auto next = workers.submit(fm::delayed([](int x) {
      for (int volatile i = 0; i < 20'000;) i = i + 1;
      return x;
    })(round));
    for (int volatile i = 0; i < round * 30;) i = i + 1;
    ending.cancel();
    wrong += next.get() != round;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("future: get() of a cancelled task throws, even if the task had already ended",
          "[pool]") {
  fm::pool const workers(1);
  auto future = workers.submit(fm::delayed(wrapping_square)(3));
  REQUIRE(future.wait_for(1min));
  future.cancel();
  REQUIRE(future.wait_for(0s));
  REQUIRE_THROWS_AS(future.get(), fm::task_cancelled);
  REQUIRE_FALSE(future.valid());
}

TEST_CASE("future: a pool cancels the tasks of futures that outlive it", "[pool]") {
  std::vector<fm::future<int>> futures;
  {
    fm::pool const workers(2);
    for (int i = 0; i != 4; ++i) futures.push_back(workers.submit(fm::delayed(stay)(i)));
    futures.push_back(workers.submit(fm::delayed(wrapping_square)(3)));
  }
  for (auto& future : futures) REQUIRE_THROWS_AS(future.get(), fm::task_cancelled);
}
