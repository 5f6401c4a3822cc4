// The interface that memmap and shared_array have in common: elements that copies share.
#pragma once

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
#include <forkmap/array/element.hpp>
#include <forkmap/array/index.hpp>
#include <forkmap/array/part.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/slice.hpp>

namespace forkmap::detail {

/// A contiguous range of elements whose owner is a `Storage` (memory, dims, layout) shared by every
/// copy. Copying costs one atomic increment. There is no separate move: it would leave an object
/// without a storage behind, which every accessor would have to look for.
///
/// A view of it is an array of the same class, with a storage of its own that keeps the first one.
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

  /// Row i, along the first axis: an array with one axis less, over the same memory.
  ///
  /// Errors: std::out_of_range naming the row and dims; std::invalid_argument in order fortran,
  ///   where rows of two axes or more do not lie in one piece: transposed() has them as columns.
  /// Cost: as all views, one small allocation and no copy of elements; it keeps the whole mapping.
  ///   Where that is too much, operator[](slice) is a span and free.
  auto row(std::size_t i) const { return view(one_of(dims(), layout(), cut::rows, i)); }
  /// The rows [start, stop): an array with as many axes.
  auto rows(slice which) const { return view(some_of(dims(), layout(), cut::rows, which)); }

  /// Column j, along the last axis: as row(), for order fortran.
  auto column(std::size_t j) const { return view(one_of(dims(), layout(), cut::columns, j)); }
  auto columns(slice which) const { return view(some_of(dims(), layout(), cut::columns, which)); }

  /// The same elements, in the order in which they lie, with other dims.
  ///
  /// Errors: std::invalid_argument naming both if they differ in their number of elements.
  auto reshape(shape const& wanted) const { return view(reshaped(dims(), layout(), wanted)); }

  /// The same elements with the axes reversed and so in the other layout: no element moves.
  auto transposed() const { return view(detail::transposed(dims(), layout())); }

  /// Makes all pages of the mapping but those of [start, stop) read-only for this process, until
  /// what this returns is gone: a stray write is a fault that names the task that made it, and no
  /// damage.
  ///
  /// Pages are the grain: what shares one with the window stays writable. page_slices() cuts an
  /// array where its pages begin. Guards on one mapping at once, views of it too, add up.
  /// Returns: a write_guard, to be kept as long as the window is written.
  /// Errors: std::out_of_range naming slice and size; std::system_error ENOMEM if the process has
  ///   too many mappings.
  /// Cost: a few system calls, and at each end something for every page of the mapping that this
  ///   process has present. So the window's pages are given back at the end, as by
  ///   advise(dont_need), but for copy_on_write; what a task needs again comes again.
  /// Forking: a worker's guard is its own affair. Where the task runs in the caller's process
  ///   (n_jobs = 1 without isolate) a stray write ends that. A process forked under a guard starts
  ///   with those pages read-only, and its own first guard replaces it.
  /// Example: `auto const mine = out.guard(window); fill(out[window]);`
  auto guard(slice window) const
    requires(!std::is_const_v<T>)
  {
    check_window(window, size_);
    return storage_->guard(storage_, window.start * sizeof(T), window.size() * sizeof(T));
  }
  /// The same for the whole of this view.
  auto guard() const
    requires(!std::is_const_v<T>)
  {
    return guard(slice{0, size_});
  }

  /// Up to `n` slices that make up the array, none of which shares a page with another: what one
  /// task each may write under guard(). Fewer where there are not that many pages.
  ///
  /// Errors: std::invalid_argument if n is 0.
  std::vector<slice> page_slices(std::size_t n) const {
    return cut_at_pages(size_, sizeof(T), reinterpret_cast<std::uintptr_t>(data_),
                        Storage::page_size(), n);
  }

  /// Tells the kernel how this process will use the elements [start, stop).
  ///
  /// Returns: whether the kernel took it; it changes nothing but speed.
  /// Errors: std::out_of_range naming slice and size.
  /// Cost: one system call; will_need begins to read, and does not wait.
  /// Forking: workers forked later begin with the same advice.
  bool advise(advice what, slice window) const {
    check_window(window, size_);
    return storage_->advise(what, reinterpret_cast<std::byte const*>(data_ + window.start),
                            window.size() * sizeof(T));
  }
  /// The same for all of it.
  bool advise(advice what) const { return advise(what, slice{0, size_}); }

 protected:
  explicit shared_elements(std::shared_ptr<Storage> storage)
      : storage_(std::move(storage)),
        data_(reinterpret_cast<T*>(storage_->data)),
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

  auto view(array_part const& part) const {
    return Storage::maker::template make<T>(
        part_of_storage(storage_, part.first * sizeof(T), part.dims, part.layout));
  }

  static_assert(check_element<std::remove_const_t<T>>());

  std::shared_ptr<Storage> storage_;
  T* data_;
  std::size_t size_;
};

}  // namespace forkmap::detail
