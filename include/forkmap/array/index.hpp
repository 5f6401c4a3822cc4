// From an index to a position: N-d indices and 1-d windows, checked.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>

#include <forkmap/shape.hpp>
#include <forkmap/slice.hpp>

namespace forkmap::detail {

template <class Lazy = void>
[[noreturn]] void throw_bad_index(shape const& dims, std::span<extent const> index) {
  if (index.size() != dims.rank()) {
    throw std::out_of_range("forkmap: " + std::to_string(index.size()) +
                            " indices for an array of dims " + dims.text() + "; it takes " +
                            std::to_string(dims.rank()));
  }
  std::string text = "forkmap: index (";
  for (std::size_t axis = 0; axis < index.size(); ++axis) {
    text += (axis == 0 ? "" : ", ") + index[axis].text();
  }
  throw std::out_of_range(text + ") is outside an array of dims " + dims.text());
}

/// The position in memory of the element at `index`, or std::out_of_range naming both.
template <std::integral... I>
std::size_t element_position(shape const& dims, order layout, I... index) {
  // A negative index turns into a huge one, so one comparison per axis finds both mistakes.
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

}  // namespace forkmap::detail
