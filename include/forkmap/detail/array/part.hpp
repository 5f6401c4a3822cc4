// Indices and parts of an array: N-d indices, 1-d windows, rows, columns, other shapes.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/shape.hpp>
#include <forkmap/slice.hpp>

namespace forkmap::detail {

// Checked conversion of N-d indices and 1-d windows to positions.

template <class Lazy = void>
[[noreturn]] void throw_bad_index(shape const& dims, std::span<extent const> index) {
  if (index.size() != dims.rank()) {
    throw std::out_of_range("forkmap: " + std::to_string(index.size()) +
                            " indices for an array of dims " + dims.text() + ", which needs " +
                            std::to_string(dims.rank()));
  }
  std::string text = "forkmap: index (";
  for (std::size_t axis = 0; axis < index.size(); ++axis) {
    text += (axis == 0 ? "" : ", ") + index[axis].text();
  }
  throw std::out_of_range(text + ") is outside an array of dims " + dims.text());
}

/// The position in memory of the element at `index`.
/// Errors: std::out_of_range with the index and the dims.
template <std::integral... I>
std::size_t element_position(shape const& dims, order layout, I... index) {
  // A negative index becomes a huge one, so one comparison per axis detects both errors.
  std::array<std::size_t, sizeof...(I)> const at{static_cast<std::size_t>(index)...};
  bool inside = dims.rank() == at.size();
  std::size_t position = 0;
  if (layout == order::c) {
    for (std::size_t axis = 0; inside && axis < at.size(); ++axis) {
      inside = at[axis] < dims[axis];
      position = position * dims[axis] + at[axis];
    }
  } else {
    for (std::size_t axis = at.size(); inside && axis-- > 0;) {
      inside = at[axis] < dims[axis];
      position = position * dims[axis] + at[axis];
    }
  }
  if (!inside) throw_bad_index(dims, std::array<extent, sizeof...(I)>{extent(index)...});
  return position;
}

/// Throws std::out_of_range unless all of `window` lies within `size` positions.
template <class Lazy = void> void check_window(slice window, std::size_t size) {
  if (window.start <= window.stop && window.stop <= size) return;
  std::string const text =
      "forkmap: slice [" + std::to_string(window.start) + ", " + std::to_string(window.stop) + ")";
  throw std::out_of_range(window.start > window.stop ? text + " ends before it starts"
                                                     : text + " is outside an array of " +
                                                           std::to_string(size) + " elements");
}

// Contiguous parts of an array, and other shapes of the same elements. Pure arithmetic.

/// A contiguous part of an array.
struct array_part {
  std::size_t first = 0;  // the position of its first element in memory
  shape dims{};
  order layout = order::c;

