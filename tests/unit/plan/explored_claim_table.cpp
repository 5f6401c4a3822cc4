// The dispatch protocol of plan/claim_table.hpp on a weakly ordered machine. The code under test is
// the header itself, with its atomics replaced by those of support/explorer.hpp. Workers crash at
// every step, are replaced and retry tasks; tasks exceed time limits; a call is cancelled.
//
// The code around the protocol is repeated here, step by step: work() is worker/loop.hpp,
// watch_over() is engine/fork_join_call.hpp (goes_on) and pool/pool_supervisor.hpp (settle). Change
// them together.
// SPDX-License-Identifier: MIT
#include <cxxabi.h>
#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <linux/futex.h>
#include <poll.h>
#include <spawn.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unwind.h>
#include <unistd.h>

#include <algorithm>
#include <any>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>


#include "support/catch.hpp"
#include "support/explorer.hpp"
#include "support/sanitizers.hpp"

// Includes forkmap's own headers again, in another namespace and with other atomics. This file is
// compiled alone, without precompiled headers: see tests/CMakeLists.txt.
namespace std {
using support::explored_atomic;  // NOLINT: the headers say std::atomic
}
#define atomic explored_atomic
#define forkmap explored_forkmap
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/claimant.hpp>
#include <forkmap/detail/plan/last_task.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/detail/worker/limits.hpp>
#undef forkmap
#undef atomic

namespace {

using namespace explored_forkmap::detail;
using support::explored_atomic;
using support::explorer;

/// The parameters of an exploration.
struct scenario {
  std::uint64_t n_tasks = 2;
  std::uint32_t n_workers = 2;
  std::uint64_t batch_tasks = 1;
  std::uint64_t most_batches = 1;  // batches claimed at a time
  bool in_order = true;      // false: each worker has a region of its own and steals from others
  bool has_timeout = false;  // options::timeout is set
  int retries = 0;
  int timeout_checks = 0;    // how often the caller checks for tasks that exceed the limit
  int published_checks = 0;  // how often the caller checks the results published so far
  std::uint64_t cancels_at = ~std::uint64_t{0};  // this task cancels the call
};

/// One run of a scenario: the memory that the processes share, and the actual history of each
/// worker.
class explored_call {
 public:
  explored_call(explorer& explored, scenario const& chosen)
      : explored_(explored),
        scenario_(chosen),
        plan_(make_plan(chosen.n_tasks, chosen.n_workers, chosen.batch_tasks)),
        words_(claim_table::words_for(plan_.n_batches)),
        hints_(std::make_unique<claim_hint[]>(plan_.n_workers)),
        states_(std::make_unique<worker_state[]>(plan_.n_workers)),
        logs_(plan_.n_workers, std::vector<published_range>(capacity)),
        covered_(chosen.n_tasks),
        results_(chosen.n_tasks),
        histories_(plan_.n_workers),
        runs_(chosen.n_tasks),
        retried_(chosen.n_tasks),
        failed_(chosen.n_tasks) {
    plan_.in_order = chosen.in_order;
    // Memory written before the first fork is not part of the exploration.
    explorer* const active = std::exchange(explorer::active(), nullptr);
    cancelled_ = 0;
    for (auto& word : words_) word = 0;
    for (auto& result : results_) result = 0;
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
      auto& state = states_[k];
      std::memset(static_cast<void*>(&state), 0, sizeof state);
      clear(state);
      hints_[k].cursor = plan_.first_batches(k).begin;
      hints_[k].region_end = plan_.first_batches(k).end;
      hints_[k].claimed = 0;
    }
    explorer::active() = active;
    explored.start(false, [this] { watch_over(); });
  }

 private:
  static constexpr std::uint64_t capacity = 16;
  static constexpr std::uint64_t none = ~std::uint64_t{0};

  static void clear(worker_state& state) {
    state.current = nothing_running;
    state.digest = 0;
    state.range_begin = 0;
    state.n_ranges = 0;
    state.batch_end = 0;
  }

