// Reader of zip archives, which finds the members. Archives are not trusted: values that are stored
// twice must agree, members must lie inside the file and not overlap, and memory is allocated only
// for directory entries that exist.
//
//   (local header, name, extra, data [, descriptor])...  central directory  [zip64 end, its locator]
//   end of central directory, comment
//
// Source: APPNOTE.TXT 6.3.10 of PKWARE.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/lazily.hpp>

namespace forkmap::detail {

inline constexpr std::size_t zip_local_bytes = 30;
inline constexpr std::size_t zip_central_bytes = 46;
inline constexpr std::size_t zip_end_bytes = 22;
inline constexpr std::size_t zip64_locator_bytes = 20;
inline constexpr std::size_t zip64_end_bytes = 56;
inline constexpr std::uint64_t zip_saturated16 = 0xffff;
inline constexpr std::uint64_t zip_saturated32 = 0xffffffff;  // the value is in a zip64 field

/// The little-endian number of `bytes` bytes at `at`.
template <class Lazy = void>
std::uint64_t zip_number(std::string_view from, std::size_t at, std::size_t bytes) {
  std::uint64_t result = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    result |= std::uint64_t{static_cast<unsigned char>(from[at + i])} << (8 * i);
  }
  return result;
}

struct zip_member {
  std::string name;
  unsigned flags = 0;
  unsigned method = 0;
  std::uint32_t crc32 = 0;
  std::uint64_t packed_bytes = 0;
  std::uint64_t unpacked_bytes = 0;
  std::uint64_t offset = 0;  // of its local header
  std::uint64_t room = 0;    // bytes from there to the next member or the directory

  bool has_descriptor() const { return (flags & 8U) != 0; }
};

/// Replaces numbers that do not fit 32 bits by those of the zip64 extra field, in this order.
/// Returns: false if the field is malformed or lacks a number.
template <class Lazy = void>
bool take_zip64(std::string_view extra, std::initializer_list<std::uint64_t*> numbers) {
  std::string_view wide;
  while (extra.size() >= 4) {
    auto const bytes = static_cast<std::size_t>(zip_number(extra, 2, 2));
    if (bytes > extra.size() - 4) return false;
    if (zip_number(extra, 0, 2) == 1) wide = extra.substr(4, bytes);
    extra.remove_prefix(4 + bytes);
  }
  for (auto* const number : numbers) {
    if (*number != zip_saturated32) continue;
    if (wide.size() < 8) return false;
    *number = zip_number(wide, 0, 8);
    wide.remove_prefix(8);
  }
  return true;
}

