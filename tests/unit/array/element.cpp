// SPDX-License-Identifier: MIT
#include <array>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>

#include <forkmap/detail/array/descr.hpp>
#include <forkmap/detail/array/element.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using namespace forkmap::detail;

namespace {

struct point {
  float x, y;
};
struct particle {
  double mass;
  point at;
  std::array<std::array<std::int16_t, 2>, 3> spins;
  std::array<char, 4> symbol;
  bool bound;
  fm::half weight;
};
struct trace {
  std::array<point, 2> ends;
  std::uint8_t colour;
};
struct record_base {};
struct with_base : record_base {
  int i;
};
struct with_c_array {
  int i[2];
};
struct record_with_pointer {
  int* p;
};
struct with_string {
  std::string s;
};
struct with_const {
  int const i;
};
struct empty_record {};
enum class colour : std::uint8_t { red };
struct with_enum {
  colour c;
};
struct badly_named {
  int a, b;
};

static_assert(array_element<double> && array_element<fm::half> && array_element<std::byte>);
static_assert(array_element<fm::fixed_string<3>> && array_element<std::array<char32_t, 2>>);
static_assert(array_element<point> && array_element<particle> && array_element<trace>);
static_assert(!array_element<std::array<double, 3>> && !array_element<std::pair<int, int>>);
static_assert(!array_element<with_base> && !array_element<with_c_array>);
static_assert(!array_element<record_with_pointer> && !array_element<with_string>);
static_assert(!array_element<with_const> && !array_element<empty_record> &&
              !array_element<with_enum>);
static_assert(!array_element<std::span<int>> && !array_element<point const>);
static_assert(!array_element<std::array<char, 0>> && !array_element<int*>);

}  // namespace

template <>
inline constexpr auto forkmap::field_names<particle> =
    std::to_array<std::string_view>({"mass", "at", "spins", "symbol", "bound", "weight"});
template <>
inline constexpr auto forkmap::field_names<badly_named> =
    std::to_array<std::string_view>({"a", "a"});

TEST_CASE("element: an aggregate is a record of its members at their offsets", "[array]") {
  auto const record = describe_element<particle>();
  CHECK(record.type == dtype{'V', '|', sizeof(particle)});
  REQUIRE(record.fields.size() == 6);
  CHECK(record.fields[1].offset == offsetof(particle, at));
  CHECK(record.fields[5].offset == offsetof(particle, weight));
  CHECK(descr_literal(record) ==
        "[('mass', '<f8'), ('at', [('f0', '<f4'), ('f1', '<f4')]), ('spins', '<i2', (3, 2)), "
        "('symbol', '|S4'), ('bound', '|b1'), ('', '|V1'), ('weight', '<f2'), ('', '|V4')]");
}

TEST_CASE("element: members without names are named by their positions", "[array]") {
  auto const record = describe_element<trace>();
  CHECK(record.fields[0].name.empty());
  CHECK(descr_literal(record) ==
        "[('f0', [('f0', '<f4'), ('f1', '<f4')], (2,)), ('f1', '|u1'), ('', '|V3')]");
}

TEST_CASE("element: invalid names are refused", "[array]") {
  CHECK_THROWS_WITH(describe_element<badly_named>(),
                    Catch::Matchers::ContainsSubstring("'a' occurs twice"));
}
