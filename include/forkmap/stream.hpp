// Results one by one, while later tasks still run or have not been made.
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/engine/pool_engine.hpp>
#include <forkmap/engine/submitted_call.hpp>
#include <forkmap/future.hpp>
#include <forkmap/indexed.hpp>
#include <forkmap/sent_tasks.hpp>

namespace forkmap {

/// What pool::stream and pool::unordered return: an input range, to be iterated once. Tasks are
/// taken from their range, on the iterating thread, as results are consumed: so many are dispatched
/// and not yet consumed as options::pre_dispatch says. Destroying it ends what still runs.
///
/// Shape: of R (std::monostate for void) in input order, or of indexed<R> in the order of their
///   ends.
/// Errors: from begin() and ++, what a task has failed of: in order, after the results of all tasks
///   before it; otherwise as it happens. What still runs is ended then, and the range is at its end.
template <std::ranges::view Tasks, class R, bool Ordered> class task_stream {
 public:
  using value_type =
      std::conditional_t<Ordered, std::conditional_t<std::is_void_v<R>, std::monostate, R>,
                         indexed<R>>;

  class iterator {
   public:
    using value_type = task_stream::value_type;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    iterator() = default;
    explicit iterator(task_stream* of) noexcept : stream_(of) {}
    value_type& operator*() const noexcept { return *stream_->current_; }
    value_type* operator->() const noexcept { return &*stream_->current_; }
    iterator& operator++() {
      stream_->advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(iterator const& it, std::default_sentinel_t) noexcept {
      return it.is_at_end();
    }

   private:
    bool is_at_end() const noexcept { return !stream_->current_.has_value(); }

    task_stream* stream_ = nullptr;
  };

  task_stream(detail::pool_engine* engine, Tasks tasks, std::size_t window)
      : engine_(engine), tasks_(std::move(tasks)), window_(window) {}
  task_stream(task_stream&&) noexcept = default;
  task_stream& operator=(task_stream&&) = delete;
  ~task_stream() { end_running(); }

  /// Once. Waits for the first result.
  iterator begin() {
    next_.emplace(std::ranges::begin(tasks_));
    advance();
    return iterator(this);
  }
  std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

 private:
  using task = std::remove_cvref_t<std::ranges::range_reference_t<Tasks>>;
  struct running {
    std::size_t index;
    std::shared_ptr<detail::submitted_call> call;
  };

  /// Dispatches what the window has room for, then waits for the next result.
  void advance() {
    current_.reset();
    try {
      while (running_.size() < window_ && *next_ != std::ranges::end(tasks_)) {
        auto call = std::make_shared<detail::submitted_call>(
            std::make_unique<detail::sent_separate_tasks<task>>(task(**next_)), n_dispatched_,
            Ordered ? nullptr : ended_);
        engine_->submit(call);
        running_.push_back({n_dispatched_++, std::move(call)});
        ++*next_;
      }
      if (running_.empty()) return;
      auto const done = next_done();
      auto const [index, call] = std::move(*done);
      running_.erase(done);
      take(index, *call);
    } catch (...) {
      end_running();
      window_ = 0;
      throw;
    }
  }

  /// The one whose result comes next, which has ended.
  typename std::deque<running>::iterator next_done() {
    if constexpr (Ordered) {
      running_.front().call->wait_until_done();
      return running_.begin();
    } else {
      auto const index = ended_->next();
      return std::ranges::find(running_, index, &running::index);
    }
  }

  void take(std::size_t index, detail::submitted_call& call) {
    if constexpr (std::is_void_v<R>) {
      detail::take_submitted<R>(call);
      if constexpr (Ordered)
        current_.emplace();
      else
        current_.emplace(index, std::monostate{});
    } else if constexpr (Ordered) {
      current_.emplace(detail::take_submitted<R>(call));
    } else {
      current_.emplace(indexed<R>{index, detail::take_submitted<R>(call)});
    }
  }

  void end_running() noexcept {
    for (auto const& each : running_) {
      if (!each.call->is_done()) engine_->cancel(*each.call);
    }
    running_.clear();
  }

  detail::pool_engine* engine_;
  Tasks tasks_;
  std::size_t window_;
  std::optional<std::ranges::iterator_t<Tasks>> next_{};
  std::size_t n_dispatched_ = 0;
  std::deque<running> running_{};
  std::shared_ptr<detail::ended_calls> ended_ = std::make_shared<detail::ended_calls>();
  std::optional<value_type> current_{};
};

}  // namespace forkmap
