// The mean of every window that slides over a large array, in parallel. This is joblib's example
// "NumPy memmap in joblib.Parallel", step by step:
//
//   1. one window after another
//   2. in worker processes, which see the array of this process
//   3. in worker processes, with the array in a file that is mapped into memory
//   4. in worker processes that write the means into a second mapped file
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <iterator>
#include <new>
#include <numeric>
#include <random>
#include <ranges>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "command_line.hpp"
#include "printing.hpp"
#include "temporary_folder.hpp"

namespace fm = forkmap;

namespace {

settings chosen;  // by the command line; workers see it, because they are forked from this process

std::stop_source interrupted;  // by Ctrl-C
std::sig_atomic_t volatile interrupted_by = 0;
struct keyboard_interrupt {};

double mean(std::span<double const> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Simulates a time consuming computation: most of it is waiting.
double slow_mean(std::span<double const> data, fm::slice slice) {
  std::this_thread::sleep_for(chosen.sleep);
  return mean(data.subspan(slice.start, slice.size()));
}

/// The same, but the mean is written into an array that the caller shares with all workers.
void slow_mean_write_output(std::span<double const> data, fm::slice slice, std::span<double> output,
                            std::size_t index) {
  std::this_thread::sleep_for(std::chrono::microseconds(chosen.sleep) / 2);
  output[index] = mean(data.subspan(slice.start, slice.size()));
  std::printf("[Worker %d] Mean for slice %zu is %f\n", ::getpid(), index, output[index]);
}

std::vector<double> random_values(std::size_t size) {
  std::mt19937_64 generator(42);
  std::uniform_real_distribution<double> uniform(0.0, 1.0);
  std::vector<double> values;
  values.reserve(size);
  // As NumPy does with large arrays: fewer page table entries for a fork to copy and for workers to
  // look up.
  fm::advise(std::span(values.data(), size), fm::advice::huge_pages);
  std::generate_n(std::back_inserter(values), size, [&] { return uniform(generator); });
  return values;
}

/// The windows of Python's range(0, size - window, step), which leaves out the window that ends
/// exactly at the end of the array. These are the windows of an array that is one element shorter.
std::vector<fm::slice> slices_of(std::size_t size) {
  auto const windows = fm::sliding_windows(size - 1, chosen.window, chosen.step);
  return {windows.begin(), windows.end()};
}

/// A map with the chosen number of workers. Ctrl-C makes it throw task_cancelled.
fm::parallel_map parallel() {
  return fm::parallel({.n_jobs = chosen.n_jobs, .stop = interrupted.get_token()});
}

std::vector<double> sequential_means(std::span<double const> data,
                                     std::vector<fm::slice> const& slices) {
  std::vector<double> means;
  for (auto const slice : slices) {
    if (interrupted.stop_requested()) throw keyboard_interrupt();
    means.push_back(slow_mean(data, slice));
  }
  return means;
}

/// delayed(slow_mean)(...) is a call that a worker makes later. The range of calls is lazy, and
/// neither the range nor the array is copied, because workers are forked from this process and see
/// its memory.
template <class Array>
std::vector<double> parallel_means(Array const& data, std::vector<fm::slice> const& slices) {
  return parallel()(slices | std::views::transform([&](fm::slice slice) {
                      return fm::delayed(slow_mean)(std::cref(data), slice);
                    }));
}

/// A worker's writes to ordinary memory are visible only in that worker. Its writes to a memmap
/// that is open for writing are visible to all processes.
void parallel_means_write_output(fm::memmap<double const> const& data,
                                 std::vector<fm::slice> const& slices,
                                 fm::memmap<double> const& output) {
  parallel()(std::views::iota(std::size_t{0}, slices.size()) |
             std::views::transform([&](std::size_t index) {
               return fm::delayed(slow_mean_write_output)(std::cref(data), slices[index],
                                                          std::cref(output), index);
             }));
}

/// All processes add in the same order, so that means are equal to the last bit.
void expect_equal(std::span<double const> actual, std::span<double const> expected) {
  auto const differs = std::ranges::mismatch(actual, expected).in1;
  if (differs == actual.end()) return;
  auto const index = static_cast<std::size_t>(differs - actual.begin());
  throw std::runtime_error("the mean for slice " + std::to_string(index) + " is " +
                           std::to_string(actual[index]) + " instead of " +
                           std::to_string(expected[index]));
}

void run() {
  print_heading("Speed up processing of a large data array");
  auto data = random_values(chosen.size);
  auto const slices = slices_of(data.size());
  auto const n_workers = fm::effective_n_jobs(chosen.n_jobs);
  auto const sleeping = static_cast<double>(slices.size()) * seconds(chosen.sleep);
  std::printf("\n%zu slices of %zu out of %zu values; workers: %d\n", slices.size(), chosen.window,
              data.size(), n_workers);

  print_heading("1. One after another");
  stopwatch const sequential_time;
  auto const expected = sequential_means(data, slices);
  auto const sequential = sequential_time.elapsed();
  print_elapsed(sequential, sleeping, "nothing but the sleeping");

  print_heading("2. In parallel");
  stopwatch const parallel_time;
  auto results = parallel_means(data, slices);
  print_elapsed(parallel_time.elapsed(), sequential / n_workers, "sequential / workers");
  expect_equal(results, expected);

  // Forking a process with much memory takes time, but a mapped file of any size does not. So the
  // array is moved to a file, and its memory is freed.
  print_heading("3. In parallel, with the data in a memory-mapped file");
  temporary_folder const folder;
  fm::dump(data, folder / "data_memmap");
  data = std::vector<double>();
  auto const data_memmap = fm::load<double>(folder / "data_memmap", fm::read_only);

  stopwatch const memmap_time;
  results = parallel_means(data_memmap, slices);
  print_elapsed(memmap_time.elapsed(), sequential / n_workers, "sequential / workers");
  expect_equal(results, expected);

  print_heading("4. Writable memmap for shared memory");
  auto const output = fm::memmap<double>::create(folder / "output_memmap", {slices.size()});
  stopwatch const output_time;
  parallel_means_write_output(data_memmap, slices, output);
  print_elapsed(output_time.elapsed(), (sequential - sleeping / 2) / n_workers,
                "sequential with half the sleep / workers");

  std::printf("\nExpected means computed in the parent process:\n");
  print_array(expected);
  std::printf("\nActual means computed by the worker processes:\n");
  print_array(output);
  expect_equal(output, expected);
}

/// Runs run(). SIGINT and SIGTERM make it throw, so that its folder is removed.
int run_until_interrupted() {
  for (int const signal : {SIGINT, SIGTERM}) {
    std::signal(signal, [](int number) {
      interrupted_by = number;
      interrupted.request_stop();
    });
  }
  std::signal(SIGPIPE, SIG_IGN);  // a closed output is detected at the end
  try {
    run();
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
    throw std::runtime_error("cannot write all of the output");
  } catch (keyboard_interrupt const&) {
  } catch (fm::task_cancelled const&) {
  }
  std::fprintf(stderr, "Interrupted; temporary files are removed.\n");
  return 128 + interrupted_by;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    chosen = parse_command_line(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
    return run_until_interrupted();
  } catch (usage_error const& error) {
    std::fprintf(stderr, "sliding_window_mean: %s\n", error.what());
    return 2;
  } catch (std::bad_alloc const&) {
    std::fprintf(stderr, "sliding_window_mean: not enough memory; give a smaller --size\n");
    return 1;
  } catch (std::exception const& error) {
    std::fprintf(stderr, "sliding_window_mean: %s\n", error.what());
    return 1;
  }
}
