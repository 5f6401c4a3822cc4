// An array in memory that processes share, without a file.
#pragma once

#include <concepts>
#include <forkmap/array/elements.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/mapped_memory.hpp>
#include <memory>
#include <type_traits>
#include <utility>

namespace forkmap {
namespace detail {

struct shared_storage {
  mapped_memory memory{};
  shape dims{};
  order layout = order::c;
};

inline std::shared_ptr<shared_storage> make_shared_storage(shape const& dims, order layout,
                                                           std::size_t item_bytes) {
  auto result = std::make_shared<shared_storage>();
  result->memory = mapped_memory::anonymous(array_bytes(dims, item_bytes));
  result->dims = dims;
  result->layout = layout;
  return result;
}

}  // namespace detail

/// An array of zeros in memory that is shared with every process forked later; it has no name and
/// is gone with the last process that has it.
///
/// Shape: a contiguous range of T; the interface of memmap without a file.
/// Errors: std::system_error if there is no memory for it; std::invalid_argument for dims that do
///   not fit.
/// Cost: a copy is one atomic increment; copies share the memory. Pages are made when first
/// touched. Forking: what a worker writes is seen by the caller and by all other workers. Example:
/// `shared_array<double> sums({n}); // tasks: sums[i] = ...`
template <class T> class shared_array : public detail::shared_elements<T, detail::shared_storage> {
  using base = detail::shared_elements<T, detail::shared_storage>;

 public:
  shared_array() : shared_array(shape{0}) {}

  explicit shared_array(shape dims, order layout = order::c)
      : base(detail::make_shared_storage(dims, layout, sizeof(T))) {}

  /// An array that may be written is also one that may be read.
  template <class U>
  requires(std::same_as<U const, T> && !std::same_as<U, T>)
      shared_array(shared_array<U> const& other)  // NOLINT(google-explicit-constructor)
      : base(other) {}
};

}  // namespace forkmap
