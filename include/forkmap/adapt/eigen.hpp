// Adaptor for Eigen: arrays as Eigen::Map, dump() of Eigen objects, and Eigen objects as results and
// arguments of tasks. Not part of forkmap.hpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <Eigen/Core>

#include <forkmap/array_traits.hpp>
#include <forkmap/detail/array/adaptable.hpp>
#include <forkmap/detail/array/element.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/writer.hpp>

namespace forkmap {
namespace detail {

/// The Eigen matrix type for an Eigen::Map of an array; const if the array's elements are.
template <class A, int Rows, int Columns, int Options>
using eigen_matrix_of = std::conditional_t<
    std::is_const_v<adapted_element<A>>,
    Eigen::Matrix<std::remove_const_t<adapted_element<A>>, Rows, Columns, Options> const,
    Eigen::Matrix<std::remove_const_t<adapted_element<A>>, Rows, Columns, Options>>;

}  // namespace detail

/// An array with one axis as an Eigen column vector over the same memory.
///
/// Returns: an Eigen::Map, of a const type if the array's elements are const. The array must
///   outlive it.
/// Errors: std::invalid_argument naming dims if the array does not have one axis.
/// Cost: none; no element is copied.
/// Example: `double const norm = as_eigen_vector(array).norm();`
template <class A>
  requires detail::adaptable<std::remove_reference_t<A>>
auto as_eigen_vector(A&& array) {
  detail::check_is_kept<A>();
  detail::check_rank(array.dims(), 1, "as_eigen_vector");
  return Eigen::Map<detail::eigen_matrix_of<A, Eigen::Dynamic, 1, Eigen::ColMajor>>(
      array.data(), static_cast<Eigen::Index>(array.size()));
}

/// An array with two axes as an Eigen matrix over the same memory, with the layout as a template
/// argument: Eigen::RowMajor for order c, Eigen::ColMajor for order fortran.
///
/// Returns: an Eigen::Map, of a const type if the array's elements are const. The array must
///   outlive it.
/// Errors: std::invalid_argument naming dims if the array does not have two axes or has the other
///   layout.
/// Cost: none; no element is copied.
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

/// The same for an array of either layout: an Eigen::Map with strides that are set at run time.
///
/// Errors: std::invalid_argument naming dims if the array does not have two axes.
/// Example: `auto const m = as_eigen_matrix(array);`
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

template <class Derived> Derived const* as_dense(Eigen::DenseBase<Derived> const* object) {
  return &object->derived();
}

/// An Eigen matrix, vector, array or map, or an expression of these.
template <class A>
concept eigen_dense = requires(A const* object) {
  { as_dense(object) } -> std::same_as<A const*>;
} && array_element<typename A::Scalar>;

/// The elements of an Eigen object in the order of its layout: in place if they are contiguous,
/// else evaluated into a copy.
template <eigen_dense A> class eigen_elements {
  using plain = typename A::PlainObject;
  using scalar = typename A::Scalar;

 public:
  static constexpr bool is_row_major = plain::IsRowMajor;

  explicit eigen_elements(A const& object) {
    if constexpr (has_memory) {
      bool const contiguous =
          object.size() < 2 ||
          (object.innerStride() == 1 &&
           (object.outerSize() == 1 || object.outerStride() == object.innerSize()));
      if (contiguous) {
        elements_ = {object.data(), static_cast<std::size_t>(object.size())};
        return;
      }
    }
    evaluated_ = object;
    elements_ = {evaluated_.data(), static_cast<std::size_t>(evaluated_.size())};
  }
  eigen_elements(eigen_elements const&) = delete;
  eigen_elements& operator=(eigen_elements const&) = delete;
  ~eigen_elements() = default;

  auto begin() const { return elements_.begin(); }
  auto end() const { return elements_.end(); }
  // Without this member std::ranges::size would find Eigen's unconstrained size().
  std::size_t size() const { return elements_.size(); }

 private:
  static constexpr bool has_memory =
      (Eigen::internal::traits<A>::Flags & Eigen::DirectAccessBit) != 0 &&
      bool(A::IsRowMajor) == is_row_major;

  plain evaluated_{};
  std::span<scalar const> elements_{};
};

}  // namespace detail

