// SPDX-License-Identifier: MIT
#include <numeric>
#include <ranges>
#include <vector>

#include <forkmap/dump.hpp>
#include <forkmap/load.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

static_assert(std::ranges::contiguous_range<fm::owned_array<double>>);
static_assert(std::ranges::contiguous_range<fm::owned_array<double> const>);

TEST_CASE("owned_array: a copy copies the elements, a move does not", "[array]") {
  support::temporary_directory const folder;
  std::vector<int> values(6);
  std::iota(values.begin(), values.end(), 0);
  auto const file = fm::dump(values, folder.path() / "a.npy", {.dims = {2, 3}});
  auto array = fm::load<int>(file, fm::in_memory);
  auto copy = array;
  copy(1, 2) = 50;
  CHECK(array(1, 2) == 5);
  CHECK(copy[5] == 50);
  CHECK(copy.dims() == fm::shape{2, 3});
  auto const* const data = copy.data();
  auto const moved = std::move(copy);
  CHECK(moved.data() == data);
  CHECK(copy.empty());  // NOLINT(bugprone-use-after-move)
  CHECK(copy.dims() == fm::shape{0});
  array = moved;
  CHECK(array[5] == 50);
  std::span<int> const writable = array;
  writable[0] = 9;
  std::span<int const> const readable = std::as_const(array);
  CHECK(readable[0] == 9);
  CHECK(array[fm::slice{1, 3}].size() == 2);
  CHECK_THROWS_AS(array(2, 0), std::out_of_range);
}

TEST_CASE("owned_array: a bool is 0 or 1, whatever byte the file has", "[array]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector<bool>{false, true}, folder.path() / "b.npy");
  auto bytes = support::file_bytes(file);
  bytes.back() = 7;
  support::write_bytes(file, bytes);
  auto const array = fm::load<bool>(file, fm::in_memory);
  CHECK(static_cast<int>(array[1]) == 1);
}
