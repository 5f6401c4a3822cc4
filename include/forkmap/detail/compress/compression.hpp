// Compression methods of a file or of a part of one.
// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

namespace forkmap::detail {

/// deflate is the stream without a header that zip archives hold.
enum class compression { none, deflate, zlib, gzip, bzip2, xz, lzma, lz4 };

/// The size of a stream whose end has not been read.
inline constexpr auto unknown_size =
    static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());

/// A section of a file and its compression. Method none: the bytes are not compressed.
struct compressed_section {
  compression method = compression::none;
  std::size_t offset = 0;  // in the file
  std::size_t bytes = 0;   // compressed
  std::size_t unpacked_bytes = unknown_size;
  std::optional<std::uint32_t> crc32{};  // of all decompressed bytes; also for method none
};

struct compression_method {
  compression method;
  std::string_view name;
  int lowest_level;
  int highest_level;
};

inline constexpr compression_method compression_methods[] = {
    {compression::deflate, "deflate", 0, 9}, {compression::zlib, "zlib", 0, 9},
    {compression::gzip, "gzip", 0, 9},       {compression::bzip2, "bz2", 1, 9},
    {compression::xz, "xz", 0, 9},           {compression::lzma, "lzma", 0, 9},
    {compression::lz4, "lz4", 0, 16},
};

template <class Lazy = void> std::string_view name_of(compression method) {
  for (auto const& known : compression_methods) {
    if (known.method == method) return known.name;
  }
  return "none";
}

/// The compression of a file to write.
struct write_options {
  compression method = compression::none;
  int level = -1;  // the method's own default
};

/// Parses a method with or without a level: "zlib", "xz:9"; "" is none.
///
/// Errors: std::invalid_argument with the valid methods or levels.
template <class Lazy = void> write_options parse_compression(std::string_view text) {
  if (text.empty()) return {};
  auto const colon = text.find(':');
  auto const name = text.substr(0, colon);
  std::string names;
  for (auto const& known : compression_methods) {
    names += (names.empty() ? "" : ", ") + std::string(known.name);
    if (known.name != name) continue;
    write_options result{known.method, -1};
    if (colon == std::string_view::npos) return result;
    auto const digits = text.substr(colon + 1);
    auto const [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), result.level);
    if (error != std::errc{} || end != digits.data() + digits.size() ||
        result.level < known.lowest_level || result.level > known.highest_level) {
      throw std::invalid_argument("forkmap: compress = \"" + std::string(text) +
                                  "\": the level of " + std::string(name) + " must be " +
                                  std::to_string(known.lowest_level) + " to " +
                                  std::to_string(known.highest_level));
    }
    return result;
  }
  throw std::invalid_argument("forkmap: compress = \"" + std::string(text) +
                              "\": unknown method; use one of " + names +
                              ", with or without a level, as in \"zlib:6\"");
}

/// The method with which a whole file is compressed, detected by its first bytes.
template <class Lazy = void> compression compression_that_begins(std::string_view first) {
  using namespace std::string_view_literals;
  if (first.starts_with("\x1f\x8b"sv)) return compression::gzip;
  if (first.starts_with("BZh"sv)) return compression::bzip2;
  if (first.starts_with("\xfd\x37zXZ\0"sv)) return compression::xz;
  if (first.starts_with("\x5d\0\0"sv)) return compression::lzma;
  if (first.starts_with("\x04\x22\x4d\x18"sv)) return compression::lz4;
  // zlib has no magic number, but its first two bytes are a multiple of 31.
  if (first.size() >= 2 && first[0] == '\x78' &&
      (0x78U * 256U + static_cast<unsigned char>(first[1])) % 31U == 0) {
    return compression::zlib;
  }
  return compression::none;
}

}  // namespace forkmap::detail
