// The calls of a stream that have ended, and the eventfd that tells of the next one.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <mutex>
#include <utility>

#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// The time on the steady clock when `limit` is over, in nanoseconds; INT64_MAX: never.
inline std::int64_t time_after(time_limit limit) noexcept {
  return limit.is_set() ? task_limit::saturated_sum(nanoseconds_now(), limit.value().count())
                        : INT64_MAX;
}

/// A stream takes its calls in the order of their numbers, or in the order of their ends. The pool's
/// supervisor adds calls; the thread that reads the stream uses all other functions.
///
/// The eventfd is readable exactly while the call that the stream takes next has ended, or there is
/// none. Both threads write it only with the mutex held: the supervisor when it adds the call that
/// is awaited, the reader after each call that it has taken.
class ended_calls {
 public:
  explicit ended_calls(bool ordered) noexcept : ordered_(ordered) {}
  ended_calls(ended_calls const&) = delete;
  ended_calls& operator=(ended_calls const&) = delete;
  ~ended_calls() = default;

  bool ordered() const noexcept { return ordered_; }

  /// Adds a call that has ended.
  void add(std::size_t number) noexcept {
    {
      std::lock_guard const lock(mutex_);
      if (!ordered_) all_.push_back(number);
      if (!ordered_ || number == awaited_) set_readable(true);
    }
    if (ordered_) return;
    n_.fetch_add(1, std::memory_order_release);
    wake_all(n_);
  }

  // The next two are for streams in the order of ends.

  bool has_next() noexcept {
    std::lock_guard const lock(mutex_);
    return !all_.empty();
  }
  /// Waits for the next call that ends, but not longer than to the time `until`.
  /// Returns: false if none has ended.
  bool next(std::size_t& number, std::int64_t until) noexcept {
    for (;;) {
      auto const seen = n_.load(std::memory_order_acquire);
      {
        std::lock_guard const lock(mutex_);
        if (!all_.empty()) {
          number = all_.front();
          all_.pop_front();
          return true;
        }
      }
      auto const rest = until == INT64_MAX ? until : until - nanoseconds_now();
      if (rest <= 0) return false;
      wait_while_equal(n_, seen, rest);
    }
  }

  bool has_descriptor() const noexcept { return static_cast<bool>(event_); }
  /// The eventfd. The first call makes it; update() must follow.
  /// Errors: std::system_error naming eventfd.
  int event_descriptor() {
    if (!event_) {
      auto made = make_event("a stream");
      std::lock_guard const lock(mutex_);
      event_ = std::move(made);
    }
    return event_.get();
  }

  /// Sets whether the eventfd is readable, after a call was taken or others were dispatched.
  /// `awaited`: the number of the call that an ordered stream takes next. `is_available()`: whether
  /// that call has ended or there is none.
  template <class IsAvailable>
  void update(std::size_t awaited, IsAvailable const& is_available) noexcept {
    // In a forked child the mutex may be locked for ever.
    if (!event_ || owner_ != ::getpid()) return;
    std::lock_guard const lock(mutex_);
    awaited_ = awaited;
    set_readable(is_available() || !all_.empty());
  }

 private:
  void set_readable(bool readable) noexcept {
    if (!event_ || readable == readable_) return;
    readable_ = readable;
    readable ? raise_event(event_.get()) : drain_event(event_.get());
  }

  bool const ordered_;
  pid_t const owner_ = ::getpid();
  std::mutex mutex_;
  std::list<std::size_t> all_{};
  std::atomic<std::uint32_t> n_{0};  // a futex
  std::size_t awaited_ = 0;
  descriptor event_{};
  bool readable_ = false;
};

}  // namespace forkmap::detail