  /// The actual history of a worker, to compare with what the caller concludes.
  struct worker_history {
    std::size_t thread = 0;
    std::uint64_t begun = none;  // the last task that the worker began
    bool has_left = false;       // the worker has left that task
    bool awaits_kill = false;    // its task timed out; the caller will kill the worker
    bool is_over = false;        // the caller has handled its exit and starts no replacement
    task_range remaining{};      // the tasks it took over when it started
  };

  void check(bool right, char const* claim) { explored_.check(right, claim); }
  claim_table table() { return claim_table(words_.data()); }

  // worker/loop.hpp

  void work(std::uint32_t k) {
    auto& state = states_[k];
    auto& mine = histories_[k];
    published_range_writer ranges(state, logs_[k].data(), capacity, 0, 8, 1);
    claimant<published_range_writer> claims(plan_, table(), hints_.get(), state, k, ranges);
    auto running = none;
    auto const leave = [&](std::uint64_t next) {
      if (!scenario_.has_timeout || running == none) return;
      auto expected = as_current(running);
      if (!state.current.compare_exchange_strong(expected, as_current(next) | not_begun,
                                                 std::memory_order_acq_rel)) {
        mine.awaits_kill = true;
        explored_.wait_until([] { return false; });
      }
      mine.has_left = true;
      running = none;
    };
    auto const run_range = [&](task_range tasks) {
      for (auto i = tasks.begin; i != tasks.end; ++i) {
        if (scenario_.has_timeout) {
          leave(i);
          running = i;
          state.started.store(1, std::memory_order_relaxed);
        }
        state.current.store(as_current(i), std::memory_order_release);
        mine.begun = i;
        mine.has_left = false;
        ++runs_[i];
        results_[i].store(runs_[i], std::memory_order_relaxed);  // not atomic in forkmap
        ranges.add(i + 1);
        if (i == scenario_.cancels_at) cancelled_.store(1, std::memory_order_release);
      }
      ranges.extends_to(tasks.end);
      leave(tasks.end);
    };
    auto const is_cancelled = [&] { return cancelled_.load(std::memory_order_relaxed) != 0; };

    bool handed_on = false;
    if (mine.remaining.begin != mine.remaining.end) {
      ranges.resumes_at(mine.remaining.begin);
      handed_on = is_cancelled();
      if (!handed_on) run_range(mine.remaining);
    }
    task_range tasks;
    while (!handed_on && !is_cancelled() && claims.next(tasks, scenario_.most_batches)) {
      mine.has_left = true;
      run_range(tasks);
    }
    ranges.close();
    if (!handed_on) state.current.store(nothing_running, std::memory_order_release);
    mine.has_left = true;
  }

  // engine/

  void start(std::uint32_t k, task_range remaining) {
    histories_[k] = {};
    histories_[k].remaining = remaining;
    histories_[k].thread = explored_.start(true, [this, k] { work(k); });
  }

