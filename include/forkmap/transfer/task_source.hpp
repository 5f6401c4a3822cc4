// Tasks by their index, whatever kind of range they come in.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace forkmap::detail {

template <class Range>
concept indexable_range =
    std::ranges::random_access_range<Range> && std::ranges::sized_range<Range>;

/// Its elements are proxies that stay behind: what is to travel is the bool.
template <class Range>
concept gives_bit_proxies = std::same_as<std::remove_cv_t<std::ranges::range_reference_t<Range>>,
                                         std::vector<bool>::reference>;

/// The elements of a range by their index. A random-access range of known size is left where it is
/// and evaluated at each access, in whichever process asks; any other is collected first: by
/// address where its elements stay in place, by value where they are made on the way.
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
    for (auto& each : range) elements_.push_back(std::addressof(each));
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
    static_assert(!std::same_as<std::ranges::sentinel_t<Range>, std::unreachable_sentinel_t>,
                  "forkmap: this range of tasks has no end; std::views::take(n) gives it one");
    for (auto&& each : range) elements_.emplace_back(std::forward<decltype(each)>(each));
  }

  std::uint64_t size() const { return elements_.size(); }
  decltype(auto) operator[](std::uint64_t i) { return elements_[i]; }

 private:
  std::vector<std::ranges::range_value_t<Range>> elements_{};
};

template <class Range>
using indexed_element = decltype(std::declval<indexed_elements<Range>&>()[0]);

/// A range of tasks: task i is called.
template <class Range> class called_tasks {
  using returned = std::invoke_result_t<indexed_element<Range>>;

 public:
  /// A task that is made on the way is gone when its result is looked at: no reference into it.
  using result_type = std::conditional_t<std::is_lvalue_reference_v<indexed_element<Range>>,
                                         returned, std::decay_t<returned>>;

  explicit called_tasks(Range& tasks) : tasks_(tasks) {}
  std::uint64_t size() const { return tasks_.size(); }
  result_type operator()(std::uint64_t i) { return std::invoke(tasks_[i]); }

 private:
  indexed_elements<Range> tasks_;
};

/// A function over a range. It takes element i as an lvalue, or as an rvalue where it must, as a
/// delayed call takes its arguments; and like one it takes a copy where it could change the caller's
/// element: in the caller's own process. Elsewhere the element is a copy already.
template <class Fn, class Range> class mapped_elements {
  using element = indexed_element<Range>;
  using value = std::remove_cvref_t<element>;
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
    auto&& each = elements_[i];
    return std::invoke(fn_, static_cast<argument>(each));
  }

 private:
  Fn fn_;
  indexed_elements<Range> elements_;
  bool copies_;
};

}  // namespace forkmap::detail
