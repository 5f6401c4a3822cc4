// What the adaptors have in common: which arrays they take, and what they ask of them.
#pragma once

#include <concepts>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// memmap, shared_array, owned_array.
template <class A>
concept adaptable = requires(A& array) {
  { *array.data() };
  { array.size() } -> std::convertible_to<std::size_t>;
  { array.dims() } -> std::convertible_to<shape>;
  { array.layout() } -> std::same_as<order>;
};

/// Of an array as it is passed: const where its elements cannot be written.
template <class A> using adapted_element = std::remove_pointer_t<decltype(std::declval<A&>().data())>;

/// What another library sees does not keep the array.
template <class A> constexpr void check_is_kept() {
  static_assert(std::is_lvalue_reference_v<A>,
                "what this returns does not keep the array: give the array a name first");
}

inline void check_rank(shape const& dims, std::size_t wanted, char const* function) {
  if (dims.rank() == wanted) return;
  throw std::invalid_argument("forkmap: " + std::string(function) + ": the array has dims " +
                              dims.text() + ", not " + std::to_string(wanted) +
                              (wanted == 1 ? " axis" : " axes") + "; reshape() gives others");
}

inline void check_layout(shape const& dims, order layout, order wanted, char const* function) {
  if (layout == wanted || dims.rank() < 2) return;
  auto const name = [](order it) { return it == order::c ? "c" : "fortran"; };
  throw std::invalid_argument("forkmap: " + std::string(function) + ": the array of dims " +
                              dims.text() + " lies in order " + name(layout) + ", not " +
                              name(wanted) + "; transposed() lies so, with its axes reversed");
}

}  // namespace forkmap::detail
