// Writer of zip archives, in the layout of Python's zipfile: zip64 fields in every local header, so
// that sizes of any length can be filled in afterwards, and in the directory where they are needed.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/array/compressed_file.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/compress/zlib.hpp>
#include <forkmap/detail/lazily.hpp>
#include <forkmap/detail/npz/zip.hpp>
#include <forkmap/detail/npz/zip_member.hpp>

namespace forkmap::detail {

template <class Lazy = void>
void append_number(std::string& to, std::uint64_t number, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) to += static_cast<char>((number >> (8 * i)) & 0xffU);
}

constexpr std::uint64_t saturated(std::uint64_t number, std::uint64_t at) {
  return std::min(number, at);
}

/// Appends the fields that local header and directory entry share: from the version to the CRC-32.
template <class Lazy = void> void append_zip_common(std::string& to, zip_member const& member) {
  constexpr std::uint64_t first_of_1980 = 0x21;  // the oldest date: files stay comparable
  append_number(to, 45, 2);                      // the version with zip64
  append_number(to, member.flags, 2);
  append_number(to, member.method, 2);
  append_number(to, 0, 2);  // time
  append_number(to, first_of_1980, 2);
  append_number(to, member.crc32, 4);
}

/// The local header at member.offset, padded so that the data in the file has this alignment.
template <class Lazy = void>
std::string zip_local_header(zip_member const& member, std::size_t alignment) {
  std::string extra;
  append_number(extra, 1, 2);  // zip64
  append_number(extra, 16, 2);
  append_number(extra, member.unpacked_bytes, 8);
  append_number(extra, member.packed_bytes, 8);

  auto const data = member.offset + zip_local_bytes + member.name.size() + extra.size();
  if (auto pad = (alignment - data % alignment) % alignment; pad != 0) {
    // The padding field of Android's zipalign: the alignment, and as many zeros as needed.
    constexpr std::size_t smallest = 6;
    while (pad < smallest) pad += alignment;
    append_number(extra, 0xd935, 2);
    append_number(extra, pad - 4, 2);
    append_number(extra, alignment, 2);
    extra.append(pad - smallest, '\0');
  }
  std::string result = "PK\3\4";
  append_zip_common(result, member);
  append_number(result, zip_saturated32, 4);
  append_number(result, zip_saturated32, 4);
  append_number(result, member.name.size(), 2);
  append_number(result, extra.size(), 2);
  return result + member.name + extra;
}

template <class Lazy = void> std::string zip_central_entry(zip_member const& member) {
  std::string wide;
  for (auto const number : {member.unpacked_bytes, member.packed_bytes, member.offset}) {
    if (number >= zip_saturated32) append_number(wide, number, 8);
  }
  std::string extra;
  if (!wide.empty()) {
    append_number(extra, 1, 2);  // zip64
    append_number(extra, wide.size(), 2);
    extra += wide;
  }
  constexpr std::uint64_t by_unix = 3;
  constexpr std::uint64_t mode = 0600;  // as NumPy's members
  std::string result = "PK\1\2";
  append_number(result, 45 | by_unix << 8U, 2);
  append_zip_common(result, member);
  append_number(result, saturated(member.packed_bytes, zip_saturated32), 4);
  append_number(result, saturated(member.unpacked_bytes, zip_saturated32), 4);
  append_number(result, member.name.size(), 2);
  append_number(result, extra.size(), 2);
  append_number(result, 0, 2);  // comment
  append_number(result, 0, 2);  // disk
  append_number(result, 0, 2);  // internal attributes
  append_number(result, mode << 16U, 4);
  append_number(result, saturated(member.offset, zip_saturated32), 4);
  return result + member.name + extra;
}

template <class Lazy = void>
std::string zip_end(std::uint64_t entries, std::uint64_t bytes, std::uint64_t offset) {
  std::string result;
  if (entries >= zip_saturated16 || bytes >= zip_saturated32 || offset >= zip_saturated32) {
    result = "PK\6\6";
    append_number(result, zip64_end_bytes - 12, 8);
    append_number(result, 45 | 45U << 16U, 4);  // made by, needed
    append_number(result, 0, 8);                // disks
    for (auto const number : {entries, entries, bytes, offset}) append_number(result, number, 8);
    result += "PK\6\7";
    append_number(result, 0, 4);
    append_number(result, offset + bytes, 8);
    append_number(result, 1, 4);
  }
  result += "PK\5\6";
  append_number(result, 0, 4);  // disks
  append_number(result, saturated(entries, zip_saturated16), 2);
  append_number(result, saturated(entries, zip_saturated16), 2);
  append_number(result, saturated(bytes, zip_saturated32), 4);
  append_number(result, saturated(offset, zip_saturated32), 4);
  append_number(result, 0, 2);  // comment
  return result;
}

