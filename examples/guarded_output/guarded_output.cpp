// One output array that many workers write. A write guard limits each to its own rows. A decoder
// with a bug writes into a row of another task: its own task fails with the place, and no data is
// damaged.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <ranges>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

namespace {

constexpr std::size_t sensors = 64;
constexpr std::size_t samples = 20'000;

struct reading {
  std::size_t at;
  float value;
};

/// The readings of a sensor, in the order of arrival. One bit of sensor 17 is wrong.
std::vector<reading> readings_of(std::size_t sensor) {
  std::vector<reading> all;
  for (std::size_t i = 0; i != samples; ++i) {
    auto const at = i * 7'919 % samples;
    all.push_back({at, static_cast<float>(sensor) + static_cast<float>(at) / samples});
  }
  if (sensor == 17) all[12'345].at |= std::size_t{1} << 18U;
  return all;
}

/// Stores each reading at its index, without checking the index.
void decode(float* row, std::vector<reading> const& readings) {
  for (auto const& reading : readings) row[reading.at] = reading.value;
}
/// The same with the bug fixed.
void decode_checked(float* row, std::vector<reading> const& readings) {
  for (auto const& reading : readings) {
    if (reading.at < samples) row[reading.at] = reading.value;
  }
}

/// Decodes all sensors, each in a task.
/// Returns: the number of correct rows.
template <class Decode> std::size_t decode_all(fm::memmap<float> const& out, Decode decode_one) {
  auto const outcomes = fm::parallel(2).outcomes(std::views::iota(std::size_t{0}, sensors) |
                                                 std::views::transform([&](std::size_t sensor) {
                                                   return [&out, decode_one, sensor] {
                                                     auto const row = out.row(sensor);
                                                     auto const only_mine = row.guard();
                                                     decode_one(row.data(), readings_of(sensor));
                                                   };
                                                 }));
  std::size_t right = 0;
  for (std::size_t sensor = 0; sensor != sensors; ++sensor) {
    if (!outcomes[sensor]) std::printf("%s\n", outcomes[sensor].error().message.c_str());
    std::size_t as_sent = 0;
    for (auto const& reading : readings_of(sensor)) {
      as_sent += reading.at < samples && out(sensor, reading.at) == reading.value;
    }
    right += outcomes[sensor] && as_sent + (sensor == 17) == samples;
  }
  return right;
}

}  // namespace

int main() {
  auto const file = std::filesystem::temp_directory_path() /
                    ("forkmap-guarded-" + std::to_string(::getpid()) + ".npy");
  auto const out = fm::memmap<float>::create(file, {sensors, samples});

  auto const with_bug = decode_all(out, decode);
  std::printf("with the bug: %zu of %zu rows right\n", with_bug, sensors);
  auto const mended = decode_all(out, decode_checked);
  std::printf("without the bug: %zu of %zu rows right\n", mended, sensors);

  std::filesystem::remove(file);
  return with_bug == sensors - 1 && mended == sensors ? 0 : 1;
}
