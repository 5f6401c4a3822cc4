// Calls that take a function and ranges of its arguments: with parallel, with a pool and without
// workers.
// SPDX-License-Identifier: MIT
#include <functional>
#include <list>
#include <memory>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
namespace {

int sum_of_pair(int a, int b) { return a + b; }
int doubled(int a) { return 2 * a; }
int odd_or_throw(int i) {
  if (i % 2 == 0) throw std::invalid_argument("even");
  return i;
}
std::string joined_text(std::string const& text, int n, bool twice_over) {
  return text + std::to_string(n) + (twice_over ? "!!" : "!");
}
void no_result_of_pair(int, int) {}

/// Calls check(calls) for parallel with and without workers, and for a pool.
template <class Check> void for_each_kind(Check check) {
  {
    INFO("parallel(2)");
    check(fm::parallel(2));
  }
  {
    INFO("parallel(1)");
    check(fm::parallel(1));
  }
  INFO("pool(2)");
  fm::pool const workers(2);
  check(workers);
}

}  // namespace

TEST_CASE("calls with ranges: map takes one element of each range, up to the end of the shortest") {
  for_each_kind([](auto const& calls) {
    std::vector const xs{1, 2, 3};
    std::list const ys{10, 20, 30, 40};
    REQUIRE(calls.map(sum_of_pair, xs, ys) == std::vector{11, 22, 33});
    REQUIRE(calls.map(sum_of_pair, ys, xs) == std::vector{11, 22, 33});
    REQUIRE(calls.map(sum_of_pair, std::views::iota(0), xs) == std::vector{1, 3, 5});
    REQUIRE(calls.map(sum_of_pair, xs, std::vector<int>{}).empty());
    std::vector<std::string> const texts{"a", "b"};
    std::vector<bool> const flags{true, false, true};
    REQUIRE(calls.map(joined_text, texts, xs, flags) == std::vector<std::string>{"a1!!", "b2!"});
    static_assert(std::is_void_v<decltype(calls.map(no_result_of_pair, xs, xs))>);
    calls.map(no_result_of_pair, xs, xs);
  });
}

TEST_CASE("calls with ranges: an input range is read no further than the shortest range") {
  for_each_kind([](auto const& calls) {
    std::istringstream text("1 2 3 4 5 6");
    std::vector const xs{10, 20, 30};
    // The shortest range comes first, so its end is seen before the input range is read.
    REQUIRE(calls.map(sum_of_pair, xs, std::views::istream<int>(text)) == std::vector{11, 22, 33});
  });
}

TEST_CASE("calls with ranges: outcomes holds one outcome for each element") {
  for_each_kind([](auto const& calls) {
    std::vector const xs{1, 2, 3};
    auto const single = calls.outcomes(odd_or_throw, xs);
    REQUIRE(single.size() == 3);
    REQUIRE(*single[0] == 1);
    REQUIRE_FALSE(single[1].has_value());
    REQUIRE_THROWS_AS(single[1].value(), std::invalid_argument);
    REQUIRE(*single[2] == 3);
    auto const zipped = calls.outcomes(sum_of_pair, xs, xs);
    REQUIRE(zipped.size() == 3);
    REQUIRE(*zipped[2] == 6);
    REQUIRE(calls.outcomes(doubled, std::vector<int>{}).empty());
  });
}

TEST_CASE("calls with ranges: first returns the index and the result of a task that succeeded") {
  for_each_kind([](auto const& calls) {
    std::vector const xs{2, 4, 5, 6};
    auto const winner = calls.first(odd_or_throw, xs);
    REQUIRE(winner.index == 2);
    REQUIRE(winner.value == 5);
    auto const zipped = calls.first(sum_of_pair, xs, xs);
    REQUIRE(zipped.value == 2 * xs[zipped.index]);
    REQUIRE_THROWS_AS(calls.first(doubled, std::vector<int>{}), std::invalid_argument);
  });
}

TEST_CASE("calls with ranges: streams accept temporary and endless ranges") {
  for_each_kind([](auto const& calls) {
    std::vector<int> in_order;
    for (int const x : calls.stream(sum_of_pair, std::vector{1, 2, 3}, std::list{10, 20, 30})) {
      in_order.push_back(x);
    }
    REQUIRE(in_order == std::vector{11, 22, 33});

    std::vector<int> as_they_end(3);
    for (auto const& result : calls.unordered(doubled, std::vector{1, 2, 3})) {
      as_they_end[result.index] = result.value;
    }
    REQUIRE(as_they_end == std::vector{2, 4, 6});

    int sum = 0;
    for (int const x : calls.stream(sum_of_pair, std::views::iota(0), std::views::iota(1))) {
      if (x > 10) break;
      sum += x;
    }
    REQUIRE(sum == 1 + 3 + 5 + 7 + 9);
  });
}

TEST_CASE("calls with ranges: parallel accepts functions of any size and move-only elements") {
  std::vector<std::unique_ptr<int>> pointers;
  pointers.push_back(std::make_unique<int>(5));
  pointers.push_back(std::make_unique<int>(6));
  std::vector const numbers{1, 2};
  int captured = 100;
  auto add = [&captured, table = std::vector<int>(1000, 7)](std::unique_ptr<int> const& p,
                                                            int n) mutable {
    table[0] = *p;
    return table[0] + n + captured;
  };
  for (int const n_jobs : {1, 2}) {
    CAPTURE(n_jobs);
    auto const calls = fm::parallel(n_jobs);
    REQUIRE(calls.map(add, pointers, numbers) == std::vector{106, 108});
    std::vector<int> all;
    for (int const x : calls.stream(add, pointers, numbers)) all.push_back(x);
    REQUIRE(all == std::vector{106, 108});
  }
}

TEST_CASE("calls with ranges: a task changes only its own copy of an element") {
  std::vector numbers{1, 2, 3};
  auto const change = [](int& a, int& b) { return a = b = 9; };
  REQUIRE(fm::parallel(1).map(change, numbers, numbers) == std::vector{9, 9, 9});
  REQUIRE(numbers == std::vector{1, 2, 3});
}

TEST_CASE("calls with ranges: a zipped view has the weakest category of its ranges") {
  using array = std::views::all_t<std::vector<int> const&>;
  using list = std::views::all_t<std::list<int> const&>;
  using input = std::ranges::basic_istream_view<int, char>;
  using numbers = std::ranges::iota_view<int>;
  using fm::detail::zipped_view;
  static_assert(std::ranges::random_access_range<zipped_view<array, array>>);
  static_assert(std::ranges::sized_range<zipped_view<array, numbers>>);
  static_assert(std::ranges::forward_range<zipped_view<array, list>>);
  static_assert(!std::ranges::random_access_range<zipped_view<array, list>>);
  static_assert(std::ranges::input_range<zipped_view<array, input>>);
  static_assert(!std::ranges::forward_range<zipped_view<array, input>>);
  static_assert(fm::detail::has_no_end<zipped_view<numbers, numbers>>());
  static_assert(!fm::detail::has_no_end<zipped_view<numbers, array>>());

  std::vector const values{1, 2, 3};
  zipped_view zipped(std::views::all(values), std::views::iota(10));
  auto it = zipped.begin();
  REQUIRE(zipped.end() - it == 3);
  REQUIRE(it < zipped.end());
  REQUIRE(it[2] == std::tuple(3, 12));
  it += 2;
  --it;
  REQUIRE(*it == std::tuple(2, 11));
  REQUIRE(1 + it - it == 1);
  REQUIRE(it-- - zipped.begin() == 1);
  REQUIRE(it == zipped.begin());
}
