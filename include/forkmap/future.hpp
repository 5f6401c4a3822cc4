// The result of a submitted task, to come.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include <forkmap/engine/pool_engine.hpp>
#include <forkmap/engine/submitted_call.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/transfer/bytes.hpp>
#include <forkmap/transfer/codec.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/worker/limits.hpp>

namespace forkmap {
namespace detail {

/// The result of a submitted call that is done, or what it has failed of. Once.
template <class R> R take_submitted(submitted_call const& call) {
  if (call.error) std::rethrow_exception(call.error);
  call.failures.throw_first();
  if constexpr (!std::is_void_v<R>) {
    auto const* const begin = reinterpret_cast<std::byte const*>(call.bytes.data());
    reader in(begin, begin + call.bytes.size());
    return decode<R>(in);
  }
}

}  // namespace detail

/// What pool::submit returns. Move-only. Destroying it changes nothing: the task runs.
///
/// Errors: std::logic_error from all but valid() without a state (valid() is false), and in a process
///   that did not make the pool and where the task had not ended when that was forked.
template <class R> class future {
 public:
  future() = default;
  future(detail::pool_engine<>* engine, std::shared_ptr<detail::submitted_call> call)
      : engine_(engine), call_(std::move(call)) {}

  /// Whether there is a result to come: it was not made empty, nor moved from, nor got.
  bool valid() const noexcept { return call_ != nullptr; }

  /// Waits for the result and takes it; valid() is false afterwards.
  /// Errors: what the task has failed of, as a call of the pool throws it; task_cancelled after
  ///   cancel(), and where the pool was gone before the task had ended.
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

  /// Waits for so long at most.
  /// Returns: whether get() will not wait.
  template <class Rep, class Period> bool wait_for(std::chrono::duration<Rep, Period> time) const {
    check();
    constexpr double longest = 9e18;  // nanoseconds: 285 years
    auto const rough = std::chrono::duration<double, std::nano>(time).count();
    std::int64_t limit = 0;
    if (rough > 0) {
      limit = rough < longest ? std::chrono::duration_cast<std::chrono::nanoseconds>(time).count()
                              : INT64_MAX;
    }
    auto const until = detail::task_limit::saturated_sum(detail::nanoseconds_now(), limit);
    for (;;) {
      if (call_->is_done()) return true;
      auto const now = detail::nanoseconds_now();
      if (now >= until) return false;
      call_->wait(until - now);
    }
  }

  /// Ends the task: it does not begin, or its worker is killed. get() throws task_cancelled, also
  /// where the task had ended before.
  void cancel() {
    check();
    cancelled_ = true;
    if (!call_->is_done()) engine_->cancel(*call_);
  }

 private:
  void check() const {
    if (!valid()) throw std::logic_error("forkmap: a future without a task: it was empty, or got");
  }

  detail::pool_engine<>* engine_ = nullptr;
  std::shared_ptr<detail::submitted_call> call_{};
  bool cancelled_ = false;
};

}  // namespace forkmap
