// Input that dump() and load() refuse, because the result would be wrong.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <cstddef>
#include <filesystem>
#include <map>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/archive.hpp>
#include <forkmap/detail/npy/npy.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/dump_value.hpp>
#include <forkmap/load.hpp>
#include <forkmap/load_value.hpp>
#include <forkmap/named.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

struct one_number {
  double x;
};

}  // namespace

template <>
inline constexpr auto forkmap::field_names<one_number> = std::to_array<std::string_view>({"x"});

TEST_CASE("dump: a multimap with a duplicate key is refused, as a dict has unique keys",
          "[array]") {
  support::temporary_directory const folder;
  std::multimap<std::string, double> const twice{{"a", 1.0}, {"a", 2.0}};
  CHECK_THROWS_AS(fm::dump(twice, folder.path() / "m.joblib"), std::invalid_argument);
  CHECK_THROWS_WITH(fm::dump(twice, folder.path() / "m.joblib"),
                    ContainsSubstring("m.joblib") && ContainsSubstring("'a' occurs twice"));
}

TEST_CASE("dump: other dims for an array in Fortran order have the meaning of reshape", "[array]") {
  support::temporary_directory const folder;
  auto const array = fm::memmap<int>::create(folder.path() / "f.npy", {2, 3}, fm::order::fortran);
  for (std::size_t i = 0; i < 6; ++i) array[i] = static_cast<int>(i);
  auto const again = fm::load<int>(fm::dump(array, folder.path() / "g.npy", {.dims = {2, 3, 1}}));
  CHECK(again.layout() == fm::order::fortran);
  CHECK(again(1, 2, 0) == array(1, 2));
  CHECK(again(0, 1, 0) == array.reshape({2, 3, 1})(0, 1, 0));
}

TEST_CASE("dump: an impossible number of bytes is refused before anything is written", "[array]") {
  support::temporary_directory const folder;
  auto const endless = std::views::iota(std::size_t{0}, std::size_t{1} << 61U);
  CHECK_THROWS_AS(fm::dump(endless, folder.path() / "a.npy"), std::invalid_argument);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("load: the size of a record is checked before memory is allocated", "[array]") {
  support::temporary_directory const folder;
  using namespace forkmap::detail;
  auto const file = folder.path() / "a.npy";
  element_type huge{{'V', '|', std::size_t{1} << 31U},
                    {{"x", 0, dtype_of<double>(), fm::shape::scalar(), {}}}};
  support::write_bytes(file, npy_head(huge, fm::shape{0}, fm::order::c));
  CHECK(fm::load<one_number>(file, fm::in_memory).empty());

  // A sparse file, so that the elements lie inside the file.
  huge.type.item_bytes = std::size_t{1} << 27U;
  auto const head = npy_head(huge, fm::shape{1}, fm::order::c);
  support::write_bytes(file, head);
  std::filesystem::resize_file(file, head.size() + huge.type.item_bytes);
  CHECK_THROWS_AS(fm::load<one_number>(file, fm::in_memory), fm::format_error);
  CHECK_THROWS_WITH(fm::load<one_number>(file, fm::in_memory),
                    ContainsSubstring("134217728 bytes"));
}

TEST_CASE("archive: keeps its file after a change of directory and when the file is replaced",
          "[array]") {
  support::temporary_directory const folder;
  auto const before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  fm::dump(std::vector<double>{1.0}, "a.npy");
  fm::archive const opened("a.npy");
  std::filesystem::current_path(before);
  auto const array = opened.load<double>({}, fm::read_write);
  CHECK(array[0] == 1.0);
  CHECK(array.path() == folder.path() / "a.npy");

  fm::dump(std::vector<double>{7.0}, folder.path() / "a.npy");
  CHECK(opened.load<double>()[0] == 1.0);
  CHECK_THROWS_AS(opened.load<double>({}, fm::read_write), std::system_error);
  CHECK_THROWS_WITH(opened.load<double>({}, fm::read_write), ContainsSubstring("replaced"));
}

TEST_CASE("contents: all members of an archive are listed, even those with odd names", "[array]") {
  support::temporary_directory const folder;
  std::vector<double> const data{1.0, 2.0};
  auto const file = fm::dump(fm::named("y", data, "z.npy", data), folder.path() / "a.npz");
  auto const all = fm::contents(file);
  REQUIRE(all.size() == 2);
  CHECK(all[1].name == "z.npy");
}
