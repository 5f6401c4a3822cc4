// A task that was submitted to a pool, and its result: what a future and its pool share.
#pragma once

#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

#include <forkmap/engine/pool_calls.hpp>
#include <forkmap/report.hpp>
#include <forkmap/system/futex.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/transfer/failures.hpp>

namespace forkmap::detail {

/// Throws if this is another process than the one that made a pool.
inline void check_pool_owner(pid_t owner) {
  if (owner == ::getpid()) return;
  throw std::logic_error(
      "forkmap: a pool is used in a process that did not make it (a worker, or a forked child): "
      "make one there, or use forkmap::parallel");
}

/// Which calls of a group have ended, in the order of their ends.
class ended_calls {
 public:
  void add(std::size_t number) noexcept {
    {
      std::lock_guard const lock(mutex_);
      all_.push_back(number);
    }
    n_.fetch_add(1, std::memory_order_release);
    wake_all(n_);
  }

  bool has_next() noexcept {
    std::lock_guard const lock(mutex_);
    return !all_.empty();
  }

  /// Waits for the next one.
  std::size_t next() noexcept {
    for (;;) {
      auto const seen = n_.load(std::memory_order_acquire);
      {
        std::lock_guard const lock(mutex_);
        if (!all_.empty()) {
          auto const number = all_.front();
          all_.pop_front();
          return number;
        }
      }
      wait_while_equal(n_, seen);
    }
  }

 private:
  std::mutex mutex_;
  std::list<std::size_t> all_{};
  std::atomic<std::uint32_t> n_{0};
};

/// Its pool's alone, until it is done.
class submitted_call {
 public:
  /// `number` is its task's index, which `group`, if there is one, is told when the call is done.
  explicit submitted_call(owner<pool_tasks> what, std::size_t number = 0,
                          std::shared_ptr<ended_calls> group = nullptr)
      : tasks(std::move(what)), number_(number), group_(std::move(group)) {
    tasks->first_index = number;
  }

  std::uint64_t index() const noexcept { return number_; }
  bool is_done() const noexcept { return done_.load(std::memory_order_acquire) != 0; }

  /// Sleeps until it is done, or for so many nanoseconds at most.
  /// Errors: std::logic_error in a forked child, where it would never be done.
  void wait(std::int64_t nanoseconds) const {
    check_pool_owner(owner_);
    wait_while_equal(done_, 0, nanoseconds);
  }
  void wait_until_done() const {
    while (!is_done()) wait(INT64_MAX);
  }
  void set_done() noexcept {
    auto const group = std::move(group_);
    done_.store(1, std::memory_order_release);
    wake_all(done_);
    if (group != nullptr) group->add(number_);
  }

  owner<pool_tasks> tasks;
  map_report report{};
  // When it is done: one of these.
  std::string bytes{};         // the result, as a record
  failure_list failures{};     // why there is none
  std::exception_ptr error{};  // what the pool itself has failed of

 private:
  std::atomic<std::uint32_t> done_{0};
  pid_t owner_ = ::getpid();
  std::size_t number_;
  std::shared_ptr<ended_calls> group_;
};

}  // namespace forkmap::detail
