// The dispatch protocol with threads in place of processes: this is what ThreadSanitizer can see.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>
#include <thread>
#include <vector>

#include <forkmap/plan/committed.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/worker/death.hpp>
#include <forkmap/worker/limits.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

namespace {

/// Memory as the caller prepares it for its workers.
struct board {
  dispatch_plan plan;
  std::unique_ptr<worker_slot[]> slots;
  std::vector<std::atomic<std::uint64_t>> words;

  explicit board(dispatch_plan const& p)
      : plan(p),
        slots(std::make_unique<worker_slot[]>(p.n_workers)),
        words(ledger::words_for(p.n_batches)) {
    for (std::uint32_t k = 0; k != p.n_workers; ++k) {
      slots[k].current = nothing_running;
      slots[k].cursor = p.first_batches(k).begin;
      slots[k].region_end = p.first_batches(k).end;
    }
  }
  ledger lanes() { return ledger(words.data()); }
  claimant worker(std::uint32_t k) { return {plan, lanes(), slots.get(), k}; }
};

}  // namespace

TEST_CASE("ledger: every task is claimed once, by whatever workers and batches", "[ledger]") {
  for (std::uint64_t const n : {1ULL, 4ULL, 1000ULL, 1025ULL, 50'000ULL}) {
    for (std::uint64_t const batch : {0ULL, 1ULL, 5ULL}) {
      for (std::uint32_t const n_workers : {1U, 2U, 8U}) {
        board shared(make_plan(n, n_workers, batch));
        // Plain memory: that no two threads touch the same task is what TSan proves.
        std::vector<int> runs(n);
        std::vector<std::thread> threads;
        std::atomic<int> wrong = 0;
        for (std::uint32_t k = 0; k != shared.plan.n_workers; ++k) {
          threads.emplace_back([&, k] {
            auto claims = shared.worker(k);
            task_range tasks;
            for (std::uint64_t most = 1; claims.next(tasks, most); most = 5 - most) {
              wrong += shared.slots[k].current != (tasks.begin | not_begun);
              for (auto i = tasks.begin; i != tasks.end; ++i) {
                shared.slots[k].current.store(i, std::memory_order_release);
                ++runs[i];
              }
            }
          });
        }
        for (auto& thread : threads) thread.join();
        REQUIRE(wrong == 0);
        for (std::uint64_t i = 0; i != n; ++i) REQUIRE(runs[i] == 1);
      }
    }
  }
}

TEST_CASE("ledger: results that are counted have been written, at any moment", "[ledger]") {
  for (std::uint64_t const n : {3ULL, 1000ULL, 50'000ULL}) {
    for (std::uint32_t const n_workers : {1U, 2U, 8U}) {
      board shared(make_plan(n, n_workers, 0));
      std::vector<int> results(n);  // plain memory, as above
      std::vector<std::thread> threads;
      for (std::uint32_t k = 0; k != shared.plan.n_workers; ++k) {
        threads.emplace_back([&, k] {
          auto claims = shared.worker(k);
          task_range tasks;
          for (std::uint64_t most = 1; claims.next(tasks, most); most = 5 - most) {
            for (auto i = tasks.begin; i != tasks.end; ++i) {
              shared.slots[k].current.store(i, std::memory_order_release);
              results[i] = 1;
            }
          }
        });
      }
      committed_tasks there(shared.plan, shared.lanes(), shared.slots.get());
      int wrong = 0;
      for (std::uint64_t seen = 0; seen != n; std::this_thread::yield()) {
        auto const count = there.count();
        wrong += count < seen || count > n;
        for (; seen < count; ++seen) wrong += results[seen] != 1;
      }
      for (auto& thread : threads) thread.join();
      REQUIRE(wrong == 0);
      REQUIRE(there.count() == n);
    }
  }
}

TEST_CASE("ledger: results are counted up to the first that is missing", "[ledger]") {
  board shared(make_plan(100, 2, 10));
  committed_tasks there(shared.plan, shared.lanes(), shared.slots.get());
  REQUIRE(there.count() == 0);
  auto first = shared.worker(0);
  auto second = shared.worker(1);
  task_range tasks;
  REQUIRE(first.next(tasks, 2));  // 0 to 19
  REQUIRE(there.count() == 0);
  shared.slots[0].current = 7;
  REQUIRE(there.count() == 7);
  REQUIRE(second.next(tasks, 1));  // 20 to 29
  shared.slots[1].current = 25;
  REQUIRE(there.count() == 7);
  shared.slots[0].current = 19 | over_limit;
  REQUIRE(there.count() == 19);
  shared.slots[0].current = nothing_running;
  REQUIRE(there.count() == 25);
  REQUIRE(first.next(tasks, 1));  // 30 to 39
  REQUIRE(there.count() == 25);
  shared.slots[1].current = waiting_for_replacement({26, 30});  // its worker died at 25
  REQUIRE(there.count() == 26);
  shared.slots[1].current = nothing_running;
  REQUIRE(there.count() == 30);
  shared.slots[0].current = 12 | not_begun;  // what it looks at is no claim
  REQUIRE(there.count() == 30);
}

TEST_CASE("ledger: an idle worker steals half of the longest region", "[ledger]") {
  board shared(make_plan(4000, 2, 0));
  auto first = shared.worker(0);
  task_range tasks;
  // Worker 1 never comes: worker 0 takes its own stretch, then the other's, from the middle.
  for (int i = 0; i != 2000; ++i) {
    REQUIRE(first.next(tasks, 1));
    REQUIRE(tasks.begin == static_cast<std::uint64_t>(i));
  }
  REQUIRE(first.next(tasks, 1));
  REQUIRE(tasks.begin == 3000);
  REQUIRE(shared.slots[1].region_end == 3000);
}

TEST_CASE("ledger: hints that lie cost time, not tasks", "[ledger]") {
  board shared(make_plan(5000, 3, 0));
  for (std::uint32_t k = 0; k != 3; ++k) {
    shared.slots[k].cursor = 4999;  // all of them point past nearly everything
    shared.slots[k].region_end = 5000;
  }
  std::vector<int> runs(5000);
  task_range tasks;
  for (std::uint32_t k = 0; k != 3; ++k) {
    for (auto claims = shared.worker(k); claims.next(tasks, 4);) {
      for (auto i = tasks.begin; i != tasks.end; ++i) ++runs[i];
    }
  }
  REQUIRE(runs == std::vector<int>(5000, 1));
}

TEST_CASE("death: the last moment is read exactly at each step of the protocol", "[ledger]") {
  board shared(make_plan(100, 2, 10));
  auto& slot = shared.slots[0];
  slot.phase = worker_phase::working;
  auto const moment = [&](bool ended = false) {
    return moment_of_death(shared.plan, shared.lanes(), slot, 0, false,
                           [&](std::uint64_t) { return ended; });
  };
  auto const nothing = [](last_moment const& m) {
    return !m.was_running && !m.ended && m.left_over.begin == m.left_over.end;
  };
  REQUIRE(nothing(moment()));  // before the first claim

  slot.current = 10 | not_begun;  // step 2, the claim not made
  REQUIRE(nothing(moment()));
  slot.batch_end = 20;
  REQUIRE(nothing(moment()));
  shared.words[0] = std::uint64_t{2} << 16U;  // the other worker got it
  REQUIRE(nothing(moment()));

  shared.words[0] = std::uint64_t{1} << 16U;  // step 3: claimed
  REQUIRE(!moment().was_running);
  REQUIRE(moment().left_over.begin == 10);
  REQUIRE(moment().left_over.end == 20);
  slot.current = 10;  // step 4
  REQUIRE(moment().was_running);
  REQUIRE(moment().task == 10);
  slot.current = 14;
  REQUIRE(moment().was_running);
  REQUIRE(moment().task == 14);
  REQUIRE(moment().left_over.begin == 15);
  REQUIRE(moment().left_over.end == 20);
  REQUIRE(!moment(true).was_running);  // it had recorded its end
  REQUIRE(moment(true).left_over.begin == 15);

  // The next candidate: others' batch 1 must not be taken for what is left of this one.
  slot.current = 20 | not_begun;
  REQUIRE(nothing(moment()));
  slot.batch_end = 40;
  REQUIRE(nothing(moment()));
  slot.current = nothing_running;  // step 5
  REQUIRE(nothing(moment()));
}

TEST_CASE("death: a replacement that dies before it works leaves its predecessor's rest",
          "[ledger]") {
  board shared(make_plan(100, 2, 10));
  auto& slot = shared.slots[0];
  shared.words[0] = 1;
  slot.current = 4 | not_begun;  // parked there by the caller
  slot.batch_end = 10;
  slot.phase = worker_phase::starting;
  auto const moment = moment_of_death(shared.plan, shared.lanes(), slot, 0, false,
                                      [](std::uint64_t) { return false; });
  REQUIRE(!moment.was_running);
  REQUIRE(moment.left_over.begin == 4);
  REQUIRE(moment.left_over.end == 10);
}

TEST_CASE("limits: a task ends or is given up, never both, and no other pays", "[ledger]") {
  // Step 4a to 4c with a thread for the worker: it leaves each task by compare-and-swap, while the
  // caller gives up whatever it finds, for the limit is none.
  worker_slot slot{};
  slot.current = nothing_running;
  task_limit const limit{std::chrono::nanoseconds(1)};
  constexpr std::uint64_t n = 20'000;
  std::vector<std::uint64_t> left;
  std::vector<std::uint64_t> given_up;
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> taken_over = 0;
  std::thread worker([&] {
    for (std::uint64_t i = 0; i != n; ++i) {
      slot.started.store(0, std::memory_order_relaxed);
      slot.current.store(i, std::memory_order_release);
      auto expected = i;
      if (slot.current.compare_exchange_strong(expected, (i + 1) | not_begun)) {
        left.push_back(i);
      } else {
        // As its replacement would: when the caller has seen to it.
        while (taken_over.load() != i + 1) std::this_thread::yield();
      }
    }
    done = true;
  });
  while (!done) {
    if (!limit.gives_up(slot, 2)) continue;
    auto const task = slot.current.load() & task_bits;
    given_up.push_back(task);
    slot.current = (task + 1) | not_begun;
    taken_over = task + 1;
  }
  worker.join();
  REQUIRE(left.size() + given_up.size() == n);
  std::vector<std::uint64_t> all;
  std::merge(left.begin(), left.end(), given_up.begin(), given_up.end(), std::back_inserter(all));
  for (std::uint64_t i = 0; i != n; ++i) REQUIRE(all[i] == i);
}

TEST_CASE("limits: only a running task is over its limit", "[ledger]") {
  worker_slot slot{};
  task_limit const limit{std::chrono::nanoseconds(100)};
  slot.started = 1000;
  for (auto const state :
       {nothing_running, std::uint64_t{3} | not_begun, std::uint64_t{3} | over_limit}) {
    slot.current = state;
    REQUIRE(!limit.gives_up(slot, 1'000'000));
    REQUIRE(slot.current == state);
    REQUIRE(limit.due(slot, 5000) == 5100);
  }
  slot.current = 3;
  REQUIRE(limit.due(slot, 1050) == 1100);
  REQUIRE(!limit.gives_up(slot, 1099));
  REQUIRE(limit.gives_up(slot, 1100));
  REQUIRE(slot.current == (std::uint64_t{3} | over_limit));
}
