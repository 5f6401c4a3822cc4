// SPDX-License-Identifier: MIT
#include <array>
#include <deque>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <variant>
#include <vector>

#include <forkmap/dump_value.hpp>
#include <forkmap/load.hpp>
#include <forkmap/load_value.hpp>
#include <forkmap/memmap.hpp>
#include <forkmap/named.hpp>
#include <forkmap/shared_array.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using namespace std::string_literals;
using Catch::Matchers::ContainsSubstring;

static_assert(fm::picklable<int>);
static_assert(fm::picklable<std::string>);
static_assert(fm::picklable<char const*>);
static_assert(fm::picklable<std::vector<double>>);
static_assert(fm::picklable<std::map<std::string, std::tuple<int, std::optional<double>>>>);
static_assert(fm::picklable<std::map<std::string_view, fm::memmap<float const>, std::less<>>>);
static_assert(fm::picklable<std::array<std::string, 2>>);
static_assert(fm::picklable<std::set<std::string>>);
static_assert(!fm::picklable<char>);
static_assert(!fm::picklable<int*>);
static_assert(!fm::picklable<std::map<int, int>>);
static_assert(!fm::picklable<std::vector<int*>>);
static_assert(!fm::picklable<std::tuple<int, std::variant<int, double>>>);
static_assert(!fm::array_like<std::string>);

namespace {

/// The names and types of all values in a file.
std::string listed(std::filesystem::path const& file) {
  std::string result;
  for (auto const& entry : fm::contents(file)) {
    result += (result.empty() ? "" : ", ") + entry.name + ": " + entry.type;
    if (entry.dims.rank() > 0) result += " " + entry.dims.text();
  }
  return result;
}

}  // namespace

TEST_CASE("dump: containers of arrays, numbers and texts become the matching Python types",
          "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.joblib";
  CHECK(fm::dump(std::vector<std::vector<float>>{{1}, {2, 3}}, file) == file);
  CHECK(listed(file) == "[0]: <f4 (1,), [1]: <f4 (2,)");
  fm::dump(std::vector<std::string>{"a", "b"}, file);
  CHECK(listed(file) == ": list of str (2,)");
  fm::dump(std::tuple(1, 2.5, "x"s, std::vector{true, false}, std::pair(1, 2)), file);
  CHECK(listed(file) == "[0]: int, [1]: float, [2]: str, [3]: |b1 (2,), [4]: tuple of int (2,)");
  fm::dump(std::map<std::string, std::optional<int>>{{"a", 1}, {"b", {}}}, file);
  CHECK(listed(file) == "a: int, b: None");
  fm::dump(std::unordered_map<std::string, std::deque<double>>{{"q", {1, 2}}}, file);
  CHECK(listed(file) == "q: <f8 (2,)");
  fm::dump(std::array<std::string, 2>{"x", "y"}, file);
  CHECK(listed(file) == ": list of str (2,)");
  fm::dump(std::set<std::string>{"x"}, file);
  CHECK(listed(file) == ": list of str (1,)");
  fm::dump("a text", file);
  CHECK(fm::load_value<std::string>(file) == "a text");
  fm::dump(std::string("a text"), file);
  CHECK(listed(file) == ": str");
  fm::dump(7, file);
  CHECK(fm::load_value<int>(file) == 7);
  fm::dump(std::monostate{}, file);
  CHECK(listed(file) == ": None");
  fm::dump(std::vector<std::vector<std::string>>{}, file);
  CHECK(listed(file) == ": list (0,)");
}

TEST_CASE("dump: named values of any kind are a dict", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "model.joblib";
  std::vector<std::vector<double>> const weights{{1, 2}, {3}};
  fm::dump(fm::named("weights", weights, "bias", std::vector{0.5}, "classes",
                     std::vector{"a"s, "b"s}, "params", fm::named("scale", 2.5, "kind", "rbf")),
           file);
  CHECK(listed(file) ==
        "weights[0]: <f8 (2,), weights[1]: <f8 (1,), bias: <f8 (1,), classes: list of str (2,), "
        "params.scale: float, params.kind: str");
  CHECK_THROWS_AS(fm::dump(fm::named("scale", 2.5), folder.path() / "a.npz"),
                  std::invalid_argument);
}

TEST_CASE("dump: arrays in containers keep their dims and are aligned to 64 bytes", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.pkl";
  fm::shared_array<double> const matrix({2, 3});
  matrix(1, 2) = 5;
  auto const column = fm::load<int>(fm::dump(std::vector{1, 2, 3, 4, 5, 6}, folder.path() / "c.npy",
                                             {.dims = {2, 3}, .layout = fm::order::fortran}));
  fm::dump(std::tuple("odd"s, matrix, 1, column, std::deque<short>(5000, 3)), file);
  auto const first = fm::load<double>(file, "[1]");
  CHECK(first.dims() == fm::shape{2, 3});
  CHECK(first(1, 2) == 5.0);
  auto const second = fm::load<int>(file, "[3]");
  CHECK(second.layout() == fm::order::fortran);
  CHECK(second(0, 2) == 5);
  CHECK(fm::load<short>(file, "[4]")[4999] == 3);
  for (auto const* name : {"[1]", "[3]", "[4]"}) CHECK(fm::inspect(file, name).offset % 64 == 0);
}

TEST_CASE("dump: containers can be compressed", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.joblib";
  std::map<std::string, std::vector<double>> const value{{"w", std::vector<double>(10000, 1.5)}};
  fm::dump(value, file, {.compress = "zlib"});
  CHECK(std::filesystem::file_size(file) < 10000);
  CHECK(fm::load<double>(file, "w", fm::in_memory)[9999] == 1.5);
  CHECK(listed(file) == "w: <f8 (10000,)");
  CHECK_THROWS_WITH(fm::load<double>(file, "w"), ContainsSubstring("compressed"));
  CHECK_THROWS_AS(fm::dump(value, file, {.compress = "deflate"}), std::invalid_argument);
}

TEST_CASE("dump: a value that the format or Python cannot hold keeps the old file", "[array]") {
  support::temporary_directory const folder;
  auto const old = fm::dump(7, folder.path() / "old.joblib");
  CHECK_THROWS_WITH(fm::dump(std::tuple(1, "\xff"s), old),
                    ContainsSubstring(old.native()) && ContainsSubstring("'\\xff' is not UTF-8"));
  CHECK_THROWS_AS(fm::dump(std::map<std::string, int>{{"\xc3", 1}}, old), std::invalid_argument);
  CHECK_THROWS_WITH(fm::dump(std::tuple(1), old, {.dims = {1}}),
                    ContainsSubstring("apply to a single array"));
  CHECK(fm::load_value<int>(old) == 7);
  CHECK_THROWS_WITH(fm::dump(std::tuple(1), folder.path() / "a.npy"),
                    ContainsSubstring("a.npy") && ContainsSubstring(".joblib also lists"));
  CHECK_THROWS_AS(fm::dump(std::tuple(1), folder.path() / "a.npz"), std::invalid_argument);
  CHECK_THROWS_AS(fm::memmap<int>::create(folder.path() / "a.joblib", {3}), std::invalid_argument);
  fm::dump(std::map<std::string, std::vector<int>>{{"x", {1, 2}}}, folder.path() / "a.npz");
  CHECK(fm::load<int>(folder.path() / "a.npz", "x")[1] == 2);
}
