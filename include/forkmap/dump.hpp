// An array into a file, all of it or nothing.
#pragma once

#include <concepts>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <forkmap/array/dtype.hpp>
#include <forkmap/array/formats.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/file.hpp>
#include <forkmap/system/replacement.hpp>

namespace forkmap {

/// What dump() can write: a range of known size whose elements are scalars.
template <class A>
concept array_like = std::ranges::sized_range<A const> && std::ranges::input_range<A const> &&
                     detail::array_scalar<std::ranges::range_value_t<A const>>;

/// How dump() writes.
struct dump_options {
  /// The array's extents; not given: the array's own, or one axis.
  shape dims{};
  /// How its elements lie in memory, and so in the file: nothing is moved.
  order layout = order::c;
  /// Whether the file is on the disk, name and all, when dump() returns.
  bool sync = false;
};

namespace detail {

/// What an array knows of itself, for those that know it: memmap, shared_array, owned_array.
struct own_shape {
  shape dims;
  order layout;
};

template <class A> std::optional<own_shape> own_shape_of(A const& array) {
  if constexpr (requires {
                  { array.dims() } -> std::convertible_to<shape>;
                  { array.layout() } -> std::same_as<order>;
                }) {
    return own_shape{array.dims(), array.layout()};
  } else {
    return {};
  }
}

inline own_shape shape_to_write(std::filesystem::path const& file, std::size_t size,
                                std::optional<own_shape> const& own, dump_options const& options) {
  if (own && (!options.dims.given() || options.dims == own->dims)) {
    if (options.layout == order::fortran && own->layout == order::c && own->dims.rank() > 1) {
      throw std::invalid_argument(
          "forkmap: dump " + file.native() + ": the array of dims " + own->dims.text() +
          " lies in memory in order c; writing it as order fortran would transpose it");
    }
    return {own->dims, own->layout == order::fortran ? own->layout : options.layout};
  }
  if (!options.dims.given()) return {shape{size}, options.layout};
  if (options.dims.count() != size) {
    throw std::invalid_argument("forkmap: dump " + file.native() + ": dims " + options.dims.text() +
                                " make " + std::to_string(options.dims.count()) +
                                " elements, the array has " + std::to_string(size));
  }
  return {options.dims, options.layout};
}

[[noreturn]] inline void throw_other_size(std::filesystem::path const& file, std::size_t size,
                                          std::size_t written) {
  throw std::invalid_argument("forkmap: dump " + file.native() + ": the range said " +
                              std::to_string(size) + " elements and gave " +
                              std::to_string(written));
}

/// A file on its way: allocated, its header not yet written.
struct file_to_write {
  file_to_write(std::filesystem::path const& file, dtype const& type, std::size_t size,
                std::optional<own_shape> const& own, dump_options const& options)
      : written(shape_to_write(file, size, own, options)),
        head(format_for_name(file).head(type, written.dims, written.layout)),
        made(file) {
    allocate(made.fd(), head.size() + size * type.item_bytes, file);
  }

  own_shape written;
  std::string head;
  replacement made;
};

inline void dump_contiguous(std::filesystem::path const& file, dtype const& type, void const* data,
                            std::size_t size, std::optional<own_shape> const& own,
                            dump_options const& options) {
  file_to_write out(file, type, size, own, options);
  write_all(out.made.fd(), out.head, data, size * type.item_bytes, file);
  out.made.commit(options.sync);
}

}  // namespace detail

/// Writes an array to a file in NumPy's .npy format.
///
/// The file is the old one or the new one, complete, whatever happens; who has the old one mapped
/// keeps it. A symbolic link is written through. The file's mode is kept, a new file's is 0666 less
/// the umask.
/// Shape: one axis, unless the array has dims of its own or the options give some.
/// Returns: `file`.
/// Errors: std::invalid_argument if dims and size differ, and for .npz, .joblib and .pkl, which
/// this
///   version does not write; std::system_error naming the file.
/// Cost: one pass over the data straight into the file; a range that is not contiguous goes through
///   a small buffer.
/// Example: `dump(values, "values.npy", {.dims = {rows, cols}});`
template <array_like A>
std::filesystem::path dump(A const& array, std::filesystem::path const& file,
                           dump_options options = {}) {
  using element = std::ranges::range_value_t<A const>;
  constexpr auto type = detail::dtype_of<element>();
  auto const size = static_cast<std::size_t>(std::ranges::size(array));
  auto const own = detail::own_shape_of(array);
  if constexpr (std::ranges::contiguous_range<A const>) {
    detail::dump_contiguous(file, type, std::ranges::data(array), size, own, options);
  } else {
    detail::file_to_write out(file, type, size, own, options);
    // Not a vector: of bool it would be what there is to gather.
    // Large pieces: the page cache keeps what is written at once in large folios, and those are
    // cheaper to map later.
    constexpr std::size_t capacity = (std::size_t{8} << 20U) / sizeof(element);
    auto const buffer = std::make_unique_for_overwrite<element[]>(capacity);
    std::string_view head = out.head;
    std::size_t gathered = 0;
    std::size_t written = 0;
    auto const write = [&] {
      detail::write_all(out.made.fd(), head, buffer.get(), gathered * sizeof(element), file);
      head = {};
      written += std::exchange(gathered, 0);
    };
    for (element const value : array) {
      buffer[gathered++] = value;
      if (gathered == capacity) write();
    }
    write();
    if (written != size) detail::throw_other_size(file, size, written);
    out.made.commit(options.sync);
  }
  return file;
}

}  // namespace forkmap
