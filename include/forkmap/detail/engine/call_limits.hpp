// The limits of a call: options::timeout, deadline and stop.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstdint>
#include <stop_token>

#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// Times are steady_clock's, in nanoseconds.
class call_limits {
 public:
  call_limits(options const& opts, std::int64_t called_at)
      : task(opts.timeout),
        start(opts),
        stop_(opts.stop),
        deadline_(opts.deadline.is_set()
                      ? task_limit::saturated_sum(called_at, opts.deadline.value().count())
                      : INT64_MAX) {}

  /// Whether there is any limit, so that the caller must read the clock.
  bool exist() const noexcept {
    return task.is_set() || deadline_ != INT64_MAX || stop_.stop_possible();
  }

  /// The limit that ends the call now, or by_nothing.
  ended_call reached(std::int64_t now) const noexcept {
    if (stop_.stop_requested()) return ended_call::by_stop;
    if (now >= deadline_) return ended_call::by_deadline;
    return ended_call::by_nothing;
  }

  /// The latest time at which to call reached() again.
  std::int64_t next_look(std::int64_t now) const noexcept {
    return stop_.stop_possible() ? std::min(deadline_, now + stop_interval_ns) : deadline_;
  }

  task_limit task;
  start_limit start;

 private:
  // request_stop() cannot wake the caller: a callback would run in a signal handler.
  static constexpr std::int64_t stop_interval_ns = 50'000'000;

  std::stop_token const& stop_;
  std::int64_t deadline_;
};

}  // namespace forkmap::detail
