// How dump() sees arrays that are no ranges of elements: those of other libraries, and nested ones.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <ranges>
#include <span>
#include <type_traits>

#include <forkmap/array/element.hpp>
#include <forkmap/shape.hpp>

namespace forkmap {

/// Tells forkmap what an array class is that it does not know. Specialise it:
///
///     template <> struct forkmap::array_traits<image> {
///       static auto elements(image const& i) { return std::span(i.pixels(), i.w() * i.h()); }
///       static forkmap::shape dims(image const& i) { return {i.h(), i.w()}; }
///       static forkmap::order layout(image const&) { return forkmap::order::c; }
///     };
///
/// `elements` is a sized range of elements in the order of the layout, of the array itself or made
/// for the purpose. For Eigen, xtensor and mdspan see <forkmap/adapt/...>.
template <class A> struct array_traits {};

namespace detail {

/// Fixed arrays in each other: T[2][3], std::array<std::array<T, 3>, 2>. Of rank 0 it is no array;
/// one of characters is a string.
template <class T> struct nested_array {
  static constexpr std::size_t rank = 0;
  using element = T;
  static constexpr void put_extents(std::size_t* /*to*/) {}
};
template <class T, std::size_t N> struct nested_array_of {
  static constexpr std::size_t rank = 1 + nested_array<T>::rank;
  using element = typename nested_array<T>::element;
  static constexpr void put_extents(std::size_t* to) {
    *to = N;
    nested_array<T>::put_extents(to + 1);
  }
};
template <class T, std::size_t N> struct nested_array<T[N]> : nested_array_of<T, N> {};
template <class T, std::size_t N>
  requires(N > 0 && text_length<std::array<T, N>> == 0)
struct nested_array<std::array<T, N>> : nested_array_of<T, N> {};

/// A contiguous range of fixed arrays: std::vector<std::array<double, 3>>, double[4][3].
template <class A>
concept range_of_arrays =
    std::ranges::contiguous_range<A const> && std::ranges::sized_range<A const> &&
    (nested_array<std::remove_cv_t<std::ranges::range_value_t<A const>>>::rank > 0) &&
    array_element<typename nested_array<std::ranges::range_value_t<A const>>::element>;

/// memmap, shared_array, owned_array, and whatever else has these members.
template <class A>
concept has_own_shape = requires(A const& array) {
  { array.dims() } -> std::convertible_to<shape>;
  { array.layout() } -> std::same_as<order>;
};

/// What array_traits knows.
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

/// The elements of any array that dump() takes, as a range.
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
