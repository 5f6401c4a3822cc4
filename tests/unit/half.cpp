// SPDX-License-Identifier: MIT
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include <forkmap/half.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;

static_assert(std::is_trivially_copyable_v<fm::half> && std::is_trivial_v<fm::half>);
static_assert(sizeof(fm::half) == 2 && alignof(fm::half) == alignof(std::uint16_t));
static_assert(std::is_convertible_v<fm::half, float> && !std::is_convertible_v<float, fm::half>);
static_assert(fm::half(1.5F) == 1.5F);

namespace {

fm::half of_bits(unsigned bits) { return fm::half::from_bits(static_cast<std::uint16_t>(bits)); }

/// The value of a half by IEEE 754, computed with doubles.
double meaning(unsigned bits) {
  double const sign = (bits & 0x8000U) != 0 ? -1.0 : 1.0;
  int const exponent = static_cast<int>((bits >> 10U) & 31U);
  double const significand = bits & 1023U;
  return exponent == 0 ? sign * std::ldexp(significand, -24)
                       : sign * std::ldexp(1024 + significand, exponent - 25);
}

}  // namespace

TEST_CASE("half: every value converts to the float of IEEE 754 and back", "[array]") {
  for (unsigned bits = 0; bits < 0x10000U; ++bits) {
    if ((bits & 0x7c00U) == 0x7c00U) continue;
    float const value = of_bits(bits);
    if (double{value} != meaning(bits)) FAIL("bits " << bits << " are " << value);
    if (fm::half(value).bits() != bits) FAIL(value << " does not convert back");
  }
  CHECK(std::signbit(static_cast<float>(of_bits(0x8000U))));
}

TEST_CASE("half: infinities and NaNs are preserved", "[array]") {
  constexpr auto infinity = std::numeric_limits<float>::infinity();
  CHECK(of_bits(0x7c00U) == infinity);
  CHECK(of_bits(0xfc00U) == -infinity);
  CHECK(fm::half(infinity).bits() == 0x7c00U);
  CHECK(fm::half(-infinity).bits() == 0xfc00U);
  for (unsigned bits = 0x7c01U; bits < 0x8000U; ++bits) {
    if (!std::isnan(static_cast<float>(of_bits(bits)))) FAIL("bits " << bits << " are not a NaN");
    if (fm::half(of_bits(bits)).bits() != bits) FAIL("the NaN of bits " << bits << " changes");
  }
  // The payload of this NaN is entirely in bits that a half lacks.
  CHECK((fm::half(std::bit_cast<float>(0x7f800001U)).bits() & 0x3ffU) != 0);
}

TEST_CASE("half: floats round to the nearest half, ties to even", "[array]") {
  for (unsigned bits = 0; bits < 0x7bffU; ++bits) {
    auto const middle = static_cast<float>((meaning(bits) + meaning(bits + 1)) / 2);
    auto const even = bits % 2 == 0 ? bits : bits + 1;
    auto const below = fm::half(std::nextafter(middle, 0.0F)).bits();
    auto const above = fm::half(std::nextafter(middle, 1e9F)).bits();
    if (fm::half(middle).bits() != even || below != bits || above != bits + 1 ||
        fm::half(-middle).bits() != (even | 0x8000U)) {
      FAIL("around " << middle);
    }
  }
}

TEST_CASE("half: values that are too large become infinite, too small ones become zero",
          "[array]") {
  CHECK(fm::half(65519.99F).bits() == 0x7bffU);
  CHECK(fm::half(65520.0F).bits() == 0x7c00U);
  CHECK(fm::half(1e30F).bits() == 0x7c00U);
  CHECK(fm::half(std::ldexp(1.0F, -25)).bits() == 0);
  CHECK(fm::half(std::nextafter(std::ldexp(1.0F, -25), 1.0F)).bits() == 1);
  CHECK(fm::half(-std::numeric_limits<float>::denorm_min()).bits() == 0x8000U);
}
