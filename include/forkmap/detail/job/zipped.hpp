// Several ranges zipped into one, and the tasks that call a function with their elements.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <iterator>
#include <limits>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/job/endless.hpp>
#include <forkmap/detail/job/task_source.hpp>

namespace forkmap::detail {

/// An element as fn gets it. For std::vector<bool>, a bool instead of a proxy.
template <class Range>
using zipped_element =
    std::conditional_t<gives_bit_proxies<Range>, bool, std::ranges::range_reference_t<Range>>;

/// Several views as one, as long as the shortest: std::views::zip of C++23. Element i is a tuple of
/// the views' elements i.
/// Source: [range.zip]. Unlike there, the value type is the reference type, a tuple of references.
template <class... Views>
class zipped_view : public std::ranges::view_interface<zipped_view<Views...>> {
  static constexpr bool is_random = (std::ranges::random_access_range<Views> && ...);
  static constexpr bool is_forward = (std::ranges::forward_range<Views> && ...);
  static constexpr bool is_indexable =
      is_random && ((std::ranges::sized_range<Views> || has_no_end<Views>()) && ...) &&
      !(has_no_end<Views>() && ...);

 public:
  class sentinel {
   public:
    sentinel() = default;
    explicit sentinel(std::ranges::sentinel_t<Views>... ends) : ends_(std::move(ends)...) {}

   private:
    friend class zipped_view;
    std::tuple<std::ranges::sentinel_t<Views>...> ends_{};
  };

  class iterator {
   public:
    using reference = std::tuple<zipped_element<Views>...>;
    using value_type = reference;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::conditional_t<
        is_random, std::random_access_iterator_tag,
        std::conditional_t<is_forward, std::forward_iterator_tag, std::input_iterator_tag>>;
    using iterator_category = std::input_iterator_tag;

    iterator()
      requires(std::default_initializable<std::ranges::iterator_t<Views>> && ...)
        : at_() {}
    explicit iterator(std::ranges::iterator_t<Views>... at) : at_(std::move(at)...) {}

    reference operator*() const {
      return std::apply([](auto const&... at) { return reference(*at...); }, at_);
    }
    iterator& operator++() {
      std::apply([](auto&... at) { (static_cast<void>(++at), ...); }, at_);
      return *this;
    }
    auto operator++(int) {
      if constexpr (is_forward) {
        auto before = *this;
        ++*this;
        return before;
      } else {
        ++*this;
      }
    }
    friend bool operator==(iterator const& one, iterator const& other)
      requires is_forward
    {
      return std::get<0>(one.at_) == std::get<0>(other.at_);
    }
    friend bool operator==(iterator const& at, sentinel const& end) { return at.is_at(end); }

    iterator& operator--()
      requires is_random
    {
      return *this -= 1;
    }
    iterator operator--(int)
      requires is_random
    {
      auto before = *this;
      --*this;
      return before;
    }
    iterator& operator+=(difference_type n)
      requires is_random
    {
      std::apply([n]<class... At>(
                     At&... at) { ((at += static_cast<std::iter_difference_t<At>>(n)), ...); },
                 at_);
      return *this;
    }
    iterator& operator-=(difference_type n)
      requires is_random
    {
      return *this += -n;
    }
    reference operator[](difference_type n) const
      requires is_random
    {
      return *(*this + n);
    }
    friend iterator operator+(iterator at, difference_type n)
      requires is_random
    {
      return at += n;
    }
    friend iterator operator+(difference_type n, iterator at)
      requires is_random
    {
      return at += n;
    }
    friend iterator operator-(iterator at, difference_type n)
      requires is_random
    {
      return at -= n;
    }
    friend difference_type operator-(iterator const& one, iterator const& other)
      requires is_random
    {
      return static_cast<difference_type>(std::get<0>(one.at_) - std::get<0>(other.at_));
    }
    friend auto operator<=>(iterator const& one, iterator const& other)
      requires is_random
    {
      return (one - other) <=> 0;
    }

