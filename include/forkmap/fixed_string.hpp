// Strings of fixed size as elements of arrays: NumPy's S and U.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <array>
#include <compare>
#include <concepts>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <string_view>

namespace forkmap {

/// A string of at most N characters, padded with zeros, as an element of an array or a record.
///
/// Shape: exactly N characters. char: NumPy's `S<N>`, bytes in the program's encoding. char32_t:
///   NumPy's `U<N>`, code points.
/// Errors: std::length_error if the text is longer than N, naming both lengths.
/// Forking: trivially copyable.
/// Example: `load<fixed_string<8>>("names.npy")[0].view()`
template <class Char, std::size_t N>
  requires(std::same_as<Char, char> || std::same_as<Char, char32_t>)
class basic_fixed_string {
  static_assert(N > 0, "forkmap: a fixed_string must have room for at least one character");

 public:
  using view_type = std::basic_string_view<Char>;

  basic_fixed_string() = default;
  constexpr basic_fixed_string(view_type text)  // NOLINT(google-explicit-constructor)
      : characters_{} {
    if (text.size() > N) throw_too_long(text.size());
    std::copy(text.begin(), text.end(), characters_.begin());
  }
  constexpr basic_fixed_string(Char const* text)  // NOLINT(google-explicit-constructor)
      : basic_fixed_string(view_type(text)) {}

  /// The text without the padding.
  constexpr view_type view() const noexcept {
    auto size = N;
    while (size > 0 && characters_[size - 1] == Char{}) --size;
    return {characters_.data(), size};
  }
  constexpr operator view_type() const noexcept { return view(); }  // NOLINT

  /// The length of the text without the padding.
  constexpr std::size_t size() const noexcept { return view().size(); }
  /// N.
  static constexpr std::size_t capacity() noexcept { return N; }
  /// The N characters; not zero-terminated if the text has N characters.
  constexpr Char const* data() const noexcept { return characters_.data(); }

  /// Compares the texts; the other operand may be any string.
  template <std::convertible_to<view_type> Text>
  friend constexpr bool operator==(basic_fixed_string const& a, Text const& b) {
    return a.view() == view_type(b);
  }
  template <std::convertible_to<view_type> Text>
  friend constexpr auto operator<=>(basic_fixed_string const& a, Text const& b) {
    return a.view() <=> view_type(b);
  }

 private:
  [[noreturn]] static void throw_too_long(std::size_t size) {
    throw std::length_error("forkmap: a text of " + std::to_string(size) +
                            " characters does not fit into a fixed_string of " + std::to_string(N));
  }

  std::array<Char, N> characters_;
};

/// NumPy's `S<N>`.
template <std::size_t N> using fixed_string = basic_fixed_string<char, N>;
/// NumPy's `U<N>`.
template <std::size_t N> using fixed_u32string = basic_fixed_string<char32_t, N>;

}  // namespace forkmap
