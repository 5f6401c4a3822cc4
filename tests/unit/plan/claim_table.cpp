// The dispatch protocol with threads instead of processes, so that ThreadSanitizer can check it.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <memory>
#include <thread>
#include <vector>

#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/claimant.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/detail/worker/limits.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

namespace {

/// Publishes nothing.
struct no_ranges {
  void moves_to(std::uint64_t) {}
  void close() {}
};

/// The shared memory of a call, as the caller initialises it for its workers.
struct shared_call_memory {
  dispatch_plan plan;
  std::unique_ptr<claim_hint[]> hints;
  std::unique_ptr<worker_state[]> states;
  std::vector<std::atomic<std::uint64_t>> words;
  no_ranges ranges{};

  explicit shared_call_memory(dispatch_plan const& p)
      : plan(p),
        hints(std::make_unique<claim_hint[]>(p.n_workers)),
        states(std::make_unique<worker_state[]>(p.n_workers)),
        words(claim_table::words_for(p.n_batches)) {
    for (std::uint32_t k = 0; k != p.n_workers; ++k) {
      hints[k].cursor = p.first_batches(k).begin;
      hints[k].region_end = p.first_batches(k).end;
    }
  }
  claim_table table() { return claim_table(words.data()); }
  claimant<no_ranges> worker(std::uint32_t k) {
    return {plan, table(), hints.get(), states[k], k, ranges};
  }
};

}  // namespace

