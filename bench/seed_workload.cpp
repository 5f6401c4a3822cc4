// How close to the ideal time is the workload that forkmap was made for? It is joblib's example of
// a sliding window: 95 means of 500 000 out of 10 000 000 values each, by 2 workers, with and
// without the sleep of 10 ms per mean in that example.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <numeric>
#include <ranges>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"
#include "support/temporary_folder.hpp"

namespace fm = forkmap;

namespace {

constexpr std::size_t size = 10'000'000;
constexpr auto slices = fm::sliding_windows(size - 1, 500'000, 100'000);

fm::slice slice_at(std::size_t i) { return slices.begin()[static_cast<std::ptrdiff_t>(i)]; }

double mean(std::span<double const> data, fm::slice slice) {
  auto const part = data.subspan(slice.start, slice.size());
  return std::accumulate(part.begin(), part.end(), 0.0) / static_cast<double>(part.size());
}
double slow_mean(std::span<double const> data, fm::slice slice) {
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return mean(data, slice);
}
using mean_function = double (*)(std::span<double const>, fm::slice);

void sequential(mean_function compute, std::span<double const> data) {
  std::vector<double> means;
  means.reserve(slices.size());
  for (auto const slice : slices) means.push_back(compute(data, slice));
  benchmark::DoNotOptimize(means.data());
}

void by_hand(mean_function compute, std::span<double const> data) {
  bench::by_hand::shared_results<double> results(slices.size());
  bench::by_hand::in_two_processes(results.next(), slices.size(), 1, [&](std::size_t i) {
    results.data()[i] = compute(data, slice_at(i));
  });
  std::vector<double> const means(results.data(), results.data() + slices.size());
  benchmark::DoNotOptimize(means.data());
}

template <class Array> void mapped_in_parallel(mean_function compute, Array const& data) {
  auto const means = fm::parallel(2)(slices | std::views::transform([&](fm::slice slice) {
                                       return fm::delayed(compute)(std::cref(data), slice);
                                     }));
  benchmark::DoNotOptimize(means.data());
}

enum class pages { huge, small };

/// An array in huge pages, if the system has them, as NumPy's arrays of this size.
std::vector<double> data_in_memory(pages of = pages::huge) {
  std::vector<double> values;
  values.reserve(size);
  if (of == pages::huge) fm::advise(std::span(values.data(), size), fm::advice::huge_pages);
  for (std::size_t i = 0; i != size; ++i) {
    values.push_back(static_cast<double>(i * 2654435761U % 1000) / 1000);
  }
  return values;
}

/// The data in a file, which is mapped by forkmap and by hand.
struct file_data {
  bench::temporary_folder folder{};
  fm::memmap<double const> mapped =
      fm::load<double>(fm::dump(data_in_memory(), folder / "data.npy"));
  bench::by_hand::mapped_file by_hand{mapped.path().c_str(), mapped.offset(),
                                      mapped.size() * sizeof(double)};

