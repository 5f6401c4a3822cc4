// SPDX-License-Identifier: MIT
#include <filesystem>
#include <string>

#include <forkmap/detail/array/descr.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

element_type read(std::string_view text) {
  std::filesystem::path const file = "a.npy";
  literal_reader in(text, file);
  auto result = descr_reader(in).read();
  in.expect_end();
  return result;
}

}  // namespace

TEST_CASE("descr: records are read with names, offsets, sub-arrays and nesting", "[array]") {
  auto const record = read(
      "[('x', '<f8'), ('n', '<i4', (3,)), ('', '|V4'), (('its title', 'p'), "
      "[('u', '|i1'), ('', '|V7'), ('v', '>i8')], (2, 1))]");
  CHECK(record.type == dtype{'V', '|', 56});
  REQUIRE(record.fields.size() == 3);
  CHECK(record.fields[0].name == "x");
  CHECK(record.fields[1].offset == 8);
  CHECK(record.fields[1].dims == fm::shape{3});
  CHECK(record.fields[2].name == "p");
  CHECK(record.fields[2].offset == 24);
  CHECK(record.fields[2].dims == fm::shape{2, 1});
  REQUIRE(record.fields[2].fields.size() == 2);
  CHECK(record.fields[2].fields[1].offset == 8);
  CHECK(record.fields[2].fields[1].type == dtype{'i', '>', 8});
}

TEST_CASE("descr: a description is written back as it was read", "[array]") {
  for (std::string const text :
       {"'<f8'", "'|S5'", "[('x', '<f8'), ('n', '<i4', (3,))]", "[('', '|V4'), ('a', '<i4')]",
        "[('p', [('x', '<f4'), ('y', '<f4')]), ('t', [('a', '|i1'), ('', '|V7'), ('b', '<i8')], "
        "(2,))]",
        "[('v', '|V7'), ('b', '|b1'), ('', '|V8')]", "[(\"it's\", '<i4'), ('a\\\\b\\n', '|i1')]",
        "[('\u4e2d', '<f8')]"}) {
    CHECK(descr_literal(read(text)) == text);
  }
}

TEST_CASE("descr: escape sequences are those that Python writes", "[array]") {
  auto const name = [](std::string const& literal) {
    return read("[(" + literal + ", '<f8')]").fields.front().name;
  };
  CHECK(name(R"('\x41\u00e9\U0001f600')") == "A\u00e9\U0001f600");
  CHECK(name(R"("\"\'\t\r")") == "\"'\t\r");
  CHECK_THROWS_WITH(name(R"('\q')"), ContainsSubstring("an escape"));
  CHECK_THROWS_WITH(name(R"('\ud800')"), ContainsSubstring("not a valid character"));
  CHECK_THROWS_WITH(name(R"('\x4')"), ContainsSubstring("not a valid character"));
}

TEST_CASE("descr: invalid records are refused with a message", "[array]") {
  auto const refused = [](std::string const& text, std::string const& why) {
    INFO(text);
    CHECK_THROWS_AS(read(text), fm::format_error);
    CHECK_THROWS_WITH(read(text), ContainsSubstring(why));
  };
  refused("[('x', '<f8'), ('x', '<f4')]", "'x' occurs twice");
  refused("[('', '<f8')]", "has no name");
  refused("[('x', '<q8')]", "unknown dtype");
  refused("[('x', 'O')]", "Python objects");
  refused("[('x')]", "expected ','");
  refused("[('x', '<f8', 3)]", "expected '('");
  refused("[('x', '<f8', (-3,))]", "non-negative number");
  refused("[('x', '<f8', (4611686018427387904,))]", "more bytes");
  refused("[('x', '|V9223372036854775807')]", "unknown dtype");
  refused("[('x', '<f8', (4294967296, 4294967296))]", "more bytes");
  refused("['x', '<f8']", "expected '('");
  std::string deep = "'<f8'";
  for (int i = 0; i < 40; ++i) deep = "[('x', " + deep + ")]";
  refused(deep, "32 deep");
}