/// Passes on a member's bytes, counts them and computes their CRC-32.
template <class Lazy = void> class zip_member_sink final : public byte_sink {
 public:
  explicit zip_member_sink(byte_sink& out) : out_(&out) {}

  void reserve(std::size_t /*bytes*/) override {}
  void write(std::string_view bytes) override {
    // Small pieces, which are still in the cache when they are written.
    constexpr std::size_t piece_bytes = std::size_t{1} << 20U;
    position_ += bytes.size();
    for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), piece_bytes))) {
      auto const piece = bytes.substr(0, piece_bytes);
      sum_.add(piece);
      out_->write(piece);
    }
  }
  [[noreturn]] void rewrite(std::size_t /*at*/, std::string_view /*bytes*/) override {
    throw std::logic_error("forkmap: data with a checksum cannot be overwritten");
  }
  std::size_t position() const override { return position_; }
  std::uint32_t crc32() const { return sum_.value(); }

 private:
  byte_sink* out_;
  std::size_t position_ = 0;
  crc32_sum sum_{};
};

/// Writes the members one after another, then the directory.
template <class Lazy = void> class zip_writer {
 public:
  /// `alignment` is for the data of members that are not compressed.
  zip_writer(byte_sink& out, write_options const& options, std::size_t alignment)
      : out_(&out), options_(options), alignment_(alignment) {}

  /// Writes a member. `write(byte_sink&)` writes its bytes.
  template <class Write> void add(std::string name, Write write) {
    auto member = begin(std::move(name), out_->position());
    bool const stored = member.method == zip_stored;
    out_->write(zip_local_header(member, stored ? alignment_ : 1));
    auto const data = out_->position();
    if (stored) {
      zip_member_sink<Lazy> sink(*out_);
      write(sink);
      fill_in(member, sink);
    } else {
      compressed_sink<Lazy> compressed(*out_, options_);
      zip_member_sink<Lazy> sink(compressed);
      write(sink);
      compressed.finish();
      fill_in(member, sink);
    }
    member.packed_bytes = out_->position() - data;
    auto const header = zip_local_header(member, stored ? alignment_ : 1);
    out_->rewrite(static_cast<std::size_t>(member.offset), header);
    members_.push_back(std::move(member));
  }

  void finish() {
    auto const offset = out_->position();
    for (auto const& member : members_) out_->write(zip_central_entry(member));
    out_->write(zip_end(members_.size(), out_->position() - offset, offset));
  }

  /// The size of an archive of these members if they are not compressed.
  template <class Members> std::size_t stored_bytes(Members const& names_and_bytes) const {
    std::size_t position = 0;
    std::size_t directory = 0;
    std::size_t entries = 0;
    for (auto const& [name, bytes] : names_and_bytes) {
      auto member = begin(std::string(name), position);
      member.packed_bytes = member.unpacked_bytes = bytes;
      position += zip_local_header(member, alignment_).size() + bytes;
      directory += zip_central_entry(member).size();
      ++entries;
    }
    return position + directory + zip_end(entries, directory, position).size();
  }

 private:
  zip_member begin(std::string name, std::size_t offset) const {
    constexpr unsigned utf8_name = 0x800;
    bool const ascii = is_ascii(name);
    zip_member member;
    member.name = std::move(name);
    member.flags = ascii ? 0 : utf8_name;
    member.method = options_.method == compression::none ? zip_stored : zip_deflated;
    member.offset = offset;
    return member;
  }

  static void fill_in(zip_member& member, zip_member_sink<Lazy> const& written) {
    member.crc32 = written.crc32();
    member.unpacked_bytes = written.position();
  }

  byte_sink* out_;
  write_options options_;
  std::size_t alignment_;
  std::vector<lazily<zip_member, Lazy>> members_{};
};

}  // namespace forkmap::detail
