// Time limits of tasks: which of them is over its limit, and when to look again.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include <forkmap/plan/ledger.hpp>
#include <forkmap/time_limit.hpp>

namespace forkmap::detail {

/// Step 4 of plan/ledger.hpp as the caller sees it. Times are steady_clock's, in nanoseconds.
class task_limit {
 public:
  explicit task_limit(time_limit limit) noexcept
      : limit_(limit.is_set() ? limit.value().count() : 0) {}

  bool is_set() const noexcept { return limit_ != 0; }

  /// The earliest moment at which that worker's task could be over its limit.
  std::int64_t due(worker_slot const& slot, std::int64_t now) const noexcept {
    auto const task = slot.current.load(std::memory_order_acquire);
    return saturated_sum(is_running(task) ? slot.started.load(std::memory_order_relaxed) : now,
                         limit_);
  }

  /// When a task that began at `time` would be over its limit.
  std::int64_t limit_from(std::int64_t time) const noexcept { return saturated_sum(time, limit_); }

  /// Gives up the worker's task if it has run for too long. From then on it has timed out, whatever
  /// it still does, unless it had recorded its result.
  bool gives_up(worker_slot& slot, std::int64_t now) const noexcept {
    auto task = slot.current.load(std::memory_order_acquire);
    if (!is_running(task)) return false;
    if (saturated_sum(slot.started.load(std::memory_order_relaxed), limit_) > now) return false;
    return slot.current.compare_exchange_strong(task, task | over_limit, std::memory_order_acq_rel);
  }

  static std::int64_t saturated_sum(std::int64_t time, std::int64_t more) noexcept {
    std::int64_t sum = 0;
    return __builtin_add_overflow(time, more, &sum) ? INT64_MAX : sum;
  }

 private:
  /// Neither nothing_running, nor not_begun, nor given up already.
  static bool is_running(std::uint64_t task) noexcept { return (task & ~task_bits) == 0; }

  std::int64_t limit_;
};

}  // namespace forkmap::detail
