// Adaptor for xtensor: arrays as xtensor adaptors, and dump() of xtensor objects. Not part of
// forkmap.hpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>
#include <vector>
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xexpression.hpp>

#include <forkmap/array_traits.hpp>
#include <forkmap/detail/array/adaptable.hpp>
#include <forkmap/detail/array/element.hpp>
#include <forkmap/shape.hpp>

namespace forkmap {
namespace detail {

inline xt::layout_type xtensor_layout(order layout) {
  return layout == order::c ? xt::layout_type::row_major : xt::layout_type::column_major;
}

template <xt::layout_type L> void check_xtensor_layout(shape const& dims, order layout) {
  static_assert(L == xt::layout_type::row_major || L == xt::layout_type::column_major ||
                    L == xt::layout_type::dynamic,
                "forkmap: the layout must be xt::layout_type::row_major, column_major or dynamic");
  if constexpr (L != xt::layout_type::dynamic) {
    bool const c = L == xt::layout_type::row_major;
    check_layout(dims, layout, c ? order::c : order::fortran,
                 c ? "an xtensor of xt::layout_type::row_major"
                   : "an xtensor of xt::layout_type::column_major");
  }
}

template <xt::layout_type L, class A, class Extents> auto adapt_xtensor(A& array, Extents extents) {
  check_xtensor_layout<L>(array.dims(), array.layout());
  if constexpr (L == xt::layout_type::dynamic) {
    auto strides = extents;
    xt::compute_strides(extents, xtensor_layout(array.layout()), strides);
    return xt::adapt(array.data(), array.size(), xt::no_ownership(), extents, strides);
  } else {
    return xt::adapt<L>(array.data(), array.size(), xt::no_ownership(), extents);
  }
}

}  // namespace detail

/// An array of any rank as an xtensor adaptor over the same memory.
///
/// The layout is that of the array, or a template argument:
/// `as_xarray<xt::layout_type::row_major>(array)`.
/// Returns: an xarray adaptor, of const elements if the array's elements are const. The array must
///   outlive it.
/// Errors: std::invalid_argument naming dims if the array does not have the layout of the template
///   argument.
/// Cost: a copy of the extents and strides; no element is copied.
/// Example: `double const mean = xt::mean(as_xarray(array))();`
template <xt::layout_type L = xt::layout_type::dynamic, class A>
  requires detail::adaptable<std::remove_reference_t<A>>
auto as_xarray(A&& array) {
  detail::check_is_kept<A>();
  shape const& dims = array.dims();
  return detail::adapt_xtensor<L>(array, std::vector<std::size_t>(dims.begin(), dims.end()));
}

/// The same with the rank as a template argument.
///
/// Errors: std::invalid_argument naming dims if the array's rank is not Rank, or as as_xarray().
/// Example: `auto const m = as_xtensor<2>(array);`
template <std::size_t Rank, xt::layout_type L = xt::layout_type::dynamic, class A>
  requires detail::adaptable<std::remove_reference_t<A>>
auto as_xtensor(A&& array) {
  detail::check_is_kept<A>();
  shape const& dims = array.dims();
  detail::check_rank(dims, Rank, "as_xtensor");
  std::array<std::size_t, Rank> extents{};
  std::copy(dims.begin(), dims.end(), extents.begin());
  return detail::adapt_xtensor<L>(array, extents);
}

namespace detail {

/// An xtensor array, tensor, view, or an expression of these.
template <class A>
concept xtensor_expression =
    xt::is_xexpression<A>::value && array_element<std::remove_cv_t<typename A::value_type>>;

/// An xtensor object whose elements are in memory, possibly contiguous.
template <class A>
concept xtensor_with_memory = requires(A const& object) {
  { object.data() } -> std::convertible_to<typename A::value_type const*>;
  object.data_offset();
  { object.layout() } -> std::same_as<xt::layout_type>;
};

template <class A> order xtensor_order(A const& object) {
  if constexpr (xtensor_with_memory<A>) {
    if (object.layout() == xt::layout_type::column_major) return order::fortran;
  }
  return order::c;
}

/// The elements of an xtensor object in the order of its layout: in place if they are contiguous,
/// else evaluated into a copy.
template <xtensor_expression A> class xtensor_elements {
  using scalar = std::remove_cv_t<typename A::value_type>;

 public:
  explicit xtensor_elements(A const& object) {
    if constexpr (xtensor_with_memory<A>) {
      if (object.layout() == xt::layout_type::row_major ||
          object.layout() == xt::layout_type::column_major) {
        elements_ = {object.data() + object.data_offset(), object.size()};
        return;
      }
    }
    evaluated_ = object;
    elements_ = {evaluated_.data(), evaluated_.size()};
  }
  xtensor_elements(xtensor_elements const&) = delete;
  xtensor_elements& operator=(xtensor_elements const&) = delete;
  ~xtensor_elements() = default;

  auto begin() const { return elements_.begin(); }
  auto end() const { return elements_.end(); }

 private:
  xt::xarray<scalar, xt::layout_type::row_major> evaluated_{};
  std::span<scalar const> elements_{};
};

}  // namespace detail

/// Lets dump() write an xtensor object. The file has the object's dims and layout; order c if the
/// object has neither layout.
template <detail::xtensor_expression A> struct array_traits<A> {
  static auto elements(A const& object) { return detail::xtensor_elements<A>(object); }
  static shape dims(A const& object) {
    std::vector<std::size_t> const extents(object.shape().begin(), object.shape().end());
    return shape(extents);
  }
  static order layout(A const& object) { return detail::xtensor_order(object); }
};

}  // namespace forkmap