  slice window() const { return {first, first + dims.count()}; }
};

/// Along which axis an array is cut: rows along the first, columns along the last.
enum class cut { rows, columns };

template <class Lazy = void>
[[noreturn]] void throw_bad_cut(shape const& dims, cut along, std::string const& which) {
  std::string const text =
      "forkmap: " + which + " is outside an array of dims " + dims.text() + ", which has ";
  if (dims.rank() == 0) throw std::out_of_range(text + "no axes");
  bool const rows = along == cut::rows;
  auto const extent = rows ? dims[0] : dims[dims.rank() - 1];
  throw std::out_of_range(text + std::to_string(extent) + (rows ? " rows" : " columns"));
}

template <class Lazy = void> [[noreturn]] void throw_scattered(shape const& dims, cut along) {
  bool const rows = along == cut::rows;
  throw std::invalid_argument(
      std::string("forkmap: the ") + (rows ? "rows" : "columns") + " of an array of dims " +
      dims.text() + " in order " + (rows ? "fortran" : "c") + " are not contiguous; use its " +
      (rows ? "columns (column(j), columns(slice))" : "rows (row(i), rows(slice))") + ", or the " +
      (rows ? "rows" : "columns") + " of transposed()");
}

/// Checks that the parts along this axis are contiguous. Returns: the number of elements of each.
template <class Lazy = void>
std::size_t elements_per_cut(shape const& dims, order layout, cut along) {
  auto const rank = dims.rank();
  if (rank > 1 && (layout == order::c) != (along == cut::rows)) throw_scattered(dims, along);
  std::size_t count = 1;
  for (std::size_t axis = 1; axis < rank; ++axis) {
    count *= dims[along == cut::rows ? axis : axis - 1];
  }
  return count;
}

/// The extent of the axis that is cut; 0 if the array has no axes.
template <class Lazy = void> std::size_t extent_of_cut(shape const& dims, cut along) {
  if (dims.rank() == 0) return 0;
  return along == cut::rows ? dims[0] : dims[dims.rank() - 1];
}

/// One row or column: an array with one axis fewer.
template <class Lazy = void>
array_part one_of(shape const& dims, order layout, cut along, std::size_t at) {
  if (at >= extent_of_cut(dims, along)) {
    throw_bad_cut(dims, along, (along == cut::rows ? "row " : "column ") + std::to_string(at));
  }
  auto const part_size = elements_per_cut(dims, layout, along);
  auto const* const begin = dims.begin() + (along == cut::rows ? 1 : 0);
  return {at * part_size, shape(std::span(begin, dims.rank() - 1)), layout};
}

/// Consecutive rows or columns: an array with the same number of axes.
template <class Lazy = void>
array_part some_of(shape const& dims, order layout, cut along, slice which) {
  auto const extent = extent_of_cut(dims, along);
  if (which.start > which.stop || which.stop > extent || dims.rank() == 0) {
    auto const text = std::string(along == cut::rows ? "rows" : "columns") + " [" +
                      std::to_string(which.start) + ", " + std::to_string(which.stop) + ")";
    if (which.start > which.stop) {
      throw std::out_of_range("forkmap: " + text + " end before they start");
    }
    throw_bad_cut(dims, along, text);
  }
  auto const part_size = elements_per_cut(dims, layout, along);
  std::array<std::size_t, shape::max_rank> extents{};
  std::copy(dims.begin(), dims.end(), extents.begin());
  extents[along == cut::rows ? 0 : dims.rank() - 1] = which.size();
  return {which.start * part_size, shape(std::span(extents).first(dims.rank())), layout};
}

/// The same elements in the same order, with other dims.
template <class Lazy = void>
array_part reshaped(shape const& dims, order layout, shape const& wanted) {
  std::size_t count = 0;
  if (!wanted.try_count(count) || count != dims.count()) {
    throw std::invalid_argument(
        "forkmap: cannot reshape dims " + dims.text() + " to " + wanted.text() + ": they have " +
        std::to_string(dims.count()) + " and " +
        (wanted.try_count(count) ? std::to_string(count) : std::string("too many")) + " elements");
  }
  return {0, shape(std::span(wanted.begin(), wanted.end())), layout};
}

/// The same elements with the axes reversed: (i, j) becomes (j, i).
template <class Lazy = void> array_part transposed(shape const& dims, order layout) {
  std::array<std::size_t, shape::max_rank> extents{};
  std::reverse_copy(dims.begin(), dims.end(), extents.begin());
  return {0, shape(std::span(extents).first(dims.rank())),
          layout == order::c ? order::fortran : order::c};
}

/// Slices that together cover an array and share no page. See mapped_array::page_slices().
template <class Lazy = void>
std::vector<slice> cut_at_pages(std::size_t size, std::size_t item_bytes, std::uintptr_t address,
                                std::size_t page, std::size_t n) {
  if (n == 0) throw std::invalid_argument("forkmap: page_slices: n must not be 0");
  // The elements that begin at a page boundary are `first` and every `step` elements after it.
  // There are none if `first` reaches `step`.
  auto const step = page / std::gcd(page, item_bytes);
  std::size_t first = 0;
  while (first != step && (address + first * item_bytes) % page != 0) ++first;
  bool const never = first == step;

  std::vector<slice> slices;
  std::size_t start = 0;
  for (std::size_t k = 1; k <= n && start != size; ++k) {
    auto stop = size / n * k + size % n * k / n;
    if (k != n) stop = never || stop < first ? start : stop - (stop - first) % step;
    if (stop <= start) continue;
    slices.push_back({start, stop});
    start = stop;
  }
  return slices;
}

}  // namespace forkmap::detail
