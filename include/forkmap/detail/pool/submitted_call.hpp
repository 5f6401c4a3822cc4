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
#include <forkmap/detail/pool/done_signal.hpp>
#include <forkmap/detail/pool/ended_calls.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/pool/submitted_messages.hpp>
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
  /// Whether the call is done and its messages have been handled.
  bool is_settled() const {
    if (!is_done()) return false;
    return messages == nullptr || !messages->is_ours() || inbox->inbox.is_in_delivery_here() ||
           inbox->inbox.is_finished();
  }
  void wait_until_done() const { wait_until(INT64_MAX); }
  /// Waits until the call is settled, but not longer than to that time on the steady clock, in
  /// nanoseconds (INT64_MAX: no limit). Delivers messages meanwhile.
  /// Returns: whether the call is settled.
  /// Errors: std::logic_error in a forked child, where the call would never be done.
  bool wait_until(std::int64_t time) const {
    for (;;) {
      auto const seen = messages == nullptr ? 0 : messages->changes();
      if (messages != nullptr) messages->deliver();
      if (is_settled()) return true;
      auto const rest = time == INT64_MAX ? time : time - nanoseconds_now();
      if (rest <= 0) return false;
      check_owner();
      if (messages == nullptr)
        wait_while_equal(done_, 0, rest);
      else
        messages->sleep(seen, rest);
    }
  }
  /// Has messages that were not handled yet, and later ones, not handled any more.
  void drop_messages() noexcept {
    if (inbox != nullptr) inbox->inbox.close();
  }
  void set_done() noexcept {
    auto const group = std::move(group_);
    done_.store(1);
    wake_all(done_);
    if (auto const fd = event_.load(); fd >= 0) raise_event(fd);
    any_call_done.announce();
    if (group != nullptr) group->add(number_);
    if (messages != nullptr) messages->notify();
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
  // Null: the pool has no handler of messages.
  std::shared_ptr<submitted_messages> messages{};  // of all submitted calls of the pool
  std::shared_ptr<submitted_inbox> inbox{};        // of this one
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
/// Errors: what the handler of messages has thrown; the failure of the pool; without Outcomes also that
/// of the task.
template <class R, bool Outcomes = false> auto take_submitted(submitted_call& call) {
  std::string output;
  if (call.inbox != nullptr && call.messages->is_ours()) {
    if (auto const error = call.inbox->error()) std::rethrow_exception(error);
    auto outputs = call.inbox->inbox.take_outputs();
    output = std::move(outputs[call.index()]);
    call.failures.for_each([&](task_failure& failed) { failed.output = output; });
  }
  if (call.error) std::rethrow_exception(call.error);
  auto const take_result = [&]() -> R {
    if constexpr (!std::is_void_v<R>) {
      auto const* const begin = reinterpret_cast<std::byte const*>(call.bytes.data());
      reader in(begin, begin + call.bytes.size());
      return decode<R>(in);
    }
  };
  return take_streamed<R, Outcomes>(call.failures, call.index(), take_result, std::move(output));
}

}  // namespace forkmap::detail
