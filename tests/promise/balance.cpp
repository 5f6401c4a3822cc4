// Balance of long tasks that follow many short ones: workers share them without any option.
// SPDX-License-Identifier: MIT
#include <atomic>
#include <chrono>
#include <cstddef>
#include <ranges>
#include <thread>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;

namespace {

/// A meeting of two workers: a long task ends when the other worker has begun a long task, too, or
/// after 20 seconds.
struct meeting {
  fm::shared_array<int> arrived{{2}};

  bool meets(int worker) const {
    auto const at = static_cast<std::size_t>(worker);
    std::atomic_ref<int>(arrived[at]).store(1);
    auto const until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (std::atomic_ref<int>(arrived[1 - at]).load() == 0) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
};

bool run_one(int i, int from, int to, fm::shared_array<int> arrived) {
  if (i < from || i >= to) return true;
  return meeting{arrived}.meets(fm::this_task::worker());
}

/// Whether both workers run long tasks. Of n tasks, those in [from, to) are long.
template <class Map> bool both_run(Map const& map, int n, int from, int to) {
  meeting const here;
  here.arrived[0] = here.arrived[1] = 0;
  auto const tasks = support::count_to(n) | std::views::transform([&](int i) {
                       return fm::delayed(run_one)(i, from, to, here.arrived);
                     });
  for (auto const& outcome : map.outcomes(tasks)) {
    if (!*outcome) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("balance: long tasks at the end of many short ones are shared out", "[balance]") {
  fm::pool const workers(2);
  for (int const n : {300, 1004, 5000, 20'000}) {
    CAPTURE(n);
    REQUIRE(both_run(fm::parallel(2), n, n - 4, n));
    REQUIRE(both_run(workers, n, n - 4, n));
  }
}

TEST_CASE("balance: long tasks in the middle of up to 1024 tasks are shared out", "[balance]") {
  fm::pool const workers(2);
  for (int const from : {400, 500, 502, 801}) {
    CAPTURE(from);
    REQUIRE(both_run(fm::parallel(2), 1004, from, from + 4));
    REQUIRE(both_run(workers, 1004, from, from + 4));
  }
}
