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
#include <forkmap/detail/pool/ended_calls.hpp>
#include <forkmap/detail/pool/pool_interface.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/pool/sent_tasks.hpp>
#include <forkmap/detail/pool/submitted_call.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/options.hpp>
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
  /// `ended`: says whether results come in the order of their tasks, or in the order in which the
  /// tasks end. `first`: the index of the first task. `called_at`: when a deadline begins to count.
  submitted_window(pool_interface& engine, std::shared_ptr<ended_calls> ended,
                   std::size_t first = 0, std::int64_t called_at = nanoseconds_now())
      : engine_(engine), called_at_(called_at), ended_(std::move(ended)), n_dispatched_(first) {}
  submitted_window(submitted_window const&) = delete;
  submitted_window& operator=(submitted_window const&) = delete;
  ~submitted_window() { close(); }

  /// Cancels tasks that have not ended. There are no more tasks.
  void close() noexcept {
    if (!engine_.is_ours()) return;
    stop(ended_call::by_cancel);
    for (auto const& call : running_) call->drop_messages();
    running_.clear();
  }
  /// Cancels tasks that have not ended, and dispatches no more.
  void stop(ended_call why) noexcept {
    at_end_ = true;
    for (auto const& call : running_) {
      if (!call->is_done()) engine_.cancel(*call, why);
    }
  }

  /// Waits for the next task that is done, but not longer than to the time `until`.
  /// Errors: what `tasks` has thrown, after all tasks before it.
  next_element next(std::shared_ptr<submitted_call>& into, task_maker& tasks, std::int64_t until) {
    engine_.check_owner();
    fill(tasks);
    if (running_.empty()) {
      if (not_dispatched_) std::rethrow_exception(std::exchange(not_dispatched_, nullptr));
      return next_element::is_none;
    }
    auto const done = next_done(until);
    if (done == running_.end()) return next_element::is_late;
    into = std::move(*done);
    running_.erase(done);
    return next_element::is_there;
  }

  /// Dispatches tasks ahead, for streams whose descriptor is polled, and updates that descriptor.
  /// Returns: false if there are no more tasks, and nothing to throw.
  bool look_ahead(task_maker& tasks) {
    engine_.check_owner();
    fill(tasks);
    bool const any = !running_.empty();
    if (!any && !not_dispatched_) return false;
    ended_->update(any ? running_.front()->index() : 0,
                   [&] { return !any || (ended_->ordered() && running_.front()->is_done()); });
    return true;
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
    return ended_->ordered() ? running_.front()->is_done() : ended_->has_next();
  }

  /// Returns: the end of the list if no task is done in time.
  std::list<std::shared_ptr<submitted_call>>::iterator next_done(std::int64_t until) {
    auto call = running_.begin();
    if (ended_->ordered()) return (*call)->wait_until(until) ? call : running_.end();
    std::size_t index = 0;
    if (!next_ended(index, until)) return running_.end();
    while ((*call)->index() != index) ++call;
    (*call)->wait_until_done();  // delivers its last messages
    return call;
  }
  bool next_ended(std::size_t& index, std::int64_t until) {
    auto* const messages = engine_.messages();
    if (messages == nullptr) return ended_->next(index, until);
    for (;;) {
      auto const seen = messages->changes();
      messages->deliver();
      if (ended_->next(index, 0)) return true;
      auto const rest = until == INT64_MAX ? until : until - nanoseconds_now();
      if (rest <= 0) return false;
      messages->sleep(seen, rest);
    }
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

/// Makes a stream's element of the result or outcome of task `index`, which `take` returns.
template <class R, stream_kind Kind, class Take>
void put_element(std::optional<element_of_kind<R, Kind>>& into, std::size_t index, Take take) {
  if constexpr (std::is_void_v<R> && !Kind.outcomes) {
    take();
    if constexpr (Kind.ordered)
      into.emplace();
    else
      into.emplace(index, std::monostate{});
  } else if constexpr (Kind.ordered) {
    into.emplace(take());
  } else {
    into.emplace(element_of_kind<R, Kind>{index, take()});
  }
}

/// Does the same with the next call of a window, if one ends before the time `until`.
template <class R, stream_kind Kind>
next_element put_next(std::optional<element_of_kind<R, Kind>>& into, submitted_window<>& window,
                      task_maker& tasks, std::int64_t until) {
  std::shared_ptr<submitted_call> call;
  auto const next = window.next(call, tasks, until);
  if (next == next_element::is_there) {
    put_element<R, Kind>(into, call->index(),
                         [&] { return take_submitted<R, Kind.outcomes>(*call); });
  }
  return next;
}

/// Counts the failures among a stream's elements.
class stream_failures {
 public:
  explicit stream_failures(options const& opts) noexcept : left_(opts.max_failures) {}

  /// Returns: whether the element is the last failure that the stream may have.
  template <stream_kind Kind, class Element> bool is_last(Element const& element) noexcept {
    if constexpr (!Kind.outcomes)
      return false;
    else if constexpr (Kind.ordered)
      return !element.has_value() && left_ != 0 && --left_ == 0;
    else
      return !element.value.has_value() && left_ != 0 && --left_ == 0;
  }

 private:
  int left_;  // 0: no limit
};

template <std::ranges::view Tasks, class R, stream_kind Kind>
class pooled_results final : public stream_source<element_of_kind<R, Kind>>, task_maker {
 public:
  pooled_results(pool_interface& engine, Tasks tasks)
      : tasks_(std::move(tasks)), failures_(engine.opts()), window_(engine, ended_) {}

  next_element next(std::optional<element_of_kind<R, Kind>>& into, time_limit limit) override {
    auto const next = put_next<R, Kind>(into, window_, *this, time_after(limit));
    if (next == next_element::is_there && failures_.template is_last<Kind>(*into))
      window_.stop(ended_call::by_failures);
    if (ended_->has_descriptor()) look_ahead();
    return next;
  }
  void close() noexcept override {
    window_.close();
    ended_->update(0, [] { return true; });
  }
  int descriptor() override {
    auto const fd = ended_->event_descriptor();
    look_ahead();
    return fd;
  }

 private:
  using task = std::remove_cvref_t<std::ranges::range_reference_t<Tasks>>;

  void look_ahead() {
    if (!window_.look_ahead(*this)) ended_->update(0, [] { return true; });
  }

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
  std::shared_ptr<ended_calls> ended_ = std::make_shared<ended_calls>(Kind.ordered);
  stream_failures failures_;
  submitted_window<> window_;
};

}  // namespace forkmap::detail
