// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <numeric>
#include <ranges>
#include <span>
#include <system_error>

#include <forkmap/shared_array.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;

static_assert(std::ranges::contiguous_range<fm::shared_array<double>>);
static_assert(std::is_nothrow_copy_constructible_v<fm::shared_array<double>>);
static_assert(std::convertible_to<fm::shared_array<int>, fm::shared_array<int const>>);
static_assert(!std::convertible_to<fm::shared_array<int const>, fm::shared_array<int>>);

TEST_CASE("shared_array: starts as zeros, and copies share its memory", "[array]") {
  int const rows = 3;
  fm::shared_array<double> const array({rows, 4});
  auto const copy = array;
  CHECK(array.size() == 12);
  CHECK(std::accumulate(array.begin(), array.end(), 0.0) == 0.0);
  array(2, 3) = 5.0;
  CHECK(copy[11] == 5.0);
  CHECK(copy.data() == array.data());
  fm::shared_array<double const> const readable = copy;
  CHECK(readable(2, 3) == 5.0);
}

TEST_CASE("shared_array: a parent sees the writes of its child", "[array]") {
  fm::shared_array<int> const array(fm::shape{100000});
  auto const child = ::fork();
  if (child == 0) {
    for (auto& element : array) element = 7;
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(array[0] == 7);
  CHECK(array[99999] == 7);
}

TEST_CASE("shared_array: keeps the given order", "[array]") {
  fm::shared_array<int> const array({2, 3}, fm::order::fortran);
  array(1, 0) = 4;
  CHECK(array[1] == 4);
  CHECK(array.layout() == fm::order::fortran);
}

TEST_CASE("shared_array: may be empty", "[array]") {
  fm::shared_array<double> const array({0, 5});
  CHECK(array.empty());
  CHECK(array.begin() == array.end());
  CHECK(array[fm::slice{0, 0}].empty());
  CHECK(fm::shared_array<double>().empty());
}

TEST_CASE("shared_array: refuses sizes beyond the address space", "[array]") {
  CHECK_THROWS_AS(fm::shared_array<double>({1LL << 40, 1LL << 40}), std::invalid_argument);
  CHECK_THROWS_AS(fm::shared_array<double>({1LL << 61}), std::invalid_argument);
  CHECK_THROWS_AS(fm::shared_array<double>({1LL << 55}), std::system_error);
}
