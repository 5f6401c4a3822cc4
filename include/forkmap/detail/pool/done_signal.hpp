// Wakes threads that wait for one of several submitted calls.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/futex.hpp>

namespace forkmap::detail {

/// Tells threads that wait for one of several submitted calls that some call is done.
class done_signal {
 public:
  void announce() noexcept {
    count_.fetch_add(1);
    if (n_waiting_.load() != 0) wake_all(count_);
  }

  /// Waits until `done()` returns true, but not longer than to that time on the steady clock, in
  /// nanoseconds (INT64_MAX: no limit).
  /// Returns: whether `done()` has returned true.
  template <class Done> bool wait_until(std::int64_t time, Done const& done) {
    // A pool in another shared library may announce its calls elsewhere: look now and then.
    constexpr std::int64_t look_again_ns = 50'000'000;
    struct registration {
      explicit registration(std::atomic<std::uint32_t>& n_waiting) noexcept : counter(n_waiting) {
        counter.fetch_add(1);
      }
      registration(registration const&) = delete;
      registration& operator=(registration const&) = delete;
      ~registration() { counter.fetch_sub(1); }
      std::atomic<std::uint32_t>& counter;
    } const this_thread(n_waiting_);
    for (;;) {
      auto const seen = count_.load();
      if (done()) return true;
      auto const rest = time - nanoseconds_now();
      if (rest <= 0) return false;
      wait_while_equal(count_, seen, std::min(rest, look_again_ns));
    }
  }

 private:
  std::atomic<std::uint32_t> count_{0};  // a futex
  std::atomic<std::uint32_t> n_waiting_{0};
};
inline constinit done_signal any_call_done;

}  // namespace forkmap::detail
