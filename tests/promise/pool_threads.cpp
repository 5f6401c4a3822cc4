// Pools that are used by several threads, after their thread has ended, in other processes and in
// tasks.
// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/pool_tasks.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;

namespace {
using support::die_at_three;
using support::wrapping_square;
}  // namespace

TEST_CASE("pool: tasks may call parallel() and have pools of their own", "[pool]") {
  fm::pool const workers(2);
  auto const nested = workers.map(
      [](int n) {
        auto const squares = fm::parallel(2).map(wrapping_square, support::count_to(n));
        fm::pool const own(2);
        auto const again = own.map(wrapping_square, support::count_to(n));
        return squares == again ? std::accumulate(squares.begin(), squares.end(), 0) : -1;
      },
      support::count_to(5));
  REQUIRE(nested == std::vector{0, 0, 1, 5, 14});
}

TEST_CASE("pool: several threads can use one pool and several pools", "[pool]") {
  if (support::address_sanitizer) return;  // guides/fork.md: g++ 12's ASan hangs in children
  fm::pool const workers(3);
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t != 6; ++t) {
      threads.emplace_back([&, t] {
        for (int round = 0; round != 100; ++round) {
          if (t == 0 && round % 10 == 0) {
            fm::pool const own(2);
            wrong += own.map(wrapping_square, support::count_to(3)) != std::vector{0, 1, 4};
          } else if (t == 1 && round % 5 == 0) {
            auto const outcomes = workers.outcomes(support::portable_tasks_of(5, die_at_three));
            for (int i = 0; i != 5; ++i)
              wrong += outcomes[static_cast<std::size_t>(i)].has_value() != (i != 3);
          } else {
            int const n = 1 + (t * 37 + round) % 60;
            auto const xs = workers.map(wrapping_square, support::count_to(n));
            for (int i = 0; i != n; ++i) wrong += xs[static_cast<std::size_t>(i)] != i * i;
          }
        }
      });
    }
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("pool: a pool outlives the thread that made it and can be moved", "[pool]") {
  std::optional<fm::pool> workers;
  std::jthread([&] { workers.emplace(2); }).join();
  REQUIRE(workers->map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
  REQUIRE(workers->outcomes(support::portable_tasks_of(5, die_at_three))[4].has_value());
  fm::pool other = std::move(*workers);
  workers.reset();
  REQUIRE(other.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("pool: a forked process that uses the pool gets logic_error and may destroy it",
          "[pool]") {
  fm::pool workers(2);
  auto const child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      workers.map(wrapping_square, support::count_to(3));
    } catch (std::logic_error const&) {
      fm::pool const moved = std::move(workers);  // its destructor must do nothing here
      status = 42;
    }
    ::_exit(status);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WEXITSTATUS(status) == 42);
  REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}
