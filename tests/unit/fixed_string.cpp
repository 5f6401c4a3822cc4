// SPDX-License-Identifier: MIT
#include <stdexcept>
#include <string>
#include <type_traits>

#include <forkmap/fixed_string.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;
using short_name = fm::fixed_string<5>;

static_assert(std::is_trivially_copyable_v<short_name> && sizeof(short_name) == 5);
static_assert(sizeof(fm::fixed_u32string<3>) == 12 && short_name::capacity() == 5);

TEST_CASE("fixed_string: holds up to N characters, padded with zeros", "[array]") {
  short_name const text = "abc";
  CHECK(text.view() == "abc");
  CHECK(text.size() == 3);
  CHECK(text.data()[3] == '\0');
  CHECK(text.data()[4] == '\0');
  CHECK(short_name("abcde").view() == "abcde");
  CHECK(short_name("").view().empty());
  CHECK(short_name(std::string("xy")).size() == 2);
  std::string const copy{std::string_view(text)};
  CHECK(copy == "abc");
}

TEST_CASE("fixed_string: zeros in the middle are part of the text, those at the end are not",
          "[array]") {
  using namespace std::string_view_literals;
  CHECK(short_name("a\0b\0"sv).size() == 3);
}

TEST_CASE("fixed_string: compares as text", "[array]") {
  short_name const a = "a", b = "b";
  CHECK(a == short_name("a"));
  CHECK(a != b);
  CHECK(a < b);
  CHECK(a == "a");
  CHECK("a" == a);
  CHECK(b > "a");
  CHECK(a == std::string("a"));
  CHECK(fm::fixed_u32string<4>(U"\u00e9") == U"\u00e9");
}

TEST_CASE("fixed_string: a text that is too long is an error that names both lengths", "[array]") {
  CHECK_THROWS_AS(short_name("abcdef"), std::length_error);
  CHECK_THROWS_WITH(short_name("abcdef"),
                    ContainsSubstring("6 characters") && ContainsSubstring("of 5"));
}
