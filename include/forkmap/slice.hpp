// A stretch of positions, and all the stretches a sliding window visits.
#pragma once

#include <compare>
#include <cstddef>
#include <iterator>
#include <limits>
#include <ranges>
#include <stdexcept>

namespace forkmap {

/// The positions from start up to, not including, stop.
///
/// Example: `auto const window = array[slice{10, 20}];`
struct slice {
  std::size_t start = 0;
  std::size_t stop = 0;

  constexpr std::size_t size() const noexcept { return stop > start ? stop - start : 0; }

  friend constexpr bool operator==(slice const&, slice const&) = default;
};

/// What sliding_windows() returns: a random-access, sized, borrowed view of slices.
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
  using iterator_category = std::input_iterator_tag;  // *it is a value, not a reference

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

/// Every slice of `width` positions that fits into `size`, each `step` after the one before.
///
/// Shape: (size - width) / step + 1 slices, none if width > size. A width of 0 follows the same
///   formula: empty slices, the last one at or before `size`.
/// Returns: a view; nothing is stored, so it costs nothing to hand to a map.
/// Errors: std::invalid_argument if step is 0, or if there are more windows than can be counted.
/// Example: `for (auto const window : sliding_windows(data.size(), 500, 100)) ...`
constexpr sliding_window_view sliding_windows(std::size_t size, std::size_t width,
                                              std::size_t step) {
  if (step == 0) {
    throw std::invalid_argument("forkmap: sliding_windows: step is 0; it must be 1 or more");
  }
  if (width > size) return {0, width, step};
  auto const steps = (size - width) / step;
  if (steps >= static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    throw std::invalid_argument("forkmap: sliding_windows: more windows than can be counted");
  }
  return {steps + 1, width, step};
}

}  // namespace forkmap

// The iterators hold everything they need.
template <>
inline constexpr bool std::ranges::enable_borrowed_range<forkmap::sliding_window_view> = true;
