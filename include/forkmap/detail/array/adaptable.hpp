// Common parts of the adaptors: the arrays that they accept, and the checks on them.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <concepts>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// A memmap, shared_array or owned_array.
template <class A>
concept adaptable = requires(A& array) {
  { *array.data() };
  { array.size() } -> std::convertible_to<std::size_t>;
  { array.dims() } -> std::convertible_to<shape>;
  { array.layout() } -> std::same_as<order>;
};

/// The element type of an array argument; const if its elements cannot be written.
template <class A>
using adapted_element = std::remove_pointer_t<decltype(std::declval<A&>().data())>;

/// Rejects a temporary array, which the returned view would not keep alive.
template <class A> constexpr void check_is_kept() {
  static_assert(std::is_lvalue_reference_v<A>,
                "forkmap: the returned view does not keep the array alive; store the array in a "
                "variable first");
}

inline void check_rank(shape const& dims, std::size_t wanted, char const* function) {
  if (dims.rank() == wanted) return;
  throw std::invalid_argument("forkmap: " + std::string(function) + ": the array has dims " +
                              dims.text() + " but must have " + std::to_string(wanted) +
                              (wanted == 1 ? " axis" : " axes") + "; use reshape()");
}

inline void check_layout(shape const& dims, order layout, order wanted, char const* function) {
  if (layout == wanted || dims.rank() < 2) return;
  auto const name = [](order value) { return value == order::c ? "c" : "fortran"; };
  throw std::invalid_argument("forkmap: " + std::string(function) + ": the array of dims " +
                              dims.text() + " has order " + name(layout) + " but must have order " +
                              name(wanted) + "; use transposed(), which reverses the axes");
}

}  // namespace forkmap::detail
