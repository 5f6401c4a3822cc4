// Wake-ups of a pool's workers: no worker sleeps while a call has tasks that are not claimed.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <ranges>
#include <thread>
#include <tuple>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

/// Returns when `n` tasks have called this, each in a different worker.
int meet(fm::shared_array<int> const& arrived, int n) {
  std::atomic_ref<int> all(arrived[0]);
  ++all;
  while (all < n) std::this_thread::sleep_for(100us);
  return ::getpid();
}
int small_square(int x) { return x * x; }
int slow_next(int x) {
  std::this_thread::sleep_for(300us);
  return x + 1;
}

int* has_run_tasks = nullptr;  // for each worker, 1 if it has run a task
int note_worker(int i) {
  std::atomic_ref(has_run_tasks[fm::this_task::worker()]).store(1);
  return i;
}

/// Sleeps longer than idle workers spin. The tests must pass whether the workers are parked or not.
void let_them_park() { std::this_thread::sleep_for(2ms); }

/// The process ids of two workers.
std::vector<int> both_pids(fm::pool const& workers) {
  fm::shared_array<int> const arrived({1});
  return workers(std::views::iota(0, 2) |
                 std::views::transform([&](int) { return fm::delayed(meet)(arrived, 2); }));
}

}  // namespace

TEST_CASE("pool: tasks that are submitted one after another run in parallel", "[pool]") {
  fm::pool const workers(fm::options{.n_jobs = 3, .deadline = 60s});
  for (int round = 0; round != 100; ++round) {
    fm::shared_array<int> const arrived({1});
    if (round % 2 == 0) let_them_park();
    auto first = workers.submit(fm::delayed(meet)(arrived, 3));
    auto second = workers.submit(fm::delayed(meet)(arrived, 3));
    auto third = workers.submit(fm::delayed(meet)(arrived, 3));
    REQUIRE_NOTHROW(first.get());
    REQUIRE_NOTHROW(second.get());
    REQUIRE_NOTHROW(third.get());
  }
}

TEST_CASE("pool: calls of several threads run in parallel", "[pool]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .deadline = 60s});
  for (int round = 0; round != 100; ++round) {
    fm::shared_array<int> const arrived({1});
    let_them_park();
    std::atomic<int> met{0};
    auto const call = [&] {
      try {
        workers(fm::delayed(meet)(arrived, 2));
        ++met;
      } catch (fm::deadline_exceeded const&) {  // then `met` is less than 2
      }
    };
    std::thread other(call);
    call();
    other.join();
    REQUIRE(met == 2);
  }
}

// With many more callers than cores, a caller that checks whether its call has ended can be
// preempted at any instruction. If a worker claims the task at that moment, the caller must notice
// it.
TEST_CASE("pool: no call ends before its task, with many callers and workers", "[pool]") {
  int const n_callers = 32, n_calls = 200;
  fm::pool const workers(fm::options{.n_jobs = 64, .deadline = 60s});
  std::atomic<int> right{0};
  {
    std::vector<std::jthread> callers;
    for (int caller = 0; caller != n_callers; ++caller) {
      callers.emplace_back([&, caller] {
        for (int i = 0; i != n_calls; ++i) {
          int const x = caller * n_calls + i;
          if (workers(fm::delayed(slow_next)(x)) == std::tuple(x + 1)) ++right;
        }
      });
    }
  }
  CHECK(right == n_callers * n_calls);
}

TEST_CASE("pool: each task of a call gets a worker, whether the last call was short or long",
          "[pool]") {
  int const n = GENERATE(2, 5);
  fm::pool const workers(fm::options{.n_jobs = n, .deadline = 60s});
  for (int round = 0; round != 100; ++round) {
    if (round % 2 == 0) workers.map(small_square, std::views::iota(0, n));
    if (round % 3 == 0) let_them_park();
    for (int const n_tasks : {n, 2}) {
      fm::shared_array<int> const arrived({1});
      REQUIRE_NOTHROW(workers(std::views::iota(0, n_tasks) | std::views::transform([&](int) {
                                return fm::delayed(meet)(arrived, n_tasks);
                              })));
    }
  }
}

TEST_CASE("pool: a call does not wait for the replacement of a worker while another worker is idle",
          "[pool]") {
  // While closed[0] is 1, a replacement waits in worker_init.
  fm::shared_array<int> const closed({1});
  auto const init = [&](int) {
    while (std::atomic_ref(closed[0]).load() != 0) std::this_thread::sleep_for(1ms);
  };
  fm::pool const workers(fm::options{.n_jobs = 2, .deadline = 60s, .worker_init = init});
  for (std::size_t round = 0; round != 30; ++round) {
    auto const pids = both_pids(workers);
    REQUIRE(pids[0] != pids[1]);
    if (round % 3 == 0) let_them_park();
    std::atomic_ref(closed[0]).store(1);
    ::kill(pids[round % 2], SIGKILL);
    if (round % 5 == 4) let_them_park();  // the pool may have noticed the exit before the call
    CHECK(workers(fm::delayed(small_square)(7)) == std::tuple(49));
    CHECK(workers.submit(fm::delayed(small_square)(8)).get() == 64);
    std::atomic_ref(closed[0]).store(0);
  }
}

TEST_CASE("pool: all workers run tasks that are sent slowly", "[pool]") {
  constexpr int chunk = 4096;
  constexpr int n = 4 * chunk;
  fm::shared_array<int> has_run({2});
  has_run_tasks = has_run.data();
  fm::pool const workers(2);
  let_them_park();
  bool all_have_run = false;
  // The second half of the tasks belongs to the second worker at first. The range is slow, and in
  // the last quarter it waits until the second worker has run a task.
  auto const send = [&](int slow_at, int wait_at) {
    return workers(std::views::iota(0, n) | std::views::transform([&](int k) {
                     if (k == slow_at) std::this_thread::sleep_for(10ms);
                     if (k == wait_at) {
                       all_have_run = support::wait_until([&] {
                         return std::ranges::all_of(has_run, [](int& worker) {
                           return std::atomic_ref(worker).load() != 0;
                         });
                       });
                     }
                     return fm::delayed(note_worker)(k);
                   }));
  };
  SECTION("the caller wakes it after a chunk") {
    REQUIRE(send(chunk, 3 * chunk + 1).back() == n - 1);
  }
  SECTION("the other worker wakes it if no chunk is completed") {
    REQUIRE(send(4 * chunk - 11, 4 * chunk - 10).back() == n - 1);
  }
  CHECK(all_have_run);
}
