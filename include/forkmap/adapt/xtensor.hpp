// Arrays as xtensor sees them, without a copy, and xtensor's own for dump(). Not part of
// forkmap.hpp.
#pragma once

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

#include <forkmap/adapt/adaptable.hpp>
#include <forkmap/array/element.hpp>
#include <forkmap/array_traits.hpp>
#include <forkmap/shape.hpp>

namespace forkmap {
namespace detail {

inline xt::layout_type xtensor_layout(order layout) {
  return layout == order::c ? xt::layout_type::row_major : xt::layout_type::column_major;
}

template <xt::layout_type L> void check_xtensor_layout(shape const& dims, order layout) {
  static_assert(L == xt::layout_type::row_major || L == xt::layout_type::column_major ||
                    L == xt::layout_type::dynamic,
                "the layout is xt::layout_type::row_major, column_major or dynamic");
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

/// An array of any rank as an xtensor over the same memory; its layout is known when the program
/// runs, or named: `as_xarray<xt::layout_type::row_major>(array)`.
///
/// Returns: an xarray adaptor, of const where the array cannot be written. It does not keep the
///   array.
/// Errors: std::invalid_argument naming dims if the array lies in another layout than the one named.
/// Cost: the extents and strides; no element is touched.
/// Example: `double const mean = xt::mean(as_xarray(array))();`
template <xt::layout_type L = xt::layout_type::dynamic, class A>
  requires detail::adaptable<std::remove_reference_t<A>>
auto as_xarray(A&& array) {
  detail::check_is_kept<A>();
  shape const& dims = array.dims();
  return detail::adapt_xtensor<L>(array, std::vector<std::size_t>(dims.begin(), dims.end()));
}

/// The same with a rank that the compiler knows: `as_xtensor<2>(array)`.
///
/// Errors: also std::invalid_argument naming dims for another rank.
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

/// An array, a tensor, a view, or an expression of such.
template <class A>
concept xtensor_expression =
    xt::is_xexpression<A>::value && array_element<std::remove_cv_t<typename A::value_type>>;

/// Where the elements lie, if that may be in one piece.
template <class A>
concept xtensor_with_memory = requires(A const& it) {
  { it.data() } -> std::convertible_to<typename A::value_type const*>;
  it.data_offset();
  { it.layout() } -> std::same_as<xt::layout_type>;
};

template <class A> order xtensor_order(A const& it) {
  if constexpr (xtensor_with_memory<A>) {
    if (it.layout() == xt::layout_type::column_major) return order::fortran;
  }
  return order::c;
}

/// The elements of an xtensor object in the order of its layout: where they lie if that is in one
/// piece, else evaluated into memory of this object's own.
template <xtensor_expression A> class xtensor_elements {
  using scalar = std::remove_cv_t<typename A::value_type>;

 public:
  explicit xtensor_elements(A const& it) {
    if constexpr (xtensor_with_memory<A>) {
      if (it.layout() == xt::layout_type::row_major ||
          it.layout() == xt::layout_type::column_major) {
        elements_ = {it.data() + it.data_offset(), it.size()};
        return;
      }
    }
    evaluated_ = it;
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

/// dump(): the dims and the layout that xtensor has; order c for what lies in no layout.
template <detail::xtensor_expression A> struct array_traits<A> {
  static auto elements(A const& it) { return detail::xtensor_elements<A>(it); }
  static shape dims(A const& it) {
    std::vector<std::size_t> const extents(it.shape().begin(), it.shape().end());
    return shape(extents);
  }
  static order layout(A const& it) { return detail::xtensor_order(it); }
};

}  // namespace forkmap
