// A measurement of forkmap and of a floor in alternating rounds, so that other load on the machine
// affects both equally.
// SPDX-License-Identifier: MIT
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <string>
#include <vector>

namespace bench {

/// The text for the table of bench/run.sh, and the target: a ratio forkmap / floor of at most
/// `ratio_target`, or a measurement of forkmap of at most `limit`. 0: no target.
struct question {
  std::string text;
  double ratio_target = 0;
  double limit = 0;
};

/// How long a call takes, in seconds.
template <std::invocable Call> double seconds_of(Call&& call) {
  auto const begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> samples) {
  auto const middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::ranges::nth_element(samples, middle);
  return *middle;
}

/// Stores the measurements in the counters of a benchmark.
inline void report(benchmark::State& state, question const& asked, std::vector<double> const& floor,
                   std::vector<double> const& forkmap) {
  state.SetLabel(asked.text);
  auto const floor_median = median(floor);
  auto const forkmap_median = median(forkmap);
  state.counters["floor"] = floor_median;
  state.counters["forkmap"] = forkmap_median;
  state.counters["ratio"] = forkmap_median / floor_median;
  state.counters["rounds"] = static_cast<double>(forkmap.size());
  if (asked.ratio_target > 0) state.counters["ratio_target"] = asked.ratio_target;
  if (asked.limit > 0) state.counters["limit"] = asked.limit;
}

/// Measures both once per iteration, after one warm-up round. Each function returns one sample in
/// seconds, without the time of clean-up such as removing files. The order is swapped in every
/// other round, because the first one may leave warm caches and free pages to the second.
template <std::invocable Floor, std::invocable Forkmap>
void in_turns(benchmark::State& state, question const& asked, Floor&& floor, Forkmap&& forkmap) {
  floor();
  forkmap();
  std::vector<double> floor_samples;
  std::vector<double> forkmap_samples;
  for (auto _ : state) {
    bool const floor_first = floor_samples.size() % 2 == 0;
    if (floor_first) floor_samples.push_back(floor());
    forkmap_samples.push_back(forkmap());
    if (!floor_first) floor_samples.push_back(floor());
    state.SetIterationTime(forkmap_samples.back());
  }
  report(state, asked, floor_samples, forkmap_samples);
}

/// Measures the run times of two calls.
template <std::invocable Floor, std::invocable Forkmap>
void time_in_turns(benchmark::State& state, question const& asked, Floor&& floor,
                   Forkmap&& forkmap) {
  in_turns(state, asked, [&] { return seconds_of(floor); }, [&] { return seconds_of(forkmap); });
}

}  // namespace bench
