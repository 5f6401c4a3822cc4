// Tasks by index, from any kind of range.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/endless.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/job/typed_job.hpp>
#include <forkmap/detail/journal/digest.hpp>
#include <forkmap/detail/journal/seen_tasks.hpp>

namespace forkmap::detail {

template <class Range>
concept indexable_range =
    std::ranges::random_access_range<Range> && std::ranges::sized_range<Range>;

/// The range's elements are the proxies of std::vector<bool>. They refer to the vector, so that the
/// bool is sent instead.
template <class Range>
concept gives_bit_proxies = std::same_as<std::remove_cv_t<std::ranges::range_reference_t<Range>>,
                                         std::vector<bool>::reference>;

/// The elements of a range by index. A random-access range of known size is used in place and
/// evaluated at each access, in the process that accesses it. Any other range is read once by the
/// constructor, which stores addresses of elements that stay in place, and values of elements that
/// the range makes when it is read.
template <class Range> class indexed_elements;

template <indexable_range Range> class indexed_elements<Range> {
  using iterator = std::ranges::iterator_t<Range>;

 public:
  explicit indexed_elements(Range& range)
      : first_(std::ranges::begin(range)), size_(std::ranges::size(range)) {}

  std::uint64_t size() const { return size_; }
  decltype(auto) operator[](std::uint64_t i) {
    return first_[static_cast<std::iter_difference_t<iterator>>(i)];
  }

 private:
  iterator first_;
  std::uint64_t size_;
};

template <class Range>
  requires(!indexable_range<Range> && std::ranges::forward_range<Range> &&
           std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>>)
class indexed_elements<Range> {
  using element = std::remove_reference_t<std::ranges::range_reference_t<Range>>;

 public:
  explicit indexed_elements(Range& range) {
    if constexpr (check_end<Range>::ok) {
      for (auto& value : range) elements_.push_back(std::addressof(value));
    }
  }

  std::uint64_t size() const { return elements_.size(); }
  element& operator[](std::uint64_t i) { return *elements_[i]; }

 private:
  std::vector<element*> elements_{};
};

template <class Range>
  requires(!indexable_range<Range> &&
           !(std::ranges::forward_range<Range> &&
             std::is_lvalue_reference_v<std::ranges::range_reference_t<Range>>))
class indexed_elements<Range> {
 public:
  explicit indexed_elements(Range& range) {
    if constexpr (check_end<Range>::ok) {
      for (auto&& value : range) elements_.emplace_back(std::forward<decltype(value)>(value));
    }
  }

  std::uint64_t size() const { return elements_.size(); }
  decltype(auto) operator[](std::uint64_t i) { return elements_[i]; }