/// Lets dump() write an Eigen object: a vector has one axis, a matrix two. The file has the
/// object's layout.
template <detail::eigen_dense A> struct array_traits<A> {
  static auto elements(A const& object) { return detail::eigen_elements<A>(object); }
  static shape dims(A const& object) {
    if constexpr (A::IsVectorAtCompileTime) {
      return {object.size()};
    } else {
      return {object.rows(), object.cols()};
    }
  }
  static order layout(A const& /*object*/) {
    bool const c = bool(A::IsVectorAtCompileTime) || detail::eigen_elements<A>::is_row_major;
    return c ? order::c : order::fortran;
  }
};

namespace detail {

/// Serialization of Eigen's matrices and arrays: their sizes, then their elements.
template <class M> struct eigen_serializer {
  using scalar = typename M::Scalar;

  static void save(writer& out, M const& object) {
    out.put_count(static_cast<std::uint64_t>(object.rows()));
    out.put_count(static_cast<std::uint64_t>(object.cols()));
    auto const n = static_cast<std::size_t>(object.size());
    if constexpr (std::is_trivially_copyable_v<scalar>) {
      out.write(object.data(), n * sizeof(scalar));
    } else {
      for (std::size_t i = 0; i != n; ++i) out.put(object.data()[i]);
    }
  }
  /// Errors: std::runtime_error if a fixed size is not that of the bytes.
  static M load(reader& in) {
    auto const rows = static_cast<Eigen::Index>(in.get_count());
    auto const columns = static_cast<Eigen::Index>(in.get_count());
    auto const fits = [](Eigen::Index size, int fixed, int most) {
      return size >= 0 && (fixed == Eigen::Dynamic || size == fixed) &&
             (most == Eigen::Dynamic || size <= most);
    };
    if (!fits(rows, M::RowsAtCompileTime, M::MaxRowsAtCompileTime) ||
        !fits(columns, M::ColsAtCompileTime, M::MaxColsAtCompileTime)) {
      throw std::runtime_error("forkmap: a serialized Eigen object has " + std::to_string(rows) +
                               " rows and " + std::to_string(columns) +
                               " columns, which do not fit its type");
    }
    std::size_t n = 0, bytes = 0;
    if (__builtin_mul_overflow(static_cast<std::size_t>(rows), static_cast<std::size_t>(columns),
                               &n) ||
        __builtin_mul_overflow(n, sizeof(scalar), &bytes)) {
      bytes = ~std::size_t{0};  // then take() throws
    }
    M object;
    if constexpr (std::is_trivially_copyable_v<scalar>) {
      auto const* const elements = in.take(bytes);
      object.resize(rows, columns);
      if (n != 0) std::memcpy(static_cast<void*>(object.data()), elements, bytes);
    } else {
      if (n > in.left()) in.take(n);  // throws: each element has one byte at least
      object.resize(rows, columns);
      for (std::size_t i = 0; i != n; ++i) object.data()[i] = in.template get<scalar>();
    }
    return object;
  }
};

}  // namespace detail

/// Lets tasks return, send and get Eigen's matrices and arrays.
template <class S, int Rows, int Columns, int Options, int MaxRows, int MaxColumns>
struct serializer<Eigen::Matrix<S, Rows, Columns, Options, MaxRows, MaxColumns>>
    : detail::eigen_serializer<Eigen::Matrix<S, Rows, Columns, Options, MaxRows, MaxColumns>> {};
template <class S, int Rows, int Columns, int Options, int MaxRows, int MaxColumns>
struct serializer<Eigen::Array<S, Rows, Columns, Options, MaxRows, MaxColumns>>
    : detail::eigen_serializer<Eigen::Array<S, Rows, Columns, Options, MaxRows, MaxColumns>> {};

}  // namespace forkmap
