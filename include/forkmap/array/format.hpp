// What every array file format has to say: how it begins, where its array lies, how one is written. A new format is one header with such a description and one row in formats.hpp.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/array/content.hpp>
#include <forkmap/array/dtype.hpp>
#include <forkmap/array/record.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// Where a format gets the bytes of a file. Whoever owns the file implements it; formats do no I/O.
class byte_source {
 public:
  byte_source(std::filesystem::path const& file, std::size_t size, std::string_view first)
      : file_(&file), size_(size), first_(first) {}
  byte_source(byte_source const&) = delete;
  byte_source& operator=(byte_source const&) = delete;

  std::filesystem::path const& file() const { return *file_; }
  std::size_t size() const { return size_; }
  /// The first bytes, already read: all of the file if it is short.
  std::string_view first() const { return first_; }
  /// Fills `out` from `offset`, which the caller has checked against size(), or throws.
  virtual void read(std::size_t offset, std::span<char> out) const = 0;

  [[noreturn]] void fail(std::string const& what) const {
    throw format_error("forkmap: " + file_->string() + ": " + what, *file_);
  }

 protected:
  ~byte_source() = default;

 private:
  std::filesystem::path const* file_;
  std::size_t size_;
  std::string_view first_;
};

/// One array in a file, checked: its bytes lie inside the file.
struct stored_array {
  std::string_view format;  // "npy"
  dtype type;
  std::vector<record_field> fields{};  // of a record (kind 'V'), in the order of their offsets
  std::string descr;                   // as the file spells the dtype
  shape dims;
  order layout = order::c;
  std::size_t offset = 0;  // of the first element
  std::size_t bytes = 0;   // of all elements
};

/// How one format is recognised, read and written.
struct array_format {
  std::string_view name;
  bool (*begins)(std::string_view first);
  /// Finds the array of that name in a file of several, or the only one: name is empty.
  stored_array (*locate)(byte_source const& source, std::string_view name);
  /// Writes a file of one array.
  void (*write)(byte_sink& out, array_content const& content);
};

}  // namespace forkmap::detail
