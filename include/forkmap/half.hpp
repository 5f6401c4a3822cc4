// A floating-point number of 16 bits: NumPy's float16.
#pragma once

#include <bit>
#include <cstdint>

namespace forkmap {

/// IEEE 754 binary16 in a file or an array; to compute with, it becomes a float.
///
/// Shape: two bytes, as std::uint16_t; one bit of sign, five of exponent, ten of significand.
/// Units: 6e-8 to 65504, about three decimal digits.
/// Cost: a few operations of integers each way; no instruction of the processor is asked for.
/// Forking: trivially copyable.
/// Source: IEEE 754-2008, 3.6; to the nearest, ties to even, as NumPy converts.
/// Example: `auto const image = load<half>("image.npy"); float const first = image[0];`
class half {
 public:
  half() = default;

  /// The nearest half, infinity from 65520 on. A NaN stays one, with what fits of its payload.
  constexpr explicit half(float value) noexcept
      : bits_(rounded(std::bit_cast<std::uint32_t>(value))) {}

  /// Every half is exactly a float.
  constexpr operator float() const noexcept {  // NOLINT(google-explicit-constructor): it widens
    return std::bit_cast<float>(widened(bits_));
  }

  static constexpr half from_bits(std::uint16_t bits) noexcept {
    half result{};
    result.bits_ = bits;
    return result;
  }
  constexpr std::uint16_t bits() const noexcept { return bits_; }

 private:
  // A float's significand has 13 bits more, and its exponent's bias is larger by 112.
  static constexpr unsigned more_bits = 13;
  static constexpr std::uint32_t more_bias = 112;

  static constexpr std::uint16_t rounded(std::uint32_t from) noexcept {
    std::uint32_t const sign = (from >> 16U) & 0x8000U;
    std::uint32_t const magnitude = from & 0x7fffffffU;
    std::uint32_t result = 0;
    if (magnitude > 0x7f800000U) {  // NaN: one bit of the significand must be left
      result = 0x7c00U | ((magnitude >> more_bits) & 0x3ffU);
      if (result == 0x7c00U) result |= 1U;
    } else if (magnitude >= 0x477ff000U) {  // 65520, half-way between the largest and the next
      result = 0x7c00U;
    } else if (magnitude >= 0x38800000U) {  // 2^-14, the smallest normal half
      // A carry out of the significand raises the exponent, as it should.
      result = nearest_even(magnitude - (more_bias << 23U), more_bits);
    } else if (magnitude > 0x33000000U) {  // above 2^-25, half of the smallest half
      auto const exponent = magnitude >> 23U;
      result = nearest_even((magnitude & 0x7fffffU) | 0x800000U, 126 - exponent);
    }
    return static_cast<std::uint16_t>(sign | result);
  }

  /// value / 2^shift, to the nearest, ties to even.
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
    // A subnormal half is a normal float: its first bit becomes the hidden one.
    auto const shift = static_cast<std::uint32_t>(std::countl_zero(significand)) - 21U;
    return sign | ((more_bias + 1 - shift) << 23U) |
           (((significand << shift) & 0x3ffU) << more_bits);
  }

  std::uint16_t bits_;
};

static_assert(sizeof(half) == 2);

}  // namespace forkmap
