// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>

#include <forkmap/detail/array/array_reader.hpp>
#include <forkmap/detail/array/descr.hpp>
#include <forkmap/detail/array/element.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

struct inner {
  std::int16_t k;
  double v;
};
struct outer {
  std::int8_t a;
  std::array<inner, 2> b;
  bool c;
};

element_type in_file(std::string const& text) {
  std::filesystem::path const file = "a.npy";
  literal_reader in(text, file);
  return descr_reader(in).read();
}

/// The message about a file of these records when it is loaded as `outer`.
std::string differences(std::string const& text) {
  return record_comparison(in_file(text), describe_element<outer>()).differences();
}

void append_big_endian(std::string& out, std::uint64_t value, int bytes) {
  for (int i = bytes; i-- > 0;) out += static_cast<char>(value >> (8 * i));
}

}  // namespace

template <>
inline constexpr auto forkmap::field_names<inner> = std::to_array<std::string_view>({"k", "v"});
template <>
inline constexpr auto forkmap::field_names<outer> =
    std::to_array<std::string_view>({"a", "b", "c"});

TEST_CASE("conversion: a record with the same layout is copied as it is", "[array]") {
  auto const wanted = describe_element<outer>();
  auto const file = in_file(descr_literal(wanted));
  record_comparison const comparison(file, wanted);
  CHECK(comparison.same());
  CHECK(comparison.same_places());
  // Except for bools, which may have any byte value in a file.
  CHECK(!element_conversion(file, wanted).copies());
  CHECK(element_conversion(in_file(descr_literal(describe_element<inner>())),
                           describe_element<inner>())
            .copies());
}

TEST_CASE("conversion: packed, byte-swapped and reordered fields are moved to the right offsets",
          "[array]") {
  auto const file =
      in_file("[('c', '|b1'), ('b', [('v', '>f8'), ('k', '>i2')], (2,)), ('a', 'i1')]");
  auto const wanted = describe_element<outer>();
  record_comparison const comparison(file, wanted);
  REQUIRE(comparison.same());
  CHECK(!comparison.same_places());
  CHECK_THAT(comparison.moved(), ContainsSubstring("'a' at byte 21, not 0") &&
                                     ContainsSubstring("'b.v' as '>f8'") &&
                                     ContainsSubstring("records of 22 bytes, not 48"));

  std::string bytes;
  for (int record = 0; record < 3; ++record) {
    bytes += '\x07';
    for (int i = 0; i < 2; ++i) {
      append_big_endian(bytes, std::bit_cast<std::uint64_t>(record + i / 2.0), 8);
      append_big_endian(bytes, static_cast<std::uint64_t>(300 + i), 2);
    }
    bytes += static_cast<char>(-record);
  }
  std::array<outer, 3> out;
  std::memset(out.data(), 0xff, sizeof out);
  element_conversion const conversion(file, wanted);
  REQUIRE(conversion.file_bytes() * 3 == bytes.size());
  conversion.apply(reinterpret_cast<std::byte const*>(bytes.data()),
                   reinterpret_cast<std::byte*>(out.data()), 3);
  for (int record = 0; record < 3; ++record) {
    auto const& got = out[static_cast<std::size_t>(record)];
    CHECK(got.a == -record);
    CHECK(got.b[0].k == 300);
    CHECK(got.b[1].k == 301);
    CHECK(got.b[0].v == record);
    CHECK(got.b[1].v == record + 0.5);
    unsigned char truth = 0;
    std::memcpy(&truth, &got.c, 1);
    CHECK(truth == 1);
  }
}

TEST_CASE("conversion: differences are listed field by field", "[array]") {
  constexpr auto b = "('b', [('k', '<i2'), ('v', '<f8')], (2,))";
  auto const with = [&](std::string const& rest) {
    return differences("[" + std::string(b) + ", " + rest + "]");
  };
  CHECK(with("('a', 'i1'), ('c', '|b1')").empty());
  CHECK(with("('a', 'i1')") == "the file has no field 'c' of '|b1' (bool)");
  CHECK(with("('a', '<f4'), ('c', '|b1')") ==
        "'a' is '<f4' (float) in the file, not '|i1' (std::int8_t)");
  CHECK(with("('a', 'i1'), ('c', '|b1'), ('d', '<M8')") ==
        "the file's field 'd' of '<M8' is not in the requested type");
  CHECK(with("('a', 'i1', (2,)), ('c', '|b1')") == "'a' has dims (2,) in the file, not ()");
  CHECK(with("('a', [('z', 'i1')]), ('c', '|b1')") ==
        "'a' is a record in the file, not '|i1' (std::int8_t)");
  CHECK(differences("[('a', 'i1'), ('b', [('k', '<i4'), ('v', '<f8')], (2,)), ('c', '|b1')]") ==
        "'b.k' is '<i4' (std::int32_t) in the file, not '<i2' (std::int16_t)");
}

TEST_CASE("conversion: a long list of differences is truncated", "[array]") {
  std::string many = "[";
  for (int i = 0; i < 100; ++i) many += "('field" + std::to_string(i) + "', '<f8'),";
  auto const text = differences(many + "]");
  CHECK_THAT(text, ContainsSubstring("and 95 more"));
  CHECK(text.size() < 1000);
}
