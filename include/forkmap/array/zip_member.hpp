// One member of a zip archive, as the bytes that it is in the file.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <forkmap/array/format.hpp>
#include <forkmap/array/zip.hpp>

namespace forkmap::detail {

inline constexpr unsigned zip_stored = 0;
inline constexpr unsigned zip_deflated = 8;

/// What is known of a method that is not read.
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

/// A member's data, packed as it is. Its local header has been compared with the directory's entry.
template <class Lazy = void> class zip_member_source final : public byte_source {
 public:
  /// Errors: format_error for what is encrypted, packed by an unknown method, or contradictory.
  zip_member_source(byte_source const& archive, zip_member const& member)
      : byte_source(archive.file(), static_cast<std::size_t>(member.packed_bytes), {}),
        archive_(&archive) {
    check_readable(member);
    auto const start = static_cast<std::size_t>(member.offset);
    // Most often header and first data at once; check_places() saw room for the header.
    auto const got = static_cast<std::size_t>(std::min<std::uint64_t>(bytes_.size(), member.room));
    archive.read(start, std::span(bytes_).first(got));
    std::string_view header(bytes_.data(), got);
    auto const name_bytes = static_cast<std::size_t>(zip_number(header, 26, 2));
    auto const extra_bytes = static_cast<std::size_t>(zip_number(header, 28, 2));
    auto const head = zip_local_bytes + name_bytes + extra_bytes;
    if (head > member.room || member.packed_bytes > member.room - head) {
      fail("zip: the member's data does not end before what comes next");
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

  /// Of the data, in the file.
  std::size_t offset() const { return offset_; }

 private:
  void check_readable(zip_member const& member) const {
    constexpr unsigned encrypted = 0x2041;  // any kind of it
    constexpr unsigned patched = 0x20;
    if ((member.flags & encrypted) != 0) fail("zip: the member is encrypted, which is not read");
    if ((member.flags & patched) != 0) fail("zip: the member is a patch, which is not read");
    if (member.method != zip_stored && member.method != zip_deflated) {
      fail("zip: the member is compressed by method " + zip_method_name(member.method) +
           "; stored and deflated ones are read");
    }
    constexpr std::uint64_t best_ratio = 1032;  // two bits for the longest match, 258 bytes
    bool const can_be = member.method == zip_stored
                            ? member.packed_bytes == member.unpacked_bytes
                            : member.unpacked_bytes / best_ratio <= member.packed_bytes;
    if (!can_be) {
      fail("zip: " + std::to_string(member.packed_bytes) + " bytes in the file cannot be " +
           std::to_string(member.unpacked_bytes) + " bytes");
    }
  }

  void check_header(zip_member const& member, std::string_view header, std::size_t name_bytes,
                    std::size_t extra_bytes) const {
    auto packed = zip_number(header, 18, 4);
    auto unpacked = zip_number(header, 22, 4);
    auto const extra = header.substr(zip_local_bytes + name_bytes, extra_bytes);
    bool agrees = header.starts_with("PK\3\4") && zip_number(header, 6, 2) == member.flags &&
                  zip_number(header, 8, 2) == member.method &&
                  header.substr(zip_local_bytes, name_bytes) == member.name &&
                  take_zip64(extra, {&unpacked, &packed});
    // Who could not go back wrote zeros, and the numbers after the data.
    if (!member.has_descriptor() || zip_number(header, 14, 4) != 0) {
      agrees = agrees && zip_number(header, 14, 4) == member.crc32;
    }
    if (!member.has_descriptor() || packed != 0 || unpacked != 0) {
      agrees = agrees && packed == member.packed_bytes && unpacked == member.unpacked_bytes;
    }
    if (!agrees) fail("zip: the member's own header and the central directory do not agree");
  }

  byte_source const* archive_;
  std::array<char, 1024> bytes_;
  std::size_t offset_ = 0;
};

}  // namespace forkmap::detail
