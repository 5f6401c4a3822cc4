// Array that owns its elements: the return type of load(file, in_memory).
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <cassert>
#include <concepts>
#include <cstddef>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include <forkmap/detail/array/element.hpp>
#include <forkmap/detail/array/part.hpp>
#include <forkmap/detail/mapped/sent_array.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/slice.hpp>
#include <forkmap/writer.hpp>

namespace forkmap {
namespace detail {

/// Uninitialized memory for elements, aligned to 64 bytes as in a file.
class aligned_bytes {
 public:
  aligned_bytes() = default;
  explicit aligned_bytes(std::size_t bytes)
      : data_(bytes == 0 ? nullptr : static_cast<std::byte*>(::operator new(bytes, alignment))) {}
  aligned_bytes(aligned_bytes&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  aligned_bytes& operator=(aligned_bytes&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~aligned_bytes() { ::operator delete(data_, alignment); }

  std::byte* get() const noexcept { return data_; }

 private:
  static constexpr std::align_val_t alignment{64};

  std::byte* data_ = nullptr;
};

/// An array in memory, of elements of any type.
struct loaded_array {
  aligned_bytes memory{};
  shape dims{0};
  order layout = order::c;
};

}  // namespace detail

/// An array that owns its elements, as a std::vector does.
///
/// Shape: a contiguous range of T with dims and a layout. The interface is otherwise memmap's.
/// Cost: a copy copies the elements; a move does not.
/// Forking: a worker sees the elements copy-on-write; its changes stay in the worker.
/// Example: `owned_array<double> const data = load<double>("data.npy", in_memory);`
template <class T> class owned_array {
  static_assert(detail::check_element<T>());

 public:
  using element_type = T;
  using value_type = T;

  owned_array() = default;
  explicit owned_array(detail::loaded_array loaded)
      : array_(std::move(loaded)), size_(array_.dims.count()) {}

  owned_array(owned_array const& other)
      : array_{detail::aligned_bytes(other.size_ * sizeof(T)), other.dims(), other.layout()},
        size_(other.size_) {
    std::copy(other.begin(), other.end(), data());
  }
  owned_array(owned_array&& other) noexcept
      : array_(std::exchange(other.array_, {})), size_(std::exchange(other.size_, 0)) {}
  owned_array& operator=(owned_array other) noexcept {
    std::swap(array_, other.array_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~owned_array() = default;

  /// The elements, in the order of layout().
  T* data() noexcept { return reinterpret_cast<T*>(array_.memory.get()); }
  T const* data() const noexcept { return reinterpret_cast<T const*>(array_.memory.get()); }
  std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  T* begin() noexcept { return data(); }
  T* end() noexcept { return data() + size_; }
  T const* begin() const noexcept { return data(); }
  T const* end() const noexcept { return data() + size_; }

  /// The element at a position in memory. Only an assertion checks the position.
  T& operator[](std::size_t position) noexcept {
    assert(position < size_);
    return data()[position];
  }
  T const& operator[](std::size_t position) const noexcept {
    assert(position < size_);
    return data()[position];
  }

  /// The element at an N-d index.
  ///
  /// Errors: std::out_of_range naming index and dims, also for a wrong number of indices.
  template <std::integral... I> T& operator()(I... index) {
    return data()[detail::element_position(dims(), layout(), index...)];
  }
  template <std::integral... I> T const& operator()(I... index) const {
    return data()[detail::element_position(dims(), layout(), index...)];
  }

  /// The elements at the positions [start, stop) in memory.
  ///
  /// Errors: std::out_of_range naming slice and size.
  std::span<T> operator[](slice window) {
    detail::check_window(window, size_);
    return {data() + window.start, window.size()};
  }
  std::span<T const> operator[](slice window) const {
    detail::check_window(window, size_);
    return {data() + window.start, window.size()};
  }

  /// Converts a temporary array to a span; see mapped_array.
  operator std::span<T>() && noexcept { return {data(), size_}; }  // NOLINT

  /// The extents.
  shape const& dims() const noexcept { return array_.dims; }
  /// The order of the elements in memory.
  order layout() const noexcept { return array_.layout; }

  /// Row i, along the first axis, and the rows [start, stop).
  ///
  /// Returns: a span, valid until the array is destroyed or assigned to.
  /// Errors: std::out_of_range naming rows and dims. std::invalid_argument for two or more axes in
  ///   order fortran, where rows are not contiguous.
  std::span<T> row(std::size_t i) { return span_of(*this, one(detail::cut::rows, i)); }
  std::span<T const> row(std::size_t i) const { return span_of(*this, one(detail::cut::rows, i)); }
  std::span<T> rows(slice window) { return span_of(*this, some(detail::cut::rows, window)); }
  std::span<T const> rows(slice window) const {
    return span_of(*this, some(detail::cut::rows, window));
  }

  /// Column j, along the last axis, and the columns [start, stop). As rows, but contiguous in order
  /// fortran.
  std::span<T> column(std::size_t j) { return span_of(*this, one(detail::cut::columns, j)); }
  std::span<T const> column(std::size_t j) const {
    return span_of(*this, one(detail::cut::columns, j));
  }
  std::span<T> columns(slice window) { return span_of(*this, some(detail::cut::columns, window)); }
  std::span<T const> columns(slice window) const {
    return span_of(*this, some(detail::cut::columns, window));
  }

  /// The same elements in the same order in memory, with other dims.
  ///
  /// Errors: std::invalid_argument naming both dims if their numbers of elements differ.
  /// Cost: a copy of the elements; none for `std::move(array).reshape(dims)`.
  owned_array reshape(shape const& wanted) const& { return owned_array(*this).reshape(wanted); }
  owned_array reshape(shape const& wanted) && {
    return std::move(*this).as(detail::reshaped(dims(), layout(), wanted));
  }

  /// The same elements with the axes reversed: (i, j) becomes (j, i). The layout changes from c to
  /// fortran or back.
  ///
  /// Cost: as reshape().
  owned_array transposed() const& { return owned_array(*this).transposed(); }
  owned_array transposed() && { return std::move(*this).as(detail::transposed(dims(), layout())); }

 private:
  detail::array_part one(detail::cut along, std::size_t at) const {
    return detail::one_of(dims(), layout(), along, at);
  }
  detail::array_part some(detail::cut along, slice window) const {
    return detail::some_of(dims(), layout(), along, window);
  }
  static auto span_of(auto& array, detail::array_part const& part) { return array[part.window()]; }

  owned_array as(detail::array_part const& part) && {
    owned_array result(std::move(*this));
    result.array_.dims = part.dims;
    result.array_.layout = part.layout;
    return result;
  }

  detail::loaded_array array_{};
  std::size_t size_ = 0;
};

/// Serialization of an owned_array: the receiver gets a copy.
template <class T> struct serializer<owned_array<T>> {
  static void save(writer& out, owned_array<T> const& array) {
    detail::sent_shape{array.dims(), array.layout()}.save(out);
    detail::save_elements(out, array.data(), array.size());
  }
  static owned_array<T> load(reader& in) {
    auto const sent = detail::sent_shape::load(in);
    auto const bytes = sent.dims.count() * sizeof(T);
    owned_array<T> array({detail::aligned_bytes(bytes), sent.dims, sent.layout});
    detail::load_elements(in, array.data(), array.size());
    return array;
  }
};

}  // namespace forkmap
