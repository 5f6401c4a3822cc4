// Parts of an array that lie in one piece, and other shapes of the same elements: where they begin,
// and what they are. Pure arithmetic.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/array/index.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/slice.hpp>

namespace forkmap::detail {

/// Elements of an array that follow one another in memory.
struct array_part {
  std::size_t first = 0;  // the position of the first in memory
  shape dims{};
  order layout = order::c;

  slice window() const { return {first, first + dims.count()}; }
};

/// Along which axis an array is cut: rows along the first, columns along the last.
enum class cut { rows, columns };

template <class Lazy = void>
[[noreturn]] void throw_bad_cut(shape const& dims, cut along, std::string const& which) {
  std::string const of =
      "forkmap: " + which + (dims.rank() == 0 ? " of an array without axes, dims "
                                              : " is outside an array of dims ");
  std::string const what = dims.rank() == 0 ? "" : along == cut::rows ? " rows" : " columns";
  auto const extent = dims.rank() == 0      ? std::size_t{0}
                      : along == cut::rows ? dims[0]
                                           : dims[dims.rank() - 1];
  throw std::out_of_range(of + dims.text() +
                          (what.empty() ? "" : ", which has " + std::to_string(extent) + what));
}

template <class Lazy = void> [[noreturn]] void throw_scattered(shape const& dims, cut along) {
  bool const rows = along == cut::rows;
  throw std::invalid_argument(
      std::string("forkmap: the ") + (rows ? "rows" : "columns") + " of an array of dims " +
      dims.text() + " in order " + (rows ? "fortran" : "c") +
      " do not lie in one piece; its " + (rows ? "columns do: column(j), columns(slice)"
                                               : "rows do: row(i), rows(slice)") +
      ", and so do the " + (rows ? "rows" : "columns") + " of transposed()");
}

/// Checks that an array can be cut along that axis. Returns: how many elements each has.
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

/// The extent of the axis that is cut; 0 where there is none.
template <class Lazy = void> std::size_t extent_of_cut(shape const& dims, cut along) {
  if (dims.rank() == 0) return 0;
  return along == cut::rows ? dims[0] : dims[dims.rank() - 1];
}

/// One row or column: an array with one axis less.
template <class Lazy = void>
array_part one_of(shape const& dims, order layout, cut along, std::size_t at) {
  if (at >= extent_of_cut(dims, along)) {
    throw_bad_cut(dims, along, (along == cut::rows ? "row " : "column ") + std::to_string(at));
  }
  auto const each = elements_per_cut(dims, layout, along);
  auto const* const begin = dims.begin() + (along == cut::rows ? 1 : 0);
  return {at * each, shape(std::span(begin, dims.rank() - 1)), layout};
}

/// Rows or columns that follow one another: an array with as many axes.
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
  auto const each = elements_per_cut(dims, layout, along);
  std::array<std::size_t, shape::max_rank> extents{};
  std::copy(dims.begin(), dims.end(), extents.begin());
  extents[along == cut::rows ? 0 : dims.rank() - 1] = which.size();
  return {which.start * each, shape(std::span(extents).first(dims.rank())), layout};
}

/// The same elements in the same order, with other dims.
template <class Lazy = void>
array_part reshaped(shape const& dims, order layout, shape const& wanted) {
  std::size_t count = 0;
  if (!wanted.try_count(count) || count != dims.count()) {
    throw std::invalid_argument("forkmap: reshape of dims " + dims.text() + " to " +
                                wanted.text() + ": they have " + std::to_string(dims.count()) +
                                " and " + (wanted.try_count(count) ? std::to_string(count)
                                                                   : std::string("too many")) +
                                " elements");
  }
  return {0, shape(std::span(wanted.begin(), wanted.end())), layout};
}

/// The same elements, the axes in reverse: (i, j) becomes (j, i).
template <class Lazy = void> array_part transposed(shape const& dims, order layout) {
  std::array<std::size_t, shape::max_rank> extents{};
  std::reverse_copy(dims.begin(), dims.end(), extents.begin());
  return {0, shape(std::span(extents).first(dims.rank())),
          layout == order::c ? order::fortran : order::c};
}

/// Slices that make up an array and share no page: see shared_elements::page_slices().
template <class Lazy = void>
std::vector<slice> cut_at_pages(std::size_t size, std::size_t item_bytes, std::uintptr_t address,
                                std::size_t page, std::size_t n) {
  if (n == 0) throw std::invalid_argument("forkmap: page_slices: n is 0; it must be 1 or more");
  // Where an element begins with a page: at `first` and every `step` elements from there; nowhere
  // if such elements never do.
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
