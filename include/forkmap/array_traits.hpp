// Traits of arrays that are not ranges of elements: nested arrays, and those of other libraries.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <array>
#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <type_traits>

#include <forkmap/detail/array/element.hpp>
#include <forkmap/shape.hpp>

namespace forkmap {

/// Describes an array class to dump(). Specialize it for a class that is not a range of elements:
///
///     template <> struct forkmap::array_traits<image> {
///       static auto elements(image const& i) { return std::span(i.pixels(), i.w() * i.h()); }
///       static forkmap::shape dims(image const& i) { return {i.h(), i.w()}; }
///       static forkmap::order layout(image const&) { return forkmap::order::c; }
///     };
///
/// `elements` returns a sized range of the elements in the order of the layout: the array's own
/// elements, or a copy. <forkmap/adapt/...> has specializations for Eigen, xtensor and std::mdspan.
template <class A> struct array_traits {};

namespace detail {

/// Nested arrays of fixed size: T[2][3], std::array<std::array<T, 3>, 2>. Rank 0: not an array. An
/// array of characters is a string, not an array.
template <class T> struct nested_array {
  static constexpr std::size_t rank = 0;
  using element = T;
  static constexpr void put_extents(std::size_t* /*extents*/) {}
};
template <class T, std::size_t N> struct nested_array_of {
  static constexpr std::size_t rank = 1 + nested_array<T>::rank;
  using element = typename nested_array<T>::element;
  static constexpr void put_extents(std::size_t* extents) {
    *extents = N;
    nested_array<T>::put_extents(extents + 1);
  }
};
template <class T, std::size_t N> struct nested_array<T[N]> : nested_array_of<T, N> {};
template <class T, std::size_t N>
  requires(N > 0 && text_length<std::array<T, N>> == 0)
struct nested_array<std::array<T, N>> : nested_array_of<T, N> {};

/// A contiguous range of arrays of fixed size: std::vector<std::array<double, 3>>, double[4][3].
template <class A>
concept range_of_arrays =
    std::ranges::contiguous_range<A const> && std::ranges::sized_range<A const> &&
    (nested_array<std::remove_cv_t<std::ranges::range_value_t<A const>>>::rank > 0) &&
    array_element<typename nested_array<std::ranges::range_value_t<A const>>::element>;

/// An array with members dims() and layout(): memmap, shared_array, owned_array.
template <class A>
concept has_own_shape = requires(A const& array) {
  { array.dims() } -> std::convertible_to<shape>;
  { array.layout() } -> std::same_as<order>;
};

/// An array that array_traits describes.
template <class A>
concept described_array = requires(A const& array) {
  { array_traits<A>::dims(array) } -> std::convertible_to<shape>;
  { array_traits<A>::layout(array) } -> std::same_as<order>;
  array_traits<A>::elements(array);
};

template <class A>
concept range_of_elements =
    std::ranges::sized_range<A const> && std::ranges::input_range<A const> &&
    array_element<std::remove_cv_t<std::ranges::range_value_t<A const>>>;

/// The elements of any array that dump() accepts, as a range.
template <class A> decltype(auto) elements_of(A const& array) {
  if constexpr (described_array<A>) {
    return array_traits<A>::elements(array);
  } else {
    return (array);
  }
}

}  // namespace detail

template <class A>
  requires(detail::has_own_shape<A> && detail::range_of_elements<A>)
struct array_traits<A> {
  static A const& elements(A const& array) { return array; }
  static shape dims(A const& array) { return array.dims(); }
  static order layout(A const& array) { return array.layout(); }
};

template <detail::range_of_arrays A> struct array_traits<A> {
  using nested = detail::nested_array<std::ranges::range_value_t<A const>>;

  static auto elements(A const& array) {
    using element = typename nested::element;
    using fixed = std::ranges::range_value_t<A const>;
    static_assert(sizeof(fixed) % sizeof(element) == 0);
    return std::span(reinterpret_cast<element const*>(std::ranges::data(array)),
                     std::ranges::size(array) * (sizeof(fixed) / sizeof(element)));
  }
  static shape dims(A const& array) {
    std::array<std::size_t, 1 + nested::rank> extents{std::ranges::size(array)};
    nested::put_extents(extents.data() + 1);
    return shape(extents);
  }
  static order layout(A const& /*array*/) { return order::c; }
};

}  // namespace forkmap
