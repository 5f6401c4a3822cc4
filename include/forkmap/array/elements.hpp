// The interface that memmap and shared_array have in common: elements that copies share.
#pragma once

#include <cassert>
#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>

#include <forkmap/array/element.hpp>
#include <forkmap/array/index.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/slice.hpp>

namespace forkmap::detail {

/// A contiguous range of elements whose owner is a `Storage` (memory, dims, layout) shared by every
/// copy. Copying costs one atomic increment. There is no separate move: it would leave an object
/// without a storage behind, which every accessor would have to look for.
template <class T, class Storage> class shared_elements {
 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;

  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  T* begin() const noexcept { return data_; }
  T* end() const noexcept { return data_ + size_; }

  /// The element at a position in memory, checked by an assertion only, as in a std::vector.
  T& operator[](std::size_t position) const noexcept {
    assert(position < size_);
    return data_[position];
  }

  /// The element at an N-d index, in the array's layout.
  ///
  /// Errors: std::out_of_range naming index and dims, also for the wrong number of indices.
  template <std::integral... I> T& operator()(I... index) const {
    return data_[element_position(dims(), layout(), index...)];
  }

  /// The elements at the positions [start, stop) in memory.
  ///
  /// Errors: std::out_of_range naming slice and size.
  std::span<T> operator[](slice window) const {
    check_window(window, size_);
    return {data_ + window.start, window.size()};
  }

  /// A span takes every contiguous range by itself, except a temporary one to be written through.
  /// An operator for the others too would make g++ warn (-Wconversion) wherever it is passed over.
  operator std::span<T>() const&& noexcept  // NOLINT(google-explicit-constructor)
    requires(!std::is_const_v<T>)
  {
    return {data_, size_};
  }

  shape const& dims() const noexcept { return storage_->dims; }
  order layout() const noexcept { return storage_->layout; }

 protected:
  explicit shared_elements(std::shared_ptr<Storage> storage)
      : storage_(std::move(storage)),
        data_(reinterpret_cast<T*>(storage_->memory.data())),
        size_(storage_->dims.count()) {}

  /// Elements that may be written are also elements that may be read.
  template <class U>
    requires(std::same_as<U const, T> && !std::same_as<U, T>)
  explicit shared_elements(shared_elements<U, Storage> const& other)
      : storage_(other.storage_), data_(other.data_), size_(other.size_) {}

  shared_elements(shared_elements const&) = default;
  shared_elements& operator=(shared_elements const&) = default;
  ~shared_elements() = default;

  std::shared_ptr<Storage> const& storage() const noexcept { return storage_; }

 private:
  template <class, class> friend class shared_elements;

  static_assert(check_element<std::remove_const_t<T>>());

  std::shared_ptr<Storage> storage_;
  T* data_;
  std::size_t size_;
};

}  // namespace forkmap::detail
