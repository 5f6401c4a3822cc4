// The extents of an array, and the order in which its elements lie in memory.
#pragma once

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

/// How the elements of an array lie in memory: the last index moves fastest, or the first.
enum class order { c, fortran };

namespace detail {

/// One number of a braced list, of any integer type. A class of its own, because a constructor
/// template over the whole list is ambiguous and std::size_t would refuse an int as narrowing.
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

/// The extents of an array, first axis first: {n}, {rows, cols}; no more than NumPy's 64.
///
/// Shape: `shape{}` has no axes and so one element; where dims are optional (dump_options) it means
///   "not given", and `shape::scalar()` is how to ask for an array without axes.
/// Errors: std::invalid_argument naming the extent that is negative.
/// Forking: trivially copyable, nothing is shared.
/// Example: `shape{rows, cols}` with any integer types.
class shape {
 public:
  static constexpr std::size_t max_rank = 64;
  // Pointers into one array are subtracted as ptrdiff_t.
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

  /// No axes, one element: NumPy's 0-d array.
  static shape scalar() noexcept {
    shape result;
    result.given_ = true;
    return result;
  }

  constexpr std::size_t rank() const noexcept { return rank_; }
  constexpr bool given() const noexcept { return given_; }
  constexpr std::size_t operator[](std::size_t axis) const noexcept { return extents_[axis]; }
  constexpr std::size_t const* begin() const noexcept { return extents_.data(); }
  constexpr std::size_t const* end() const noexcept { return extents_.data() + rank_; }

  /// The number of elements: the product of the extents.
  ///
  /// Errors: std::invalid_argument if it, or that of the extents other than 0, does not fit.
  std::size_t count() const {
    std::size_t result = 0;
    if (!try_count(result)) {
      throw std::invalid_argument("forkmap: shape " + text() +
                                  " has more elements than this machine can address");
    }
    return result;
  }

  /// The same without throwing: false if it does not fit.
  constexpr bool try_count(std::size_t& result) const noexcept {
    // An axis of zero makes the array empty, but the others must fit all the same.
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

  /// As Python writes a tuple: (), (5,), (3, 4).
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
                                  " extents; an array has no more than " +
                                  std::to_string(max_rank));
    }
  }

  std::array<std::size_t, max_rank> extents_{};
  std::size_t rank_ = 0;
  bool given_ = false;
};

}  // namespace forkmap
