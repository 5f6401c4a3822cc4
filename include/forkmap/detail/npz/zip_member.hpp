// Source of the bytes of a zip archive's member.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/npz/zip.hpp>

namespace forkmap::detail {

inline constexpr unsigned zip_stored = 0;
inline constexpr unsigned zip_deflated = 8;

/// The name of a compression method that is not supported.
template <class Lazy = void> std::string zip_method_name(unsigned method) {
  switch (method) {
    case 9:
      return "deflate64";
    case 12:
      return "bzip2";
    case 14:
      return "lzma";
    case 93:
      return "zstd";
    case 95:
      return "xz";
    default:
      return "number " + std::to_string(method);
  }
}

/// A member's data, not decompressed. Its local header is checked against the central directory.
template <class Lazy = void> class zip_member_source final : public byte_source {
 public:
  /// Errors: format_error if the member is encrypted, compressed by an unsupported method, or its
  ///   headers contradict each other.
  zip_member_source(byte_source const& archive, zip_member const& member)
      : byte_source(archive.file(), static_cast<std::size_t>(member.packed_bytes), {}),
        archive_(&archive) {
    check_readable(member);
    auto const start = static_cast<std::size_t>(member.offset);
    // Usually reads the header and the first data at once. check_places() checked that the header
    // fits.
    auto const got = static_cast<std::size_t>(std::min<std::uint64_t>(bytes_.size(), member.room));
    archive.read(start, std::span(bytes_).first(got));
    std::string_view header(bytes_.data(), got);
    auto const name_bytes = static_cast<std::size_t>(zip_number(header, 26, 2));
    auto const extra_bytes = static_cast<std::size_t>(zip_number(header, 28, 2));
    auto const head = zip_local_bytes + name_bytes + extra_bytes;
    if (head > member.room || member.packed_bytes > member.room - head) {
      fail("zip: the member's data overlaps the next member or the central directory");
    }
    offset_ = start + head;
    std::string longer;
    if (head > got) {
      longer.resize(head);
      archive.read(start, longer);
      header = longer;
    }
    check_header(member, header, name_bytes, extra_bytes);
    auto const begin = head > got ? std::size_t{0} : head;
    auto const known = std::min((head > got ? bytes_.size() : got) - begin, size());
    if (head > got) archive.read(offset_, std::span(bytes_).first(known));
    set_first({bytes_.data() + begin, known});
  }

  void read(std::size_t offset, std::span<char> out) const override {
    archive_->read(offset_ + offset, out);
  }

  /// Where in the file the data begins.
  std::size_t offset() const { return offset_; }

 private:
  void check_readable(zip_member const& member) const {
    constexpr unsigned encrypted = 0x2041;  // any kind of encryption
    constexpr unsigned patched = 0x20;
    if ((member.flags & encrypted) != 0)
      fail("zip: the member is encrypted, which is not supported");
    if ((member.flags & patched) != 0) fail("zip: the member is a patch, which is not supported");
    if (member.method != zip_stored && member.method != zip_deflated) {
      fail("zip: the member is compressed by method " + zip_method_name(member.method) +
           ", which is not supported; stored and deflated members are");
    }
    constexpr std::uint64_t best_ratio = 1032;  // 2 bits for the longest match, 258 bytes
    bool const possible = member.method == zip_stored
                              ? member.packed_bytes == member.unpacked_bytes
                              : member.unpacked_bytes / best_ratio <= member.packed_bytes;
    if (!possible) {
      fail("zip: the member's sizes contradict each other: " + std::to_string(member.packed_bytes) +
           " bytes in the file, " + std::to_string(member.unpacked_bytes) + " bytes of data");
    }
  }

  void check_header(zip_member const& member, std::string_view header, std::size_t name_bytes,
                    std::size_t extra_bytes) const {
    auto compressed_bytes = zip_number(header, 18, 4);
    auto data_bytes = zip_number(header, 22, 4);
    auto const extra = header.substr(zip_local_bytes + name_bytes, extra_bytes);
    bool agrees = header.starts_with("PK\3\4") && zip_number(header, 6, 2) == member.flags &&
                  zip_number(header, 8, 2) == member.method &&
                  header.substr(zip_local_bytes, name_bytes) == member.name &&
                  take_zip64(extra, {&data_bytes, &compressed_bytes});
    // A writer that cannot seek writes zeros here, and the numbers in a descriptor after the data.
    if (!member.has_descriptor() || zip_number(header, 14, 4) != 0) {
      agrees = agrees && zip_number(header, 14, 4) == member.crc32;
    }
    if (!member.has_descriptor() || compressed_bytes != 0 || data_bytes != 0) {
      agrees =
          agrees && compressed_bytes == member.packed_bytes && data_bytes == member.unpacked_bytes;
    }
    if (!agrees) fail("zip: the member's local header and the central directory do not agree");
  }

  byte_source const* archive_;
  std::array<char, 1024> bytes_;
  std::size_t offset_ = 0;
};

}  // namespace forkmap::detail
