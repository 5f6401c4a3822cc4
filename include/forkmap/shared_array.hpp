// An array in memory that processes share, without a file.
#pragma once

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

#include <forkmap/array/elements.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/mapped_storage.hpp>
#include <forkmap/sent_array.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>
#include <forkmap/system/file.hpp>
#include <forkmap/system/mapped_memory.hpp>
#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/bytes.hpp>
#include <forkmap/transfer/call_cache.hpp>

namespace forkmap {
namespace detail {

struct shared_array_access;

struct shared_storage : mapped_storage<shared_storage> {
  using maker = shared_array_access;

  descriptor file{};  // what a pool's workers reach it by; empty where there was none to be had

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

/// What another process needs to reach the memory of a shared_array.
struct shared_storage_reference {
  pid_t owner = 0;
  int fd = -1;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;

  /// Errors: std::system_error EBADF where there is no descriptor.
  static shared_storage_reference to(shared_storage const& storage) {
    if (!storage.file) {
      throw_system_error(EBADF,
                         "a shared_array cannot be sent to a pool, for there was no descriptor or "
                         "no unnamed file of that size to be had when it was made;");
    }
    auto const status = status_of(storage.file, "a shared_array's memory");
    return {::getpid(), storage.file.get(), static_cast<std::uint64_t>(status.device),
            static_cast<std::uint64_t>(status.inode)};
  }

  /// Errors: std::system_error naming the descriptor, ESTALE if the array is gone.
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
      throw_system_error(ESTALE, "open of a shared_array that is gone,", name);
    }
    result->take(
        mapped_memory(result->file, access::read_write, 0, array_bytes(dims, item_bytes), name),
        dims, layout);
    return result;
  }
};

}  // namespace detail

/// An array of zeros in memory that is shared with every process forked later; it has no name and
/// is gone with the last process that has it.
///
/// Shape: a contiguous range of T; the interface of memmap without a file.
/// Errors: std::system_error if there is no memory for it; std::invalid_argument for dims that do
///   not fit.
/// Cost: a copy is one atomic increment; copies share the memory. Pages are made when first touched.
///   It keeps one descriptor, by which a pool's workers find it; without one to be had it works but
///   cannot be sent.
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

 private:
  friend struct detail::shared_array_access;
  // Tagged: braces must not be able to mean it.
  shared_array(std::in_place_t, std::shared_ptr<detail::shared_storage> storage)
      : base(std::move(storage)) {}
};

namespace detail {

/// The way in for whoever sends a shared_array to another process.
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

/// As an argument of a pool's task it is the same memory there. As a task's result a shared_array
/// arrives as a new one with the same elements: only one made before the fork is the same memory on
/// both sides, and that need not be returned.
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
    auto const where = detail::shared_storage_reference::to(whole);
    out.write(&where, sizeof where);
  }
  static shared_array<T> load_argument(reader& in) {
    auto const part = detail::sent_part::load(in);
    auto const sent = detail::sent_shape::load(in);
    detail::shared_storage_reference where;
    in.read(&where, sizeof where);
    auto const open = [&] {
      return detail::shared_array_access::make<T>(where.open(sent.dims, sent.layout, sizeof(T)));
    };
    if (detail::cache_of_call == nullptr) return detail::shared_array_access::part(open(), part);
    auto key = sent.dims.text();
    key += sent.layout == order::c ? 'c' : 'f';
    key.append(reinterpret_cast<char const*>(&where), sizeof where);
    return detail::shared_array_access::part(
        detail::cache_of_call->of_call<shared_array<T>>(key, open), part);
  }
};

}  // namespace forkmap
