// How the bytes of a file, or of a part of one, are compressed.
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

/// deflate is the stream without a head that zip archives hold.
enum class packing { none, deflate, zlib, gzip, bzip2, xz, lzma, lz4 };

/// A stream's size is known when it has ended.
inline constexpr auto unknown_size =
    static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());

/// A stretch of a file that has to be unpacked before it can be read.
struct packed_section {
  packing method = packing::none;
  std::size_t offset = 0;  // in the file
  std::size_t bytes = 0;   // packed
  std::size_t unpacked_bytes = unknown_size;
  std::optional<std::uint32_t> crc32{};  // of all unpacked bytes; of method none too
};

struct packing_method {
  packing method;
  std::string_view name;
  int lowest_level;
  int highest_level;
};

inline constexpr packing_method packing_methods[] = {
    {packing::deflate, "deflate", 0, 9}, {packing::zlib, "zlib", 0, 9},
    {packing::gzip, "gzip", 0, 9},       {packing::bzip2, "bz2", 1, 9},
    {packing::xz, "xz", 0, 9},           {packing::lzma, "lzma", 0, 9},
    {packing::lz4, "lz4", 0, 16},
};

template <class Lazy = void> std::string_view name_of(packing method) {
  for (auto const& known : packing_methods) {
    if (known.method == method) return known.name;
  }
  return "none";
}

/// How a file is to be compressed, if at all.
struct write_options {
  packing method = packing::none;
  int level = -1;  // the method's own default
};

/// Reads a method with or without a level: "zlib", "xz:9"; "" is none.
///
/// Errors: std::invalid_argument with the methods, or the levels, that there are.
template <class Lazy = void> write_options parse_packing(std::string_view text) {
  if (text.empty()) return {};
  auto const colon = text.find(':');
  auto const name = text.substr(0, colon);
  std::string names;
  for (auto const& known : packing_methods) {
    names += (names.empty() ? "" : ", ") + std::string(known.name);
    if (known.name != name) continue;
    write_options result{known.method, -1};
    if (colon == std::string_view::npos) return result;
    auto const digits = text.substr(colon + 1);
    auto const [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), result.level);
    if (error != std::errc{} || end != digits.data() + digits.size() ||
        result.level < known.lowest_level || result.level > known.highest_level) {
      throw std::invalid_argument("forkmap: compress = \"" + std::string(text) + "\": levels of " +
                                  std::string(name) + " are " + std::to_string(known.lowest_level) +
                                  " to " + std::to_string(known.highest_level));
    }
    return result;
  }
  throw std::invalid_argument("forkmap: compress = \"" + std::string(text) +
                              "\": no such method; there are " + names +
                              ", each also with a level, as in \"zlib:6\"");
}

/// Which method a whole file is compressed with, by its first bytes.
template <class Lazy = void> packing packing_that_begins(std::string_view first) {
  using namespace std::string_view_literals;
  if (first.starts_with("\x1f\x8b"sv)) return packing::gzip;
  if (first.starts_with("BZh"sv)) return packing::bzip2;
  if (first.starts_with("\xfd\x37zXZ\0"sv)) return packing::xz;
  if (first.starts_with("\x5d\0\0"sv)) return packing::lzma;
  if (first.starts_with("\x04\x22\x4d\x18"sv)) return packing::lz4;
  // zlib has no magic of its own, but its two bytes divide by 31.
  if (first.size() >= 2 && first[0] == '\x78' &&
      (0x78U * 256U + static_cast<unsigned char>(first[1])) % 31U == 0) {
    return packing::zlib;
  }
  return packing::none;
}

}  // namespace forkmap::detail
