// The checksum of journals: CRC-32, as zlib's and Boost's. Not by Boost.CRC: with what it includes it
// was a fifteenth of what all of forkmap adds to the text that a compiler reads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace forkmap::detail {

/// The CRC-32 of bytes that come piece by piece: about 0.4 GB/s.
/// Source: RFC 1952, section 8 (the polynomial 0xedb88320, bits reflected, begin and end inverted).
class journal_checksum {
 public:
  void process_bytes(void const* bytes, std::size_t n) noexcept {
    add({static_cast<char const*>(bytes), n});
  }
  constexpr std::uint32_t checksum() const noexcept { return ~sum_; }

  constexpr void add(std::string_view bytes) noexcept {
    for (char const byte : bytes) {
      sum_ = table[(sum_ ^ static_cast<unsigned char>(byte)) & 0xffU] ^ sum_ >> 8U;
    }
  }

 private:
  static constexpr std::array<std::uint32_t, 256> make_table() noexcept {
    std::array<std::uint32_t, 256> all{};
    for (std::uint32_t i = 0; i != 256; ++i) {
      auto entry = i;
      for (int bit = 0; bit != 8; ++bit) {
        entry = (entry & 1U) != 0 ? 0xedb8'8320U ^ entry >> 1U : entry >> 1U;
      }
      all[i] = entry;
    }
    return all;
  }
  static std::array<std::uint32_t, 256> const table;

  std::uint32_t sum_ = ~std::uint32_t{0};
};

inline constexpr std::array<std::uint32_t, 256> journal_checksum::table = make_table();

/// The value that tells an implementation of CRC-32 right.
static_assert([] {
  journal_checksum sum;
  sum.add("123456789");
  return sum.checksum() == 0xcbf4'3926U;
}());

}  // namespace forkmap::detail
