// What may end a call, or one of its tasks, before it is done: options::timeout, deadline and stop.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stop_token>

#include <forkmap/options.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/worker/limits.hpp>

namespace forkmap::detail {

/// Times are steady_clock's, in nanoseconds.
class call_limits {
 public:
  call_limits(options const& how, std::int64_t called_at)
      : task(how.timeout),
        stop_(how.stop),
        deadline_(how.deadline.is_set()
                      ? task_limit::saturated_sum(called_at, how.deadline.value().count())
                      : INT64_MAX) {}

  /// Whether the caller has to look at the clock at all.
  bool exist() const noexcept {
    return task.is_set() || deadline_ != INT64_MAX || stop_.stop_possible();
  }

  /// What ends the call now, if anything does.
  ended_call reached(std::int64_t now) const noexcept {
    if (stop_.stop_requested()) return ended_call::by_stop;
    if (now >= deadline_) return ended_call::by_deadline;
    return ended_call::by_nothing;
  }

  /// When to look again, whatever happens.
  std::int64_t next_look(std::int64_t now) const noexcept {
    return stop_.stop_possible() ? std::min(deadline_, now + stop_interval_ns) : deadline_;
  }

  task_limit task;

 private:
  // request_stop() cannot wake the caller: a callback would run in a signal handler.
  static constexpr std::int64_t stop_interval_ns = 50'000'000;

  std::stop_token const& stop_;
  std::int64_t deadline_;
};

}  // namespace forkmap::detail
