// An array in memory that processes share, without a file.
#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <utility>

#include <forkmap/array/elements.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/sent_array.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/mapped_memory.hpp>
#include <forkmap/transfer/bytes.hpp>

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
/// Cost: a copy is one atomic increment; copies share the memory. Pages are made when first touched.
/// Forking: what a worker writes is seen by the caller and by all other workers.
/// Example: `shared_array<double> sums({n}); // tasks: sums[i] = ...`
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

/// As a task's result a shared_array arrives as a new one with the same elements: only one made
/// before the fork is the same memory on both sides, and that need not be returned.
template <class T> struct serializer<shared_array<T>> {
  static void save(writer& out, shared_array<T> const& array) {
    detail::sent_shape{array.dims(), array.layout()}.save(out);
    detail::save_elements(out, array.data(), array.size());
  }
  static shared_array<T> load(reader& in) {
    auto const sent = detail::sent_shape::load(in);
    shared_array<std::remove_const_t<T>> array(sent.dims, sent.layout);
    detail::load_elements(in, array.data(), array.size());
    return array;
  }
};

}  // namespace forkmap