TEST_CASE("claim table: every task is claimed once, for any number of workers and size of batches",
          "[claim_table]") {
  for (std::uint64_t const n : {1ULL, 4ULL, 1000ULL, 1025ULL, 50'000ULL}) {
    for (std::uint64_t const batch : {0ULL, 1ULL, 5ULL}) {
      for (std::uint32_t const n_workers : {1U, 2U, 8U}) {
        shared_call_memory shared(make_plan(n, n_workers, batch));
        // Not atomic: ThreadSanitizer reports it if two threads run the same task.
        std::vector<int> runs(n);
        std::vector<std::thread> threads;
        std::atomic<int> wrong = 0;
        for (std::uint32_t k = 0; k != shared.plan.n_workers; ++k) {
          threads.emplace_back([&, k] {
            auto claims = shared.worker(k);
            task_range tasks;
            for (std::uint64_t most = 1; claims.next(tasks, most); most = 5 - most) {
              wrong += shared.states[k].current != (as_current(tasks.begin) | not_begun);
              for (auto i = tasks.begin; i != tasks.end; ++i) {
                shared.states[k].current.store(as_current(i), std::memory_order_release);
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

TEST_CASE("claim table: an idle worker steals half of the longest region", "[claim_table]") {
  shared_call_memory shared(make_plan(4000, 2, 0));
  auto first = shared.worker(0);
  task_range tasks;
  // Worker 1 never claims: worker 0 claims its own region, then that of worker 1 from the middle.
  for (int i = 0; i != 2000; ++i) {
    REQUIRE(first.next(tasks, 1));
    REQUIRE(tasks.begin == static_cast<std::uint64_t>(i));
  }
  REQUIRE(first.next(tasks, 1));
  REQUIRE(tasks.begin == 3000);
  REQUIRE(shared.hints[1].region_end == 3000);
}

TEST_CASE("claim table: wrong hints cost time, but lose no task", "[claim_table]") {
  shared_call_memory shared(make_plan(5000, 3, 0));
  for (std::uint32_t k = 0; k != 3; ++k) {
    shared.hints[k].cursor = 4999;  // all hints point to the end of the batches
    shared.hints[k].region_end = 5000;
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

TEST_CASE("last task: it is read exactly at each step of the protocol", "[claim_table]") {
  shared_call_memory shared(make_plan(100, 2, 10));
  auto& state = shared.states[0];
  state.phase = worker_phase::working;
  auto const last = [&](bool ended = false) {
    return moment_of_death(shared.plan, shared.table(), state, 0, false,
                           [&](std::uint64_t) { return ended; });
  };
  auto const nothing = [](last_task const& m) {
    return !m.was_running && !m.ended && m.remaining.begin == m.remaining.end;
  };
  REQUIRE(nothing(last()));  // before the first claim

  state.current = as_current(10) | not_begun;  // step 2, batch not claimed yet
  REQUIRE(nothing(last()));
  state.batch_end = 20;
  REQUIRE(nothing(last()));
  shared.words[0] = std::uint64_t{2} << 16U;  // the other worker claimed the batch
  REQUIRE(nothing(last()));

  shared.words[0] = std::uint64_t{1} << 16U;  // step 3: claimed
  REQUIRE(!last().was_running);
  REQUIRE(last().remaining.begin == 10);
  REQUIRE(last().remaining.end == 20);
  state.current = as_current(10);  // step 4
  REQUIRE(last().was_running);
  REQUIRE(last().task == 10);
  state.current = as_current(14);
  REQUIRE(last().was_running);
  REQUIRE(last().task == 14);
  REQUIRE(last().remaining.begin == 15);
  REQUIRE(last().remaining.end == 20);
  REQUIRE(!last(true).was_running);  // its result was published
  REQUIRE(last(true).remaining.begin == 15);

  // The next batch: batch 1 of the other worker must not be read as remaining tasks of this one.
  state.current = as_current(20) | not_begun;
  REQUIRE(nothing(last()));
  state.batch_end = 40;
  REQUIRE(nothing(last()));
  state.current = nothing_running;  // step 5
  REQUIRE(nothing(last()));
}

TEST_CASE("last task: a state that contradicts the claim table is ignored", "[claim_table]") {
  shared_call_memory shared(make_plan(100, 2, 10));
  auto& state = shared.states[0];
  auto const last = [&] {
    return moment_of_death(shared.plan, shared.table(), state, 0, false,
                           [](std::uint64_t) { return false; });
  };
  shared.words[0] = 1;
  state.current = as_current(4);
  state.batch_end = ~std::uint64_t{0};  // beyond the last task
  REQUIRE(!last().was_running);
  state.batch_end = 60;  // more than one claim can hold
  REQUIRE(!last().was_running);
  state.batch_end = 30;  // the worker does not own batches 1 and 2
  REQUIRE(last().was_running);
  REQUIRE(last().remaining.end == 10);
  state.current = as_current(1'000'000) | not_begun;
  REQUIRE(last().remaining.begin == last().remaining.end);
  state.current = ~std::uint64_t{0};
  REQUIRE(!last().was_running);
}

TEST_CASE("last task: a batch with one result remains or fails as a whole", "[claim_table]") {
  shared_call_memory shared(make_plan(100, 2, 10));
  auto& state = shared.states[0];
  shared.words[0] = 1;
  state.batch_end = 10;
  auto const last = [&] {
    return moment_of_death(shared.plan, shared.table(), state, 0, true,
                           [](std::uint64_t) { return false; });
  };
  state.current = as_current(6) | not_begun;  // between two tasks of the batch
  REQUIRE(!last().was_running);
  REQUIRE(last().remaining.begin == 0);
  state.current = as_current(6);
  REQUIRE(last().was_running);
  REQUIRE(last().remaining.begin == last().remaining.end);
}

TEST_CASE("published ranges: a number of ranges beyond the log's capacity is not believed",
          "[claim_table]") {
  worker_state state{};
  state.n_ranges = ~std::uint64_t{0} / 2;
  std::vector<published_range> log(10);
  published_range_writer ranges(state, log.data(), log.size(), 7, 8, 1);
  REQUIRE(ranges.is_full());
  ranges.moves_to(10);
  ranges.extends_to(20);
  ranges.close();
  for (auto const& range : log) REQUIRE(range.end == 0);
}

TEST_CASE(
    "published ranges: a range is closed when the worker continues elsewhere, and when it is long",
    "[claim_table]") {
  worker_state state{};
  std::vector<published_range> log(10);
  published_range_writer ranges(state, log.data(), log.size(), 7, 8, 1);
  REQUIRE(ranges.most_tasks() == range_tasks);
  ranges.moves_to(10);
  REQUIRE(state.range_begin == 10);
  ranges.add(5);
  ranges.extends_to(20);
  ranges.moves_to(20);  // adjacent
  REQUIRE(state.n_ranges == 0);
  REQUIRE(state.digest == 5 + digest_of_call(7));
  ranges.extends_to(30);
  state.current = as_current(29);
  ranges.moves_to(50);
  REQUIRE(state.n_ranges == 1);
  REQUIRE(log[0].begin == 10);
  REQUIRE(log[0].end == 30);
  REQUIRE(log[0].digest == 5 + digest_of_call(7));
  REQUIRE(log[0].seal == log[0].right_seal(7));
  REQUIRE(log[0].seal != log[0].right_seal(8));
  REQUIRE(state.current == nothing_running);
  REQUIRE(state.range_begin == 50);
  REQUIRE(state.digest == digest_of_call(7));
  ranges.extends_to(50 + range_tasks);
  ranges.moves_to(50 + range_tasks);
  REQUIRE(state.n_ranges == 2);
  ranges.close_before(60 + range_tasks);
  REQUIRE(state.n_ranges == 3);
  REQUIRE(state.range_begin == 60 + range_tasks);
  ranges.extends_to(61 + range_tasks);
  ranges.close();
  ranges.close();
  REQUIRE(state.n_ranges == 4);
  REQUIRE(log[3].begin == 60 + range_tasks);
}

TEST_CASE("last task: a replacement that crashes before its first task leaves all remaining tasks",
          "[claim_table]") {
  shared_call_memory shared(make_plan(100, 2, 10));
  auto& state = shared.states[0];
  shared.words[0] = 1;
  state.current = as_current(4) | not_begun;  // stored by the caller for the replacement
  state.batch_end = 10;
  state.phase = worker_phase::starting;
  auto const last = moment_of_death(shared.plan, shared.table(), state, 0, false,
                                    [](std::uint64_t) { return false; });
  REQUIRE(!last.was_running);
  REQUIRE(last.remaining.begin == 4);
  REQUIRE(last.remaining.end == 10);
}

TEST_CASE("limits: a task ends or times out, never both, and no other task is affected",
          "[claim_table]") {
  // Steps 4a to 4c, with a thread as the worker. The worker leaves each task by compare-and-swap.
  // The limit is so short that each task the caller finds running has timed out.
  worker_state state{};
  task_limit const limit{std::chrono::nanoseconds(1)};
  constexpr std::uint64_t n = 20'000;
  std::vector<std::uint64_t> left;
  std::vector<std::uint64_t> timed_out;
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> handled = 0;
  std::thread worker([&] {
    for (std::uint64_t i = 0; i != n; ++i) {
      state.started.store(0, std::memory_order_relaxed);
      state.current.store(as_current(i), std::memory_order_release);
      auto expected = as_current(i);
      if (state.current.compare_exchange_strong(expected, as_current(i + 1) | not_begun)) {
        left.push_back(i);
      } else {
        // Same as a replacement: continues once the caller has handled the timeout.
        while (handled.load() != i + 1) std::this_thread::yield();
      }
    }
    done = true;
  });
  while (!done) {
    if (!limit.has_timed_out(state, 2)) continue;
    auto const task = task_of(state.current.load());
    timed_out.push_back(task);
    state.current = as_current(task + 1) | not_begun;
    handled = task + 1;
  }
  worker.join();
  REQUIRE(left.size() + timed_out.size() == n);
  std::vector<std::uint64_t> all;
  std::merge(left.begin(), left.end(), timed_out.begin(), timed_out.end(), std::back_inserter(all));
  for (std::uint64_t i = 0; i != n; ++i) REQUIRE(all[i] == i);
}

TEST_CASE("limits: only a running task can time out", "[claim_table]") {
  worker_state state{};
  task_limit const limit{std::chrono::nanoseconds(100)};
  state.started = 1000;
  for (auto const current :
       {nothing_running, as_current(3) | not_begun, as_current(3) | timed_out_bit}) {
    state.current = current;
    REQUIRE(!limit.has_timed_out(state, 1'000'000));
    REQUIRE(state.current == current);
    REQUIRE(limit.due(state, 5000) == 5100);
  }
  state.current = as_current(3);
  REQUIRE(limit.due(state, 1050) == 1100);
  REQUIRE(!limit.has_timed_out(state, 1099));
  REQUIRE(limit.has_timed_out(state, 1100));
  REQUIRE(state.current == (as_current(3) | timed_out_bit));
}
