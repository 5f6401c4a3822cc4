// Arrays as xtensor adaptors, and xtensor's arrays in files. Empty if xtensor is not installed or
// does not compile: xtensor up to 0.24 is ambiguous for clang 19, which matches template template
// parameters more loosely than older versions.
// SPDX-License-Identifier: MIT
#if __has_include(<xtensor/xtensor_config.hpp>)
#include <xtensor/xtensor_config.hpp>
#if !defined(__clang__) || __clang_major__ < 19 || XTENSOR_VERSION_MAJOR > 0 || \
    XTENSOR_VERSION_MINOR > 24

#include <numeric>
#include <stdexcept>
#include <vector>
#include <xtensor/xarray.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>

#include <forkmap/adapt/xtensor.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/load.hpp>
#include <forkmap/shared_array.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"
#include "unit/adapt/counting.hpp"

namespace fm = forkmap;

TEST_CASE("xtensor: an adaptor uses the memory of the array, for any rank and layout", "[adapt]") {
  for (auto const layout : {fm::order::c, fm::order::fortran}) {
    auto const array = counting({2, 3, 4}, layout);
    auto x = fm::as_xarray(array);
    REQUIRE(x.dimension() == 3);
    for (std::size_t i = 0; i != 2; ++i) {
      for (std::size_t j = 0; j != 3; ++j) {
        for (std::size_t k = 0; k != 4; ++k) REQUIRE(&x(i, j, k) == &array(i, j, k));
      }
    }
    REQUIRE(xt::sum(x)() == 23 * 24 / 2);
    x(1, 2, 3) = -1;
    REQUIRE(array(1, 2, 3) == -1);
    auto const fixed = fm::as_xtensor<3>(array);
    REQUIRE(&fixed(1, 0, 2) == &array(1, 0, 2));
  }
}

TEST_CASE("xtensor: a layout and a rank given by the caller are checked", "[adapt]") {
  fm::shared_array<double const> const array = counting({3, 4});
  auto const x = fm::as_xtensor<2, xt::layout_type::row_major>(array);
  static_assert(std::is_const_v<std::remove_reference_t<decltype(x(0, 0))>>);
  REQUIRE(&x(2, 1) == &array(2, 1));
  REQUIRE(&fm::as_xarray<xt::layout_type::row_major>(array)(1, 1) == &array(1, 1));
  REQUIRE_THROWS_AS(fm::as_xarray<xt::layout_type::column_major>(array), std::invalid_argument);
  REQUIRE_THROWS_AS((fm::as_xtensor<1>(array)), std::invalid_argument);
  auto const columns = counting({3, 4}, fm::order::fortran);
  REQUIRE(&fm::as_xtensor<2, xt::layout_type::column_major>(columns)(2, 1) == &columns(2, 1));
  auto const scalar = counting({});
  REQUIRE(fm::as_xarray(scalar)() == 0);
}

TEST_CASE("xtensor: dump writes arrays, views and expressions", "[adapt]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  xt::xarray<double> a = xt::arange<double>(24).reshape({2, 3, 4});
  auto const same = [&](auto const& expression, fm::order layout = fm::order::c) {
    auto const array = fm::load<double>(fm::dump(expression, file));
    return array.layout() == layout && fm::as_xarray(array) == expression;
  };
  REQUIRE(same(a));
  REQUIRE(same(xt::xtensor<double, 3>(a)));
  REQUIRE(same(xt::xarray<double, xt::layout_type::column_major>(a), fm::order::fortran));
  REQUIRE(same(xt::view(a, 1)));
  REQUIRE(same(xt::view(a, xt::all(), 1)));
  REQUIRE(same(xt::view(a, xt::all(), xt::range(0, 3, 2))));
  REQUIRE(same(2 * a + 1));
  REQUIRE(same(xt::transpose(a), fm::order::fortran));
  REQUIRE(same(xt::view(a, xt::all(), xt::range(1, 2))));
  xt::xarray<int> const empty = xt::xarray<int>::from_shape({0, 3});
  REQUIRE(fm::load<int>(fm::dump(empty, file)).dims() == fm::shape{0, 3});
  auto const mapped = counting({3, 4}, fm::order::fortran);
  REQUIRE(same(fm::as_xarray(mapped)));
}

#endif
#endif
