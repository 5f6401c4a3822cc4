// What every array file format has to say: how it begins, where its arrays lie, how it is written.
// A new format is one header with such a description and one row in formats.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/array/content.hpp>
#include <forkmap/array/dtype.hpp>
#include <forkmap/array/literal.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/plain_value.hpp>
#include <forkmap/array/record.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/content_entry.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

/// Where a format gets the bytes of a file. Whoever owns the file implements it; formats do no I/O.
class byte_source {
 public:
  byte_source(std::filesystem::path const& file, std::size_t size, std::string_view first)
      : file_(&file), size_(size), first_(first) {}
  byte_source(byte_source const&) = delete;
  byte_source& operator=(byte_source const&) = delete;

  std::filesystem::path const& file() const { return *file_; }
  /// How many bytes there are; of a stream, which nobody knows before it has ended, unknown_size.
  /// So what fits into it may still not be there: memory is allocated as bytes come.
  std::size_t size() const { return size_; }
  /// The first bytes, already read: all of the file if it is short.
  std::string_view first() const { return first_; }
  /// Fills `out` from `offset`, which the caller has checked against size(), or throws. Of a stream
  /// it is cheap forwards only.
  virtual void read(std::size_t offset, std::span<char> out) const = 0;
  /// The same for what may end before `out` is full: returns how many bytes there were.
  virtual std::size_t read_some(std::size_t offset, std::span<char> out) const {
    auto const there = offset < size_ ? std::min(out.size(), size_ - offset) : 0;
    if (there != 0) read(offset, out.first(there));
    return there;
  }

  [[noreturn]] void fail(std::string const& what) const {
    throw format_error("forkmap: " + file_->string() + ": " + what, *file_);
  }

 protected:
  ~byte_source() = default;

  /// For those who have to read to know them.
  void set_first(std::string_view first) { first_ = first; }

 private:
  std::filesystem::path const* file_;
  std::size_t size_;
  std::string_view first_;
};

/// One array in a file, checked: its bytes lie inside the file.
struct stored_array : element_type {
  std::string_view format;  // "npy"
  std::string descr;        // as NumPy spells the element's type
  shape dims;
  order layout = order::c;
  std::size_t offset = 0;   // of the first element: in the file, or in what `packed` unpacks to
  std::size_t bytes = 0;    // of all elements
  packed_section packed{};  // method none: the elements lie in the file as they are
  bool writable = true;     // in the file: nothing else in it, such as a checksum, depends on them
};

/// Which arrays a file holds. Reads of the file no more than it needs to find them.
class array_directory {
 public:
  array_directory() = default;
  array_directory(array_directory const&) = delete;
  array_directory& operator=(array_directory const&) = delete;
  virtual ~array_directory() = default;

  /// The array of that name; an empty name is that of the only one.
  /// Errors: format_error if there is none of that name (or several, and no name), or if it is
  ///   malformed or does not lie inside the file.
  virtual stored_array find(byte_source const& source, std::string_view name) const = 0;
  /// The names of all, in the file's order; one empty name for an array without.
  virtual std::vector<std::string> names() const = 0;

  /// Everything that is in it, in the file's order.
  virtual std::vector<content_entry> entries(byte_source const& source) const {
    std::vector<content_entry> result;
    for (auto& name : names()) {
      auto const array = find(source, name);
      result.push_back({std::move(name), array.descr, array.dims});
    }
    return result;
  }

  /// Shows what is called that, and its items if it is a list.
  /// Errors: as of find().
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
  /// Errors: std::invalid_argument saying what this format cannot hold, and which can.
  void (*write)(byte_sink& out, content_value const& content, write_options const& options);
};

}  // namespace forkmap::detail
