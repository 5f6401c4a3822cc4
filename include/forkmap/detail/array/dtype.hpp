// Element types of arrays: in C++, and in NumPy's spelling.
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <charconv>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

#include <forkmap/detail/lazily.hpp>
#include <forkmap/fixed_string.hpp>
#include <forkmap/half.hpp>
#include <forkmap/shape.hpp>

namespace forkmap::detail {

/// One dtype: '<f8' is kind 'f', 8 bytes, order '<'.
struct dtype {
  // b bool, i u integer, f float, c complex, S U text, V record; M m time (only inspect reads it)
  char kind = 'V';
  char byte_order = '|';       // '<', '>', or '|' if it has no meaning
  std::size_t item_bytes = 0;  // of one element

  friend constexpr bool operator==(dtype const&, dtype const&) = default;
};

inline constexpr char native_order = std::endian::native == std::endian::little ? '<' : '>';

template <class T> inline constexpr bool is_complex = false;
template <class T> inline constexpr bool is_complex<std::complex<T>> = std::floating_point<T>;

/// Characters of a text of fixed size; 0 for other types. A std::array of char is also a text.
template <class T> inline constexpr std::size_t text_length = 0;
template <class Char, std::size_t N>
inline constexpr std::size_t text_length<basic_fixed_string<Char, N>> = N;
template <std::size_t N> inline constexpr std::size_t text_length<std::array<char, N>> = N;
template <std::size_t N> inline constexpr std::size_t text_length<std::array<char32_t, N>> = N;

/// An element that is not a record.
template <class T>
concept array_scalar = std::same_as<T, std::remove_cvref_t<T>> &&
                       (std::integral<T> || std::floating_point<T> || is_complex<T> ||
                        std::same_as<T, std::byte> || std::same_as<T, half> || text_length<T> > 0);

template <array_scalar T> constexpr dtype dtype_of() {
  char const order = sizeof(T) == 1 ? '|' : native_order;
  if constexpr (std::same_as<T, bool>) {
    static_assert(sizeof(bool) == 1, "forkmap: array files hold one byte per bool");
    return {'b', order, 1};
  } else if constexpr (std::same_as<T, std::byte>) {
    return {'u', order, 1};
  } else if constexpr (std::integral<T>) {
    return {std::is_signed_v<T> ? 'i' : 'u', order, sizeof(T)};
  } else if constexpr (std::floating_point<T> || std::same_as<T, half>) {
    return {'f', order, sizeof(T)};
  } else if constexpr (text_length<T> > 0) {
    static_assert(sizeof(T) == text_length<T> || sizeof(T) == text_length<T> * sizeof(char32_t));
    bool const bytes = sizeof(T) == text_length<T>;
    return {bytes ? 'S' : 'U', bytes ? '|' : native_order, sizeof(T)};
  } else {
    return {'c', order, sizeof(T)};
  }
}

/// Size of the groups of bytes that a change of byte order reverses: the halves of a complex
/// number, the characters of a Unicode text, otherwise the whole element.
constexpr std::size_t swapped_bytes(dtype const& type) {
  if (type.kind == 'U') return sizeof(char32_t);
  return type.kind == 'c' ? type.item_bytes / 2 : type.item_bytes;
}

constexpr bool is_foreign(dtype const& type) {
  return type.byte_order != '|' && type.byte_order != native_order;
}

/// NumPy's spelling: '<f8', '|b1'.
template <class Lazy = void> std::string spelling(dtype const& type) {
  auto const number = type.kind == 'U' ? type.item_bytes / 4 : type.item_bytes;
  return std::string{type.byte_order, type.kind} + std::to_string(number);
}

/// The C++ type to pass to load; empty if there is none.
template <class Lazy = void> std::string cpp_name(dtype const& type) {
  auto const text = [&type](char const* name, std::size_t character_bytes) {
    if (type.item_bytes == 0) return std::string();
    return name + ("<" + std::to_string(type.item_bytes / character_bytes) + ">");
  };
  switch (type.kind) {
    case 'S':
      return text("fixed_string", 1);
    case 'U':
      return text("fixed_u32string", sizeof(char32_t));
    case 'b':
      return "bool";
    case 'i':
      switch (type.item_bytes) {
        case 1:
          return "std::int8_t";
        case 2:
          return "std::int16_t";
        case 4:
          return "std::int32_t";
        default:
          return "std::int64_t";
      }
    case 'u':
      switch (type.item_bytes) {
        case 1:
          return "std::uint8_t";
        case 2:
          return "std::uint16_t";
        case 4:
          return "std::uint32_t";
        default:
          return "std::uint64_t";
      }
    case 'f':
      if (type.item_bytes == sizeof(half)) return "half";
      if (type.item_bytes == sizeof(float)) return "float";
      if (type.item_bytes == sizeof(double)) return "double";
      if (type.item_bytes == sizeof(long double)) return "long double";
      return {};
    case 'c':
      if (type.item_bytes == sizeof(std::complex<float>)) return "std::complex<float>";
      if (type.item_bytes == sizeof(std::complex<double>)) return "std::complex<double>";
      if (type.item_bytes == sizeof(std::complex<long double>)) return "std::complex<long double>";
      return {};
    default:
      return {};
  }
}

/// Parses NumPy's spelling. Returns nothing if NumPy does not write it so. 'O' (Python objects) has
/// 0 bytes.
template <class Lazy = void> std::optional<lazily<dtype, Lazy>> parse_dtype(std::string_view text) {
  dtype result;
  bool const has_order =
      !text.empty() && (text[0] == '<' || text[0] == '>' || text[0] == '|' || text[0] == '=');
  char const order = has_order ? text[0] : '=';
  text.remove_prefix(has_order ? 1 : 0);
  if (text == "O" || text == "O8") return dtype{'O', '|', 0};
  if (text.size() < 2) return {};
  result.kind = text[0];
  text.remove_prefix(1);

  // datetime64 and timedelta64 name their unit: M8[ns].
  if ((result.kind == 'M' || result.kind == 'm') && text.size() > 1 && text[1] == '[' &&
      text.back() == ']') {
    text = text.substr(0, 1);
  }
  std::uint32_t number = 0;
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  if (text.size() > 1 && text[0] == '0') return {};

  auto const is = [number](auto... allowed) { return ((number == allowed) || ...); };
  bool known = false;
  switch (result.kind) {
    case 'b':
      known = is(1U);
      break;
    case 'i':
    case 'u':
      known = is(1U, 2U, 4U, 8U);
      break;
    case 'f':
      known = is(2U, 4U, 8U, 12U, 16U);
      break;
    case 'c':
      known = is(8U, 16U, 24U, 32U);
      break;
    case 'M':
    case 'm':
      known = is(8U);
      break;
    case 'S':
    case 'U':
    case 'V':
      known = true;
      break;
    default:
      break;
  }
  if (!known) return {};

  result.item_bytes = std::size_t{number} * (result.kind == 'U' ? 4U : 1U);
  bool const ordered =
      result.kind == 'U' || (result.item_bytes > 1 && result.kind != 'S' && result.kind != 'V');
  // '|' means no byte order. For numbers of two bytes or more, assuming one would be a guess.
  if (ordered && order == '|') return {};
  result.byte_order = !ordered ? '|' : order == '=' ? native_order : order;
  return result;
}

// Records (NumPy's structured dtypes), in a file or in C++.

/// One field of a record. A nested record has kind 'V' and fields of its own.
struct record_field {
  std::string name;              // UTF-8
  std::size_t offset = 0;        // from the record's first byte
  dtype type;                    // of one element
  shape dims = shape::scalar();  // of a sub-array; scalar if it is none
  std::vector<record_field> fields{};

  /// Size of all its elements.
  std::size_t bytes() const { return dims.count() * type.item_bytes; }

  friend bool operator==(record_field const&, record_field const&) = default;
};

/// The type of an array's elements. `fields` is empty except for a record, whose type has kind 'V'.
struct element_type {
  dtype type{};
  std::vector<record_field> fields{};  // in the order of their offsets
};

}  // namespace forkmap::detail
