// SPDX-License-Identifier: MIT
#include <forkmap/detail/array/part.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;
using fm::detail::check_window;
using fm::detail::element_position;

TEST_CASE("index: the last axis varies fastest in order c, the first in order fortran", "[array]") {
  fm::shape const dims{2, 3, 4};
  CHECK(element_position(dims, fm::order::c, 1, 2U, 3L) == 23);
  CHECK(element_position(dims, fm::order::c, 1, 0, 0) == 12);
  CHECK(element_position(dims, fm::order::fortran, 1, 0, 0) == 1);
  CHECK(element_position(dims, fm::order::fortran, 0, 1, 0) == 2);
  CHECK(element_position(dims, fm::order::fortran, 0, 0, 1) == 6);
  CHECK(element_position(fm::shape::scalar(), fm::order::c) == 0);
}

TEST_CASE("index: an index out of range is an error that names the numbers", "[array]") {
  fm::shape const dims{2, 3};
  for (auto const layout : {fm::order::c, fm::order::fortran}) {
    CHECK_THROWS_AS(element_position(dims, layout, 2, 0), std::out_of_range);
    CHECK_THROWS_WITH(element_position(dims, layout, 1, 3),
                      ContainsSubstring("(1, 3)") && ContainsSubstring("(2, 3)"));
    CHECK_THROWS_WITH(element_position(dims, layout, -1, 0), ContainsSubstring("(-1, 0)"));
    CHECK_THROWS_WITH(element_position(dims, layout, 1), ContainsSubstring("1 indices"));
    CHECK_THROWS_AS(element_position(dims, layout), std::out_of_range);
    CHECK_THROWS_AS(element_position(fm::shape{0}, layout, 0), std::out_of_range);
  }
}

TEST_CASE("index: a window is checked at both ends", "[array]") {
  CHECK_NOTHROW(check_window({0, 10}, 10));
  CHECK_NOTHROW(check_window({10, 10}, 10));
  CHECK_THROWS_AS(check_window({3, 11}, 10), std::out_of_range);
  CHECK_THROWS_WITH(check_window({3, 11}, 10),
                    ContainsSubstring("[3, 11)") && ContainsSubstring("10 elements"));
  CHECK_THROWS_WITH(check_window({5, 4}, 10), ContainsSubstring("ends before it starts"));
  CHECK_THROWS_AS(check_window({11, 11}, 10), std::out_of_range);
}
