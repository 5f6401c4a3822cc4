// Interface of the array file formats: content to write, byte streams, and the arrays in a file.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/content_entry.hpp>
#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/array/plain_value.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/error.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

// Content to write, as a format sees it: arrays and other values, and the sink that takes the
// bytes. No I/O.

class array_content;

/// Sequential output for the bytes of a file. The owner of the file implements it.
class byte_sink {
 public:
  byte_sink() = default;
  byte_sink(byte_sink const&) = delete;
  byte_sink& operator=(byte_sink const&) = delete;

  /// Announces the total size, so that a lack of space is reported before anything is written.
  virtual void reserve(std::size_t bytes) = 0;
  virtual void write(std::string_view bytes) = 0;
  /// Overwrites bytes that have been written.
  virtual void rewrite(std::size_t at, std::string_view bytes) = 0;
  /// The number of bytes written.
  virtual std::size_t position() const = 0;
  /// Writes all elements of an array. A sink that only counts bytes can skip them.
  virtual void write_array(array_content const& content);

 protected:
  ~byte_sink() = default;
};

/// An array to write: element type, dims, memory order and size.
struct array_description : element_type {
  shape dims{};
  order layout = order::c;
  std::size_t bytes = 0;  // of all elements
};

/// An array to write, with its elements.
class array_content : public array_description {
 public:
  explicit array_content(array_description description)
      : array_description(std::move(description)) {}
  array_content(array_content const&) = delete;
  array_content& operator=(array_content const&) = delete;

  /// Writes all elements, exactly `bytes` bytes, or throws.
  virtual void write(byte_sink& out) const = 0;

 protected:
  ~array_content() = default;
};

inline void byte_sink::write_array(array_content const& content) { content.write(*this); }

/// Thrown for content that a format cannot hold. The text names a format that can; dump() adds the
/// file's name.
class unwritable_content : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

/// Content to write to a file: an array, or another value that joblib would pickle.
struct content_value {
  enum class kind { none, boolean, integer, natural, real, text, array, list, tuple, dict };

  kind what = kind::none;
  bool boolean = false;
  std::int64_t integer = 0;
  std::uint64_t natural = 0;  // an integer that is too large for `integer`
  double real = 0;
  std::string text{};                    // UTF-8
  array_content const* array = nullptr;  // must outlive this
  std::vector<content_value> items{};    // of a list, a tuple, a dict
  std::vector<std::string> keys{};       // of a dict: one per item, unique
};

// The interface of a format: how it is recognised, read and written. A new format is one header
// that defines an array_format, and one row in mapped/all_formats.hpp.

/// Input of a format: the bytes of a file. The owner of the file implements it. No I/O in formats.
class byte_source {
 public:
  byte_source(std::filesystem::path const& file, std::size_t size, std::string_view first)
      : file_(&file), size_(size), first_(first) {}
  byte_source(byte_source const&) = delete;
  byte_source& operator=(byte_source const&) = delete;

  std::filesystem::path const& file() const { return *file_; }
  /// The number of bytes; unknown_size for a stream, because its size is known only at its end. So
  /// a check against it does not prove that the bytes exist: allocate memory as they are read.
  std::size_t size() const { return size_; }
  /// The first bytes, already read. They are the whole file if it is short.
  std::string_view first() const { return first_; }
  /// Fills `out` with the bytes from `offset` on, or throws. The caller has checked the range
  /// against size(). Streams are cheap to read forwards only.
  virtual void read(std::size_t offset, std::span<char> out) const = 0;
  /// Like read(), but the bytes may end before `out` is full. Returns the number of bytes read.
  virtual std::size_t read_some(std::size_t offset, std::span<char> out) const {
    auto const available = offset < size_ ? std::min(out.size(), size_ - offset) : 0;
    if (available != 0) read(offset, out.first(available));
    return available;
  }

  [[noreturn]] void fail(std::string const& problem) const {
    throw format_error("forkmap: " + file_->string() + ": " + problem, *file_);
  }

 protected:
  ~byte_source() = default;

  /// For sources that can read the first bytes only after construction.
  void set_first(std::string_view first) { first_ = first; }

 private:
  std::filesystem::path const* file_;
  std::size_t size_;
  std::string_view first_;
};

/// One array in a file. Its position has been checked: its bytes lie inside the file.
struct stored_array : element_type {
  std::string_view format;  // "npy"
  std::string descr;        // as NumPy spells the element's type
  shape dims;
  order layout = order::c;
  std::size_t offset = 0;       // of the first element: in the file, or in the decompressed section
  std::size_t bytes = 0;        // of all elements
  compressed_section packed{};  // method none: the elements are not compressed
  bool writable = true;         // nothing else in the file, as a checksum, depends on the elements
};

/// The arrays of a file. Reads only as much of the file as is needed to find them.
class array_directory {
 public:
  array_directory() = default;
  array_directory(array_directory const&) = delete;
  array_directory& operator=(array_directory const&) = delete;
  virtual ~array_directory() = default;

  /// The array called `name`; with an empty name, the only array.
  /// Errors: format_error if there is no such array, if the name is empty and there are several
  ///   arrays, or if the array is malformed or does not lie inside the file.
  virtual stored_array find(byte_source const& source, std::string_view name) const = 0;
  /// The names of all arrays, in the file's order; one empty name for an array without a name.
  virtual std::vector<std::string> names() const = 0;

  /// All entries of the file, in its order.
  virtual std::vector<content_entry> entries(byte_source const& source) const {
    std::vector<content_entry> result;
    for (auto& name : names()) {
      auto const array = find(source, name);
      result.push_back({std::move(name), array.descr, array.dims});
    }
    return result;
  }

  /// Passes the value called `name` to the viewer, and its items if it is a list.
  /// Errors: those of find().
  virtual void show(byte_source const& source, std::string_view name, value_viewer& viewer) const {
    plain_value value;
    auto const array = find(source, name);
    value.described = "an array of dims " + array.dims.text() + " of " + in_quotes(array.descr);
    viewer.whole(value);
  }
};

/// How one format is recognised, read and written.
struct array_format {
  std::string_view name;
  bool (*begins)(std::string_view first);
  owner<array_directory> (*read)(byte_source const& source);
  /// Errors: unwritable_content (a std::invalid_argument) for content that this format cannot hold.
  void (*write)(byte_sink& out, content_value const& content, write_options const& options);
};

}  // namespace forkmap::detail
