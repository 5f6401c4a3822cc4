// What ends while other things begin: workers, calls and the places that calls lie in.
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

/// counts: how many have come, and whether they may go.
int come_and_wait(fm::shared_array<int> const& counts) {
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

/// A pool all of whose places for calls are taken.
struct full_pool {
  static constexpr int n_places = 64;

  full_pool() {
    for (int i = 0; i != n_places; ++i) {
      callers.emplace_back([this] { workers(fm::delayed(come_and_wait)(counts)); });
    }
    is_full = support::wait_until([this] { return count(counts, 0) == n_places; });
  }
  full_pool(full_pool const&) = delete;
  full_pool& operator=(full_pool const&) = delete;
  ~full_pool() { let_go(); }

  void let_go() {
    count(counts, 1) = 1;
    callers.clear();
  }

  fm::pool const workers{fm::options{.n_jobs = n_places}};
  fm::shared_array<int> const counts{{2}};
  bool is_full = false;
  std::vector<std::jthread> callers{};
};

bool is_initialised = false;
/// counts: attempts, and those in a worker that was not initialised.
int die_at_first(fm::shared_array<int> const& counts) {
  ++count(counts, is_initialised ? 0 : 1);
  if (count(counts, 0) == 1) ::raise(SIGKILL);
  return 1;
}

}  // namespace

TEST_CASE("pool: a task submitted while calls take all places runs when they are over", "[pool]") {
  full_pool pool;
  auto late = pool.workers.submit(fm::delayed(doze)(1));
  pool.let_go();
  REQUIRE(pool.is_full);
  REQUIRE(late.wait_for(60s));
  CHECK(late.get() == 1);
}

TEST_CASE("pool: calls that find all places taken run when others are over", "[pool]") {
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

TEST_CASE("pool: limits hold for a submitted task whose call a worker has cancelled", "[pool]") {
  auto const init = [](int worker) {
    if (worker == 1) throw std::runtime_error("no licence for a second one");
  };
  fm::pool const workers(
      fm::options{.n_jobs = 2, .timeout = 2s, .deadline = 60s, .worker_init = init});
  for (int round = 0; round != 5; ++round) {
    auto stuck = workers.submit(fm::delayed(die_or_wait)(1));
    try {
      workers(fm::delayed(doze)(1));
    } catch (std::runtime_error const& e) {
      CHECK(std::string(e.what()) == "no licence for a second one");
    }
    REQUIRE(stuck.wait_for(60s));
    REQUIRE_THROWS(stuck.get());
  }
}

TEST_CASE("deadline: a task that had died before it has one failure", "[limits][pool]") {
  fm::options const how{.n_jobs = 3, .deadline = 300ms};
  auto const look_at = [](auto const& map) {
    auto const fates = map.outcomes(support::portable_tasks_of(2, die_or_wait));
    CHECK_FALSE(fates[0].has_value());
    CHECK_FALSE(fates[1].has_value());
    CHECK(fm::last_report().failures == 2);
  };
  look_at(fm::parallel(how));
  look_at(fm::pool(how));
}

TEST_CASE("pool: a replacement that cannot be initialised runs nothing", "[pool]") {
  fm::shared_array<int> const births({1}), counts({2});
  auto const init = [births](int) {
    if (++births[0] == 2) throw std::runtime_error("only once");
    is_initialised = true;
  };
  fm::pool const workers(fm::options{.n_jobs = 1, .retries = 1, .worker_init = init});
  REQUIRE_THROWS_WITH(workers(fm::delayed(die_at_first)(counts)),
                      Catch::Matchers::ContainsSubstring("only once"));
  CHECK(counts[0] == 1);
  CHECK(counts[1] == 0);
}

TEST_CASE("pool: workers come to all tasks of a call while others retire", "[pool]") {
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

TEST_CASE("pool: the report of a call tells nothing of memory that its workers keep", "[pool]") {
  fm::pool const workers(2);
  workers.map(below_zero, std::views::iota(0, 20'000));  // its results lie where the next call's...
  workers.map(doze, std::vector{80, 80});                // ...report might be looked for
  CHECK(fm::last_report().unshared == 0);
}