   private:
    friend class zipped_view;
    bool is_at(sentinel const& end) const {
      return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return ((std::get<I>(at_) == std::get<I>(end.ends_)) || ...);
      }(std::index_sequence_for<Views...>{});
    }
    std::tuple<std::ranges::iterator_t<Views>...> at_;
  };

  explicit zipped_view(Views... views) : views_(std::move(views)...) {}

  iterator begin() {
    return std::apply([](auto&... views) { return iterator(std::ranges::begin(views)...); },
                      views_);
  }
  auto end() {
    if constexpr (is_indexable) {
      return begin() + static_cast<std::ptrdiff_t>(size());
    } else if constexpr ((has_no_end<Views>() && ...)) {
      return std::unreachable_sentinel;
    } else {
      return std::apply([](auto&... views) { return sentinel(std::ranges::end(views)...); },
                        views_);
    }
  }
  std::size_t size()
    requires is_indexable
  {
    return std::apply([](auto&... views) { return std::min({size_of(views)...}); }, views_);
  }

 private:
  template <class View> static std::size_t size_of(View& view) {
    if constexpr (has_no_end<View>())
      return std::numeric_limits<std::size_t>::max();
    else
      return static_cast<std::size_t>(std::ranges::size(view));
  }

  std::tuple<Views...> views_;
};

/// Makes the task delayed(fn)(x) from an element, delayed(fn)(x, y...) from a tuple of elements.
/// SeesCaller: the task runs in a process that can read this object, so that it refers to the fn
/// here unless fn is small. Otherwise the task has a copy of fn.
template <class Fn, bool SeesCaller, bool Unpacked> class call_of_elements {
  static constexpr bool is_small =
      std::is_empty_v<Fn> || std::is_pointer_v<Fn> || std::is_member_pointer_v<Fn>;

 public:
  explicit call_of_elements(Fn fn) : fn_(std::move(fn)) {}

  template <class Element> auto operator()(Element&& element) const {
    if constexpr (Unpacked) {
      return std::apply(
          [this](auto&&... parts) { return this->call(std::forward<decltype(parts)>(parts)...); },
          std::forward<Element>(element));
    } else {
      return call(std::forward<Element>(element));
    }
  }

 private:
  template <class... Elements> auto call(Elements&&... elements) const {
    if constexpr (SeesCaller && !is_small)
      return delayed(std::ref(fn_))(stored(std::forward<Elements>(elements))...);
    else
      return delayed(fn_)(stored(std::forward<Elements>(elements))...);
  }
  /// The argument that the task stores: a copy, or a reference if the element cannot be copied.
  template <class Element> static decltype(auto) stored(Element&& element) {
    using value = std::remove_cvref_t<Element>;
    if constexpr (std::same_as<value, std::vector<bool>::reference>)
      return static_cast<bool>(element);
    else if constexpr (std::is_lvalue_reference_v<Element> && !std::copy_constructible<value>)
      return std::ref(element);
    else
      return std::forward<Element>(element);
  }

  mutable Fn fn_;  // tasks call fn as an lvalue that is not const
};

/// A view of the tasks that call fn with the elements of some ranges. Each access makes the task.
/// The view owns the ranges that are temporary.
template <bool SeesCaller, class Fn, class... Ranges>
auto calls_of_elements(Fn fn, Ranges&&... ranges) {
  using call = call_of_elements<Fn, SeesCaller, (sizeof...(Ranges) > 1)>;
  if constexpr (sizeof...(Ranges) == 1)
    return std::ranges::transform_view(std::views::all(std::forward<Ranges>(ranges))...,
                                       call(std::move(fn)));
  else
    return std::ranges::transform_view(
        zipped_view<std::views::all_t<Ranges>...>(std::views::all(std::forward<Ranges>(ranges))...),
        call(std::move(fn)));
}

template <class... V>
inline constexpr bool is_of_endless<zipped_view<V...>> = (has_no_end<V>() && ...);

}  // namespace forkmap::detail
