// A stream of the results of a pool's tasks, of which a limited number is submitted ahead.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/pool_interface.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/pool/sent_tasks.hpp>
#include <forkmap/detail/pool/submitted_call.hpp>
#include <forkmap/stream.hpp>

namespace forkmap::detail {

// Tasks submitted one after the other, a limited number at a time: the base of streams.

/// Makes tasks on demand.
class task_maker {
 public:
  /// Returns: null if there are no more.
  virtual owner<pool_tasks> next_task() = 0;

 protected:
  task_maker() = default;
  ~task_maker() = default;
  task_maker(task_maker const&) = default;
  task_maker& operator=(task_maker const&) = default;
};

/// Submitted tasks: at most pool_interface::window() of them whose results have not been taken.
template <class = void> class submitted_window {
 public:
  /// `ordered`: results come in the order of their tasks, else in the order in which the tasks end.
  /// `first`: the index of the first task. `called_at`: when a deadline begins to count.
  submitted_window(pool_interface& engine, bool ordered, std::size_t first = 0,
                   std::int64_t called_at = nanoseconds_now())
      : engine_(engine),
        called_at_(called_at),
        ended_(ordered ? nullptr : std::make_shared<ended_calls>()),
        n_dispatched_(first) {}
  submitted_window(submitted_window const&) = delete;
  submitted_window& operator=(submitted_window const&) = delete;
  /// Cancels tasks that have not ended.
  ~submitted_window() {
    if (!engine_.is_ours()) return;
    for (auto const& call : running_) {
      if (!call->is_done()) engine_.cancel(*call);
    }
  }

  /// Waits for the next task that is done.
  /// Returns: null if there are no more tasks.
  /// Errors: what `tasks` has thrown, after all tasks before it.
  std::shared_ptr<submitted_call> next(task_maker& tasks) {
    engine_.check_owner();
    fill(tasks);
    if (running_.empty()) {
      if (not_dispatched_) std::rethrow_exception(std::exchange(not_dispatched_, nullptr));
      return nullptr;
    }
    auto const done = next_done();
    auto call = std::move(*done);
    running_.erase(done);
    return call;
  }

 private:
  void fill(task_maker& tasks) {
    if (at_end_) return;
    try {
      while (running_.size() < engine_.window()) {
        // A finished result must not wait for tasks that take long to make.
        if (running_.size() >= engine_.least_window() && has_done()) return;
        auto task = tasks.next_task();
        if (task == nullptr) {
          at_end_ = true;
          return;
        }
        dispatch(std::move(task));
      }
    } catch (...) {
      not_dispatched_ = std::current_exception();
      at_end_ = true;
    }
  }

  void dispatch(owner<pool_tasks> task) {
    running_.push_back(std::make_shared<submitted_call>(std::move(task), n_dispatched_, ended_));
    try {
      engine_.submit(running_.back(), called_at_);
    } catch (...) {
      running_.pop_back();  // the call would never be done
      throw;
    }
    ++n_dispatched_;
  }

  bool has_done() const noexcept {
    return ended_ == nullptr ? running_.front()->is_done() : ended_->has_next();
  }

  std::list<std::shared_ptr<submitted_call>>::iterator next_done() {
    auto call = running_.begin();
    if (ended_ == nullptr) {
      (*call)->wait_until_done();
    } else {
      for (auto const index = ended_->next(); (*call)->index() != index;) ++call;
    }
    return call;
  }

  pool_interface& engine_;
  std::int64_t called_at_;
  std::shared_ptr<ended_calls> ended_;
  std::size_t n_dispatched_;
  std::list<std::shared_ptr<submitted_call>> running_{};
  bool at_end_ = false;
  std::exception_ptr not_dispatched_{};  // why no task follows the running ones
};

// A stream of the results of a pool's tasks.

/// Makes a stream's element of the result of task `index`, which `take` returns.
template <class R, bool Ordered, class Take>
void put_element(std::optional<stream_element<R, Ordered>>& into, std::size_t index, Take take) {
  if constexpr (std::is_void_v<R>) {
    take();
    if constexpr (Ordered)
      into.emplace();
    else
      into.emplace(index, std::monostate{});
  } else if constexpr (Ordered) {
    into.emplace(take());
  } else {
    into.emplace(indexed<R>{index, take()});
  }
}

/// Does the same with the next call of a window.
/// Returns: false if there are no more.
template <class R, bool Ordered>
bool put_next(std::optional<stream_element<R, Ordered>>& into, submitted_window<>& window,
              task_maker& tasks) {
  auto const call = window.next(tasks);
  if (call == nullptr) return false;
  put_element<R, Ordered>(into, call->index(), [&] { return take_submitted<R>(*call); });
  return true;
}

template <std::ranges::view Tasks, class R, bool Ordered>
class pooled_results final : public stream_source<stream_element<R, Ordered>>, task_maker {
 public:
  pooled_results(pool_interface& engine, Tasks tasks)
      : tasks_(std::move(tasks)), window_(engine, Ordered) {}

  bool next(std::optional<stream_element<R, Ordered>>& into) override {
    return put_next<R, Ordered>(into, window_, *this);
  }

 private:
  using task = std::remove_cvref_t<std::ranges::range_reference_t<Tasks>>;

  owner<pool_tasks> next_task() override {
    if (next_)
      ++*next_;
    else
      next_.emplace(std::ranges::begin(tasks_));
    if (*next_ == std::ranges::end(tasks_)) return nullptr;
    return owner<pool_tasks>(new sent_separate_tasks<task>(task(**next_)));
  }

  Tasks tasks_;
  std::optional<std::ranges::iterator_t<Tasks>> next_{};
  submitted_window<> window_;
};

}  // namespace forkmap::detail
