// The future result of a task that was submitted to a pool.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/pool/pool_interface.hpp>
#include <forkmap/detail/pool/submitted_call.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/options.hpp>

namespace forkmap {

/// The future result of a task: the return type of pool::submit(). Move-only.
///
/// The task runs whether or not its future is destroyed. A future may outlive its pool.
/// Errors: every function but valid() throws std::logic_error if valid() is false. In a process
///   that did not make the pool, they also throw it if the task had not ended when that process was
///   forked.
/// Source: std::future.
/// Example: `auto later = workers.submit(slow_root, 2.0); double const root = later.get();`
template <class R> class future {
 public:
  future() = default;
  future(future&&) noexcept = default;
  future& operator=(future&&) noexcept = default;
  ~future() = default;
  future(detail::pool_interface* engine, std::shared_ptr<detail::submitted_call> call)
      : engine_(engine), call_(std::move(call)) {}

  /// Whether the future has a state. It has none if it was default-constructed or moved from, or if
  /// get() was called.
  bool valid() const noexcept { return call_ != nullptr; }

  /// Waits until the task has ended, and takes its result. valid() is false afterwards.
  ///
  /// Errors: the task's failure, as a call of the pool throws it. task_cancelled after cancel(),
  ///   and if the pool was destroyed before the task had ended.
  R get() {
    check();
    call_->wait_until_done();
    auto const call = std::move(call_);
    if (std::exchange(cancelled_, false)) {
      std::rethrow_exception(detail::cancelled_task(call->index(), failure::cancelled, 0,
                                                    detail::ended_call::by_cancel)
                                 .exception());
    }
    return detail::take_submitted<R>(*call);
  }

  /// Waits until the task has ended.
  void wait() const {
    check();
    call_->wait_until_done();
  }

  /// Waits until the task has ended, but no longer than `time`.
  ///
  /// Returns: whether the task has ended.
  template <class Rep, class Period> bool wait_for(std::chrono::duration<Rep, Period> time) const {
    check();
    constexpr double longest = 9e18;  // nanoseconds: 285 years
    auto const rough = std::chrono::duration<double, std::nano>(time).count();
    std::int64_t limit = 0;
    if (rough > 0) {
      limit = rough < longest ? std::chrono::duration_cast<std::chrono::nanoseconds>(time).count()
                              : INT64_MAX;
    }
    return call_->wait_until(detail::task_limit::saturated_sum(detail::nanoseconds_now(), limit));
  }

  /// A file descriptor for poll(), epoll and event loops: readable when the task has ended. It belongs
  /// to the future, must only be polled, and is closed when the result is taken or the future is
  /// destroyed.
  ///
  /// Errors: std::system_error naming eventfd.
  int descriptor() const {
    check();
    return call_->descriptor();
  }

  /// Cancels the task: a waiting task does not start, and the worker of a running task is killed.
  /// Then get() throws task_cancelled, even if the task had already ended.
  void cancel() {
    check();
    cancelled_ = true;
    if (!call_->is_done()) engine_->cancel(*call_, detail::ended_call::by_cancel);
  }

 private:
  template <std::ranges::forward_range Futures>
  friend std::optional<std::size_t> wait_any(Futures const& futures, time_limit limit);

  void check() const {
    if (valid()) return;
    throw std::logic_error(
        "forkmap: future has no state (default-constructed, moved from, or get() was already "
        "called)");
  }

  detail::pool_interface* engine_ = nullptr;
  std::shared_ptr<detail::submitted_call> call_{};
  bool cancelled_ = false;
};

/// Waits until the task of one of the futures has ended, but no longer than `limit`, any std::chrono
/// duration. Futures whose valid() is false are left out.
///
/// Returns: the position in the range of a future whose task has ended, the first of them; nothing if
///   none has ended in that time, or if no future is valid.
/// Errors: std::logic_error in a process that did not make the pool.
/// Cost: each task of the program that ends meanwhile wakes this thread, which looks at all futures.
/// Source: Go's select; Python's concurrent.futures.wait(FIRST_COMPLETED).
/// Example: `while (auto const i = forkmap::wait_any(futures)) use(futures[*i].get());`
template <std::ranges::forward_range Futures>
std::optional<std::size_t> wait_any(Futures const& futures, time_limit limit = {}) {
  bool any_valid = false;
  std::size_t at = 0;
  for (auto const& each : futures) {
    if (!each.valid()) continue;
    any_valid = true;
    if (!each.call_->is_done()) each.call_->check_owner();
  }
  auto const any_done = [&] {
    for (auto const& each : futures) {
      if (!each.valid() || each.call_->messages == nullptr) continue;
      each.call_->messages->deliver();
      // More messages have come: this thread does not sleep.
      if (!each.call_->messages->may_sleep()) each.call_->messages->notify();
    }
    at = 0;
    for (auto const& each : futures) {
      if (each.valid() && each.call_->is_settled()) return true;
      ++at;
    }
    return false;
  };
  if (!any_valid || !detail::any_call_done.wait_until(detail::time_after(limit), any_done))
    return {};
  return at;
}

}  // namespace forkmap
