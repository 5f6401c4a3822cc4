// The results of a pool's tasks, one by one. Not for users.
#pragma once

#include <cstddef>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/engine/pool_engine.hpp>
#include <forkmap/engine/submitted_window.hpp>
#include <forkmap/future.hpp>
#include <forkmap/indexed.hpp>
#include <forkmap/sent_tasks.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

/// Makes a stream's element of the result of task `index`, which `take` gives.
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

/// The same of the next call of a window.
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
  pooled_results(pool_engine<>& engine, Tasks tasks)
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