  void watch_over() {
    for (std::uint32_t k = 0; k != plan_.n_workers; ++k) start(k, {});
    task_limit const limit{std::chrono::nanoseconds(1)};
    auto timeout_checks = scenario_.timeout_checks;
    auto published_checks = scenario_.published_checks;
    for (;;) {
      auto const has_ended = [&](std::uint32_t k) {
        return !histories_[k].is_over && explored_.has_ended(histories_[k].thread);
      };
      explored_.wait_until([&] {
        if (timeout_checks != 0 || published_checks != 0) return true;
        bool any = false, all_over = true;
        for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
          any |= has_ended(k);
          all_over &= histories_[k].is_over;
        }
        return any || all_over;
      });
      bool any_left = false;
      for (std::uint32_t k = 0; k != plan_.n_workers; ++k) {
        if (has_ended(k)) handle_exit_of(k);
        any_left |= !histories_[k].is_over;
      }
      if (!any_left) break;
      if (published_checks != 0) {
        --published_checks;
        for (std::uint32_t k = 0; k != plan_.n_workers; ++k) look_at_ranges(k);
      }
      if (timeout_checks != 0) {
        --timeout_checks;
        for (std::uint32_t k = 0; k != plan_.n_workers; ++k) kill_if_timed_out(k, limit);
      }
    }
    look_at_end();
  }

  void kill_if_timed_out(std::uint32_t k, task_limit const& limit) {
    if (histories_[k].is_over || !limit.has_timed_out(states_[k], 1'000)) return;
    auto const& history = histories_[k];
    check(history.begun != none && !history.has_left, "a task that had ended timed out");
    explored_.kill(history.thread);
  }

  void look_at_range(std::uint64_t begin, std::uint64_t end) {
    check(begin <= end && end <= scenario_.n_tasks,
          "a published range is not a valid range of tasks");
    for (auto i = begin; i < end; ++i) {
      check(runs_[i] != 0 && explored_.sees_last(&results_[i]),
            "a published result cannot be read");
    }
  }
  /// Checks the ranges of a worker that are published and visible to the caller now.
  void look_at_ranges(std::uint32_t k) {
    auto const n = states_[k].n_ranges.load(std::memory_order_acquire);
    for (std::uint64_t i = 0; i != n; ++i) {
      auto const& range = logs_[k][i];
      check(range.seal == range.right_seal(0), "a range was published before it was written");
      look_at_range(range.begin, range.end);
    }
  }
  /// Takes over the published ranges of a worker that has exited: the closed ones and the open one.
  void take_over(std::uint32_t k) {
    auto& state = states_[k];
    look_at_ranges(k);
    auto const take = [&](std::uint64_t begin, std::uint64_t end, std::uint64_t digest, bool open) {
      std::uint64_t right = 0;
      for (auto i = begin; i != end; ++i) right += i + 1;
      check(digest == right || (open && digest == right + end + 1),
            "the digest of a range is wrong");
      for (auto i = begin; i != end; ++i) covered_[i] = true;
    };
    auto const n = state.n_ranges.load(std::memory_order_acquire);
    for (std::uint64_t i = 0; i != n; ++i) {
      auto const& range = logs_[k][i];
      take(range.begin, range.end, range.digest, false);
    }
    auto const current = state.current.load(std::memory_order_acquire);
    auto const begin = state.range_begin.load(std::memory_order_relaxed);
    if (current == nothing_running || task_of(current) <= begin) return;
    look_at_range(begin, task_of(current));
    take(begin, task_of(current), state.digest.load(std::memory_order_relaxed), true);
  }

  void handle_exit_of(std::uint32_t k) {
    auto& history = histories_[k];
    explored_.join(history.thread);
    take_over(k);
    if (!explored_.has_died(history.thread)) {
      history.is_over = true;
      return;
    }
    auto& state = states_[k];
    auto const last = moment_of_death(plan_, table(), state, k, false, [&](std::uint64_t task) {
      return static_cast<bool>(covered_[task]);
    });
    auto remaining = last.remaining;
    bool retry = false;
    if (last.was_running) {
      check(last.task == history.begun && !history.has_left, "a task was blamed that had ended");
      check(!last.timed_out || scenario_.timeout_checks != 0,
            "a task timed out, although there is no limit");
      retry = retried_[last.task] < scenario_.retries;
      if (retry) {
        ++retried_[last.task];
        remaining.begin = last.task;
      } else {
        failed_[last.task] = true;
      }
    } else {
      check(!history.awaits_kill, "a task timed out, but the caller does not know which one");
    }
    for (auto i = remaining.begin; i < remaining.end; ++i) {
      check(runs_[i] == retried_[i], "a remaining task had already begun");
    }
    // Same as task_outcomes::leave().
    state.n_ranges.store(0, std::memory_order_relaxed);
    state.range_begin.store(remaining.begin, std::memory_order_relaxed);
    state.digest.store(0, std::memory_order_relaxed);
    state.batch_end.store(remaining.end, std::memory_order_relaxed);
    state.current.store(waiting_for_replacement(remaining), std::memory_order_release);
    bool const has_remaining = remaining.begin < remaining.end;
    std::uint64_t claimed = 0;
    for (std::uint32_t w = 0; w != plan_.n_workers; ++w) {
      claimed += hints_[w].claimed.load(std::memory_order_acquire);
    }
    bool const cancelled = cancelled_.load(std::memory_order_acquire) != 0;
    if (!cancelled && (has_remaining || claimed < plan_.n_batches))
      start(k, has_remaining ? remaining : task_range{});
    else
      history.is_over = true;
  }

  void look_at_end() {
    bool const cancelled = cancelled_.load(std::memory_order_acquire) != 0;
    for (std::uint64_t i = 0; i != scenario_.n_tasks; ++i) {
      check(runs_[i] <= 1 + retried_[i], "a task ran twice");
      if (cancelled && runs_[i] == 0) continue;
      check(failed_[i] || runs_[i] == 1 + retried_[i], "a task was lost");
      if (!failed_[i] && runs_[i] != 0) {
        check(covered_[i], "a result was not published");
        check(explored_.sees_last(&results_[i]), "a result cannot be read at the end");
      }
    }
  }

  explorer& explored_;
  scenario scenario_;
  dispatch_plan plan_;
  std::vector<explored_atomic<std::uint64_t>> words_;
  std::unique_ptr<claim_hint[]> hints_;
  std::unique_ptr<worker_state[]> states_;
  std::vector<std::vector<published_range>> logs_;
  std::vector<bool> covered_;
  std::vector<explored_atomic<int>> results_;
  explored_atomic<std::uint32_t> cancelled_;
  std::vector<worker_history> histories_;
  std::vector<int> runs_;
  std::vector<int> retried_;
  std::vector<bool> failed_;
};

/// Explores a scenario: every run within small bounds, then random runs.
void explore(scenario const& chosen) {
  // The explorer switches between its own user-level threads, which the sanitizers do not support.
  if (support::address_sanitizer || support::thread_sanitizer) return;
  explorer explored;
  std::unique_ptr<explored_call> call;
  auto const program = [&] { call = std::make_unique<explored_call>(explored, chosen); };
  for (explorer::bounds const limits :
       {explorer::bounds{.preemptions = 0, .stale_loads = 1, .deaths = 1},
        explorer::bounds{.preemptions = 1, .stale_loads = 0, .deaths = 1},
        explorer::bounds{.preemptions = 0, .stale_loads = 0, .deaths = 2}}) {
    auto const tried = explored.explore(limits, program);
    CHECK(tried.wrong == "");
    CHECK(tried.all);
  }
  CHECK(explored.explore({.deaths = 3, .runs = 4000, .random = 1}, program).wrong == "");
}

}  // namespace

