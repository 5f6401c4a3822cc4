// A task that was submitted to a pool, and its result: what a future and its pool share.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/ended_calls.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/serialize/codec.hpp>
#include <forkmap/report.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// Checks that this process made the pool.
/// Errors: std::logic_error if it did not.
inline void check_pool_owner(pid_t owner) {
  if (owner == ::getpid()) return;
  throw std::logic_error(
      "forkmap: a pool is used in a process that did not make it (a worker, or a forked child): "
      "make one there, or use forkmap::parallel");
}

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

/// A submitted call. Only its pool may use it until it is done.
class submitted_call {
 public:
  /// `number`: the index of its task, which is added to `group`, if there is one, when the call is
  /// done.
  explicit submitted_call(owner<pool_tasks> one_task, std::size_t number = 0,
                          std::shared_ptr<ended_calls> group = nullptr)
      : tasks(std::move(one_task)), number_(number), group_(std::move(group)) {
    tasks->first_index = number;
  }

  std::uint64_t index() const noexcept { return number_; }
  bool is_done() const noexcept { return done_.load() != 0; }

  /// Errors: std::logic_error in a forked child, where the call would never be done.
  void check_owner() const { check_pool_owner(owner_); }
  void wait_until_done() const { wait_until(INT64_MAX); }
  /// Waits until the call is done, but not longer than to that time on the steady clock, in
  /// nanoseconds (INT64_MAX: no limit).
  /// Returns: whether the call is done.
  /// Errors: std::logic_error in a forked child, where the call would never be done.
  bool wait_until(std::int64_t time) const {
    for (;;) {
      if (is_done()) return true;
      auto const rest = time == INT64_MAX ? time : time - nanoseconds_now();
      if (rest <= 0) return false;
      check_owner();
      wait_while_equal(done_, 0, rest);
    }
  }
  void set_done() noexcept {
    auto const group = std::move(group_);
    done_.store(1);
    wake_all(done_);
    if (auto const fd = event_.load(); fd >= 0) raise_event(fd);
    any_call_done.announce();
    if (group != nullptr) group->add(number_);
  }

  /// An eventfd that is readable when the call is done. To be called by one thread at a time.
  /// Errors: std::system_error naming eventfd.
  int descriptor() {
    if (event_.load() < 0) {
      owned_event_ = make_event("a future");
      event_.store(owned_event_.get());
      // seq_cst: either set_done() sees the descriptor, or this sees that the call is done.
      if (is_done()) raise_event(event_.load());
    }
    return event_.load();
  }

  owner<pool_tasks> tasks;
  map_report report{};
  // When the call is done, one of these.
  std::string bytes{};         // the serialized result
  failure_list failures{};     // why there is no result
  std::exception_ptr error{};  // the failure of the pool itself

 private:
  std::atomic<std::uint32_t> done_{0};
  std::atomic<int> event_{-1};  // owned_event_'s
  detail::descriptor owned_event_{};
  pid_t owner_ = ::getpid();
  std::size_t number_;
  std::shared_ptr<ended_calls> group_;
};

/// The result of a submitted call that is done, or with Outcomes its outcome. May be called once.
/// Errors: the failure of the pool; without Outcomes also that of the task.
template <class R, bool Outcomes = false> auto take_submitted(submitted_call const& call) {
  if (call.error) std::rethrow_exception(call.error);
  return take_streamed<R, Outcomes>(call.failures, call.index(), [&]() -> R {
    if constexpr (!std::is_void_v<R>) {
      auto const* const begin = reinterpret_cast<std::byte const*>(call.bytes.data());
      reader in(begin, begin + call.bytes.size());
      return decode<R>(in);
    }
  });
}

}  // namespace forkmap::detail
