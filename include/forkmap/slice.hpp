// Slices of an array, and sliding windows over it.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <compare>
#include <cstddef>
#include <iterator>
#include <limits>
#include <ranges>
#include <stdexcept>
#include <string>

#include <forkmap/shape.hpp>

namespace forkmap {

/// The positions [start, stop).
///
/// Example: `auto const window = array[slice{10, 20}];`
struct slice {
  std::size_t start = 0;
  std::size_t stop = 0;

  /// The number of positions; 0 if stop is before start.
  constexpr std::size_t size() const noexcept { return stop > start ? stop - start : 0; }

  friend constexpr bool operator==(slice const&, slice const&) = default;
};

/// A random-access, sized, borrowed view of slices: the return type of sliding_windows().
class sliding_window_view : public std::ranges::view_interface<sliding_window_view> {
 public:
  class iterator;

  constexpr sliding_window_view() = default;
  constexpr sliding_window_view(std::size_t count, std::size_t width, std::size_t step)
      : count_(count), width_(width), step_(step) {}

  constexpr iterator begin() const;
  constexpr iterator end() const;
  constexpr std::size_t size() const { return count_; }

 private:
  std::size_t count_ = 0;
  std::size_t width_ = 0;
  std::size_t step_ = 1;
};

class sliding_window_view::iterator {
 public:
  using value_type = slice;
  using difference_type = std::ptrdiff_t;
  using iterator_concept = std::random_access_iterator_tag;
  using iterator_category = std::input_iterator_tag;  // dereferencing returns a value

  constexpr iterator() = default;
  constexpr iterator(std::size_t at, std::size_t width, std::size_t step)
      : at_(static_cast<difference_type>(at)), width_(width), step_(step) {}

  constexpr slice operator*() const { return at(at_); }
  constexpr slice operator[](difference_type n) const { return at(at_ + n); }

  constexpr iterator& operator++() { return *this += 1; }
  constexpr iterator& operator--() { return *this -= 1; }
  constexpr iterator operator++(int) {
    auto const before = *this;
    ++*this;
    return before;
  }
  constexpr iterator operator--(int) {
    auto const before = *this;
    --*this;
    return before;
  }
  constexpr iterator& operator+=(difference_type n) {
    at_ += n;
    return *this;
  }
  constexpr iterator& operator-=(difference_type n) {
    at_ -= n;
    return *this;
  }

  friend constexpr iterator operator+(iterator i, difference_type n) { return i += n; }
  friend constexpr iterator operator+(difference_type n, iterator i) { return i += n; }
  friend constexpr iterator operator-(iterator i, difference_type n) { return i -= n; }
  friend constexpr difference_type operator-(iterator const& a, iterator const& b) {
    return a.at_ - b.at_;
  }
  friend constexpr bool operator==(iterator const& a, iterator const& b) { return a.at_ == b.at_; }
  friend constexpr std::strong_ordering operator<=>(iterator const& a, iterator const& b) {
    return a.at_ <=> b.at_;
  }

 private:
  constexpr slice at(difference_type n) const {
    auto const start = static_cast<std::size_t>(n) * step_;
    return {start, start + width_};
  }

  difference_type at_ = 0;
  std::size_t width_ = 0;
  std::size_t step_ = 1;
};

constexpr sliding_window_view::iterator sliding_window_view::begin() const {
  return {0, width_, step_};
}
constexpr sliding_window_view::iterator sliding_window_view::end() const {
  return {count_, width_, step_};
}

/// All windows of `width` positions within `size` positions; each starts `step` positions after the
/// previous one. The arguments are integers of any type.
///
/// Shape: (size - width) / step + 1 slices; none if width > size. The formula also holds for width
///   0: empty slices, the last one at or before `size`.
/// Returns: a view of slices.
/// Errors: std::invalid_argument if step is 0, if an argument is negative, or if the number of
///   windows does not fit into std::ptrdiff_t. Floating-point arguments do not compile.
/// Cost: none; the view computes each slice.
/// Example: `for (auto const window : sliding_windows(data.size(), 500, 100)) ...`
constexpr sliding_window_view sliding_windows(detail::extent size_given, detail::extent width_given,
                                              detail::extent step_given) {
  auto const checked = [](char const* name, detail::extent given) {
    if (!given.negative()) return given.value();
    throw std::invalid_argument(std::string("forkmap: sliding_windows: ") + name + " is " +
                                given.text() + "; it must be zero or more");
  };
  auto const size = checked("size", size_given);
  auto const width = checked("width", width_given);
  auto const step = checked("step", step_given);
  if (step == 0) {
    throw std::invalid_argument("forkmap: sliding_windows: step is 0; it must be 1 or more");
  }
  if (width > size) return {0, width, step};
  auto const steps = (size - width) / step;
  if (steps >= static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    throw std::invalid_argument(
        "forkmap: sliding_windows: the number of windows does not fit into std::ptrdiff_t");
  }
  return {steps + 1, width, step};
}

}  // namespace forkmap

// Iterators do not refer to the view.
template <>
inline constexpr bool std::ranges::enable_borrowed_range<forkmap::sliding_window_view> = true;
