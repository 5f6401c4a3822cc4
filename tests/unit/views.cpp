// Views: arrays with other dims over the same memory.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <complex>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/dump.hpp>
#include <forkmap/load.hpp>
#include <forkmap/memmap.hpp>
#include <forkmap/shared_array.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

static_assert(std::same_as<decltype(std::declval<fm::memmap<int>>().row(0)), fm::memmap<int>>);
static_assert(std::same_as<decltype(std::declval<fm::memmap<int const>>().rows({0, 1})),
                           fm::memmap<int const>>);
static_assert(std::same_as<decltype(std::declval<fm::shared_array<int const>>().transposed()),
                           fm::shared_array<int const>>);
static_assert(std::same_as<decltype(std::declval<fm::owned_array<int> const&>().row(0)),
                           std::span<int const>>);

namespace {

template <class Array> void count_up(Array const& array) {
  std::iota(array.begin(), array.end(), 0);
}
template <class Array> std::vector<int> values(Array const& array) {
  return {array.begin(), array.end()};
}
template <class Call> std::string logic_error_of(Call const& call) {
  try {
    call();
  } catch (std::logic_error const& e) {
    return e.what();
  }
  return "nothing was thrown";
}

/// The number of mappings of that file in this process.
int mappings_of(std::filesystem::path const& file) {
  std::ifstream maps("/proc/self/maps");
  int found = 0;
  for (std::string line; std::getline(maps, line);) found += line.ends_with(file.native());
  return found;
}

}  // namespace

TEST_CASE("views: a row of an array in order c has one axis less", "[views]") {
  fm::shared_array<int> const array({3, 2, 4});
  count_up(array);
  auto const row = array.row(1);
  CHECK(row.dims() == fm::shape{2, 4});
  CHECK(row.layout() == fm::order::c);
  CHECK(row.data() == &array(1, 0, 0));
  CHECK(row(1, 3) == array(1, 1, 3));
  CHECK(values(row.row(1)) == std::vector{12, 13, 14, 15});
  row(0, 0) = 99;
  CHECK(array(1, 0, 0) == 99);
  auto const element = row.row(1).row(3);
  CHECK(element.dims().rank() == 0);
  CHECK(element() == 15);
}

TEST_CASE("views: consecutive rows keep their axes", "[views]") {
  fm::shared_array<int> const array({5, 2});
  count_up(array);
  auto const some = array.rows({1, 4});
  CHECK(some.dims() == fm::shape{3, 2});
  CHECK(values(some) == std::vector{2, 3, 4, 5, 6, 7});
  CHECK(values(some.rows({2, 3})) == std::vector{6, 7});
  CHECK(some.rows({3, 3}).empty());
  CHECK(some.rows({3, 3}).dims() == fm::shape{0, 2});
  // With one axis the layouts are the same.
  fm::shared_array<int> const vector({5}, fm::order::fortran);
  count_up(vector);
  CHECK(values(vector.rows({1, 3})) == std::vector{1, 2});
  CHECK(vector.row(4)() == 4);
  CHECK(vector.column(4)() == 4);
}

TEST_CASE("views: in order fortran, columns work as rows do in order c", "[views]") {
  fm::shared_array<int> const array({3, 4}, fm::order::fortran);
  count_up(array);
  auto const column = array.column(2);
  CHECK(column.dims() == fm::shape{3});
  CHECK(column[1] == array(1, 2));
  CHECK(column.layout() == fm::order::fortran);
  auto const some = array.columns({1, 3});
  CHECK(some.dims() == fm::shape{3, 2});
  CHECK(some(2, 1) == array(2, 2));
  fm::shared_array<int> const cube({2, 3, 4}, fm::order::fortran);
  count_up(cube);
  CHECK(cube.column(3).dims() == fm::shape{2, 3});
  CHECK(cube.column(3)(1, 2) == cube(1, 2, 3));
}

