// A task that was submitted to a pool, and its result: what a future and its pool share.
// SPDX-License-Identifier: MIT
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
#include <type_traits>
#include <utility>

#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/owner.hpp>
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

/// The calls of a group that have ended, in the order of their ends.
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

  /// Waits for the next call that ends.
  /// Returns: its number.
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
  bool is_done() const noexcept { return done_.load(std::memory_order_acquire) != 0; }

  /// Sleeps until the call is done, but at most that many nanoseconds.
  /// Errors: std::logic_error in a forked child, where the call would never be done.
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
  // When the call is done, one of these.
  std::string bytes{};         // the serialized result
  failure_list failures{};     // why there is no result
  std::exception_ptr error{};  // the failure of the pool itself

 private:
  std::atomic<std::uint32_t> done_{0};
  pid_t owner_ = ::getpid();
  std::size_t number_;
  std::shared_ptr<ended_calls> group_;
};

/// The result of a submitted call that is done. May be called once.
/// Errors: the failure of the call, or of its pool.
template <class R> R take_submitted(submitted_call const& call) {
  if (call.error) std::rethrow_exception(call.error);
  call.failures.throw_first();
  if constexpr (!std::is_void_v<R>) {
    auto const* const begin = reinterpret_cast<std::byte const*>(call.bytes.data());
    reader in(begin, begin + call.bytes.size());
    return decode<R>(in);
  }
}

}  // namespace forkmap::detail
