// Common interface of memmap and shared_array: contiguous elements that copies share.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <cassert>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/advice.hpp>
#include <forkmap/detail/array/element.hpp>
#include <forkmap/detail/array/part.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/slice.hpp>
#include <forkmap/write_guard.hpp>

namespace forkmap {

/// A contiguous range of elements in a `Storage` (memory, dims, layout) that all copies share.
///
/// A copy costs one atomic increment. A move copies, too: otherwise every accessor would have to
/// check for an array without a storage. A view (row(), reshape() ...) is an array of the same
/// class over the same memory, which it keeps.
template <class T, class Storage> class mapped_array {
 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;

  /// The elements, in the order of layout().
  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  T* begin() const noexcept { return data_; }
  T* end() const noexcept { return data_ + size_; }

  /// The element at a position in memory. Only an assertion checks the position.
  T& operator[](std::size_t position) const noexcept {
    assert(position < size_);
    return data_[position];
  }

  /// The element at an N-d index.
  ///
  /// Errors: std::out_of_range naming index and dims, also for a wrong number of indices.
  /// Example: `double const x = array(row, column);`
  template <std::integral... I> T& operator()(I... index) const {
    return data_[detail::element_position(dims(), layout(), index...)];
  }

  /// The elements at the positions [start, stop) in memory.
  ///
  /// Returns: a span, which does not keep the mapping.
  /// Errors: std::out_of_range naming slice and size.
  /// Example: `auto const window = array[slice{10, 20}];`
  std::span<T> operator[](slice window) const {
    detail::check_window(window, size_);
    return {data_ + window.start, window.size()};
  }

  /// Converts a temporary array to a span of writable elements. In every other case std::span's own
  /// constructor accepts the array; an operator for these would cause g++'s -Wconversion warnings.
  operator std::span<T>() const&& noexcept  // NOLINT(google-explicit-constructor)
    requires(!std::is_const_v<T>)
  {
    return {data_, size_};
  }

  /// The extents.
  shape const& dims() const noexcept { return storage_->dims; }
  /// The order of the elements in memory.
  order layout() const noexcept { return storage_->layout; }

  /// Row i, along the first axis: an array with one axis less, over the same memory.
  ///
  /// Errors: std::out_of_range naming the row and dims. std::invalid_argument for two or more axes
  ///   in order fortran, where a row is not contiguous; transposed() has the rows as columns.
  /// Cost: as for all views, one small allocation and no copy of elements. The view keeps the whole
  ///   mapping. operator[](slice) makes a span without an allocation.
  auto row(std::size_t i) const {
    return view(detail::one_of(dims(), layout(), detail::cut::rows, i));
  }
  /// The rows [start, stop): an array with the same number of axes. Otherwise as row().
  auto rows(slice window) const {
    return view(detail::some_of(dims(), layout(), detail::cut::rows, window));
  }

  /// Column j, along the last axis. As row(), but contiguous in order fortran.
  auto column(std::size_t j) const {
    return view(detail::one_of(dims(), layout(), detail::cut::columns, j));
  }
  /// The columns [start, stop): an array with the same number of axes. Otherwise as column().
  auto columns(slice window) const {
    return view(detail::some_of(dims(), layout(), detail::cut::columns, window));
  }

  /// The same elements in the same order in memory, with other dims.
  ///
  /// Errors: std::invalid_argument naming both dims if their numbers of elements differ.
  auto reshape(shape const& wanted) const {
    return view(detail::reshaped(dims(), layout(), wanted));
  }

  /// The same elements with the axes reversed: (i, j) becomes (j, i). The layout changes from c to
  /// fortran or back; no element moves.
  auto transposed() const { return view(detail::transposed(dims(), layout())); }

  /// Protects the array against stray writes: as long as the result exists, this process can write
  /// only the pages of the elements [start, stop). A write to another page of the mapping crashes
  /// the worker, and the failure names the task; the data is not damaged.
  ///
  /// Protection applies to whole pages: elements that share a page with the window stay writable.
  /// page_slices() cuts an array at page boundaries. With several guards on one mapping, or on
  /// views of it, the windows of all of them are writable.
  /// Returns: a write_guard. Keep it as long as the window is written.
  /// Errors: std::out_of_range naming slice and size; std::system_error ENOMEM if the process has
  ///   too many mappings.
  /// Cost: a few system calls, and at the start and the end some time for every page of the mapping
  ///   that is present in this process. To keep that number small, the end of the guard releases
  ///   the window's pages, as advise(dont_need) does, except for copy_on_write; later accesses
  ///   fault them in again.
  /// Forking: a guard protects only its own process. If the task runs in the caller's process
  ///   (n_jobs = 1 without isolate), a stray write crashes the caller. A process that is forked
  ///   while a guard exists inherits its protection until it makes a guard of its own.
  /// Example: `auto const mine = out.guard(window); fill(out[window]);`
  auto guard(slice window) const
    requires(!std::is_const_v<T>)
  {
    detail::check_window(window, size_);
    return write_guard::of(storage_, window.start * sizeof(T), window.size() * sizeof(T));
  }
  /// The same with all elements of this array or view as the window.
  auto guard() const
    requires(!std::is_const_v<T>)
  {
    return guard(slice{0, size_});
  }

  /// Cuts the array into up to `n` slices that share no page with each other, so that each can be
  /// written by one task under guard().
  ///
  /// Returns: the slices in order; together they are the array. Fewer than n if there are fewer
  ///   pages.
  /// Errors: std::invalid_argument if n is 0.
  std::vector<slice> page_slices(std::size_t n) const {
    return detail::cut_at_pages(size_, sizeof(T), reinterpret_cast<std::uintptr_t>(data_),
                                Storage::page_size(), n);
  }

  /// Tells the kernel how this process will use the elements [start, stop).
  ///
  /// Returns: whether the kernel accepted the advice. It affects speed only.
  /// Errors: std::out_of_range naming slice and size.
  /// Cost: one system call. will_need starts to read and does not wait.
  /// Forking: workers that are forked later inherit the advice.
  /// Example: `array.advise(advice::random, slice{0, 1000});`
  bool advise(advice kind, slice window) const {
    detail::check_window(window, size_);
    return storage_->advise(kind, reinterpret_cast<std::byte const*>(data_ + window.start),
                            window.size() * sizeof(T));
  }
  /// The same for all elements.
  bool advise(advice kind) const { return advise(kind, slice{0, size_}); }

 protected:
  explicit mapped_array(std::shared_ptr<Storage> storage)
      : storage_(std::move(storage)),
        data_(reinterpret_cast<T*>(storage_->data)),
        size_(storage_->dims.count()) {}

  /// Converts an array of T to an array of T const.
  template <class U>
    requires(std::same_as<U const, T> && !std::same_as<U, T>)
  explicit mapped_array(mapped_array<U, Storage> const& other)
      : storage_(other.storage_), data_(other.data_), size_(other.size_) {}

  mapped_array(mapped_array const&) = default;
  mapped_array& operator=(mapped_array const&) = default;
  ~mapped_array() = default;

  std::shared_ptr<Storage> const& storage() const noexcept { return storage_; }

 private:
  template <class, class> friend class mapped_array;

  auto view(detail::array_part const& part) const {
    return Storage::maker::template make<T>(
        detail::part_of_storage(storage_, part.first * sizeof(T), part.dims, part.layout));
  }

  static_assert(detail::check_element<std::remove_const_t<T>>());

  std::shared_ptr<Storage> storage_;
  T* data_;
  std::size_t size_;
};

}  // namespace forkmap
