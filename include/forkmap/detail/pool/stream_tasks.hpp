// The tasks of a stream, read one at a time on demand in the process that iterates it, and how they
// reach workers, which may have been forked before the tasks were made.
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>

#include <forkmap/detail/job/task_source.hpp>
#include <forkmap/detail/pool/remote_tasks.hpp>
#include <forkmap/detail/serialize/send_traits.hpp>

namespace forkmap::detail {

enum class streamed {
  by_index,    // a worker evaluates tasks[i] itself
  by_address,  // all tasks exist before the workers are forked, which use them in place
  sent,        // tasks are made as the range is read, and sent as to a pool
  in_windows,  // tasks are made as the range is read; workers are forked for each window of them
};

/// Whether the elements of a range exist before it is iterated: those of containers, and of views
/// that refer to these.
template <class Range>
inline constexpr bool keeps_elements =
    is_span<Range> || requires { typename Range::allocator_type; };
template <class R>
inline constexpr bool keeps_elements<std::ranges::ref_view<R>> = keeps_elements<R>;
template <class R>
inline constexpr bool keeps_elements<std::ranges::owning_view<R>> = keeps_elements<R>;
template <class V, class P>
inline constexpr bool keeps_elements<std::ranges::filter_view<V, P>> = keeps_elements<V>;
template <class V, class P>
inline constexpr bool keeps_elements<std::ranges::take_while_view<V, P>> = keeps_elements<V>;
template <class V, class P>
inline constexpr bool keeps_elements<std::ranges::drop_while_view<V, P>> = keeps_elements<V>;
template <class V>
inline constexpr bool keeps_elements<std::ranges::take_view<V>> = keeps_elements<V>;
template <class V>
inline constexpr bool keeps_elements<std::ranges::drop_view<V>> = keeps_elements<V>;
template <class V>
inline constexpr bool keeps_elements<std::ranges::reverse_view<V>> = keeps_elements<V>;
template <class V, std::size_t N>
inline constexpr bool keeps_elements<std::ranges::elements_view<V, N>> = keeps_elements<V>;

/// Whether a task can be sent to a pool: check_sendable without its error message.
template <class T> inline constexpr bool is_sendable = sendable_callable<T>;
template <class T> inline constexpr bool is_sendable_argument = can_be_sent<T>;
template <class Fn, class... Args>
inline constexpr bool is_sendable<delayed_call<Fn, Args...>> =
    is_sendable<Fn> && (is_sendable_argument<Args> && ...);
template <class Fn, class... Args>
inline constexpr bool is_sendable_argument<delayed_call<Fn, Args...>> =
    is_sendable<delayed_call<Fn, Args...>>;

/// R: the type of the tasks' results.
template <class Range, class R> consteval streamed way_to_stream() {
  using task = std::ranges::range_value_t<Range>;
  constexpr bool in_place = std::ranges::forward_range<Range> &&
                            std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>> &&
                            (keeps_elements<Range> || !std::copy_constructible<task>);
  if constexpr (std::ranges::random_access_range<Range> || std::ranges::sized_range<Range>) {
    return streamed::by_index;
  } else if constexpr (in_place) {
    return streamed::by_address;
  } else if constexpr (is_sendable<task>) {
    return std::same_as<remote_result<task>, R> ? streamed::sent : streamed::in_windows;
  } else {
    return streamed::in_windows;
  }
}

/// The elements of a random-access range whose size is unknown until its end is reached.
template <class Range> class unsized_elements {
  using iterator = std::ranges::iterator_t<Range>;

 public:
  explicit unsized_elements(Range& range) : range_(range), first_(std::ranges::begin(range)) {}

  bool has(std::uint64_t i) { return at(i) != std::ranges::end(range_); }
  decltype(auto) operator[](std::uint64_t i) { return *at(i); }

 private:
  iterator at(std::uint64_t i) const {
    return first_ + static_cast<std::iter_difference_t<iterator>>(i);
  }

  Range& range_;
  iterator first_;
};

/// Where a task is.
struct task_location {
  void* tasks;          // all of them, or this one
  std::uint64_t which;  // the index, among all of them
};

/// Reads the tasks of a stream. A range that has a size and no random access is collected first.
template <class Range, class R, streamed Way = way_to_stream<Range, R>()> class stream_tasks;

template <class Range, class R> class stream_tasks<Range, R, streamed::by_index> {
  static constexpr bool sized = std::ranges::sized_range<Range>;
  using elements = std::conditional_t<sized, indexed_elements<Range>, unsized_elements<Range>>;

 public:
  explicit stream_tasks(Range& range) : tasks_(range) {}

  /// Returns: false if there are no more tasks.
  bool next(task_location& location) {
    if constexpr (sized) {
      if (next_ == tasks_.size()) return false;
    } else {
      if (!tasks_.has(next_)) return false;
    }
    location = {this, next_++};
    return true;
  }
  /// Runs a task, here or in a worker.
  static decltype(auto) run(task_location const& location) {
    return static_cast<stream_tasks*>(location.tasks)->tasks_(location.which);
  }
  /// Forgets the tasks read so far, which have been run.
  void forget() noexcept {}

 private:
  called_tasks<Range, elements> tasks_;
  std::uint64_t next_ = 0;
};

/// A range that is iterated no further than to the task that is needed.
template <class Range> class iterated_once {
 public:
  explicit iterated_once(Range& range) : range_(range) {}

  /// Returns: false at the end.
  bool advance() {
    if (at_)
      ++*at_;
    else
      at_.emplace(std::ranges::begin(range_));
    return *at_ != std::ranges::end(range_);
  }
  decltype(auto) operator*() { return **at_; }

 private:
  Range& range_;
  std::optional<std::ranges::iterator_t<Range>> at_{};
};

template <class Range, class R> class stream_tasks<Range, R, streamed::by_address> {
  using task = std::remove_reference_t<std::ranges::range_reference_t<Range>>;

 public:
  explicit stream_tasks(Range& range) : range_(range) {}

  bool next(task_location& location) {
    if (!range_.advance()) return false;
    location = {const_cast<void*>(static_cast<void const*>(std::addressof(*range_))), 0};
    return true;
  }
  static decltype(auto) run(task_location const& location) {
    return std::invoke(*static_cast<task*>(location.tasks));
  }
  void forget() noexcept {}

 private:
  iterated_once<Range> range_;
};

template <class Range, class R, streamed Way>
  requires(Way == streamed::sent || Way == streamed::in_windows)
class stream_tasks<Range, R, Way> {
 public:
  using task = std::ranges::range_value_t<Range>;

  explicit stream_tasks(Range& range) : range_(range) {}

  bool next(task_location& location) {
    if (!range_.advance()) return false;
    location = {std::addressof(made_.emplace_back(*range_)), 0};
    return true;
  }
  static decltype(auto) run(task_location const& location) {
    return std::invoke(*static_cast<task*>(location.tasks));
  }
  void forget() noexcept { made_.clear(); }
  /// Takes the first task that has not been taken.
  task take() {
    task first(std::move(made_.front()));
    made_.pop_front();
    return first;
  }

 private:
  iterated_once<Range> range_;
  std::list<task> made_{};
};

}  // namespace forkmap::detail
