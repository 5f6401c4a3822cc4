// Every format there is: by the bytes a file begins with when reading, by its name when writing.
#pragma once

#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include <forkmap/array/format.hpp>
#include <forkmap/array/literal.hpp>
#include <forkmap/array/npy.hpp>

namespace forkmap::detail {

inline constexpr array_format const* array_formats[] = {&npy_format};

/// What a file is that no format here reads; empty if that is not known either.
inline std::string_view foreign_format(std::string_view first) {
  struct signature {
    std::string_view magic;
    std::string_view name;
  };
  using namespace std::string_view_literals;
  constexpr signature known[] = {
      {"PK"sv, "a zip archive (.npz)"},
      {"\x80"sv, "a pickle (.pkl, or joblib's .joblib)"},
      {"\x1f\x8b"sv, "gzip-compressed"},
      {"BZh"sv, "bzip2-compressed"},
      {"\xfd"
       "7zXZ\0"sv,
       "xz-compressed"},
      {"\x5d\0\0"sv, "lzma-compressed"},
      {"\x04\x22\x4d\x18"sv, "lz4-compressed"},
      {"ZF"sv, "a compressed file of joblib 0.9 or older"},
      {"\x89HDF"sv, "an HDF5 file"},
  };
  for (auto const& [magic, name] : known) {
    if (first.starts_with(magic)) return name;
  }
  // zlib has no magic of its own, but its two bytes divide by 31.
  if (first.size() >= 2 && first[0] == '\x78' &&
      (0x78U * 256U + static_cast<unsigned char>(first[1])) % 31U == 0) {
    return "zlib-compressed (joblib's compress=)";
  }
  return {};
}

/// Finds out which arrays a file holds by its bytes, never by its name.
inline std::unique_ptr<array_directory> read_directory(byte_source const& source) {
  for (auto const* format : array_formats) {
    if (format->begins(source.first())) return format->read(source);
  }
  if (source.size() == 0) source.fail("the file is empty, not an array");
  if (auto const what = foreign_format(source.first()); !what.empty()) {
    source.fail("the file is " + std::string(what) + "; this version opens .npy files only");
  }
  source.fail("not an array file: it begins with " + in_quotes(source.first().substr(0, 8)) +
              ", an .npy file with '\\x93NUMPY'");
}

/// Finds one array. `name` is its own, in a file of several.
inline stored_array locate_array(byte_source const& source, std::string_view name = {}) {
  return read_directory(source)->find(source, name);
}

/// The format to write under this name: .npy content, unless the name promises something else.
inline array_format const& format_for_name(std::filesystem::path const& file) {
  auto const extension = file.extension();
  for (std::string_view const other : {".npz", ".joblib", ".pkl"}) {
    if (extension == other) {
      throw std::invalid_argument("forkmap: " + file.string() +
                                  ": this version writes .npy files, not " + std::string(other) +
                                  "; give the file another name");
    }
  }
  return npy_format;
}

}  // namespace forkmap::detail
