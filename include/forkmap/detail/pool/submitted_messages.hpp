// The messages of the submitted tasks of a pool, which the threads that wait for the pool deliver.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/messages/ring.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/pool/done_signal.hpp>
#include <forkmap/message_handler.hpp>

namespace forkmap::detail {

/// The inbox of a submitted task, and what the handler has thrown.
class submitted_inbox {
 public:
  explicit submitted_inbox(message_handler const& handler) : inbox(handler) {}

  /// What the handler has thrown; null: nothing.
  std::exception_ptr error() const {
    std::lock_guard const lock(mutex_);
    return error_;
  }
  void set_error(std::exception_ptr error) {
    std::lock_guard const lock(mutex_);
    error_ = std::move(error);
  }

  message_inbox inbox;
  std::atomic<std::uint32_t> delivering{0};  // not 0: a thread calls the handler

 private:
  mutable std::mutex mutex_;
  std::exception_ptr error_{};
};

/// The inboxes of a pool's submitted tasks. Futures share it with their pool, and may outlive that.
///
/// Any thread that waits for the pool delivers the messages of all submitted tasks: a task that nobody
/// waits for might otherwise wait for ever for room in its ring, and keep its worker from the task that
/// the thread waits for. One thread at a time delivers those of one task.
class submitted_messages {
 public:
  explicit submitted_messages(message_handler handler) : handler_(std::move(handler)) {}
  submitted_messages(submitted_messages const&) = delete;
  submitted_messages& operator=(submitted_messages const&) = delete;
  ~submitted_messages() = default;

  /// Makes the inbox of a new submitted task.
  std::shared_ptr<submitted_inbox> add() {
    auto made = std::make_shared<submitted_inbox>(handler_);
    std::lock_guard const lock(mutex_);
    inboxes_.push_back(made);
    return made;
  }

  /// Whether there are messages to deliver.
  bool has_any() const {
    std::lock_guard const lock(mutex_);
    for (auto const& each : inboxes_) {
      if (each->inbox.has_any()) return true;
    }
    return false;
  }

  /// Changes when there may be messages, or a task may have ended.
  std::uint32_t changes() const noexcept { return changes_.load(); }
  void notify() noexcept {
    changes_.fetch_add(1);
    wake_all(changes_);
    any_call_done.announce();
  }
  /// Sleeps while changes() is `seen`, but not longer than `most_ns`. A lost wake-up costs time.
  void sleep(std::uint32_t seen, std::int64_t most_ns) {
    if (!may_sleep()) return;
    auto const look_again_ns = message_inbox::keep_outer() ? 10'000'000 : ring_look_again_ns;
    wait_while_equal(changes_, seen, std::min<std::int64_t>(most_ns, look_again_ns));
  }
  /// Asks for a notification when there are messages.
  /// Returns: false if there are some already, which this thread can deliver.
  bool may_sleep() {
    if (!is_ours()) return true;
    std::lock_guard const lock(mutex_);
    bool may = true;
    for (auto const& each : inboxes_) {
      if (each->delivering.load() == 0) may = each->inbox.may_sleep() && may;
    }
    return may;
  }

  /// Delivers the messages that are there, except those of tasks that another thread, or an outer call of
  /// this thread, delivers now.
  /// Returns: whether there were any.
  bool deliver() {
    if (!is_ours()) return false;
    message_inbox::keep_outer();
    bool any = false;
    for (auto const& each : all()) {
      if (each->delivering.exchange(1) != 0) continue;
      try {
        any = each->inbox.deliver() || any;
      } catch (...) {
        any = true;
        each->set_error(std::current_exception());
      }
      each->delivering.store(0);
    }
    if (!any) return false;
    notify();  // other threads may wait for what was delivered
    return true;
  }
  /// Delivers all messages of tasks that have ended.
  void deliver_all() {
    for (;;) {
      auto const seen = changes();
      deliver();
      bool is_over = true;
      for (auto const& each : all()) is_over = is_over && each->inbox.is_in_delivery_here();
      if (is_over) return;
      sleep(seen, INT64_MAX);
    }
  }
  /// Whether this process made the pool. A forked child does not see the rings.
  bool is_ours() const noexcept { return owner_ == ::getpid(); }

 private:
  std::list<std::shared_ptr<submitted_inbox>> all() {
    std::lock_guard const lock(mutex_);
    inboxes_.remove_if([](auto const& each) { return each->inbox.is_finished(); });
    return inboxes_;
  }

  message_handler handler_;
  pid_t owner_ = ::getpid();
  mutable std::mutex mutex_;
  std::list<std::shared_ptr<submitted_inbox>> inboxes_{};
  std::atomic<std::uint32_t> changes_{0};  // a futex
};

}  // namespace forkmap::detail