TEST_CASE("views: reshape keeps the order of the elements, transposed() their indices", "[views]") {
  for (auto const layout : {fm::order::c, fm::order::fortran}) {
    fm::shared_array<int> const array({3, 4}, layout);
    count_up(array);
    auto const flat = array.reshape({12});
    CHECK(values(flat) == values(array));
    CHECK(flat.layout() == layout);
    auto const other = flat.reshape({2, 6});
    CHECK(other.data() == array.data());
    CHECK(other(1, 2) == (layout == fm::order::c ? 8 : 5));
    auto const turned = array.transposed();
    CHECK(turned.dims() == fm::shape{4, 3});
    CHECK(turned.layout() != layout);
    CHECK(turned.data() == array.data());
    for (int i = 0; i != 3; ++i) {
      for (int j = 0; j != 4; ++j) CHECK(turned(j, i) == array(i, j));
    }
  }
}

TEST_CASE("views: no axes and no elements", "[views]") {
  fm::shared_array<int> const scalar{fm::shape{}};
  scalar() = 7;
  CHECK(scalar.transposed()() == 7);
  CHECK(scalar.reshape({1, 1})(0, 0) == 7);
  CHECK(scalar.reshape({1}).reshape({})() == 7);
  CHECK_THROWS_AS(scalar.row(0), std::out_of_range);
  CHECK_THROWS_AS(scalar.rows({0, 0}), std::out_of_range);
  fm::shared_array<int> const empty({0, 5});
  CHECK(empty.transposed().dims() == fm::shape{5, 0});
  CHECK(empty.reshape({7, 0}).empty());
  CHECK(empty.rows({0, 0}).dims() == fm::shape{0, 5});
  CHECK_THROWS_AS(empty.row(0), std::out_of_range);
  fm::shared_array<int> const flat({3, 0});
  CHECK(flat.row(2).empty());
  fm::memmap<int> const none;
  CHECK(none.reshape({0, 3}).dims() == fm::shape{0, 3});
  CHECK(none.rows({0, 0}).path().empty());
  CHECK(none.rows({0, 0}).offset() == 0);
}

TEST_CASE("views: errors name the request, the dims and a way out", "[views]") {
  fm::shared_array<int> const rows({3, 4});
  CHECK_THAT(logic_error_of([&] { rows.row(3); }),
             ContainsSubstring("row 3 is outside an array of dims (3, 4), which has 3 rows"));
  CHECK_THAT(logic_error_of([&] { rows.rows({2, 4}); }),
             ContainsSubstring("rows [2, 4) is outside"));
  CHECK_THAT(logic_error_of([&] { rows.rows({2, 1}); }),
             ContainsSubstring("end before they start"));
  CHECK_THAT(logic_error_of([&] { rows.column(0); }), ContainsSubstring("row(i), rows(slice)"));
  CHECK_THAT(logic_error_of([&] { rows.columns({0, 1}); }), ContainsSubstring("in order c"));
  CHECK_THAT(logic_error_of([&] { rows.reshape({5, 2}); }),
             ContainsSubstring("dims (3, 4) to (5, 2): they have 12 and 10 elements"));
  CHECK_THAT(logic_error_of([&] { rows.reshape({1LL << 40, 1LL << 40}); }),
             ContainsSubstring("too many elements"));
  fm::shared_array<int> const columns({3, 4}, fm::order::fortran);
  CHECK_THAT(logic_error_of([&] { columns.row(0); }),
             ContainsSubstring("column(j), columns(slice)"));
  CHECK_THAT(logic_error_of([&] { columns.column(4); }), ContainsSubstring("which has 4 columns"));
  CHECK_THAT(logic_error_of([] { fm::shared_array<int>(fm::shape{}).row(0); }),
             ContainsSubstring("row 0 is outside an array of dims (), which has no axes"));
}

TEST_CASE("views: a view of a memmap refers to the same file and keeps the mapping", "[views]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  fm::memmap<double const> view;
  {
    auto const array = fm::memmap<double>::create(file, {100, 1000});
    array(7, 3) = 2.5;
    view = array.rows({5, 10});
    CHECK(view.path() == file);
    CHECK(view.offset() == array.offset() + 5 * 1000 * sizeof(double));
    CHECK(view.row(2).offset() == view.offset() + 2 * 1000 * sizeof(double));
    array.rows({7, 8}).flush();
    array.row(3)[fm::slice{1, 2}][0] = 1;
    array.row(3).flush();
  }
  CHECK(view(2, 3) == 2.5);
  CHECK(mappings_of(file) == 1);
  view = {};
  CHECK(mappings_of(file) == 0);
}

