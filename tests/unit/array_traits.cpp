// Arrays that dump() accepts although they are not ranges of elements.
// SPDX-License-Identifier: MIT
#include <array>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <stdexcept>
#include <vector>

#include <forkmap/array_traits.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

TEST_CASE("dump: nested fixed arrays have the dims of their nesting", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  std::array<std::array<int, 3>, 2> const nested{{{1, 2, 3}, {4, 5, 6}}};
  auto const of_arrays = fm::load<int>(fm::dump(nested, file));
  CHECK(of_arrays.dims() == fm::shape{2, 3});
  CHECK(of_arrays(1, 0) == 4);
  double const c_array[2][3][4] = {{{0, 1}}, {{}, {}, {0, 0, 0, 9}}};
  auto const of_c_array = fm::load<double>(fm::dump(c_array, file));
  CHECK(of_c_array.dims() == fm::shape{2, 3, 4});
  CHECK(of_c_array(1, 2, 3) == 9);
  std::vector<std::array<float, 3>> const points{{1, 2, 3}, {4, 5, 6}};
  CHECK(fm::load<float>(fm::dump(points, file)).dims() == fm::shape{2, 3});
  CHECK(fm::load<float>(fm::dump(points, file, {.dims = {6}})).dims() == fm::shape{6});
  CHECK(fm::load<float>(fm::dump(std::vector<std::array<float, 3>>(), file)).dims() ==
        fm::shape{0, 3});
  int const flat[4] = {1, 2, 3, 4};
  CHECK(fm::load<int>(fm::dump(flat, file)).dims() == fm::shape{4});
  // A fixed string is one element.
  std::vector<std::array<char, 4>> const names{{'a', 'b'}, {'c'}};
  CHECK(fm::inspect(fm::dump(names, file)).dims == fm::shape{2});
  CHECK_THROWS_AS(fm::dump(nested, file, {.dims = {7}}), std::invalid_argument);
}

namespace {

/// An array class that forkmap does not know.
struct image {
  std::vector<std::uint8_t> pixels;
  int width;
};

}  // namespace

template <> struct forkmap::array_traits<image> {
  static auto elements(image const& it) {
    return it.pixels | std::views::transform([](std::uint8_t p) { return p / 255.0F; });
  }
  static shape dims(image const& it) {
    return {it.pixels.size() / static_cast<std::size_t>(it.width), it.width};
  }
  static order layout(image const& /*array*/) { return order::c; }
};

TEST_CASE("dump: array_traits describe an array class of the user", "[array]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "a.npy";
  auto const array = fm::load<float>(fm::dump(image{{0, 51, 255, 0, 0, 255}, 3}, file));
  CHECK(array.dims() == fm::shape{2, 3});
  CHECK(array(0, 1) == 0.2F);
  CHECK(array(1, 2) == 1);
  // The dims in the traits must agree with the number of elements.
  CHECK_THROWS_AS(fm::dump(image{{1, 2, 3, 4, 5, 6, 7}, 3}, file), std::invalid_argument);
  CHECK(fm::load<float>(file).size() == 6);
}