  std::span<double const> floor() const { return {by_hand.data(), size}; }
};

void memmap_vs_hand(benchmark::State& state, mean_function compute, bench::question const& asked) {
  file_data const data;
  bench::time_in_turns(
      state, asked, [&] { by_hand(compute, data.floor()); },
      [&] { mapped_in_parallel(compute, data.mapped); });
}

void array_vs_hand(benchmark::State& state, mean_function compute, bench::question const& asked,
                   pages of = pages::huge) {
  auto const data = data_in_memory(of);
  bench::time_in_turns(
      state, asked, [&] { by_hand(compute, data); }, [&] { mapped_in_parallel(compute, data); });
}

void memmap_vs_half_sequential(benchmark::State& state, mean_function compute,
                               bench::question const& asked) {
  file_data const data;
  bench::in_turns(
      state, asked,
      [&] { return bench::seconds_of([&] { sequential(compute, data.floor()); }) / 2; },
      [&] { return bench::seconds_of([&] { mapped_in_parallel(compute, data.mapped); }); });
}

void array_vs_half_sequential(benchmark::State& state, mean_function compute,
                              bench::question const& asked, pages of = pages::huge) {
  auto const data = data_in_memory(of);
  bench::in_turns(
      state, asked, [&] { return bench::seconds_of([&] { sequential(compute, data); }) / 2; },
      [&] { return bench::seconds_of([&] { mapped_in_parallel(compute, data); }); });
}

void small_pages_vs_hand(benchmark::State& state, mean_function compute,
                         bench::question const& asked) {
  array_vs_hand(state, compute, asked, pages::small);
}
void small_pages_vs_half_sequential(benchmark::State& state, mean_function compute,
                                    bench::question const& asked) {
  array_vs_half_sequential(state, compute, asked, pages::small);
}

/// The ideal: the sleeps of the longer half of the tasks, and half of the computing.
void warm_pool_vs_ideal(benchmark::State& state, mean_function compute,
                        bench::question const& asked) {
  file_data const data;
  fm::pool const workers(2);
  bench::in_turns(
      state, asked,
      [&] {
        constexpr auto n_sleeps = (slices.size() + 1) / 2;
        auto const sleeping = bench::seconds_of([] {
          for (std::size_t i = 0; i != n_sleeps; ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
          }
        });
        return sleeping + bench::seconds_of([&] { sequential(mean, data.floor()); }) / 2;
      },
      [&] {
        return bench::seconds_of([&] {
          auto const means = workers(slices | std::views::transform([&](fm::slice slice) {
                                       return fm::delayed(compute)(data.mapped, slice);
                                     }));
          benchmark::DoNotOptimize(means.data());
        });
      });
}

#define FORKMAP_SEED(function, name, compute, rounds, ...)                 \
  BENCHMARK_CAPTURE(function, name, compute, bench::question{__VA_ARGS__}) \
      ->Iterations(rounds)                                                 \
      ->UseManualTime()                                                    \
      ->Unit(benchmark::kMillisecond)

FORKMAP_SEED(memmap_vs_hand, sleep, slow_mean, 15,
             .text = "sliding window, memory-mapped, 2 workers / by hand", .ratio_target = 1.02);
FORKMAP_SEED(memmap_vs_half_sequential, sleep, slow_mean, 7,
             .text = "sliding window, memory-mapped, 2 workers / half of sequential",
             .ratio_target = 1.08);
FORKMAP_SEED(array_vs_hand, sleep, slow_mean, 7,
             .text = "sliding window, array in memory, 2 workers / by hand");
FORKMAP_SEED(array_vs_half_sequential, sleep, slow_mean, 7,
             .text = "sliding window, array in memory, 2 workers / half of sequential",
             .ratio_target = 1.08);
FORKMAP_SEED(small_pages_vs_hand, sleep, slow_mean, 7,
             .text = "sliding window, array in pages of 4 KiB, 2 workers / by hand");
FORKMAP_SEED(small_pages_vs_half_sequential, sleep, slow_mean, 7,
             .text = "sliding window, array in pages of 4 KiB, 2 workers / half of sequential");

FORKMAP_SEED(warm_pool_vs_ideal, sleep, slow_mean, 15,
             .text =
                 "sliding window, memory-mapped, warm pool of 2 / 48 sleeps and half of the "
                 "computing",
             .ratio_target = 1.02);

FORKMAP_SEED(memmap_vs_hand, no_sleep, mean, 31,
             .text = "the same without sleep, memory-mapped / by hand");
FORKMAP_SEED(memmap_vs_half_sequential, no_sleep, mean, 31,
             .text = "the same without sleep, memory-mapped / half of sequential");
FORKMAP_SEED(array_vs_hand, no_sleep, mean, 31,
             .text = "the same without sleep, array in memory / by hand");
FORKMAP_SEED(array_vs_half_sequential, no_sleep, mean, 31,
             .text = "the same without sleep, array in memory / half of sequential");

}  // namespace
