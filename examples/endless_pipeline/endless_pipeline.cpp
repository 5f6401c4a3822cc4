// An endless pipeline: a generator of tasks that never stops, workers that search, and a consumer
// that breaks out of the loop when it has enough. Tasks are made only a few ahead of the workers.
// SPDX-License-Identifier: MIT
#include <chrono>
#include <cstdio>
#include <ranges>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;

namespace {

constexpr long block = 10'000;

struct sequence {
  long start = 0;
  int steps = 0;
};

/// The longest Collatz sequence of those that start in [first, first + block).
sequence longest(long first) {
  sequence best;
  for (long start = first; start != first + block; ++start) {
    int steps = 0;
    for (auto x = start; x != 1; x = x % 2 == 0 ? x / 2 : 3 * x + 1) ++steps;
    if (steps > best.steps) best = {start, steps};
  }
  return best;
}

}  // namespace

int main() {
  auto const begin = std::chrono::steady_clock::now();
  fm::pool const workers(fm::options{.n_jobs = 2, .pre_dispatch = 8});

  // Infinitely many tasks. Each is made when the stream requests it.
  long n_made = 0;
  auto const blocks = std::views::iota(0L) | std::views::transform([&](long i) {
                        ++n_made;
                        return fm::delayed(longest)(1 + i * block);
                      });

  // In the order of the blocks, so that each record is one.
  sequence record;
  long n_consumed = 0;
  for (auto const& best : workers.stream(blocks)) {
    ++n_consumed;
    if (best.steps <= record.steps) continue;
    record = best;
    std::printf("%7ld takes %d steps\n", record.start, record.steps);
    if (record.steps > 500) break;  // ends the running tasks
  }

  std::chrono::duration<double> const took = std::chrono::steady_clock::now() - begin;
  std::printf("%ld blocks searched, %ld made, %.2f s\n", n_consumed, n_made, took.count());
  return record.start == 626'331 && n_made <= n_consumed + 8 ? 0 : 1;
}
