// Array in memory that processes share, without a file.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <forkmap/detail/mapped/mapped_file.hpp>
#include <forkmap/detail/mapped/mapped_memory.hpp>
#include <forkmap/detail/mapped/mapped_storage.hpp>
#include <forkmap/detail/mapped/sent_array.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/file.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/serialize/call_cache.hpp>
#include <forkmap/mapped_array.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/writer.hpp>

namespace forkmap {
namespace detail {

struct shared_array_access;

struct shared_storage : mapped_storage<shared_storage> {
  using maker = shared_array_access;

  descriptor file{};  // by which a pool's workers map the memory; empty if none was available

  static std::string name() { return "a shared_array"; }
};

inline std::shared_ptr<shared_storage> make_shared_storage(shape const& dims, order layout,
                                                           std::size_t item_bytes) {
  std::shared_ptr<shared_storage> result(new shared_storage);
  auto const bytes = array_bytes(dims, item_bytes);
  result->file = unnamed_memory(bytes);
  result->take(result->file ? mapped_memory(result->file, access::read_write, 0, bytes,
                                            "a shared_array's memory")
                            : mapped_memory::anonymous(bytes),
               dims, layout);
  return result;
}

/// The data by which another process maps the memory of a shared_array.
struct shared_storage_reference {
  pid_t owner = 0;
  int fd = -1;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  /// Errors: std::system_error EBADF if the array has no descriptor.
  static shared_storage_reference to(shared_storage const& storage) {
    if (!storage.file) {
      throw_system_error(
          EBADF,
          "a shared_array cannot be sent to a pool, because no descriptor or no unnamed "
          "file of its size was available when it was made;");
    }
    auto const status = status_of(storage.file, "a shared_array's memory");
    return {::getpid(), storage.file.get(), static_cast<std::uint64_t>(status.device),
            static_cast<std::uint64_t>(status.inode)};
  }

  /// Errors: std::system_error naming the descriptor; ESTALE if the array no longer exists.
  std::shared_ptr<shared_storage> open(shape const& dims, order layout,
                                       std::size_t item_bytes) const {
    auto const name = "/proc/" + std::to_string(owner) + "/fd/" + std::to_string(fd);
    std::shared_ptr<shared_storage> result(new shared_storage);
    result->file =
        descriptor(retry_interrupted([&] { return ::open(name.c_str(), O_RDWR | O_CLOEXEC); }));
    if (!result->file) throw_errno("open of a shared_array,", name);
    auto const status = status_of(result->file, name);
    if (static_cast<std::uint64_t>(status.device) != device ||
        static_cast<std::uint64_t>(status.inode) != inode) {
      throw_system_error(ESTALE, "open of a shared_array that no longer exists,", name);
    }
    result->take(
        mapped_memory(result->file, access::read_write, 0, array_bytes(dims, item_bytes), name),
        dims, layout);
    return result;
  }
};

}  // namespace detail

/// An array in memory that is shared with every process forked later. Its elements are zero at
/// first. The memory has no name, and the system frees it when no process has it mapped.
///
/// Shape: a contiguous range of T. The interface is memmap's without a file.
/// Errors: std::system_error if the memory is not available; std::invalid_argument for dims that
///   are too large.
/// Cost: a copy is one atomic increment; copies share the memory. A page is allocated at its first
///   access. The array keeps one descriptor, by which a pool's workers map it. If no descriptor is
///   available the array works but cannot be sent to a pool.
/// Forking: the caller and all other workers see what a worker writes.
/// Example: `shared_array<double> sums({n}); // tasks: sums[i] = ...`
template <class T> class shared_array : public mapped_array<T, detail::shared_storage> {
  using base = mapped_array<T, detail::shared_storage>;

 public:
  /// An array without elements.
  shared_array() : shared_array(shape{0}) {}

  /// An array of zeros.
  explicit shared_array(shape dims, order layout = order::c)
      : base(detail::make_shared_storage(dims, layout, sizeof(T))) {}

  /// Converts a shared_array<T> to a shared_array<T const>.
  template <class U>
    requires(std::same_as<U const, T> && !std::same_as<U, T>)
  shared_array(shared_array<U> const& other)  // NOLINT(google-explicit-constructor)
      : base(other) {}

 private:
  friend struct detail::shared_array_access;
  // The tag keeps a braced list from selecting this constructor.
  shared_array(std::in_place_t, std::shared_ptr<detail::shared_storage> storage)
      : base(std::move(storage)) {}
};

namespace detail {

/// Access to private members of shared_array, for serialization.
struct shared_array_access {
  template <class T> static shared_storage const& storage(shared_array<T> const& array) {
    return *array.storage();
  }
  template <class T> static shared_array<T> make(std::shared_ptr<shared_storage> storage) {
    return shared_array<T>(std::in_place, std::move(storage));
  }
  template <class T>
  static shared_array<T> part(shared_array<T> const& whole, sent_part const& which) {
    if (!which.is_view) return whole;
    return make<T>(part_of_storage(whole.storage(), which.first_byte, which.dims, which.layout));
  }
};

}  // namespace detail

/// Serialization of a shared_array. An argument of a pool's task is the same memory in the worker.
/// A result is a new array with copies of the elements: only an array made before the fork is the
/// same memory in both processes, and such an array need not be returned.
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

  static void save_argument(writer& out, shared_array<T> const& array) {
    auto const& storage = detail::shared_array_access::storage(array);
    auto const& whole = storage.root();
    detail::sent_part::of(storage).save(out);
    detail::sent_shape{whole.dims, whole.layout}.save(out);
    auto const reference = detail::shared_storage_reference::to(whole);
    out.write(&reference, sizeof reference);
  }
  static shared_array<T> load_argument(reader& in) {
    auto const part = detail::sent_part::load(in);
    auto const sent = detail::sent_shape::load(in);
    detail::shared_storage_reference reference;
    in.read(&reference, sizeof reference);
    auto const open = [&] {
      return detail::shared_array_access::make<T>(
          reference.open(sent.dims, sent.layout, sizeof(T)));
    };
    if (detail::cache_of_call == nullptr) return detail::shared_array_access::part(open(), part);
    auto key = sent.dims.text();
    key += sent.layout == order::c ? 'c' : 'f';
    key.append(reinterpret_cast<char const*>(&reference), sizeof reference);
    return detail::shared_array_access::part(
        detail::cache_of_call->of_call<shared_array<T>>(key, open), part);
  }
};

}  // namespace forkmap
