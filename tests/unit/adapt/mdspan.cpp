// Arrays as mdspans, and mdspans in files. Empty if the standard library has no <mdspan>.
// SPDX-License-Identifier: MIT
#include <forkmap/adapt/mdspan.hpp>

#if defined(__cpp_lib_mdspan)

#include <array>
#include <concepts>
#include <mdspan>
#include <numeric>
#include <stdexcept>
#include <vector>

#include <forkmap/dump.hpp>
#include <forkmap/load.hpp>
#include <forkmap/shared_array.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"
#include "unit/adapt/counting.hpp"

namespace fm = forkmap;

TEST_CASE("mdspan: an mdspan uses the memory of the array, in either layout", "[adapt]") {
  for (auto const layout : {fm::order::c, fm::order::fortran}) {
    auto const array = counting({2, 3, 4}, layout);
    auto const m = fm::as_mdspan<3>(array);
    REQUIRE(m.extent(1) == 3);
    for (std::size_t i = 0; i != 2; ++i) {
      for (std::size_t j = 0; j != 3; ++j) {
        for (std::size_t k = 0; k != 4; ++k) {
          REQUIRE(&m[std::array{i, j, k}] == &array(i, j, k));
        }
      }
    }
  }
  fm::shared_array<double const> const array = counting({2, 3});
  auto const m = fm::as_mdspan<2, std::layout_right>(array);
  static_assert(std::same_as<decltype(m)::element_type, double const>);
  REQUIRE(m[std::array{1, 2}] == 5);
  REQUIRE_THROWS_AS((fm::as_mdspan<2, std::layout_left>(array)), std::invalid_argument);
  REQUIRE_THROWS_AS((fm::as_mdspan<3>(array)), std::invalid_argument);
}

TEST_CASE("mdspan: dump writes any layout", "[adapt]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  std::vector<int> values(24);
  std::iota(values.begin(), values.end(), 0);
  using extents = std::dextents<int, 2>;
  auto const same = [&](auto const& m, fm::order layout) {
    auto const array = fm::load<int>(fm::dump(m, file));
    bool equal = array.layout() == layout && array.dims() == fm::shape{m.extent(0), m.extent(1)};
    for (int i = 0; i != m.extent(0); ++i) {
      for (int j = 0; j != m.extent(1); ++j) equal &= array(i, j) == m[std::array{i, j}];
    }
    return equal;
  };
  REQUIRE(same(std::mdspan(values.data(), extents(4, 6)), fm::order::c));
  REQUIRE(same(std::mdspan<int const, extents, std::layout_left>(values.data(), extents(4, 6)),
               fm::order::fortran));
  std::layout_stride::mapping const strided(extents(3, 2), std::array{7, 3});
  REQUIRE(
      same(std::mdspan<int, extents, std::layout_stride>(values.data(), strided), fm::order::c));
  REQUIRE(same(std::mdspan(values.data(), extents(0, 6)), fm::order::c));
}

#endif
