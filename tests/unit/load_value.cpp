// SPDX-License-Identifier: MIT
#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

#include <forkmap/dump_value.hpp>
#include <forkmap/load_value.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using namespace std::string_literals;
using Catch::Matchers::ContainsSubstring;

TEST_CASE("load_value: integers are checked against the range of the requested type", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.joblib";
  constexpr auto least = std::numeric_limits<std::int64_t>::min();
  fm::dump(std::tuple(300, -1, ~std::uint64_t{0}, least, true, 2.5), file);
  CHECK(fm::load_value<short>(file, "[0]") == 300);
  CHECK_THROWS_AS(fm::load_value<std::uint8_t>(file, "[0]"), fm::dtype_error);
  CHECK_THROWS_WITH(fm::load_value<std::uint8_t>(file, "[0]"),
                    ContainsSubstring(file.native()) &&
                        ContainsSubstring("'[0]' holds an int, 300, which is not a std::uint8_t"));
  CHECK_THROWS_AS(fm::load_value<unsigned>(file, "[1]"), fm::dtype_error);
  CHECK(fm::load_value<std::uint64_t>(file, "[2]") == ~std::uint64_t{0});
  CHECK_THROWS_AS(fm::load_value<std::int64_t>(file, "[2]"), fm::dtype_error);
  CHECK(fm::load_value<std::int64_t>(file, "[3]") == least);
  CHECK_THROWS_AS(fm::load_value<int>(file, "[4]"), fm::dtype_error);
  CHECK_THROWS_AS(fm::load_value<int>(file, "[5]"), fm::dtype_error);
  CHECK_THROWS_AS(fm::load_value<bool>(file, "[0]"), fm::dtype_error);
}

TEST_CASE("load_value: an int loads as floating-point if the conversion is exact", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.joblib";
  fm::dump(std::tuple(16777217, (std::int64_t{1} << 53U) + 1, ~std::uint64_t{0}, 1e300,
                      std::numeric_limits<double>::infinity(), std::uint64_t{1} << 63U,
                      std::numeric_limits<std::int64_t>::max()),
           file);
  CHECK(fm::load_value<double>(file, "[0]") == 16777217.0);
  CHECK_THROWS_AS(fm::load_value<float>(file, "[0]"), fm::dtype_error);
  CHECK_THROWS_AS(fm::load_value<double>(file, "[1]"), fm::dtype_error);
  CHECK_THROWS_AS(fm::load_value<double>(file, "[2]"), fm::dtype_error);
  CHECK(fm::load_value<long double>(file, "[2]") == 18446744073709551615.0L);
  CHECK_THROWS_AS(fm::load_value<float>(file, "[3]"), fm::dtype_error);
  CHECK(fm::load_value<float>(file, "[4]") == std::numeric_limits<float>::infinity());
  CHECK(fm::load_value<double>(file, "[5]") == 0x1p63);
  CHECK_THROWS_AS(fm::load_value<double>(file, "[6]"), fm::dtype_error);
  CHECK_THROWS_AS(fm::load_value<float>(file, "[6]"), fm::dtype_error);
}

TEST_CASE("load_value: errors name the item of a list that has a wrong type", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.joblib";
  fm::dump(std::tuple(std::tuple(1, 2, "x"), std::vector<std::string>{"a"}, std::vector{1.5, 2.5}),
           file);
  CHECK_THROWS_WITH(fm::load_value<std::vector<int>>(file, "[0]"),
                    ContainsSubstring("'[0][2]' holds 'x', which is not a std::int32_t"));
  CHECK_THROWS_WITH(fm::load_value<int>(file, "[1]"),
                    ContainsSubstring("'[1]' holds a list of 1 str, which is not a std::int32_t"));
  CHECK_THROWS_WITH(
      fm::load_value<std::vector<std::string>>(file, "[0][0]"),
      ContainsSubstring("'[0][0]' holds an int, 1, which is not a list of std::string"));
  CHECK_THROWS_WITH(fm::load_value<std::vector<double>>(file, "[2]"),
                    ContainsSubstring("an array of dims (2,) of '<f8'"));
  CHECK(fm::load_value<std::vector<std::string>>(file, "[1]") == std::vector{"a"s});
}

TEST_CASE("load_value: an array is an error that names its dims, and contents lists it",
          "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2}, folder.path() / "a.npy");
  CHECK_THROWS_WITH(fm::load_value<std::vector<int>>(file),
                    ContainsSubstring("an array of dims (2,)"));
  auto const all = fm::contents(file);
  REQUIRE(all.size() == 1);
  CHECK(all[0].name.empty());
  CHECK(all[0].type == "<i4");
  CHECK(all[0].dims == fm::shape{2});
  CHECK(all[0].is_array);
  CHECK_THROWS_AS(fm::load_value<int>(folder.path() / "none"), std::system_error);
}

TEST_CASE("load_value: the total size of a list of texts is checked before they are copied",
          "[array]") {
  std::filesystem::path const file = "a.joblib";
  fm::detail::plain_reader<std::vector<std::string>> reader(file, "words", 10);
  fm::detail::plain_value value;
  value.what = fm::detail::plain_value::kind::text;
  value.text = "12345";
  reader.item(value);
  reader.item(value);
  CHECK_THROWS_WITH(reader.item(value),
                    ContainsSubstring("a.joblib") &&
                        ContainsSubstring("'words' holds more than 1 GiB of strings") &&
                        ContainsSubstring("load one by its index"));
  CHECK_THROWS_AS(reader.item(value), fm::format_error);
  CHECK(reader.result == std::vector{"12345"s, "12345"s});
}
