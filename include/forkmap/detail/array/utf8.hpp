// UTF-8 and code points, by a header of Boost.Locale that needs no library to link.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include <boost/locale/utf.hpp>

#include <forkmap/detail/lazily.hpp>

namespace forkmap::detail {

using utf8_traits = boost::locale::utf::utf_traits<char>;

template <class Lazy = void> void append_utf8(std::string& out, std::uint32_t point) {
  boost::locale::utf::code_point const valid =
      boost::locale::utf::is_valid_codepoint(point) ? point : 0xfffdU;  // the replacement character
  utf8_traits::encode(valid, std::back_inserter(out));
}

/// Removes the next code point from `text` and returns it; boost::locale::utf::illegal if invalid.
template <class Lazy = void> std::uint32_t next_code_point(std::string_view& text) {
  auto const* at = text.data();
  auto const* const end = at + text.size();
  auto const point = utf8_traits::decode(at, end);
  text.remove_prefix(static_cast<std::size_t>(at - text.data()));
  // No text follows, so an incomplete sequence is illegal, too.
  return point == boost::locale::utf::incomplete ? boost::locale::utf::illegal : point;
}

template <class Lazy = void> bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

template <class Lazy = void> bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    if (next_code_point(text) == boost::locale::utf::illegal) return false;
  }
  return true;
}

/// UTF-8 of a text in Latin-1 (ISO 8859-1), whose bytes are code points.
template <class Lazy = void> std::string utf8_from_latin1(std::string_view text) {
  std::string result;
  for (char const c : text) append_utf8(result, static_cast<unsigned char>(c));
  return result;
}

/// Latin-1 of a text in UTF-8, or nothing if Latin-1 lacks one of the characters.
template <class Lazy = void>
std::optional<lazily<std::string, Lazy>> latin1_from_utf8(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    auto const point = next_code_point(text);
    if (point > 0xffU) return {};
    result += static_cast<char>(point);
  }
  return result;
}

}  // namespace forkmap::detail
