// Records: a C++ aggregate is a NumPy structured dtype. Workers fill an array of records in its
// file, other workers search the array, and Python opens the same file:
//
//   quakes = numpy.load("quakes.npy", mmap_mode="r");  quakes["magnitude"].max()
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

namespace {

struct quake {
  double time;                     // seconds
  std::array<float, 3> epicentre;  // kilometres
  float magnitude;
  fm::fixed_string<4> station;
};

// A similar record with a member that the file lacks.
struct felt_quake {
  double time;
  double magnitude;
  std::int32_t reports;
};

}  // namespace

template <>
inline constexpr auto forkmap::field_names<quake> =
    std::to_array<std::string_view>({"time", "epicentre", "magnitude", "station"});
template <>
inline constexpr auto forkmap::field_names<felt_quake> =
    std::to_array<std::string_view>({"time", "magnitude", "reports"});

namespace {

quake simulated(std::size_t i) {
  constexpr std::array<fm::fixed_string<4>, 3> stations = {"ISK", "BOLU", "KO"};
  auto& random = fm::this_task::rng();
  auto const between = [&random](double low, double high) {
    return low + (high - low) * (static_cast<double>(random()) / 0x1p64);
  };
  auto const coordinate = [&] { return static_cast<float>(between(-50, 50)); };
  return {.time = 60.0 * static_cast<double>(i) + between(0, 60),
          .epicentre = {coordinate(), coordinate(), coordinate()},
          // Gutenberg and Richter: each magnitude is ten times rarer than the one below.
          .magnitude = static_cast<float>(1 - std::log10(between(1e-9, 1))),
          .station = stations[i % stations.size()]};
}

/// The strongest of these quakes.
quake strongest(std::span<quake const> quakes) {
  return *std::ranges::max_element(quakes, {}, &quake::magnitude);
}

void run(std::filesystem::path const& file) {
  constexpr std::size_t n = 200'000;
  constexpr std::size_t block = 10'000;
  auto const workers = fm::parallel({.n_jobs = 2, .seed = 7});

  auto const written = fm::memmap<quake>::create(file, {n});
  workers.map(
      [&](fm::slice part) {
        for (auto i = part.start; i < part.stop; ++i) written[i] = simulated(i);
      },
      fm::sliding_windows(n, block, block));
  std::printf("%zu records of %zu bytes, for NumPy\n  %s\n", n, sizeof(quake),
              fm::inspect(file).dtype.c_str());

  auto const quakes = fm::load<quake>(file);
  auto const best = strongest(workers.map([&](fm::slice part) { return strongest(quakes[part]); },
                                          fm::sliding_windows(n, block, block)));
  std::printf("the strongest: magnitude %.1f, day %.0f, seen by %s\n",
              static_cast<double>(best.magnitude), std::floor(best.time / 86400),
              std::string(best.station.view()).c_str());

  try {
    fm::load<felt_quake>(file);
  } catch (fm::dtype_error const& e) {
    std::printf("asked for as another record:\n  %s\n", e.what());
  }
}

}  // namespace

int main() {
  auto const file = std::filesystem::temp_directory_path() /
                    ("forkmap-quakes-" + std::to_string(::getpid()) + ".npy");
  int status = 0;
  try {
    run(file);
  } catch (std::exception const& e) {
    std::fprintf(stderr, "%s\n", e.what());
    status = 1;
  }
  std::filesystem::remove(file);
  return status;
}
