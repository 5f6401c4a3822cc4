// Arrays as inputs and results of maps.
// SPDX-License-Identifier: MIT
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <numeric>
#include <ranges>
#include <span>
#include <system_error>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

double mean(std::span<double const> xs) {
  return std::accumulate(xs.begin(), xs.end(), 0.0) / static_cast<double>(xs.size());
}

double mean_of(fm::memmap<double const> const& data, fm::slice window) {
  return mean(data[window]);
}

std::vector<double> ramp(std::size_t n) {
  std::vector<double> all(n);
  std::iota(all.begin(), all.end(), 0.0);
  return all;
}

template <class Make> auto from_worker(Make make) {
  return std::get<0>(fm::parallel({.n_jobs = 1, .isolate = true})(make));
}

}  // namespace

TEST_CASE("arrays: the sliding-window mean over a vector and over a memmap", "[arrays]") {
  support::temporary_directory const folder;
  auto const data = ramp(100'000);
  auto const windows = fm::sliding_windows(data.size(), 5000, 1000);
  std::vector<double> expected;
  for (auto const window : windows) {
    expected.push_back(mean(std::span(data).subspan(window.start, window.size())));
  }
  auto const mapped = fm::load<double>(fm::dump(data, folder.path() / "data"));
  for (int const n_jobs : {1, 2}) {
    REQUIRE(fm::parallel(n_jobs)(windows | std::views::transform([&](fm::slice window) {
                                   return fm::delayed(mean)(
                                       std::span(data).subspan(window.start, window.size()));
                                 })) == expected);
    REQUIRE(fm::parallel(n_jobs)(windows | std::views::transform([&](fm::slice window) {
                                   return fm::delayed(mean_of)(mapped, window);
                                 })) == expected);
  }
}

TEST_CASE("arrays: workers write into a read-write memmap", "[arrays]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "output.npy";
  {
    auto output = fm::memmap<double>::create(file, {100});
    fm::parallel(3).map([&](std::size_t i) { output[i] = static_cast<double>(i) / 2; },
                        std::views::iota(std::size_t{0}, output.size()));
    REQUIRE(output[99] == 49.5);
    output.flush();
  }
  auto const back = fm::load<double>(file);
  for (std::size_t i = 0; i != 100; ++i) REQUIRE(back[i] == static_cast<double>(i) / 2);
  // copy_on_write: changes in a worker reach neither the caller nor the file.
  auto own = fm::load<double>(file, fm::copy_on_write);
  fm::parallel(2).map([&](std::size_t i) { own[i] = -1; },
                      std::views::iota(std::size_t{0}, own.size()));
  REQUIRE(own[10] == 5);
  REQUIRE(back[10] == 5);
}

TEST_CASE("arrays: a memmap that a task returns maps the same file in the caller", "[arrays]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "made.npy";
  auto made = from_worker([&] {
    auto array = fm::memmap<int>::create(file, {2, 3}, fm::order::fortran);
    array(1, 2) = 7;
    return array;
  });
  REQUIRE(made(1, 2) == 7);
  REQUIRE(made.dims() == fm::shape{2, 3});
  REQUIRE(made.layout() == fm::order::fortran);
  REQUIRE(made.path() == file);
  made(0, 0) = 5;
  REQUIRE(fm::load<int>(file)[0] == 5);
  auto const read = from_worker([&] { return fm::load<int>(file); });
  REQUIRE(read(1, 2) == 7);
}

TEST_CASE("arrays: a copy-on-write memmap is sent with its content", "[arrays]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2, 3}, folder.path() / "a.npy");
  auto const changed = from_worker([&] {
    auto array = fm::load<int>(file, fm::copy_on_write);
    array[1] = 20;
    return array;
  });
  REQUIRE(changed[0] == 1);
  REQUIRE(changed[1] == 20);
  auto const as_const = from_worker([&] {
    auto array = fm::load<int>(file, fm::copy_on_write);
    array[1] = 30;
    return fm::memmap<int const>(array);
  });
  REQUIRE(as_const[1] == 30);
  REQUIRE(fm::load<int>(file)[1] == 2);
}

TEST_CASE("arrays: returning a memmap whose file was replaced throws ESTALE", "[arrays]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2, 3}, folder.path() / "a.npy");
  try {
    from_worker([&] {
      auto array = fm::load<int>(file);
      fm::dump(std::vector{4, 5, 6}, file);
      return array;
    });
    FAIL("nothing was thrown");
  } catch (std::system_error const& e) {
    REQUIRE(e.code() == std::error_code(ESTALE, std::system_category()));
    REQUIRE(std::string(e.what()).find("a.npy") != std::string::npos);
  }
}

TEST_CASE("arrays: owned and shared arrays are sent as their content", "[arrays]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(ramp(1000), folder.path() / "a.npy", {.dims = {10, 100}});
  auto const owned = from_worker([&] { return fm::load<double>(file, fm::in_memory); });
  REQUIRE(owned.dims() == fm::shape{10, 100});
  REQUIRE(owned(9, 99) == 999);
  auto const shared = from_worker([] {
    fm::shared_array<int> array({4}, fm::order::fortran);
    array[3] = 9;
    return array;
  });
  REQUIRE(shared.size() == 4);
  REQUIRE(shared[3] == 9);
  REQUIRE(shared.layout() == fm::order::fortran);
}

TEST_CASE("arrays: a task can return a vector of memmaps or an empty memmap", "[arrays]") {
  support::temporary_directory const folder;
  auto const file = fm::dump(std::vector{1, 2, 3}, folder.path() / "a.npy");
  auto const several = from_worker([&] { return std::vector(5, fm::load<int>(file)); });
  REQUIRE(several.size() == 5);
  REQUIRE(several[4][2] == 3);
  REQUIRE(from_worker([] { return fm::memmap<int>(); }).size() == 0);
}
