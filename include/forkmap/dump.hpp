// Functions that write one array to a file, atomically.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <forkmap/array_traits.hpp>
#include <forkmap/detail/array/element.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/mapped/formats.hpp>
#include <forkmap/detail/mapped/mapped_file.hpp>
#include <forkmap/detail/os/file.hpp>
#include <forkmap/detail/os/library.hpp>
#include <forkmap/detail/os/replacement.hpp>
#include <forkmap/shape.hpp>

namespace forkmap {

/// An array that dump() can write: a range of known size whose elements are scalars, records, or
/// (nested) arrays of fixed size of these; or a class with array_traits. A string is not an array:
/// see dump_value.hpp.
template <class A>
concept array_like =
    (detail::range_of_elements<A> && !std::convertible_to<A const&, std::string_view>) ||
    detail::described_array<A>;

/// Options of dump().
struct dump_options {
  /// The array's extents. Default: the array's own extents, or one axis.
  shape dims{};
  /// The order of the elements in memory, and so in the file. dump() does not reorder elements.
  order layout = order::c;
  /// Whether dump() waits until the file and its name are on the disk.
  bool sync = false;
  /// The compression. Empty: none. "zlib" for .npz and joblib files; also "gzip", "bz2", "xz",
  /// "lzma" or "lz4" for joblib files. A level may follow: "zlib:9". A compressed array cannot be
  /// mapped.
  std::string compress{};
};

namespace detail {

/// Shape of an array that has one of its own: see array_traits.
struct own_shape {
  shape dims;
  order layout;
};

template <class A> std::optional<lazily<own_shape, A>> own_shape_of(A const& array) {
  if constexpr (described_array<A>) {
    return own_shape{array_traits<A>::dims(array), array_traits<A>::layout(array)};
  } else {
    return {};
  }
}

template <class Lazy = void>
own_shape shape_to_write(std::filesystem::path const& file, std::size_t size,
                         std::optional<lazily<own_shape, Lazy>> const& own,
                         dump_options const& options) {
  if (own && (!options.dims.given() || options.dims == own->dims)) {
    if (options.layout == order::fortran && own->layout == order::c && own->dims.rank() > 1) {
      throw std::invalid_argument("forkmap: dump " + file.native() + ": the array of dims " +
                                  own->dims.text() +
                                  " is in order c; writing it as order fortran would transpose it");
    }
    return {own->dims, own->layout == order::fortran ? own->layout : options.layout};
  }
  if (!options.dims.given()) return {shape{size}, options.layout};
  if (options.dims.count() != size) {
    throw std::invalid_argument("forkmap: dump " + file.native() + ": dims " + options.dims.text() +
                                " make " + std::to_string(options.dims.count()) +
                                " elements, the array has " + std::to_string(size));
  }
  // As in reshape(): other dims, the same order of elements.
  bool const fortran = own && own->layout == order::fortran && own->dims.rank() > 1;
  return {options.dims, fortran ? order::fortran : options.layout};
}

template <class Lazy = void>
[[noreturn]] void throw_other_size(std::filesystem::path const& file, std::size_t size,
                                   std::size_t written) {
  throw std::invalid_argument("forkmap: dump " + file.native() + ": the size of the range is " +
                              std::to_string(size) + ", but it has " + std::to_string(written) +
                              " elements");
}

template <class Lazy = void>
[[noreturn]] void throw_other_dims(std::filesystem::path const& file, shape const& dims,
                                   std::size_t size) {
  throw std::invalid_argument("forkmap: dump " + file.native() + ": the array has dims " +
                              dims.text() + ", but " + std::to_string(size) + " elements");
}

/// The file that is being written, and the current position in it.
template <class Lazy = void> class file_sink final : public byte_sink {
 public:
  explicit file_sink(std::filesystem::path const& file) : file_(&file), output_(file) {}

  void reserve(std::size_t bytes) override { allocate(output_.fd(), bytes, *file_); }

  /// Buffers small writes and writes them together with the next large one: the page cache keeps
  /// one large write in large folios, which are cheaper to map later.
  void write(std::string_view bytes) override {
    position_ += bytes.size();
    if (bytes.size() < smallest_write) {
      buffered_ += bytes;
      if (buffered_.size() >= buffer_bytes) flush();
      return;
    }
    write_all(output_.fd(), buffered_, bytes.data(), bytes.size(), *file_);
    buffered_.clear();
  }

  void rewrite(std::size_t at, std::string_view bytes) override {
    // Buffered bytes are not in the file yet; they follow its end.
    if (auto const begin = position_ - buffered_.size(); at >= begin) {
      buffered_.replace(at - begin, bytes.size(), bytes);
      return;
    }
    flush();
    write_at(output_.fd(), bytes, at, *file_);
  }

  std::size_t position() const override { return position_; }

  void commit(bool durable) {
    flush();
    output_.commit(durable);
  }

 private:
  static constexpr std::size_t smallest_write = 4096;
  static constexpr std::size_t buffer_bytes = std::size_t{1} << 20U;

  void flush() {
    write_all(output_.fd(), buffered_, nullptr, 0, *file_);
    buffered_.clear();
  }

  std::filesystem::path const* file_;
  replacement output_;
  std::string buffered_;
  std::size_t position_ = 0;
};

/// The content of an array. Contiguous elements are written in place, others are gathered in large
/// pieces. The elements must outlive this object.
template <class A> class elements_content final : public array_content {
  using elements = decltype(elements_of(std::declval<A const&>()));
  using element = std::remove_cv_t<std::ranges::range_value_t<std::remove_cvref_t<elements> const>>;
  // Of contiguous elements only the memory is needed; the range itself may be destroyed.
  static constexpr bool refers_to_memory =
      std::is_lvalue_reference_v<elements> &&
      std::ranges::contiguous_range<std::remove_cvref_t<elements> const>;
  using stored = std::conditional_t<refers_to_memory, std::span<element const>, elements>;
  using range = std::remove_cvref_t<stored> const;

 public:
  elements_content(array_description description, A const& array, std::filesystem::path const& file)
      : array_content(std::move(description)), elements_(elements_of(array)), file_(&file) {
    auto const size = static_cast<std::size_t>(std::ranges::size(all()));
    if (size * sizeof(element) != bytes) throw_other_dims(file, dims, size);
  }

  void write(byte_sink& out) const override {
    if constexpr (std::ranges::contiguous_range<range>) {
      out.write({reinterpret_cast<char const*>(std::ranges::data(all())), bytes});
    } else {
      gather(out);
    }
  }

 private:
  static constexpr std::size_t piece_bytes = std::size_t{8} << 20U;

  range& all() const { return elements_; }

  void gather(byte_sink& out) const {
    auto const size = bytes / sizeof(element);
    // Not a std::vector, because std::vector<bool> has no bool elements.
    auto const capacity = std::min(std::max(size, std::size_t{1}), piece_bytes / sizeof(element));
    auto const buffer = std::make_unique_for_overwrite<element[]>(capacity);
    std::size_t gathered = 0;
    std::size_t written = 0;
    auto const write_piece = [&] {
      out.write({reinterpret_cast<char const*>(buffer.get()), gathered * sizeof(element)});
      written += std::exchange(gathered, 0);
    };
    for (element const value : all()) {
      buffer[gathered++] = value;
      if (gathered == capacity) write_piece();
    }
    write_piece();
    if (written != size) throw_other_size(*file_, size, written);
  }

  stored elements_;  // of the array, or a copy that array_traits made
  std::filesystem::path const* file_;
};

template <class Lazy = void>
void dump_content(std::filesystem::path const& file, content_value const& content,
                  dump_options const& options) {
  auto const& format = format_for_name(file);
  auto const opts = parse_compression(options.compress);
  try {
    file_sink<Lazy> out(file);
    format.write(out, content, opts);
    out.commit(options.sync);
  } catch (unwritable_content const& error) {
    throw std::invalid_argument("forkmap: dump " + file.native() + ": " + error.what());
  } catch (missing_library const& error) {
    throw_system_error(ELIBACC, "dump " + file.native() + ": " + error.what());
  }
}

/// The type, shape and size of an array as dump() writes it.
template <array_like A>
array_description describe(A const& array, std::filesystem::path const& file,
                           dump_options const& options) {
  using range = std::remove_cvref_t<decltype(elements_of(array))>;
  using element = std::remove_cv_t<std::ranges::range_value_t<range const>>;
  auto const own = own_shape_of(array);
  std::size_t size = 0;
  if constexpr (described_array<A>) {
    size = own->dims.count();
  } else {
    size = static_cast<std::size_t>(std::ranges::size(array));
  }
  auto const written = shape_to_write(file, size, own, options);
  // An array with one axis is in both orders; NumPy calls it c.
  auto const layout = written.dims.rank() > 1 ? written.layout : order::c;
  return {describe_element<element>(), written.dims, layout,
          array_bytes(written.dims, sizeof(element))};
}

/// The array as formats see it. `array` and `file` must outlive the result.
template <array_like A>
std::shared_ptr<array_content const> make_content(A const& array, std::filesystem::path const& file,
                                                  dump_options const& options) {
  return std::make_shared<elements_content<A> const>(describe(array, file, options), array, file);
}

template <class Lazy = void> content_value array_value(array_content const& content) {
  content_value value;
  value.what = content_value::kind::array;
  value.array = &content;
  return value;
}

}  // namespace detail

/// Writes an array to a file. The extension selects the format: joblib's for .joblib and .pkl;
/// NumPy's .npz, with one array named "arr_0" as numpy.savez names it; else NumPy's .npy.
///
/// The write is atomic: even after an error or a kill the file is the complete old one or the
/// complete new one. Processes that have the old file mapped keep it. A symbolic link is followed.
/// An existing file keeps its mode; a new file has mode 0666 less the umask.
/// Shape: dims of the options, else the array's own, else one axis.
/// Returns: `file`.
/// Errors: std::invalid_argument if dims do not match the number of elements, and for a compression
///   that is unknown or that the format does not support. std::system_error naming the file, or the
///   missing compression library.
/// Cost: one pass over the data. Elements that are not contiguous are copied through a buffer of at
///   most 8 MiB. An .npz file also needs a checksum of the data, by libz even without compression.
/// Example: `dump(values, "values.npy", {.dims = {rows, cols}});`
template <array_like A>
std::filesystem::path dump(A const& array, std::filesystem::path const& file,
                           dump_options options = {}) {
  auto const content = detail::make_content(array, file, options);
  detail::dump_content(file, detail::array_value(*content), options);
  return file;
}

}  // namespace forkmap
