// 16-bit floating-point number: NumPy's float16.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <bit>
#include <cstdint>

namespace forkmap {

/// An IEEE 754 binary16 number in a file or an array. It converts to float for arithmetic.
///
/// Shape: two bytes, laid out as std::uint16_t: 1 sign bit, 5 exponent bits, 10 significand bits.
/// Units: values from 6e-8 to 65504, about three decimal digits.
/// Cost: a conversion is a few integer operations; no special processor instruction is used.
/// Forking: trivially copyable.
/// Source: IEEE 754-2008, 3.6; rounds to nearest, ties to even, as NumPy does.
/// Example: `auto const image = load<half>("image.npy"); float const first = image[0];`
class half {
 public:
  half() = default;

  /// The nearest half; infinity if the magnitude is 65520 or more. A NaN stays a NaN and keeps the
  /// part of its payload that fits.
  constexpr explicit half(float value) noexcept
      : bits_(rounded(std::bit_cast<std::uint32_t>(value))) {}

  /// The same number as a float, exactly.
  constexpr operator float() const noexcept {  // NOLINT(google-explicit-constructor): it widens
    return std::bit_cast<float>(widened(bits_));
  }

  /// The half with this representation.
  static constexpr half from_bits(std::uint16_t bits) noexcept {
    half result{};
    result.bits_ = bits;
    return result;
  }
  /// The representation.
  constexpr std::uint16_t bits() const noexcept { return bits_; }

 private:
  // A float has 13 more significand bits, and its exponent bias is larger by 112.
  static constexpr unsigned more_bits = 13;
  static constexpr std::uint32_t more_bias = 112;

  static constexpr std::uint16_t rounded(std::uint32_t from) noexcept {
    std::uint32_t const sign = (from >> 16U) & 0x8000U;
    std::uint32_t const magnitude = from & 0x7fffffffU;
    std::uint32_t result = 0;
    if (magnitude > 0x7f800000U) {  // NaN: keep at least one significand bit
      result = 0x7c00U | ((magnitude >> more_bits) & 0x3ffU);
      if (result == 0x7c00U) result |= 1U;
    } else if (magnitude >= 0x477ff000U) {  // 65520, halfway between 65504 and infinity
      result = 0x7c00U;
    } else if (magnitude >= 0x38800000U) {  // 2^-14, the smallest normal half
      // A carry out of the significand correctly increments the exponent.
      result = nearest_even(magnitude - (more_bias << 23U), more_bits);
    } else if (magnitude > 0x33000000U) {  // above 2^-25, half of the smallest half
      auto const exponent = magnitude >> 23U;
      result = nearest_even((magnitude & 0x7fffffU) | 0x800000U, 126 - exponent);
    }
    return static_cast<std::uint16_t>(sign | result);
  }

  /// value / 2^shift, rounded to nearest, ties to even.
  static constexpr std::uint32_t nearest_even(std::uint32_t value, std::uint32_t shift) noexcept {
    std::uint32_t const odd = (value >> shift) & 1U;
    return (value + (1U << (shift - 1)) - 1U + odd) >> shift;
  }

  static constexpr std::uint32_t widened(std::uint16_t from) noexcept {
    std::uint32_t const sign = (std::uint32_t{from} & 0x8000U) << 16U;
    std::uint32_t const exponent = (from >> 10U) & 0x1fU;
    std::uint32_t const significand = from & 0x3ffU;
    if (exponent == 0x1f) return sign | 0x7f800000U | (significand << more_bits);
    if (exponent != 0) return sign | ((exponent + more_bias) << 23U) | (significand << more_bits);
    if (significand == 0) return sign;
    // A subnormal half is a normal float: its highest set bit becomes the implicit one.
    auto const shift = static_cast<std::uint32_t>(std::countl_zero(significand)) - 21U;
    return sign | ((more_bias + 1 - shift) << 23U) |
           (((significand << shift) & 0x3ffU) << more_bits);
  }

  std::uint16_t bits_;
};

static_assert(sizeof(half) == 2);

}  // namespace forkmap
