// UTF-8 and code points, by Boost.Locale's header of that: nothing to link.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>

#include <boost/locale/utf.hpp>

#include <forkmap/system/lazily.hpp>

namespace forkmap::detail {

using utf8_traits = boost::locale::utf::utf_traits<char>;

template <class Lazy = void> void append_utf8(std::string& out, std::uint32_t point) {
  boost::locale::utf::code_point const valid =
      boost::locale::utf::is_valid_codepoint(point) ? point : 0xfffdU;  // what Unicode puts instead
  utf8_traits::encode(valid, std::back_inserter(out));
}

/// The next code point, which is taken off `text`; boost::locale::utf::illegal for what is none.
template <class Lazy = void> std::uint32_t next_code_point(std::string_view& text) {
  auto const* at = text.data();
  auto const* const end = at + text.size();
  auto const point = utf8_traits::decode(at, end);
  text.remove_prefix(static_cast<std::size_t>(at - text.data()));
  // An incomplete one is as bad as an illegal one here, where nothing follows.
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

/// Latin-1 (ISO 8859-1), whose bytes are code points.
template <class Lazy = void> std::string utf8_from_latin1(std::string_view text) {
  std::string result;
  for (char const c : text) append_utf8(result, static_cast<unsigned char>(c));
  return result;
}

/// Nothing if there is a character that Latin-1 lacks. `text` is UTF-8.
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
