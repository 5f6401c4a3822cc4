// Arrays as Eigen sees them, without a copy, and Eigen's own for dump(). Not part of forkmap.hpp.
#pragma once

#include <concepts>
#include <cstddef>
#include <span>
#include <type_traits>

#include <Eigen/Core>

#include <forkmap/adapt/adaptable.hpp>
#include <forkmap/array/element.hpp>
#include <forkmap/array_traits.hpp>
#include <forkmap/shape.hpp>

namespace forkmap {
namespace detail {

/// An Eigen matrix type with an array's elements, as a map of it should have them.
template <class A, int Rows, int Columns, int Options>
using eigen_matrix_of = std::conditional_t<
    std::is_const_v<adapted_element<A>>,
    Eigen::Matrix<std::remove_const_t<adapted_element<A>>, Rows, Columns, Options> const,
    Eigen::Matrix<std::remove_const_t<adapted_element<A>>, Rows, Columns, Options>>;

}  // namespace detail

/// An array with one axis as a column vector over the same memory.
///
/// Returns: an Eigen::Map, of const where the array cannot be written. It does not keep the array.
/// Errors: std::invalid_argument naming dims for more or fewer axes.
/// Cost: none.
/// Example: `double const norm = as_eigen_vector(array).norm();`
template <class A>
  requires detail::adaptable<std::remove_reference_t<A>>
auto as_eigen_vector(A&& array) {
  detail::check_is_kept<A>();
  detail::check_rank(array.dims(), 1, "as_eigen_vector");
  return Eigen::Map<detail::eigen_matrix_of<A, Eigen::Dynamic, 1, Eigen::ColMajor>>(
      array.data(), static_cast<Eigen::Index>(array.size()));
}

/// An array with two axes as a matrix over the same memory, whose layout the compiler knows:
/// Eigen::RowMajor for order c, Eigen::ColMajor for order fortran.
///
/// Returns: an Eigen::Map, of const where the array cannot be written. It does not keep the array.
/// Errors: std::invalid_argument naming dims for more or fewer axes, or for the other layout.
/// Cost: none.
/// Example: `auto const m = as_eigen_matrix<Eigen::RowMajor>(array);`
template <int Options, class A>
  requires detail::adaptable<std::remove_reference_t<A>>
auto as_eigen_matrix(A&& array) {
  detail::check_is_kept<A>();
  constexpr bool row_major = (Options & Eigen::RowMajor) != 0;
  shape const& dims = array.dims();
  detail::check_rank(dims, 2, "as_eigen_matrix");
  detail::check_layout(
      dims, array.layout(), row_major ? order::c : order::fortran,
      row_major ? "as_eigen_matrix<Eigen::RowMajor>" : "as_eigen_matrix<Eigen::ColMajor>");
  return Eigen::Map<detail::eigen_matrix_of<A, Eigen::Dynamic, Eigen::Dynamic, Options>>(
      array.data(), static_cast<Eigen::Index>(dims[0]), static_cast<Eigen::Index>(dims[1]));
}

/// The same for either layout, which is known when the program runs: with both strides.
template <class A>
  requires detail::adaptable<std::remove_reference_t<A>>
auto as_eigen_matrix(A&& array) {
  detail::check_is_kept<A>();
  using stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  shape const& dims = array.dims();
  detail::check_rank(dims, 2, "as_eigen_matrix");
  auto const rows = static_cast<Eigen::Index>(dims[0]);
  auto const columns = static_cast<Eigen::Index>(dims[1]);
  return Eigen::Map<detail::eigen_matrix_of<A, Eigen::Dynamic, Eigen::Dynamic, Eigen::ColMajor>,
                    Eigen::Unaligned, stride>(
      array.data(), rows, columns,
      array.layout() == order::c ? stride(1, columns) : stride(rows, 1));
}

namespace detail {

template <class Derived> Derived const* as_dense(Eigen::DenseBase<Derived> const* it) {
  return &it->derived();
}

/// A matrix, a vector, an array, a map, or an expression of such.
template <class A>
concept eigen_dense = requires(A const* it) {
  { as_dense(it) } -> std::same_as<A const*>;
} && array_element<typename A::Scalar>;

/// The elements of an Eigen object in the order of its layout: where they lie if that is in one
/// piece, else evaluated into memory of this object's own.
template <eigen_dense A> class eigen_elements {
  using plain = typename A::PlainObject;
  using scalar = typename A::Scalar;

 public:
  static constexpr bool is_row_major = plain::IsRowMajor;

  explicit eigen_elements(A const& it) {
    if constexpr (has_memory) {
      bool const one_piece =
          it.size() < 2 ||
          (it.innerStride() == 1 && (it.outerSize() == 1 || it.outerStride() == it.innerSize()));
      if (one_piece) {
        elements_ = {it.data(), static_cast<std::size_t>(it.size())};
        return;
      }
    }
    evaluated_ = it;
    elements_ = {evaluated_.data(), static_cast<std::size_t>(evaluated_.size())};
  }
  eigen_elements(eigen_elements const&) = delete;
  eigen_elements& operator=(eigen_elements const&) = delete;
  ~eigen_elements() = default;

  auto begin() const { return elements_.begin(); }
  auto end() const { return elements_.end(); }
  // std::ranges::size would find one of Eigen's, which takes anything.
  std::size_t size() const { return elements_.size(); }

 private:
  static constexpr bool has_memory =
      (Eigen::internal::traits<A>::Flags & Eigen::DirectAccessBit) != 0 &&
      bool(A::IsRowMajor) == is_row_major;

  plain evaluated_{};
  std::span<scalar const> elements_{};
};

}  // namespace detail

/// dump(): a vector has one axis, a matrix two; the file has the layout that Eigen has.
template <detail::eigen_dense A> struct array_traits<A> {
  static auto elements(A const& it) { return detail::eigen_elements<A>(it); }
  static shape dims(A const& it) {
    if constexpr (A::IsVectorAtCompileTime) {
      return {it.size()};
    } else {
      return {it.rows(), it.cols()};
    }
  }
  static order layout(A const& /*it*/) {
    bool const c = bool(A::IsVectorAtCompileTime) || detail::eigen_elements<A>::is_row_major;
    return c ? order::c : order::fortran;
  }
};

}  // namespace forkmap
