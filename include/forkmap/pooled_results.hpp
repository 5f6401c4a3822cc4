// The results of a pool's tasks, one by one. Not for users.
#pragma once

#include <algorithm>
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

#include <forkmap/engine/pool_engine.hpp>
#include <forkmap/engine/submitted_call.hpp>
#include <forkmap/future.hpp>
#include <forkmap/indexed.hpp>
#include <forkmap/sent_tasks.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/system/clock.hpp>

namespace forkmap::detail {

/// Submits tasks as long as its window has room.
template <std::ranges::view Tasks, class R, bool Ordered>
class pooled_results final : public stream_source<stream_element<R, Ordered>> {
 public:
  using element = stream_element<R, Ordered>;

  pooled_results(pool_engine<>& engine, Tasks tasks)
      : engine_(engine), tasks_(std::move(tasks)), called_at_(nanoseconds_now()) {}
  ~pooled_results() override {
    if (!engine_.is_ours()) return;
    for (auto const& each : running_) {
      if (!each.call->is_done()) engine_.cancel(*each.call);
    }
  }

  bool next(std::optional<element>& into) override {
    engine_.check_owner();
    fill_window();
    if (running_.empty()) {
      if (not_dispatched_) std::rethrow_exception(std::exchange(not_dispatched_, nullptr));
      return false;
    }
    auto const done = next_done();
    auto const [index, call] = std::move(*done);
    running_.erase(done);
    if constexpr (std::is_void_v<R>) {
      take_submitted<R>(*call);
      if constexpr (Ordered)
        into.emplace();
      else
        into.emplace(index, std::monostate{});
    } else if constexpr (Ordered) {
      into.emplace(take_submitted<R>(*call));
    } else {
      into.emplace(element{index, take_submitted<R>(*call)});
    }
    return true;
  }

 private:
  using task = std::remove_cvref_t<std::ranges::range_reference_t<Tasks>>;
  struct running {
    std::size_t index;
    std::shared_ptr<submitted_call> call;
  };

  /// A range that throws while it makes a task is an error of that task: those before it come first.
  void fill_window() {
    if (not_dispatched_) return;
    try {
      if (!next_) next_.emplace(std::ranges::begin(tasks_));
      while (running_.size() < engine_.window() && *next_ != std::ranges::end(tasks_)) dispatch();
    } catch (...) {
      not_dispatched_ = std::current_exception();
    }
  }

  void dispatch() {
    auto call =
        std::make_shared<submitted_call>(std::make_unique<sent_separate_tasks<task>>(task(**next_)),
                                         n_dispatched_, Ordered ? nullptr : ended_);
    engine_.submit(call, called_at_);
    running_.push_back({n_dispatched_++, std::move(call)});
    ++*next_;
  }

  /// The one whose result comes next, which has ended.
  typename std::list<running>::iterator next_done() {
    if constexpr (Ordered) {
      running_.front().call->wait_until_done();
      return running_.begin();
    } else {
      auto const index = ended_->next();
      return std::ranges::find(running_, index, &running::index);
    }
  }

  pool_engine<>& engine_;
  Tasks tasks_;
  std::int64_t called_at_;
  std::optional<std::ranges::iterator_t<Tasks>> next_{};
  std::size_t n_dispatched_ = 0;
  std::list<running> running_{};
  std::exception_ptr not_dispatched_{};  // why nothing follows what runs
  std::shared_ptr<ended_calls> ended_ = std::make_shared<ended_calls>();
};

}  // namespace forkmap::detail
