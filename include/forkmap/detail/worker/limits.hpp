// Time limits of a task and of the start of a worker.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <utility>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

// Time limits of tasks: which task has timed out, and when to check again.

/// The caller's part of step 4 in plan/claim_table.hpp. Times are in nanoseconds of steady_clock.
class task_limit {
 public:
  explicit task_limit(time_limit limit) noexcept
      : limit_(limit.is_set() ? limit.value().count() : 0) {}

  bool is_set() const noexcept { return limit_ != 0; }

  /// The earliest time at which the worker's task could time out.
  std::int64_t due(worker_state const& state, std::int64_t now) const noexcept {
    auto const task = state.current.load(std::memory_order_acquire);
    return saturated_sum(is_running(task) ? state.started.load(std::memory_order_relaxed) : now,
                         limit_);
  }

  /// The time at which a task that began at `time` times out.
  std::int64_t limit_from(std::int64_t time) const noexcept { return saturated_sum(time, limit_); }

  /// Marks the worker's task as timed out if it has run for too long. From then on it counts as
  /// timed out, even if it still ends, unless its result was already published.
  bool has_timed_out(worker_state& state, std::int64_t now) const noexcept {
    auto task = state.current.load(std::memory_order_acquire);
    if (!is_running(task)) return false;
    if (saturated_sum(state.started.load(std::memory_order_relaxed), limit_) > now) return false;
    return state.current.compare_exchange_strong(task, task | timed_out_bit,
                                                 std::memory_order_acq_rel);
  }
  /// Marks the worker's task as timed out, if one is running. `seen`: state.current, as it was seen.
  /// Returns: false if the worker has moved on since.
  static bool mark(worker_state& state, std::uint64_t seen) noexcept {
    return !is_running(seen) || state.current.compare_exchange_strong(seen, seen | timed_out_bit,
                                                                      std::memory_order_acq_rel);
  }

  static std::int64_t saturated_sum(std::int64_t time, std::int64_t more) noexcept {
    std::int64_t sum = 0;
    return __builtin_add_overflow(time, more, &sum) ? INT64_MAX : sum;
  }

 private:
  /// Whether a task is running: not nothing_running, not_begun or already timed out.
  static bool is_running(std::uint64_t current) noexcept {
    return current != nothing_running && (current & ~task_bits) == 0;
  }

  std::int64_t limit_;
};

/// A check, by the caller's own clock, that a worker moves from task to task. So a task does not
/// escape its limit by overwriting its worker's state, nor does a worker that never reaches a task.
class task_pulse {
 public:
  std::int64_t due(worker_state const& state, task_limit const& limit, std::int64_t now) noexcept {
    look(state, now);
    auto const phase = state.phase.load(std::memory_order_relaxed);
    bool const works = phase == worker_phase::starting || phase == worker_phase::working;
    return task_limit::saturated_sum(limit.limit_from(since_), works ? margin_ns : end_ns);
  }
  /// Whether the worker has been at the same task for too long. Marks that task as timed out.
  bool is_stuck(worker_state& state, task_limit const& limit, std::int64_t now) noexcept {
    return due(state, limit, now) <= now && task_limit::mark(state, seen_);
  }

 private:
  // The caller may have read its clock some time before it saw the task, on a busy machine.
  static constexpr std::int64_t margin_ns = 10'000'000;
  // Additional time for worker_exit and other work at exit, which are not tasks.
  static constexpr std::int64_t end_ns = 300'000'000'000;

  void look(worker_state const& state, std::int64_t now) noexcept {
    auto const current = state.current.load(std::memory_order_acquire);
    if (since_ != 0 && current == seen_) return;
    seen_ = current;
    since_ = now;
  }

  std::uint64_t seen_ = 0;
  std::int64_t since_ = 0;  // when seen_ was first seen
};

// options::timeout before a worker's first task: for worker_init and for the start of the process.
//
// worker_init is the user's code and has the limit of a task. The start of a process is not, and on
// a busy machine it can take longer than a short limit, so its limit is at least one second.
//
// state.phase (in a pool: pool_worker_state::phase) changes from `starting` to `working` in the
// worker, or to `late` in the caller, both by compare-and-swap. The first swap decides, so a task is
// never killed for a slow start. Only a worker that is late is killed.

/// Called in a worker when its start is over. Does not return if the worker is late.
[[gnu::hot]] inline void begin_work(std::atomic<worker_phase>& phase) noexcept {
  auto seen = worker_phase::starting;
  if (phase.compare_exchange_strong(seen, worker_phase::working, std::memory_order_acq_rel)) return;
  for (;;) bound().syscall(SYS_ppoll, nullptr, 0L, nullptr, nullptr, 0L);
}

/// The time limit of a worker's start. Times are in nanoseconds of steady_clock.
class start_limit {
 public:
  explicit start_limit(options const& opts) noexcept
      : limit_(opts.timeout.is_set() ? of(opts).count() : 0) {}

  /// Precondition: opts.timeout is set.
  static std::chrono::nanoseconds of(options const& opts) noexcept {
    constexpr std::chrono::nanoseconds least = std::chrono::seconds(1);
    return opts.worker_init ? opts.timeout.value() : std::max(least, opts.timeout.value());
  }

  /// The time at which a start that began at `born` times out; INT64_MAX if the start has ended.
  std::int64_t due(std::atomic<worker_phase> const& phase, std::int64_t born) const noexcept {
    bool const starts =
        limit_ != 0 && phase.load(std::memory_order_relaxed) == worker_phase::starting;
    return starts ? task_limit::saturated_sum(born, limit_) : INT64_MAX;
  }

  /// Marks a start that takes too long as late.
  bool has_timed_out(std::atomic<worker_phase>& phase, std::int64_t born,
                     std::int64_t now) const noexcept {
    if (due(phase, born) > now) return false;
    auto seen = worker_phase::starting;
    return phase.compare_exchange_strong(seen, worker_phase::late, std::memory_order_acq_rel);
  }

 private:
  std::int64_t limit_;
};

}  // namespace forkmap::detail
