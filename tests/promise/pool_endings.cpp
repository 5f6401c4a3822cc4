// Workers, calls and call slots of a pool that end while others begin.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/is_asleep.hpp"
#include "support/tasks.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

std::atomic_ref<int> count(fm::shared_array<int> const& counts, std::size_t i) {
  return std::atomic_ref<int>(counts[i]);
}

/// counts[0]: the number of tasks that wait here. counts[1]: 1 when they may return.
int arrive_and_wait(fm::shared_array<int> const& counts) {
  ++count(counts, 0);
  while (count(counts, 1) == 0) std::this_thread::sleep_for(1ms);
  return 1;
}
int gather(fm::shared_array<int> const& counts, int n) {
  ++count(counts, 0);
  while (count(counts, 0) < n) std::this_thread::sleep_for(100us);
  return n;
}
int die_or_wait(int i) {
  if (i == 0) ::raise(SIGKILL);
  for (;;) ::pause();
}
std::int64_t below_zero(int i) { return -1 - i; }
int doze(int ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  return ms;
}

/// A pool all of whose call slots are taken.
struct full_pool {
  static constexpr int n_slots = 64;

  full_pool() {
    for (int i = 0; i != n_slots; ++i) {
      callers.emplace_back([this] { workers(fm::delayed(arrive_and_wait)(counts)); });
    }
    is_full = support::wait_until([this] { return count(counts, 0) == n_slots; });
  }
  full_pool(full_pool const&) = delete;
  full_pool& operator=(full_pool const&) = delete;
  ~full_pool() { let_go(); }

  void let_go() {
    count(counts, 1) = 1;
    callers.clear();
  }

  fm::pool const workers{fm::options{.n_jobs = n_slots}};
  fm::shared_array<int> const counts{{2}};
  bool is_full = false;
  std::vector<std::jthread> callers{};
};

bool is_initialised = false;
/// counts[0]: attempts in a worker that was initialised. counts[1]: attempts in one that was not.
int die_at_first(fm::shared_array<int> const& counts) {
  ++count(counts, is_initialised ? 0 : 1);
  if (count(counts, 0) == 1) ::raise(SIGKILL);
  return 1;
}

}  // namespace

TEST_CASE("pool: a task that is submitted while all call slots are taken runs when a slot is free",
          "[pool]") {
  full_pool pool;
  auto late = pool.workers.submit(fm::delayed(doze)(1));
  pool.let_go();
  REQUIRE(pool.is_full);
  REQUIRE(late.wait_for(60s));
  CHECK(late.get() == 1);
}

TEST_CASE("pool: calls that find all call slots taken run when a slot is free", "[pool]") {
  constexpr std::size_t n_late = 20;
  full_pool pool;
  std::atomic<pid_t> ids[n_late] = {};
  std::atomic<int> n_right{0};
  std::vector<std::jthread> late;
  for (auto& id : ids) {
    late.emplace_back([&] {
      id = ::gettid();
      for (int k = 0; k != 10; ++k) n_right += pool.workers(fm::delayed(doze)(1)) == std::tuple(1);
    });
  }
  bool const all_wait = support::wait_until([&] {
    return std::ranges::all_of(ids, [](pid_t id) { return id != 0 && support::is_asleep(id); });
  });
  CHECK(n_right == 0);
  pool.let_go();
  late.clear();
  REQUIRE(pool.is_full);
  REQUIRE(all_wait);
  CHECK(n_right == 10 * static_cast<int>(n_late));
}

TEST_CASE(
    "pool: limits apply to a submitted task after a failed worker_init has cancelled its call",
    "[pool]") {
  auto const init = [](int worker) {
    if (worker == 1) throw std::runtime_error("no licence for a second one");
  };
  fm::pool const workers(
      fm::options{.n_jobs = 2, .timeout = 2s, .deadline = 60s, .worker_init = init});
  for (int round = 0; round != 5; ++round) {
    auto endless = workers.submit(fm::delayed(die_or_wait)(1));
    try {
      workers(fm::delayed(doze)(1));
    } catch (std::runtime_error const& e) {
      CHECK(std::string(e.what()) == "no licence for a second one");
    }
    REQUIRE(endless.wait_for(60s));
    REQUIRE_THROWS(endless.get());
  }
}

TEST_CASE("deadline: a task that crashed before the deadline is counted as one failure",
          "[limits][pool]") {
  fm::options const opts{.n_jobs = 3, .deadline = 300ms};
  auto const check = [](auto const& map) {
    auto const outcomes = map.outcomes(support::portable_tasks_of(2, die_or_wait));
    CHECK_FALSE(outcomes[0].has_value());
    CHECK_FALSE(outcomes[1].has_value());
    CHECK(fm::last_report().failures == 2);
  };
  check(fm::parallel(opts));
  check(fm::pool(opts));
}

TEST_CASE("pool: a replacement whose worker_init throws runs no task", "[pool]") {
  fm::shared_array<int> const starts({1}), counts({2});
  auto const init = [starts](int) {
    if (++starts[0] == 2) throw std::runtime_error("only once");
    is_initialised = true;
  };
  fm::pool const workers(fm::options{.n_jobs = 1, .retries = 1, .worker_init = init});
  REQUIRE_THROWS_WITH(workers(fm::delayed(die_at_first)(counts)),
                      Catch::Matchers::ContainsSubstring("only once"));
  CHECK(counts[0] == 1);
  CHECK(counts[1] == 0);
}

TEST_CASE("pool: each task of a call gets a worker while other workers retire", "[pool]") {
  int const n = 6;
  fm::pool const workers(fm::options{.n_jobs = n, .max_tasks_per_worker = 1, .deadline = 60s});
  for (int round = 0; round != 20; ++round) {
    fm::shared_array<int> const counts({1});
    workers.map(below_zero, std::views::iota(0, 2));
    REQUIRE_NOTHROW(workers(std::views::iota(0, n) | std::views::transform([&](int) {
                              return fm::delayed(gather)(counts, n);
                            })));
  }
}

TEST_CASE("pool: the report of a call does not count memory that its workers keep", "[pool]") {
  fm::pool const workers(2);
  // The results of the first call are in the memory that the report of the second call might read.
  workers.map(below_zero, std::views::iota(0, 20'000));
  workers.map(doze, std::vector{80, 80});
  CHECK(fm::last_report().unshared == 0);
}
