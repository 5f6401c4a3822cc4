// Types of numbers of workers and positions: integers are accepted, types that would be converted
// silently are refused.
// SPDX-License-Identifier: MIT
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;

namespace {

template <class N>
concept counts_workers = requires(N n) { fm::parallel(n); };
template <class N>
concept counts_pool_workers = std::is_constructible_v<fm::pool, N>;
template <class... N>
concept counts_windows = requires(N... n) { fm::sliding_windows(n...); };
enum unscoped_number { two = 2 };

static_assert(counts_workers<int> && counts_workers<std::size_t> && counts_workers<std::int8_t>);
static_assert(counts_pool_workers<int> && counts_pool_workers<std::size_t> &&
              counts_pool_workers<std::int8_t> && counts_pool_workers<fm::options>);
static_assert(!counts_workers<bool> && !counts_workers<char> && !counts_workers<double> &&
              !counts_workers<wchar_t> && !counts_workers<char32_t> &&
              !counts_workers<unscoped_number>);
static_assert(!counts_pool_workers<bool> && !counts_pool_workers<char> &&
              !counts_pool_workers<double> && !counts_pool_workers<float> &&
              !counts_pool_workers<wchar_t> && !counts_pool_workers<char8_t> &&
              !counts_pool_workers<char32_t> && !counts_pool_workers<unscoped_number> &&
              !counts_pool_workers<std::nullptr_t>);
static_assert(!std::is_convertible_v<int, fm::pool>);
static_assert(counts_windows<int, long, unsigned short> && !counts_windows<double, int, int> &&
              !counts_windows<int, int, float> && !counts_windows<int, bool, int>);

constexpr auto beyond_int = (std::size_t{1} << 32U) | 2U;

}  // namespace

TEST_CASE("n_jobs: a number that does not fit into int is refused everywhere",
          "[numbers_of_workers]") {
  REQUIRE_THROWS_AS(fm::parallel(beyond_int), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::pool(beyond_int), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::pool(-3'000'000'000L), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::pool(4294967295U), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::effective_n_jobs(beyond_int), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::pool(0), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::pool(0U), std::invalid_argument);
  REQUIRE(fm::effective_n_jobs(std::size_t{3}) == 3);
  REQUIRE(fm::effective_n_jobs(-1L) == fm::cpu_count());
  fm::pool const workers(std::size_t{2});
  fm::scoped_config const defaults(fm::options{.seed = 4});
  fm::pool const small(std::int8_t{1});
  REQUIRE(small.submit([] { return 5; }).get() == 5);
}

TEST_CASE("sliding_windows: a negative number is refused with the name of the parameter",
          "[numbers_of_workers]") {
  int const negative = -1;
  REQUIRE_THROWS_AS(fm::sliding_windows(negative, 1, 1), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::sliding_windows(10, negative, 1), std::invalid_argument);
  try {
    fm::sliding_windows(10, 4, negative);
    FAIL("nothing was thrown");
  } catch (std::invalid_argument const& e) {
    REQUIRE(std::string(e.what()).find("step is -1") != std::string::npos);
  }
}
