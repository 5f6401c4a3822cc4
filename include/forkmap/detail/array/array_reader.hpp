// Sequential reader of an array's elements, and their conversion to the requested type.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/array/compressed_file.hpp>
#include <forkmap/detail/array/dtype.hpp>
#include <forkmap/detail/array/format.hpp>
#include <forkmap/detail/array/literal.hpp>
#include <forkmap/detail/compress/compression.hpp>
#include <forkmap/detail/compress/zlib.hpp>

namespace forkmap::detail {

// Comparison of a file's element type with the requested one, and conversion between them. No I/O.

/// NumPy's spelling and the C++ name: '<f8' (double).
template <class Lazy = void> std::string spelling_and_name(dtype const& type) {
  auto const cpp = cpp_name(type);
  return in_quotes(spelling(type)) + (cpp.empty() ? cpp : " (" + cpp + ")");
}

template <class Lazy = void> bool same_scalar(dtype const& a, dtype const& b) {
  return a.kind == b.kind && a.item_bytes == b.item_bytes;
}

/// The file's field for field `i` of the requested type: the one of the same name, or at the same
/// position if the requested fields have no names. Null if there is none.
template <class Lazy = void>
record_field const* matching_field(element_type const& file, element_type const& wanted,
                                   std::size_t i) {
  auto const& name = wanted.fields[i].name;
  if (name.empty()) return i < file.fields.size() ? &file.fields[i] : nullptr;
  auto const found = std::find_if(file.fields.begin(), file.fields.end(),
                                  [&name](auto const& field) { return field.name == name; });
  return found == file.fields.end() ? nullptr : &*found;
}

/// Lists, field by field, how a record of a file differs from the requested one.
template <class Lazy = void> class record_comparison {
 public:
  record_comparison(element_type const& file, element_type const& wanted) {
    compare(file, wanted, "");
  }

  /// Whether fields and types are the same. Offsets and byte order may differ.
  bool same() const { return differences_.empty(); }
  /// Whether offsets and byte order are the same, too.
  bool same_places() const { return same() && moved_.empty(); }

  std::string differences() const { return joined(differences_); }
  std::string moved() const { return joined(moved_); }

 private:
  using strings = std::vector<std::string>;

  static std::string joined(strings const& all) {
    constexpr std::size_t most = 8;
    std::string result;
    for (std::size_t i = 0; i < std::min(all.size(), most); ++i) {
      result += (i == 0 ? "" : "; ") + all[i];
    }
    if (all.size() > most) result += "; and " + std::to_string(all.size() - most) + " more";
    return result;
  }

  /// `outer` is the prefix of the names: "position.".
  void compare(element_type const& file, element_type const& wanted, std::string const& outer) {
    if (file.type.item_bytes != wanted.type.item_bytes) {
      moved_.push_back((outer.empty() ? "records" : in_quotes(outer.substr(0, outer.size() - 1))) +
                       " of " + std::to_string(file.type.item_bytes) + " bytes, not " +
                       std::to_string(wanted.type.item_bytes));
    }
    std::vector<bool> meant(file.fields.size());
    for (std::size_t i = 0; i < wanted.fields.size(); ++i) {
      auto const* const field = matching_field(file, wanted, i);
      auto const& other = wanted.fields[i];
      if (field == nullptr) {
        differences_.push_back(
            "the file has no field " +
            (other.name.empty() ? std::to_string(i) : in_quotes(outer + other.name)) + " of " +
            spelling_and_name(other.type));
        continue;
      }
      meant[static_cast<std::size_t>(field - file.fields.data())] = true;
      compare_field(*field, other, in_quotes(outer + field->name), outer + field->name + ".");
    }
    for (std::size_t i = 0; i < file.fields.size(); ++i) {
      if (meant[i]) continue;
      differences_.push_back("the file's field " + in_quotes(outer + file.fields[i].name) + " of " +
                             spelling_and_name(file.fields[i].type) +
                             " is not in the requested type");
    }
  }

  void compare_field(record_field const& file, record_field const& wanted, std::string const& name,
                     std::string const& inner) {
    auto const described = [](record_field const& field) {
      return field.fields.empty() ? spelling_and_name(field.type) : std::string("a record");
    };
    if (file.fields.empty() != wanted.fields.empty() ||
        (file.fields.empty() && !same_scalar(file.type, wanted.type))) {
      differences_.push_back(name + " is " + described(file) + " in the file, not " +
                             described(wanted));
      return;
    }
    if (!(file.dims == wanted.dims)) {
      differences_.push_back(name + " has dims " + file.dims.text() + " in the file, not " +
                             wanted.dims.text());
      return;
    }
    if (file.offset != wanted.offset) {
      moved_.push_back(name + " at byte " + std::to_string(file.offset) + ", not " +
                       std::to_string(wanted.offset));
    }
    if (file.fields.empty() && file.type.byte_order != wanted.type.byte_order) {
      moved_.push_back(name + " as " + in_quotes(spelling(file.type)));
    }
    compare({file.type, file.fields}, {wanted.type, wanted.fields}, inner);
  }

  strings differences_;
  strings moved_;
};

/// Converts elements of a file to the requested type, which may differ only in field offsets and
/// byte order.
template <class Lazy = void> class element_conversion {
 public:
  element_conversion(element_type const& file, element_type const& wanted)
      : file_bytes_(file.type.item_bytes), wanted_bytes_(wanted.type.item_bytes) {
    add_element(file, wanted, 0, 0);
  }

  /// Whether the conversion is a plain copy.
  bool copies() const {
    return file_bytes_ == wanted_bytes_ &&
           std::all_of(parts_.begin(), parts_.end(), [](scalars const& part) {
             return part.from == part.to && part.swapped <= 1 && !part.is_bool;
           });
  }
  std::size_t file_bytes() const { return file_bytes_; }

  /// Converts `count` elements. Padding between the fields becomes 0.
  void apply(std::byte const* from, std::byte* to, std::size_t count) const {
    bool const gaps = parts_.size() > 1 || parts_.front().bytes != wanted_bytes_;
    if (gaps) std::memset(to, 0, count * wanted_bytes_);
    for (; count > 0; --count, from += file_bytes_, to += wanted_bytes_) {
      for (auto const& part : parts_) copy_part(part, from + part.from, to + part.to);
    }
  }

 private:
  /// Consecutive scalars of one type.
  struct scalars {
    std::size_t from;
    std::size_t to;
    std::size_t bytes;
    std::size_t swapped;  // bytes per group that is reversed; 0 or 1: none
    bool is_bool;
  };

  void add_scalars(dtype const& file, std::size_t from, std::size_t to, std::size_t bytes) {
    parts_.push_back(
        {from, to, bytes, is_foreign(file) ? swapped_bytes(file) : 0, file.kind == 'b'});
  }

  void add_element(element_type const& file, element_type const& wanted, std::size_t from,
                   std::size_t to) {
    if (file.fields.empty()) return add_scalars(file.type, from, to, file.type.item_bytes);
    for (std::size_t i = 0; i < wanted.fields.size(); ++i) {
      auto const& field = *matching_field(file, wanted, i);
      auto const& other = wanted.fields[i];
      auto const field_from = from + field.offset;
      auto const field_to = to + other.offset;
      if (field.fields.empty()) {
        add_scalars(field.type, field_from, field_to, field.bytes());
        continue;
      }
      element_type const inner{field.type, field.fields};
      element_type const other_inner{other.type, other.fields};
      for (std::size_t k = 0, n = field.dims.count(); k != n; ++k) {
        add_element(inner, other_inner, field_from + k * field.type.item_bytes,
                    field_to + k * other.type.item_bytes);
      }
    }
  }

  static void copy_part(scalars const& p, std::byte const* from, std::byte* to) {
    if (p.is_bool) {
      // A file may hold values other than 0 and 1, which are undefined behaviour in a bool.
      std::transform(from, from + p.bytes, to,
                     [](std::byte b) { return b == std::byte{0} ? b : std::byte{1}; });
    } else {
      std::memcpy(to, from, p.bytes);
    }
    if (p.swapped <= 1) return;
    for (auto* at = to; at != to + p.bytes; at += p.swapped) std::reverse(at, at + p.swapped);
  }

  std::size_t file_bytes_;
  std::size_t wanted_bytes_;
  std::vector<scalars> parts_;
};

// Sequential reading of an array's bytes, compressed or not.

template <class Lazy = void> class array_reader {
 public:
  /// `source` is the file. It and `array` must outlive the reader.
  array_reader(byte_source const& source, stored_array const& array)
      : source_(&source), array_(&array), section_(array.packed), at_(array.offset) {
    if (section_.method != compression::none) {
      decompressed_.emplace(source, section_);
    } else if (section_.crc32) {
      add_to_checksum(section_.offset, array.offset);
    }
  }

  /// Bytes to allocate at first: exact if not compressed, else an estimate. Memory for more is
  /// allocated when the bytes have been read.
  std::size_t expected_bytes() const {
    constexpr std::size_t smallest = std::size_t{1} << 22U;
    constexpr std::size_t usual_ratio = 4;
    if (!decompressed_) return array_->bytes;
    return std::min(array_->bytes, std::max(smallest, section_.bytes * usual_ratio));
  }

  /// Reads the next bytes.
  /// Errors: format_error, also for compressed data that is truncated.
  void read(std::span<char> out) {
    constexpr std::size_t piece_bytes = std::size_t{1} << 20U;
    while (!out.empty()) {
      // Small pieces, which are still in the cache when the checksum is computed.
      auto const piece = out.first(
          section_.crc32 && !decompressed_ ? std::min(out.size(), piece_bytes) : out.size());
      if (decompressed_) {
        decompressed_->read(at_, piece);
      } else {
        source_->read(at_, piece);
        if (section_.crc32) sum_.add({piece.data(), piece.size()});
      }
      at_ += piece.size();
      out = out.subspan(piece.size());
    }
  }

  /// Checks the checksum, if there is one. To be called after the last byte.
  /// Errors: format_error.
  void finish() {
    if (decompressed_) {
      decompressed_->check_end();
    } else if (section_.crc32) {
      add_to_checksum(at_, section_.offset + section_.bytes);
      if (sum_.value() != *section_.crc32) {
        source_->fail("the array's data is damaged: its checksum (CRC-32) is wrong");
      }
    }
  }

 private:
  void add_to_checksum(std::size_t from, std::size_t to) {
    std::array<char, 4096> buffer;
    while (from < to) {
      auto const piece = std::span(buffer).first(std::min(buffer.size(), to - from));
      source_->read(from, piece);
      sum_.add({piece.data(), piece.size()});
      from += piece.size();
    }
  }

  byte_source const* source_;
  stored_array const* array_;
  compressed_section section_;
  std::size_t at_;
  std::optional<decompressed_source<Lazy>> decompressed_{};
  crc32_sum sum_{};
};

}  // namespace forkmap::detail