TEST_CASE("views: a view of a view keeps only the mapping alive", "[views]") {
  fm::shared_array<int> array({1000});
  count_up(array);
  for (int i = 0; i != 999; ++i) array = array.rows({1, array.size()});
  CHECK(array[0] == 999);  // destroys no chain of a thousand owners
  CHECK(array.size() == 1);
}

TEST_CASE("views: dump and load accept views", "[views]") {
  support::temporary_directory const folder;
  fm::shared_array<int> const array({4, 3});
  count_up(array);
  auto const file = fm::dump(array.rows({1, 3}).transposed(), folder.path() / "a.npy");
  auto const back = fm::load<int>(file);
  CHECK(back.dims() == fm::shape{3, 2});
  CHECK(back.layout() == fm::order::fortran);
  CHECK(back(2, 0) == array(1, 2));
  CHECK(values(back.transposed().row(0)) == std::vector{3, 4, 5});
}

TEST_CASE("views: those of an owned_array are spans or new arrays", "[views]") {
  support::temporary_directory const folder;
  auto const file =
      fm::dump(std::vector{0, 1, 2, 3, 4, 5}, folder.path() / "a.npy", {.dims = {3, 2}});
  auto array = fm::load<int>(file, fm::in_memory);
  array.row(1)[0] = 9;
  CHECK(values(std::as_const(array).row(1)) == std::vector{9, 3});
  CHECK(array.rows({1, 3}).size() == 4);
  CHECK_THROWS_AS(array.column(0), std::invalid_argument);
  CHECK_THROWS_AS(array.row(3), std::out_of_range);
  auto const turned = array.transposed();
  CHECK(turned.layout() == fm::order::fortran);
  CHECK(turned.data() != array.data());
  CHECK(values(turned.column(1)) == std::vector{9, 3});
  CHECK(turned.columns({0, 2}).data() == turned.data());
  auto const* const before = array.data();
  auto const moved = std::move(array).reshape({6});
  CHECK(moved.data() == before);
  CHECK(moved.dims() == fm::shape{6});
  CHECK_THROWS_AS(moved.reshape({7}), std::invalid_argument);
}

TEST_CASE("views: page_slices splits an array at the begin of pages", "[views]") {
  support::temporary_directory const folder;
  auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  auto const check = [&](auto const& array, std::size_t n) {
    auto const slices = array.page_slices(n);
    REQUIRE(slices.size() <= n);
    std::size_t at = 0;
    for (auto const& each : slices) {
      REQUIRE(each.start == at);
      REQUIRE(each.size() > 0);
      if (at != 0) REQUIRE(reinterpret_cast<std::uintptr_t>(array.data() + at) % page == 0);
      at = each.stop;
    }
    REQUIRE(at == array.size());
    return slices.size();
  };
  // The data of an .npy file begins 128 bytes after a page.
  auto const doubles = fm::memmap<double>::create(folder.path() / "a.npy", {20, page / 8});
  for (std::size_t n = 1; n != 40; ++n) check(doubles, n);
  CHECK(check(doubles, 10) == 10);
  CHECK(check(doubles, 1000) == 21);
  CHECK(doubles.page_slices(4)[0] == fm::slice{0, 5 * page / 8 - 16});
  check(doubles.row(3), 3);
  check(doubles.rows({2, 9}), 5);
  check(fm::shared_array<std::complex<long double>>({1000, 7}), 13);
  CHECK(fm::shared_array<char>({0}).page_slices(3).empty());
  CHECK(fm::shared_array<char>({5}).page_slices(3).size() == 1);
  CHECK_THROWS_AS(doubles.page_slices(0), std::invalid_argument);
  // Elements that never begin at the begin of a page.
  auto const odd = fm::memmap<std::complex<double>>::open_raw(folder.path() / "a.npy", {1000},
                                                              fm::read_write, 8);
  CHECK(check(odd, 4) == 1);
}
