// An array into a file, all of it or nothing.
#pragma once

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

#include <forkmap/array/content.hpp>
#include <forkmap/array/element.hpp>
#include <forkmap/array/formats.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array_traits.hpp>
#include <forkmap/mapped_file.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/file.hpp>
#include <forkmap/system/lazily.hpp>
#include <forkmap/system/library.hpp>
#include <forkmap/system/replacement.hpp>

namespace forkmap {

/// What dump() can write: a range of known size whose elements are scalars, records, or
/// fixed arrays of those, nested as they like; and what array_traits knows. A text is a range of
/// char, but no array: see dump_value.hpp.
template <class A>
concept array_like =
    (detail::range_of_elements<A> && !std::convertible_to<A const&, std::string_view>) ||
    detail::described_array<A>;

/// How dump() writes.
struct dump_options {
  /// The array's extents; not given: the array's own, or one axis.
  shape dims{};
  /// How its elements lie in memory, and so in the file: nothing is moved.
  order layout = order::c;
  /// Whether the file is on the disk, name and all, when dump() returns.
  bool sync = false;
  /// How the file is compressed: not at all, or by "zlib" (.npz and joblib files), "gzip", "bz2",
  /// "xz", "lzma" or "lz4" (joblib files), each also with a level, as in "zlib:9". A compressed array
  /// cannot be mapped.
  std::string compress{};
};

namespace detail {

/// What an array knows of itself, for those that know it: see array_traits.
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
  // As reshape() has it: other dims, the same order.
  bool const fortran = own && own->layout == order::fortran && own->dims.rank() > 1;
  return {options.dims, fortran ? order::fortran : options.layout};
}

template <class Lazy = void>
[[noreturn]] void throw_other_size(std::filesystem::path const& file, std::size_t size,
                                   std::size_t written) {
  throw std::invalid_argument("forkmap: dump " + file.native() + ": the range said " +
                              std::to_string(size) + " elements and gave " +
                              std::to_string(written));
}

/// Whether there are as many elements as what is said of them makes.
template <class Lazy = void>
[[noreturn]] void throw_other_dims(std::filesystem::path const& file, shape const& dims,
                                   std::size_t size) {
  throw std::invalid_argument("forkmap: dump " + file.native() +
                              ": the array says that its dims are " + dims.text() + " and has " +
                              std::to_string(size) + " elements");
}

/// A file on its way, at its position of the moment.
template <class Lazy = void> class file_sink final : public byte_sink {
 public:
  explicit file_sink(std::filesystem::path const& file) : file_(&file), made_(file) {}

  void reserve(std::size_t bytes) override { allocate(made_.fd(), bytes, *file_); }

  /// What is small waits for what is large: the page cache keeps what is written at once in large
  /// folios, and those are cheaper to map later.
  void write(std::string_view bytes) override {
    position_ += bytes.size();
    if (bytes.size() < smallest_write) {
      waiting_ += bytes;
      if (waiting_.size() >= most_waiting) flush();
      return;
    }
    write_all(made_.fd(), waiting_, bytes.data(), bytes.size(), *file_);
    waiting_.clear();
  }

  void rewrite(std::size_t at, std::string_view bytes) override {
    // What waits is not yet in the file, and begins where that ends.
    if (auto const begin = position_ - waiting_.size(); at >= begin) {
      waiting_.replace(at - begin, bytes.size(), bytes);
      return;
    }
    flush();
    write_at(made_.fd(), bytes, at, *file_);
  }

  std::size_t position() const override { return position_; }

  void commit(bool durable) {
    flush();
    made_.commit(durable);
  }

 private:
  static constexpr std::size_t smallest_write = 4096;
  static constexpr std::size_t most_waiting = std::size_t{1} << 20U;

  void flush() {
    write_all(made_.fd(), waiting_, nullptr, 0, *file_);
    waiting_.clear();
  }

  std::filesystem::path const* file_;
  replacement made_;
  std::string waiting_;
  std::size_t position_ = 0;
};

/// Any array that dump() takes: its elements written as they lie, or gathered in large pieces. They
/// outlive this.
template <class A> class elements_content final : public array_content {
  using elements = decltype(elements_of(std::declval<A const&>()));
  using element = std::remove_cv_t<std::ranges::range_value_t<std::remove_cvref_t<elements> const>>;
  // What lies in memory one after another is all that is needed of it: its range may be gone.
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
    // Not a vector: of bool it would be what there is to gather.
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

  stored elements_;  // those of the array, or made for the purpose
  std::filesystem::path const* file_;
};

template <class Lazy = void>
void dump_content(std::filesystem::path const& file, content_value const& content,
                  dump_options const& options) {
  auto const& format = format_for_name(file);
  auto const how = parse_packing(options.compress);
  try {
    file_sink<Lazy> out(file);
    format.write(out, content, how);
    out.commit(options.sync);
  } catch (unwritable_content const& error) {
    throw std::invalid_argument("forkmap: dump " + file.native() + ": " + error.what());
  } catch (missing_library const& error) {
    throw_system_error(ELIBACC, "dump " + file.native() + ": " + error.what());
  }
}

/// What is written, for any array: its description and its elements.
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
  // One axis lies in both orders; as NumPy has it, that is c.
  auto const layout = written.dims.rank() > 1 ? written.layout : order::c;
  return {describe_element<element>(), written.dims, layout,
          array_bytes(written.dims, sizeof(element))};
}

/// The array as formats see it. `array` and `file` outlive what is returned.
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

/// Writes an array to a file, in the format that the file's name promises: .npz of one array, called
/// "arr_0" as numpy.savez does, for that extension, joblib's for .joblib and .pkl, else .npy.
///
/// The file is the old one or the new one, complete, whatever happens; who has the old one mapped
/// keeps it. A symbolic link is written through. The file's mode is kept, a new file's is 0666 less
/// the umask.
/// Shape: one axis, unless the array has dims of its own or the options give some.
/// Returns: `file`.
/// Errors: std::invalid_argument if dims and size differ, and for a way to compress that there is not
///   or not in this format; std::system_error naming the file, or the library that compresses and is
///   missing.
/// Cost: one pass over the data straight into the file; a range that is not contiguous goes through
///   a small buffer. An .npz file takes a checksum of the data, too.
/// Example: `dump(values, "values.npy", {.dims = {rows, cols}});`
template <array_like A>
std::filesystem::path dump(A const& array, std::filesystem::path const& file,
                           dump_options options = {}) {
  auto const content = detail::make_content(array, file, options);
  detail::dump_content(file, detail::array_value(*content), options);
  return file;
}

}  // namespace forkmap
