// Tasks submitted one after the other, so many at a time: what is behind a stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <utility>

#include <forkmap/engine/pool_engine.hpp>
#include <forkmap/engine/pool_tasks.hpp>
#include <forkmap/engine/submitted_call.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

/// Makes tasks as they are asked for.
class task_maker {
 public:
  /// Null: there are no more.
  virtual owner<pool_tasks> next_task() = 0;

 protected:
  task_maker() = default;
  ~task_maker() = default;
  task_maker(task_maker const&) = default;
  task_maker& operator=(task_maker const&) = default;
};

/// At most pool_engine::window() of them are submitted and their results not yet taken.
template <class = void> class submitted_window {
 public:
  /// `ordered`: results come in the order of their tasks, else in that of their ends.
  submitted_window(pool_engine<>& engine, bool ordered)
      : engine_(engine), ended_(ordered ? nullptr : std::make_shared<ended_calls>()) {}
  submitted_window(submitted_window const&) = delete;
  submitted_window& operator=(submitted_window const&) = delete;
  /// Ends what has not ended.
  ~submitted_window() {
    if (!engine_.is_ours()) return;
    for (auto const& each : running_) {
      if (!each->is_done()) engine_.cancel(*each);
    }
  }

  /// Waits for the next one that is done. Null: there are no more.
  /// Errors: what `tasks` has thrown, after all tasks before.
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
        // A result that is there does not wait for tasks that take long to make.
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
      running_.pop_back();  // nobody would ever say that it is done
      throw;
    }
    ++n_dispatched_;
  }

  bool has_done() const noexcept {
    return ended_ == nullptr ? running_.front()->is_done() : ended_->has_next();
  }

  std::list<std::shared_ptr<submitted_call>>::iterator next_done() {
    auto each = running_.begin();
    if (ended_ == nullptr) {
      (*each)->wait_until_done();
    } else {
      for (auto const index = ended_->next(); (*each)->index() != index;) ++each;
    }
    return each;
  }

  pool_engine<>& engine_;
  std::int64_t called_at_ = nanoseconds_now();
  std::shared_ptr<ended_calls> ended_;
  std::size_t n_dispatched_ = 0;
  std::list<std::shared_ptr<submitted_call>> running_{};
  bool at_end_ = false;
  std::exception_ptr not_dispatched_{};  // why nothing follows what runs
};

}  // namespace forkmap::detail
