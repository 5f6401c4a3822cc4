// SPDX-License-Identifier: MIT
#include <algorithm>
#include <ranges>
#include <type_traits>
#include <vector>

#include <forkmap/slice.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;

using windows = decltype(fm::sliding_windows(1, 1, 1));
static_assert(std::ranges::random_access_range<windows>);
static_assert(std::ranges::sized_range<windows>);
static_assert(std::ranges::common_range<windows>);
static_assert(std::ranges::view<windows>);
static_assert(std::ranges::borrowed_range<windows>);
static_assert(std::is_trivially_copyable_v<fm::slice>);
static_assert(fm::sliding_windows(10, 4, 3).size() == 3);

TEST_CASE("slice: has the size between its ends, 0 if they are reversed", "[array]") {
  CHECK(fm::slice{3, 10}.size() == 7);
  CHECK(fm::slice{10, 3}.size() == 0);
  CHECK(fm::slice{.start = 1, .stop = 2} == fm::slice{1, 2});
}

TEST_CASE("sliding_windows: visits every slice that fits", "[array]") {
  auto const all = fm::sliding_windows(10, 4, 3);
  std::vector<fm::slice> const visited(all.begin(), all.end());
  CHECK(visited == std::vector<fm::slice>{{0, 4}, {3, 7}, {6, 10}});
  CHECK(fm::sliding_windows(11, 4, 3).size() == 3);
  CHECK(fm::sliding_windows(12, 4, 3).size() == 3);
  CHECK(fm::sliding_windows(13, 4, 3).size() == 4);
  CHECK(fm::sliding_windows(4, 4, 100).size() == 1);
}

TEST_CASE("sliding_windows: is empty if no window fits", "[array]") {
  CHECK(fm::sliding_windows(3, 4, 1).empty());
  CHECK(fm::sliding_windows(0, 1, 1).empty());
}

TEST_CASE("sliding_windows: windows of width 0 are empty slices", "[array]") {
  auto const all = fm::sliding_windows(4, 0, 2);
  std::vector<fm::slice> const visited(all.begin(), all.end());
  CHECK(visited == std::vector<fm::slice>{{0, 0}, {2, 2}, {4, 4}});
}

TEST_CASE("sliding_windows: refuses a step of 0 and more windows than can be counted", "[array]") {
  CHECK_THROWS_AS(fm::sliding_windows(10, 4, 0), std::invalid_argument);
  CHECK_THROWS_AS(fm::sliding_windows(~std::size_t{0}, 1, 1), std::invalid_argument);
}

TEST_CASE("sliding_windows: composes with views and can be copied and moved", "[array]") {
  auto sizes =
      fm::sliding_windows(100, 10, 5) | std::views::transform([](fm::slice s) { return s.stop; });
  CHECK(std::ranges::ssize(sizes) == 19);
  CHECK(sizes[18] == 100);
  auto const all = fm::sliding_windows(100, 10, 5);
  auto at = all.begin() + 4;
  CHECK(*at == fm::slice{20, 30});
  CHECK(at[-2] == fm::slice{10, 20});
  CHECK((*at--).start == 20);
  CHECK(at++ - all.begin() == 3);
  CHECK(all.end() - at == 15);
  CHECK(all.begin() < at);
  CHECK(std::ranges::equal(all | std::views::reverse | std::views::take(1),
                           std::vector{fm::slice{90, 100}}));
}
