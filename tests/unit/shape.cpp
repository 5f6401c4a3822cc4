// SPDX-License-Identifier: MIT
#include <cstdint>
#include <vector>

#include <forkmap/shape.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

static_assert(std::is_trivially_copyable_v<fm::shape>);

TEST_CASE("shape: accepts any mixture of integer types", "[array]") {
  int const rows = 3;
  std::uint8_t const columns = 4;
  long long const depth = 5;
  fm::shape const dims{rows, columns, depth, std::size_t{6}};
  CHECK(dims.rank() == 4);
  CHECK(dims[1] == 4);
  CHECK(dims.count() == 360);
  CHECK(dims.text() == "(3, 4, 5, 6)");
  CHECK(dims == fm::shape{3U, 4L, 5, 6});
  CHECK_FALSE(dims == fm::shape{3, 4, 5});
  CHECK(std::vector<std::size_t>(dims.begin(), dims.end()) == std::vector<std::size_t>{3, 4, 5, 6});
}

TEST_CASE("shape: refuses a negative extent and names it", "[array]") {
  CHECK_THROWS_AS((fm::shape{3, -4}), std::invalid_argument);
  CHECK_THROWS_WITH((fm::shape{3, -4}), ContainsSubstring("extent 1") && ContainsSubstring("-4"));
  CHECK_THROWS_WITH((fm::shape{std::int8_t{-128}}), ContainsSubstring("-128"));
}

TEST_CASE("shape: counts without overflow", "[array]") {
  constexpr auto huge = std::size_t{1} << 32U;
  CHECK_THROWS_AS((fm::shape{huge, huge}).count(), std::invalid_argument);
  CHECK_THROWS_WITH((fm::shape{huge, huge}).count(), ContainsSubstring("(4294967296, 4294967296)"));
  CHECK_THROWS_AS((fm::shape{~std::size_t{0}}).count(), std::invalid_argument);
  CHECK(fm::shape{huge, 0, 7}.count() == 0);
  CHECK(fm::shape{0, huge}.count() == 0);
  CHECK_THROWS_AS((fm::shape{huge, 0, huge}).count(), std::invalid_argument);
  CHECK(fm::shape{1, 1, 7}.count() == 7);
}

TEST_CASE("shape: no axes make one element, which differs from an unset shape", "[array]") {
  fm::shape const nothing{};
  CHECK_FALSE(nothing.given());
  CHECK(fm::shape::scalar().given());
  CHECK(fm::shape{3}.given());
  CHECK(nothing.count() == 1);
  CHECK(nothing == fm::shape::scalar());
  CHECK(fm::shape::scalar().text() == "()");
  CHECK(fm::shape{5}.text() == "(5,)");
}

TEST_CASE("shape: has no more than 64 axes", "[array]") {
  std::vector<std::size_t> const most(64, 1);
  CHECK(fm::shape(most).rank() == 64);
  std::vector<std::size_t> const more(65, 1);
  CHECK_THROWS_WITH(fm::shape(more), ContainsSubstring("65 extents"));
}
