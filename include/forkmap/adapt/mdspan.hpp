// Adaptor for std::mdspan: arrays as mdspans, and dump() of mdspans. Empty if the standard library
// has no <mdspan>. Not part of forkmap.hpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <version>

#if defined(__cpp_lib_mdspan)

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <mdspan>
#include <memory>
#include <span>
#include <type_traits>

#include <forkmap/array_traits.hpp>
#include <forkmap/detail/array/adaptable.hpp>
#include <forkmap/detail/array/element.hpp>
#include <forkmap/shape.hpp>

namespace forkmap {
namespace detail {

template <class Layout>
concept mdspan_layout =
    std::same_as<Layout, std::layout_right> || std::same_as<Layout, std::layout_left> ||
    std::same_as<Layout, std::layout_stride>;

template <std::size_t Rank> std::dextents<std::size_t, Rank> mdspan_extents(shape const& dims) {
  std::array<std::size_t, Rank> extents{};
  std::copy(dims.begin(), dims.end(), extents.begin());
  return std::dextents<std::size_t, Rank>(extents);
}

}  // namespace detail

/// An array as a std::mdspan of rank Rank over the same memory.
///
/// Layout is std::layout_right for order c, std::layout_left for order fortran, or
/// std::layout_stride, the default, for an array of either order.
/// Returns: a std::mdspan, of const elements if the array's elements are const. The array must
///   outlive it.
/// Errors: std::invalid_argument naming dims if the array's rank is not Rank or its order is not
///   that of Layout.
/// Cost: none; no element is copied.
/// Example: `auto const m = as_mdspan<2, std::layout_right>(array);`
template <std::size_t Rank, detail::mdspan_layout Layout = std::layout_stride, class A>
  requires detail::adaptable<std::remove_reference_t<A>>
auto as_mdspan(A&& array) {
  detail::check_is_kept<A>();
  shape const& dims = array.dims();
  detail::check_rank(dims, Rank, "as_mdspan");
  auto const extents = detail::mdspan_extents<Rank>(dims);
  using extents_type = std::remove_cv_t<decltype(extents)>;
  if constexpr (std::same_as<Layout, std::layout_right>) {
    detail::check_layout(dims, array.layout(), order::c, "as_mdspan<..., std::layout_right>");
  } else if constexpr (std::same_as<Layout, std::layout_left>) {
    detail::check_layout(dims, array.layout(), order::fortran, "as_mdspan<..., std::layout_left>");
  }
  using mapping = typename Layout::template mapping<extents_type>;
  auto const strided = [&]() -> mapping {
    if constexpr (!std::same_as<Layout, std::layout_stride>) {
      return mapping(extents);
    } else if (array.layout() == order::c) {
      return std::layout_right::mapping<extents_type>(extents);
    } else {
      return std::layout_left::mapping<extents_type>(extents);
    }
  };
  return std::mdspan<detail::adapted_element<A>, extents_type, Layout>(array.data(), strided());
}

namespace detail {

template <class A> inline constexpr bool is_mdspan = false;
template <class T, class Extents, class Layout, class Accessor>
inline constexpr bool is_mdspan<std::mdspan<T, Extents, Layout, Accessor>> =
    array_element<std::remove_cv_t<T>>;

/// The elements of an mdspan: in place if its layout is contiguous, else gathered into a copy in
/// order c.
template <class A> class mdspan_elements {
  using scalar = typename A::value_type;
  using index = typename A::index_type;

 public:
  explicit mdspan_elements(A const& span) {
    auto const size = static_cast<std::size_t>(span.size());
    if constexpr (has_memory) {
      elements_ = {span.data_handle(), size};
    } else {
      gathered_ = std::make_unique<scalar[]>(size);
      std::array<index, A::rank()> at{};
      for (std::size_t i = 0; i != size; ++i) {
        gathered_[i] = static_cast<scalar>(span[at]);
        for (auto axis = A::rank(); axis-- > 0;) {
          if (++at[axis] != span.extent(axis)) break;
          at[axis] = 0;
        }
      }
      elements_ = {gathered_.get(), size};
    }
  }

  auto begin() const { return elements_.begin(); }
  auto end() const { return elements_.end(); }

  static constexpr bool has_memory =
      (std::same_as<typename A::layout_type, std::layout_right> ||
       std::same_as<typename A::layout_type, std::layout_left>) &&
      std::same_as<typename A::accessor_type, std::default_accessor<typename A::element_type>>;

 private:
  std::unique_ptr<scalar[]> gathered_{};
  std::span<scalar const> elements_{};
};

}  // namespace detail

/// Lets dump() write an mdspan. The file has the mdspan's dims, and order fortran for
/// std::layout_left, else order c.
template <class A>
  requires detail::is_mdspan<A>
struct array_traits<A> {
  static auto elements(A const& span) { return detail::mdspan_elements<A>(span); }
  static shape dims(A const& span) {
    std::array<std::size_t, A::rank()> extents{};
    for (std::size_t axis = 0; axis != A::rank(); ++axis) {
      extents[axis] = static_cast<std::size_t>(span.extent(axis));
    }
    return shape(extents);
  }
  static order layout(A const& /*span*/) {
    bool const left = std::same_as<typename A::layout_type, std::layout_left> &&
                      detail::mdspan_elements<A>::has_memory;
    return left ? order::fortran : order::c;
  }
};

}  // namespace forkmap

#endif
