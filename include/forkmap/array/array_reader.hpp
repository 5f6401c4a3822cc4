// The elements of an array in a file, front to back, whether they lie there as they are or packed.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>

#include <forkmap/array/format.hpp>
#include <forkmap/array/packing.hpp>
#include <forkmap/array/unpacked_source.hpp>
#include <forkmap/system/crc32.hpp>

namespace forkmap::detail {

template <class Lazy = void> class array_reader {
 public:
  /// `source` is the file, and outlives this.
  array_reader(byte_source const& source, stored_array const& array)
      : source_(&source), array_(&array), section_(array.packed), at_(array.offset) {
    if (section_.method != packing::none) {
      unpacked_.emplace(source, section_);
    } else if (section_.crc32) {
      sum(section_.offset, array.offset);
    }
  }

  /// How many bytes are surely there, or likely: memory for more is taken when they have come.
  std::size_t expected_bytes() const {
    constexpr std::size_t smallest = std::size_t{1} << 22U;
    constexpr std::size_t usual_ratio = 4;
    if (!unpacked_) return array_->bytes;
    return std::min(array_->bytes, std::max(smallest, section_.bytes * usual_ratio));
  }

  /// The bytes that come next.
  /// Errors: format_error; what it had to find out of data that is cut short is one too.
  void read(std::span<char> out) {
    constexpr std::size_t piece_bytes = std::size_t{1} << 20U;
    while (!out.empty()) {
      // In pieces that the cache still holds when they are summed up.
      auto const piece =
          out.first(section_.crc32 && !unpacked_ ? std::min(out.size(), piece_bytes) : out.size());
      if (unpacked_) {
        unpacked_->read(at_, piece);
      } else {
        source_->read(at_, piece);
        if (section_.crc32) sum_.add({piece.data(), piece.size()});
      }
      at_ += piece.size();
      out = out.subspan(piece.size());
    }
  }

  /// After the last byte: whether the checksum, if there is one, is right.
  void finish() {
    if (unpacked_) {
      unpacked_->check_end();
    } else if (section_.crc32) {
      sum(at_, section_.offset + section_.bytes);
      if (sum_.value() != *section_.crc32) {
        source_->fail("the array's checksum (CRC-32) is wrong: its data is damaged");
      }
    }
  }

 private:
  void sum(std::size_t from, std::size_t to) {
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
  packed_section section_;
  std::size_t at_;
  std::optional<unpacked_source<Lazy>> unpacked_{};
  crc32_sum sum_{};
};

}  // namespace forkmap::detail
