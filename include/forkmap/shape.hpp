// Extents of an array, and the order of its elements in memory.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>

namespace forkmap {

/// The order of an array's elements in memory. c: the last index varies fastest. fortran: the first
/// index varies fastest.
enum class order { c, fortran };

namespace detail {

/// One number of a braced list, of any integer type. This class exists because a constructor
/// template for the whole list would be ambiguous, and std::size_t would refuse an int as
/// narrowing.
class extent {
 public:
  template <std::integral N>
    requires(!std::same_as<N, bool>)
  constexpr extent(N n) noexcept  // NOLINT(google-explicit-constructor): {rows, cols}
      : bits_(static_cast<std::size_t>(n)), negative_(n < N{0}) {}

  constexpr bool negative() const noexcept { return negative_; }
  constexpr std::size_t value() const noexcept { return bits_; }
  std::string text() const {
    return negative_ ? std::to_string(static_cast<std::ptrdiff_t>(bits_)) : std::to_string(bits_);
  }

 private:
  std::size_t bits_;
  bool negative_;
};

}  // namespace detail

/// The extents of an array, first axis first: {n}, {rows, cols}.
///
/// Shape: at most 64 axes, as in NumPy. `shape{}` has no axes and so one element. Where dims are
///   optional (dump_options), `shape{}` means "not given"; use `shape::scalar()` for an array
///   without axes.
/// Errors: std::invalid_argument for a negative extent, naming it, and for more than 64 axes.
/// Forking: trivially copyable.
/// Example: `shape const dims{rows, cols};` with any integer types.
class shape {
 public:
  /// The maximum number of axes.
  static constexpr std::size_t max_rank = 64;
  /// The maximum number of elements: pointer differences in one array are of type ptrdiff_t.
  static constexpr auto max_count =
      static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());

  constexpr shape() noexcept = default;

  shape(std::initializer_list<detail::extent> extents) : given_(true) {
    check_rank(extents.size());
    for (auto const& extent : extents) {
      if (extent.negative()) {
        throw std::invalid_argument("forkmap: shape: extent " + std::to_string(rank_) + " is " +
                                    extent.text() + "; extents are zero or more");
      }
      extents_[rank_++] = extent.value();
    }
  }

  explicit shape(std::span<std::size_t const> extents) : given_(true) {
    check_rank(extents.size());
    std::copy(extents.begin(), extents.end(), extents_.begin());
    rank_ = extents.size();
  }

  /// The shape of an array without axes and with one element: NumPy's 0-d array.
  static shape scalar() noexcept {
    shape result;
    result.given_ = true;
    return result;
  }

  /// The number of axes.
  constexpr std::size_t rank() const noexcept { return rank_; }
  /// False only for `shape{}`.
  constexpr bool given() const noexcept { return given_; }
  /// The extent of an axis. Precondition: axis < max_rank; 0 for axes that the shape does not have.
  constexpr std::size_t operator[](std::size_t axis) const noexcept { return extents_[axis]; }
  constexpr std::size_t const* begin() const noexcept { return extents_.data(); }
  constexpr std::size_t const* end() const noexcept { return extents_.data() + rank_; }

  /// The number of elements: the product of the extents.
  ///
  /// Errors: std::invalid_argument if the product of the extents other than 0 exceeds max_count.
  std::size_t count() const {
    std::size_t result = 0;
    if (!try_count(result)) {
      throw std::invalid_argument("forkmap: shape " + text() +
                                  " has more elements than this machine can address");
    }
    return result;
  }

  /// The same without an exception.
  ///
  /// Returns: false if the product of the extents other than 0 exceeds max_count.
  constexpr bool try_count(std::size_t& result) const noexcept {
    // An extent of 0 makes the array empty, but the product of the others must fit nevertheless.
    bool empty = false;
    result = 1;
    for (auto const extent : *this) {
      if (extent == 0) {
        empty = true;
      } else if (result > max_count / extent) {
        return false;
      } else {
        result *= extent;
      }
    }
    if (empty) result = 0;
    return true;
  }

  /// The extents as a Python tuple: (), (5,), (3, 4).
  std::string text() const {
    std::string result = "(";
    for (std::size_t axis = 0; axis < rank_; ++axis) {
      if (axis != 0) result += ", ";
      result += std::to_string(extents_[axis]);
    }
    return result + (rank_ == 1 ? ",)" : ")");
  }

  friend constexpr bool operator==(shape const& a, shape const& b) noexcept {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  static void check_rank(std::size_t rank) {
    if (rank > max_rank) {
      throw std::invalid_argument("forkmap: shape: " + std::to_string(rank) +
                                  " extents; an array has at most " + std::to_string(max_rank));
    }
  }

  std::array<std::size_t, max_rank> extents_{};
  std::size_t rank_ = 0;
  bool given_ = false;
};

}  // namespace forkmap