template <class Lazy = void> class zip_archive {
 public:
  /// Errors: format_error.
  explicit zip_archive(byte_source const& source) {
    read_members(source, find_directory(source));
    check_places(source);
    by_name_.resize(members_.size());
    std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
    std::sort(by_name_.begin(), by_name_.end(),
              [this](auto a, auto b) { return members_[a].name < members_[b].name; });
    for (std::size_t i = 1; i < by_name_.size(); ++i) {
      if (auto const& name = members_[by_name_[i]].name; members_[by_name_[i - 1]].name == name) {
        source.fail("zip: two members are called " + in_quotes(name));
      }
    }
  }

  /// The members, in the order of the directory.
  std::vector<lazily<zip_member, Lazy>> const& members() const { return members_; }

  /// The member called `name`; null if there is none.
  zip_member const* find(std::string_view name) const {
    auto const at = std::lower_bound(
        by_name_.begin(), by_name_.end(), name,
        [this](auto index, std::string_view wanted) { return members_[index].name < wanted; });
    return at != by_name_.end() && members_[*at].name == name ? &members_[*at] : nullptr;
  }

 private:
  struct directory {
    std::uint64_t entries;
    std::uint64_t bytes;
    std::uint64_t offset;
  };

  static directory find_directory(byte_source const& source) {
    std::string tail;
    auto const end = find_end(source, tail);
    auto const end_offset = source.size() - tail.size() + end;
    auto const end_fields = std::string_view(tail).substr(end);
    directory result{zip_number(end_fields, 10, 2), zip_number(end_fields, 12, 4),
                     zip_number(end_fields, 16, 4)};
    bool one_disk = zip_number(end_fields, 4, 2) == 0 && zip_number(end_fields, 6, 2) == 0 &&
                    zip_number(end_fields, 8, 2) == result.entries;
    std::uint64_t directory_end = end_offset;

    if (end >= zip64_locator_bytes && tail.compare(end - zip64_locator_bytes, 4, "PK\6\7") == 0) {
      auto const locator = std::string_view(tail).substr(end - zip64_locator_bytes);
      auto const at = zip_number(locator, 8, 8);
      auto const before = end_offset - zip64_locator_bytes;
      if (before < zip64_end_bytes || at > before - zip64_end_bytes) {
        source.fail("zip: the zip64 end of central directory is not where it should be");
      }
      std::array<char, zip64_end_bytes> bytes;
      source.read(static_cast<std::size_t>(at), bytes);
      std::string_view const wide(bytes.data(), bytes.size());
      if (!wide.starts_with("PK\6\6") || zip_number(wide, 4, 8) != before - at - 12) {
        source.fail("zip: the zip64 end of central directory is not where it should be");
      }
      directory const large{zip_number(wide, 32, 8), zip_number(wide, 40, 8),
                            zip_number(wide, 48, 8)};
      auto const agree = [](std::uint64_t narrow, std::uint64_t number, std::uint64_t saturated) {
        return narrow == number || narrow == saturated;
      };
      if (!agree(result.entries, large.entries, zip_saturated16) ||
          !agree(result.bytes, large.bytes, zip_saturated32) ||
          !agree(result.offset, large.offset, zip_saturated32)) {
        source.fail("zip: the end of central directory and its zip64 version do not agree");
      }
      one_disk = one_disk && zip_number(locator, 4, 4) == 0 && zip_number(locator, 16, 4) <= 1 &&
                 zip_number(wide, 16, 4) == 0 && zip_number(wide, 20, 4) == 0 &&
                 zip_number(wide, 24, 8) == large.entries;
      result = large;
      directory_end = at;
    }
    if (!one_disk)
      source.fail("zip: the archive is split into several files, which is not supported");
    if (result.offset > directory_end || result.bytes != directory_end - result.offset ||
        result.entries > result.bytes / zip_central_bytes) {
      source.fail("zip: the central directory is not where it should be: it should hold " +
                  std::to_string(result.entries) + " members in " + std::to_string(result.bytes) +
                  " bytes from byte " + std::to_string(result.offset) + ", and end at byte " +
                  std::to_string(directory_end));
    }
    return result;
  }

  /// Reads the file's last bytes into `tail`. Returns: where the end of central directory begins in
  /// it.
  static std::size_t find_end(byte_source const& source, std::string& tail) {
    constexpr std::size_t longest_comment = 0xffff;
    for (std::size_t const comment : {std::size_t{0}, longest_comment}) {
      auto const bytes = zip64_locator_bytes + zip_end_bytes + comment;
      tail.resize(std::min(bytes, source.size()));
      source.read(source.size() - tail.size(), tail);
      auto end = std::string::npos;
      for (auto at = tail.rfind("PK\5\6"); at != std::string::npos;
           at = at == 0 ? std::string::npos : tail.rfind("PK\5\6", at - 1)) {
        if (tail.size() - at < zip_end_bytes ||
            zip_number(tail, at + 20, 2) != tail.size() - at - zip_end_bytes) {
          continue;
        }
        if (end != std::string::npos) {
          source.fail(
              "zip: there are two ends of central directory; one is in the comment of the other");
        }
        end = at;
      }
      if (end != std::string::npos) return end;
    }
    source.fail(
        "zip: the archive has no end of central directory; the file may be truncated, or have "
        "bytes added at its end");
  }

  void read_members(byte_source const& source, directory const& wanted) {
    constexpr std::size_t piece_bytes = std::size_t{1} << 16U;
    std::string buffer;
    std::size_t used = 0;
    auto left = static_cast<std::size_t>(wanted.bytes);
    auto const need = [&](std::size_t bytes) {
      if (buffer.size() - used >= bytes) return;
      buffer.erase(0, std::exchange(used, 0));
      auto const had = buffer.size();
      if (bytes - had > left) source.fail("zip: the central directory ends inside an entry");
      auto const more = std::min(std::max(bytes - had, piece_bytes), left);
      buffer.resize(had + more);
      source.read(static_cast<std::size_t>(wanted.offset + wanted.bytes) - left,
                  std::span(buffer).subspan(had));
      left -= more;
    };
    for (std::uint64_t i = 0; i < wanted.entries; ++i) {
      need(zip_central_bytes);
      auto const name_bytes = static_cast<std::size_t>(zip_number(buffer, used + 28, 2));
      auto const extra_bytes = static_cast<std::size_t>(zip_number(buffer, used + 30, 2));
      auto const comment_bytes = static_cast<std::size_t>(zip_number(buffer, used + 32, 2));
      need(zip_central_bytes + name_bytes + extra_bytes + comment_bytes);
      auto const entry = std::string_view(buffer).substr(used);
      if (!entry.starts_with("PK\1\2")) {
        source.fail("zip: entry " + std::to_string(i) +
                    " of the central directory is not an entry");
      }
      zip_member member;
      member.name = entry.substr(zip_central_bytes, name_bytes);
      member.flags = static_cast<unsigned>(zip_number(entry, 8, 2));
      member.method = static_cast<unsigned>(zip_number(entry, 10, 2));
      member.crc32 = static_cast<std::uint32_t>(zip_number(entry, 16, 4));
      member.packed_bytes = zip_number(entry, 20, 4);
      member.unpacked_bytes = zip_number(entry, 24, 4);
      member.offset = zip_number(entry, 42, 4);
      auto const extra = entry.substr(zip_central_bytes + name_bytes, extra_bytes);
      if (!take_zip64(extra, {&member.unpacked_bytes, &member.packed_bytes, &member.offset})) {
        source.fail("zip: the extra field of member " + in_quotes(member.name) + " is malformed");
      }
      if (member.name.find('\0') != std::string::npos) {
        source.fail("zip: a member's name contains a zero byte: " + in_quotes(member.name));
      }
      if (zip_number(entry, 34, 2) != 0) {
        source.fail("zip: member " + in_quotes(member.name) +
                    " is in another file of a split archive, which is not supported");
      }
      members_.push_back(std::move(member));
      used += zip_central_bytes + name_bytes + extra_bytes + comment_bytes;
    }
    if (left != 0 || used != buffer.size()) {
      source.fail("zip: the central directory holds more than its " +
                  std::to_string(wanted.entries) + " members");
    }
    directory_offset_ = wanted.offset;
  }

  /// Checks that every member ends before the next one and before the directory.
  void check_places(byte_source const& source) {
    std::vector<lazily<zip_member*, Lazy>> by_offset(members_.size());
    std::transform(members_.begin(), members_.end(), by_offset.begin(), [](auto& m) { return &m; });
    std::sort(by_offset.begin(), by_offset.end(),
              [](auto const* a, auto const* b) { return a->offset < b->offset; });
    for (std::size_t i = 0; i < by_offset.size(); ++i) {
      auto& member = *by_offset[i];
      bool const last = i + 1 == by_offset.size();
      auto const limit = last ? directory_offset_ : by_offset[i + 1]->offset;
      auto const head = zip_local_bytes + member.name.size();
      if (member.offset > limit || limit - member.offset < head ||
          limit - member.offset - head < member.packed_bytes) {
        source.fail("zip: member " + in_quotes(member.name) + " overlaps " +
                    (last ? "the central directory" : in_quotes(by_offset[i + 1]->name)));
      }
      member.room = limit - member.offset;
    }
  }

  std::vector<lazily<zip_member, Lazy>> members_{};
  std::vector<lazily<std::size_t, Lazy>> by_name_{};
  std::uint64_t directory_offset_ = 0;
};

}  // namespace forkmap::detail