TEST_CASE(
    "explored claim table: when workers crash, no task is lost, run twice or wrongly blamed") {
  explore({.n_tasks = 3, .n_workers = 2});
}

TEST_CASE("explored claim table: a replacement takes over all batches that were claimed together") {
  explore({.n_tasks = 6, .n_workers = 2, .batch_tasks = 2, .most_batches = 2, .retries = 1});
}

TEST_CASE("explored claim table: each task runs once when workers steal from each other") {
  explore({.n_tasks = 2, .n_workers = 2, .in_order = false});
}

TEST_CASE("explored claim table: a task either ends or times out, whenever the caller checks") {
  explore(
      {.n_tasks = 3, .n_workers = 1, .batch_tasks = 3, .has_timeout = true, .timeout_checks = 3});
  explore({.n_tasks = 2, .n_workers = 2, .has_timeout = true, .retries = 1, .timeout_checks = 1});
}

TEST_CASE("explored claim table: published results can be read while workers run and crash") {
  explore({.n_tasks = 2, .n_workers = 2, .retries = 2, .published_checks = 1});
  explore({.n_tasks = 2,
           .n_workers = 1,
           .batch_tasks = 2,
           .has_timeout = true,
           .retries = 2,
           .published_checks = 2});
}

TEST_CASE("explored claim table: when a call is cancelled, each task that began ends or fails") {
  explore({.n_tasks = 4, .n_workers = 2, .batch_tasks = 2, .cancels_at = 0});
}
