// A file's array, mapped or copied.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <forkmap/access.hpp>
#include <forkmap/array/dtype.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/memmap.hpp>
#include <forkmap/owned_array.hpp>

namespace forkmap {
namespace detail {

[[noreturn]] inline void throw_other_dtype(std::filesystem::path const& file,
                                           stored_array const& array, dtype const& wanted) {
  auto const name = [](dtype const& type) {
    auto const cpp = cpp_name(type);
    return cpp.empty() ? std::string() : " (" + std::string(cpp) + ")";
  };
  std::string what = "forkmap: load " + file.native() + ": the file holds " +
                     in_quotes(array.descr) + name(array.type) + ", not " +
                     in_quotes(spelling(wanted)) + name(wanted);
  bool const only_order =
      array.type.kind == wanted.kind && array.type.item_bytes == wanted.item_bytes;
  auto const cpp = cpp_name(array.type);
  if (only_order) {
    what += ": another byte order, which cannot be mapped; load<" + std::string(cpp) +
            ">(file, in_memory) reads it";
  } else if (!cpp.empty()) {
    what += "; load<" + std::string(cpp) + "> reads it";
  } else {
    what += "; this version has no type for it";
  }
  throw dtype_error(what, file);
}

inline bool same_elements(dtype const& a, dtype const& b) {
  return a.kind == b.kind && a.item_bytes == b.item_bytes;
}

inline std::shared_ptr<mapped_file> load_mapped(std::filesystem::path const& file,
                                                std::string_view name, dtype const& wanted,
                                                std::size_t alignment, access mode) {
  array_file const opened(file, name, mode == access::read_write);
  auto const& array = opened.array();
  if (!same_elements(array.type, wanted) || is_foreign(array.type)) {
    throw_other_dtype(file, array, wanted);
  }
  if (array.offset % alignment != 0) {
    throw format_error("forkmap: load " + file.native() + ": the data begins at byte " +
                           std::to_string(array.offset) + ", not on a multiple of " +
                           std::to_string(alignment) +
                           ", and cannot be mapped; load(file, in_memory) reads it",
                       file);
  }
  return map_file(opened.fd(), opened.status(), file, array.dims, array.layout,
                  array.type.item_bytes, mode, array.offset);
}

inline loaded_array load_copy(std::filesystem::path const& file, std::string_view name,
                              dtype const& wanted) {
  array_file const opened(file, name, false);
  auto const& array = opened.array();
  if (!same_elements(array.type, wanted)) throw_other_dtype(file, array, wanted);

  loaded_array result{aligned_bytes(array.bytes), array.dims, array.layout};
  auto* const data = result.memory.get();
  if (read_at(opened.fd(), data, array.bytes, array.offset, file) != array.bytes) {
    throw format_error("forkmap: load " + file.native() + ": the file became shorter meanwhile",
                       file);
  }
  if (is_foreign(array.type)) {
    auto const part = swapped_bytes(array.type);
    for (auto* at = data; at != data + array.bytes; at += part) std::reverse(at, at + part);
  }
  if (wanted.kind == 'b') {
    // Any other value in a bool is undefined behaviour, and a file may hold it.
    std::transform(data, data + array.bytes, data,
                   [](std::byte b) { return b == std::byte{0} ? b : std::byte{1}; });
  }
  return result;
}

}  // namespace detail

/// Opens an array file as it lies: mapped, nothing is read before it is used.
///
/// The format is told by the file's bytes, never by its name: .npy of NumPy, versions 1.0 to 3.0.
/// `name` is that of an array in a file of several (.npz, joblib); an .npy file has one, without.
/// Returns: memmap<T const>, for read_write and copy_on_write memmap<T>, for in_memory
///   owned_array<T>. A bool of a mapped file must be 0 or 1, as NumPy writes it.
/// Errors: dtype_error if the file holds other elements than T, or (but for in_memory) in another
///   byte order; format_error if it is malformed, truncated, no regular file or no array;
///   std::system_error naming the file.
/// Cost: one open, one read of the header, one mapping, whatever the size; no descriptor is kept.
///   in_memory reads all of it.
/// Forking: every worker shares the mapping; see memmap.
/// Example: `auto const data = load<double>("data.npy"); double const first = data(0, 0);`
template <class T, detail::mapping_mode Mode>
auto load(std::filesystem::path const& file, std::string_view name, Mode mode) {
  using element = std::remove_const_t<T>;
  using mapped = std::conditional_t<std::same_as<Mode, read_only_t>, element const, T>;
  static_assert(detail::array_scalar<element>,
                "load<T>: T is bool, an integer, a floating-point or complex number, or std::byte");
  return detail::memmap_access::make<mapped>(detail::load_mapped(
      file, name, detail::dtype_of<element>(), alignof(element), detail::access_of(mode)));
}

template <class T>
auto load(std::filesystem::path const& file, std::string_view name, in_memory_t /*mode*/) {
  using element = std::remove_const_t<T>;
  static_assert(detail::array_scalar<element>,
                "load<T>: T is bool, an integer, a floating-point or complex number, or std::byte");
  return owned_array<element>(detail::load_copy(file, name, detail::dtype_of<element>()));
}

template <class T, class Mode>
  requires detail::mapping_mode<Mode> || std::same_as<Mode, in_memory_t>
auto load(std::filesystem::path const& file, Mode mode) {
  return load<T>(file, std::string_view{}, mode);
}

template <class T> auto load(std::filesystem::path const& file) { return load<T>(file, read_only); }

template <class T> auto load(std::filesystem::path const& file, std::string_view name) {
  return load<T>(file, name, read_only);
}

}  // namespace forkmap