 private:
  std::vector<std::ranges::range_value_t<Range>> elements_{};
};

template <class Range>
using indexed_element = decltype(std::declval<indexed_elements<Range>&>()[0]);

/// A range of tasks: task i is called.
template <class Range, class Elements = indexed_elements<Range>> class called_tasks {
  using element = decltype(std::declval<Elements&>()[0]);
  using returned = std::invoke_result_t<element>;

 public:
  /// The result's type. A task that is no lvalue is destroyed before its result is read. A
  /// reference that it returns could refer to the task, and becomes a value.
  using result_type =
      std::conditional_t<std::is_lvalue_reference_v<element>, returned, std::decay_t<returned>>;

  explicit called_tasks(Range& tasks) : tasks_(tasks) {}
  std::uint64_t size() const { return tasks_.size(); }
  result_type operator()(std::uint64_t i) { return std::invoke(tasks_[i]); }
  /// Adds task i's inputs to a journal's digest.
  void look_at(std::uint64_t i, input_digest& into)
    requires is_seen_task<std::remove_cvref_t<element>>
  {
    look_at_task<std::remove_cvref_t<element>>(into, tasks_[i]);
  }

  /// Of a range without a size: whether there is a task i.
  bool has(std::uint64_t i) { return tasks_.has(i); }

 private:
  Elements tasks_;
};

/// The tasks fn(element i). fn gets the element as an lvalue, or as an rvalue if it takes no
/// lvalue, as in a delayed call. In the caller's process, fn gets a copy of an element that it
/// could change. In a worker, the element already is a copy.
template <class Fn, class Range> class mapped_elements {
  using element = indexed_element<Range>;
  using value = std::remove_cvref_t<element>;
  using seen = std::conditional_t<gives_bit_proxies<Range>, bool, value>;
  static constexpr bool takes_lvalue = std::is_invocable_v<Fn&, element&>;

 public:
  using argument = std::conditional_t<takes_lvalue, element&, std::remove_reference_t<element>&&>;
  using result_type = std::decay_t<std::invoke_result_t<Fn&, argument>>;

  mapped_elements(Fn fn, Range& range, bool in_callers_process)
      : fn_(std::move(fn)), elements_(range), copies_(in_callers_process) {}
  std::uint64_t size() const { return elements_.size(); }
  result_type operator()(std::uint64_t i) {
    if constexpr (std::is_lvalue_reference_v<element> && std::copy_constructible<value> &&
                  !std::is_const_v<std::remove_reference_t<element>>) {
      if (copies_) {
        value copy(elements_[i]);
        return std::invoke(fn_, static_cast<argument>(copy));
      }
    }
    auto&& element_i = elements_[i];
    return std::invoke(fn_, static_cast<argument>(element_i));
  }
  /// Adds element i to a journal's digest.
  void look_at(std::uint64_t i, input_digest& into)
    requires(is_seen_argument<seen>())
  {
    look_at_argument<seen>(into, elements_[i]);
  }

 private:
  Fn fn_;
  indexed_elements<Range> elements_;
  bool copies_;
};

// A few tasks of several types, as one job.

template <class R>
using value_or_monostate = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// Takes result i of tasks of several types.
template <class R> value_or_monostate<R> take_separate(call_results& results, std::uint64_t i) {
  if constexpr (std::is_void_v<R>)
    return {};
  else
    return take<R, true>(results, i);
}

/// Tasks of several types. Each has a result of its own type.
template <class... Task> struct separate_tasks {
  template <class T> using result_of = std::decay_t<std::invoke_result_t<T>>;
  using results_type = std::tuple<value_or_monostate<result_of<Task>>...>;

  /// False only where a static_assert reports why.
  static constexpr bool is_serializable =
      (std::same_as<typename task_result<result_of<Task>>::type, result_of<Task>> && ...);

  std::tuple<Task&&...> tasks;

  job as_job() {
    job this_job;
    this_job.n_tasks = this_job.n_results = sizeof...(Task);
    this_job.batch_tasks = 1;
    // All results are blobs, so that each has a slot that says whether it is published.
    this_job.forked = {sizeof(std::uint64_t), alignof(std::uint64_t)};
    this_job.flat = false;
    this_job.same_process = widest({slot_of_object<result_of<Task>>()...});
    this_job.tasks = this;
    this_job.run = [](void* erased, task_loop& loop) {
      static_cast<separate_tasks*>(erased)->run(loop, std::index_sequence_for<Task...>{});
    };
    this_job.destroy = [](std::byte* slot, std::uint64_t i) {
      static constexpr std::array destroyers{destroyer<result_of<Task>>()...};
      if (destroyers[i] != nullptr) destroyers[i](slot, i);
    };
    this_job.look_at = look_of<separate_tasks>();
    this_job.result_type = typeid(results_type).name();
    return this_job;
  }

  void look_at(std::uint64_t i, input_digest& into)
    requires(is_seen_task<std::remove_cvref_t<Task>> || ...)
  {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (void)((I == i &&
              (look_at_task<std::remove_cvref_t<Task>>(into, std::get<I>(tasks)), true)) ||
             ...);
    }(std::index_sequence_for<Task...>{});
  }

  results_type collect_all(call_results& results) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return results_type{take_separate<result_of<Task>>(results, I)...};
    }(std::index_sequence_for<Task...>{});
  }

 private:
  static slot_shape widest(std::initializer_list<slot_shape> shapes) {
    slot_shape result;
    for (auto const& slot : shapes) {
      result.bytes = std::max(result.bytes, slot.bytes);
      result.align = std::max(result.align, slot.align);
    }
    result.bytes = (result.bytes + result.align - 1) / result.align * result.align;
    return result;
  }

  template <std::size_t... I> void run(task_loop& loop, std::index_sequence<I...>) {
    for_each_task(loop,
                  [&](std::uint64_t i) { (void)((I == i && (run_one<I>(loop), true)) || ...); });
  }
  template <std::size_t I> void run_one(task_loop& loop) {
    using task = std::tuple_element_t<I, std::tuple<Task...>>;
    deliver<result_of<task>, true>(loop, I, [&]() -> decltype(auto) {
      return std::invoke(std::forward<task>(std::get<I>(tasks)));
    });
  }
};

}  // namespace forkmap::detail
