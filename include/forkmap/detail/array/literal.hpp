// Strict parser of the Python literals that occur in an array's header.
// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>

#include <forkmap/detail/array/utf8.hpp>
#include <forkmap/error.hpp>

namespace forkmap::detail {

/// Text from a file for an error message: short, printable, in quotes.
template <class Lazy = void> std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 40;
  constexpr std::string_view digits = "0123456789abcdef";
  std::string result = "'";
  for (char const c : text.substr(0, longest)) {
    auto const byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      result += c;
    } else {
      result += {'\\', 'x', digits[byte >> 4U], digits[byte & 15U]};
    }
  }
  return result + (text.size() > longest ? "'..." : "'");
}

/// Reads token after token. A syntax error is a format_error with the file and the position.
template <class Lazy = void> class literal_reader {
 public:
  literal_reader(std::string_view text, std::filesystem::path const& file)
      : text_(text), file_(&file) {}

  [[noreturn]] void fail(std::string const& problem) const {
    throw format_error("forkmap: " + file_->string() + ": header, at character " +
                           std::to_string(at_) + ": " + problem,
                       *file_);
  }

  /// The next character that is not a space, or '\0' at the end. No caller accepts a real NUL.
  char peek() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
    return at_ < text_.size() ? text_[at_] : '\0';
  }

  bool accept(char c) {
    if (peek() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(std::string("expected '") + c + "', found " + found());
  }

  void expect_end() {
    peek();
    if (at_ != text_.size()) fail("unexpected " + found() + " after the end of the literal");
  }

  /// Text in single or double quotes, without escapes.
  std::string_view string() {
    char const quote = peek();
    if (quote != '\'' && quote != '"') fail("expected a string, found " + found());
    auto const start = ++at_;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] == '\\' || text_[at_] == '\n') fail("the string has an escape or a line end");
      ++at_;
    }
    if (at_ == text_.size()) fail("the string has no closing quote");
    return text_.substr(start, at_++ - start);
  }

  /// A string that may have escapes, as field names do. Returns: UTF-8.
  std::string text() {
    char const quote = peek();
    if (quote != '\'' && quote != '"') fail("expected a string, found " + found());
    std::string result;
    for (++at_; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (text_[at_] == '\n') fail("the string has no closing quote");
      if (text_[at_] == '\\') {
        append_escaped(result);
      } else {
        result += text_[at_];
      }
    }
    if (at_ == text_.size()) fail("the string has no closing quote");
    ++at_;
    return result;
  }

  bool boolean() {
    peek();
    for (auto const& [word, value] : {word_value{"True", true}, word_value{"False", false}}) {
      if (text_.substr(at_).starts_with(word) && !is_word(at_ + word.size())) {
        at_ += word.size();
        return value;
      }
    }
    fail("expected True or False, found " + found());
  }

  /// A non-negative integer; Python 2's 10L is taken too, as NumPy does.
  std::size_t integer() {
    if (peek() == '-') fail("expected a non-negative number, found " + found());
    auto const start = at_;
    std::size_t result = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      auto const digit = static_cast<std::size_t>(text_[at_] - '0');
      if (result > (std::numeric_limits<std::size_t>::max() - digit) / 10) {
        fail("the number does not fit in 64 bits");
      }
      result = result * 10 + digit;
    }
    if (at_ == start) fail("expected a number, found " + found());
    if (at_ - start > 1 && text_[start] == '0') fail("the number begins with 0");
    if (at_ < text_.size() && text_[at_] == 'L') ++at_;
    if (is_word(at_)) fail("expected a number, found " + in_quotes(text_.substr(start)));
    return result;
  }

 private:
  struct word_value {
    std::string_view word;
    bool value;
  };

  /// Appends the character of the escape that begins here, and stops at the escape's end.
  void append_escaped(std::string& result) {
    char const kind = ++at_ < text_.size() ? text_[at_] : '\0';
    constexpr std::string_view plain = "\\'\"";
    constexpr std::string_view letters = "ntr";
    constexpr std::string_view characters = "\n\t\r";
    if (plain.find(kind) != std::string_view::npos) {
      result += kind;
    } else if (auto const letter = letters.find(kind); letter != std::string_view::npos) {
      result += characters[letter];
    } else if (kind == 'x' || kind == 'u' || kind == 'U') {
      append_code_point(result, kind == 'x' ? 2 : kind == 'u' ? 4 : 8);
    } else {
      fail("the string has an escape that Python does not write");
    }
  }

  void append_code_point(std::string& result, std::size_t digits) {
    auto const hex = text_.substr(at_ + 1, digits);
    std::uint32_t point = 0;
    auto const [end, error] = std::from_chars(hex.data(), hex.data() + hex.size(), point, 16);
    if (hex.size() != digits || error != std::errc{} || end != hex.data() + digits ||
        !boost::locale::utf::is_valid_codepoint(point)) {
      fail("the string has an escape that is not a valid character");
    }
    append_utf8(result, point);
    at_ += digits;
  }

  static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

  bool is_word(std::size_t at) const {
    if (at >= text_.size()) return false;
    char const c = text_[at];
    return c == '_' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z');
  }

  std::string found() const {
    return at_ < text_.size() ? in_quotes(text_.substr(at_, 16)) : "the end of the header";
  }

  std::string_view text_;
  std::filesystem::path const* file_;
  std::size_t at_ = 0;
};

}  // namespace forkmap::detail
