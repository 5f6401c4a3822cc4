// What do calls of a pool cost, whose workers have already started?
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <ranges>
#include <span>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/by_hand_pool.hpp"
#include "support/paired.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

int same(int x) { return x; }

void busy(std::chrono::microseconds time) {
  auto const until = std::chrono::steady_clock::now() + time;
  while (std::chrono::steady_clock::now() < until) {
  }
}
void busy_for_50() { busy(50us); }
void nothing(int) {}

/// Longer than idle workers stay awake.
void let_them_park() { ::usleep(1000); }

template <class Floor, class Forkmap>
void after_parking(benchmark::State& state, bench::question const& asked, Floor&& floor,
                   Forkmap&& forkmap) {
  bench::in_turns(
      state, asked,
      [&] {
        let_them_park();
        return bench::seconds_of(floor);
      },
      [&] {
        let_them_park();
        return bench::seconds_of(forkmap);
      });
}

/// A futex round trip: one process wakes the other and sleeps until the other wakes it.
template <int N> void asleep(benchmark::State& state, bench::question const& asked) {
  bench::by_hand::small_pool one(1, 0us, nothing);
  fm::pool const workers(2);
  after_parking(
      state, asked, [&] { one.run(1, false); },
      [&] { benchmark::DoNotOptimize(workers.map(same, std::views::iota(0, N))); });
}
void one_task_asleep(benchmark::State& state) {
  asleep<1>(state,
            {.text = "warm map of 1 task, workers asleep / a futex round trip", .ratio_target = 2});
}
BENCHMARK(one_task_asleep)->Iterations(501)->UseManualTime()->Unit(benchmark::kMicrosecond);
void two_tasks_asleep(benchmark::State& state) {
  asleep<2>(state, {.text = "warm map of 2 tasks, workers asleep / the same round trip",
                    .ratio_target = 2.5});
}
BENCHMARK(two_tasks_asleep)->Iterations(501)->UseManualTime()->Unit(benchmark::kMicrosecond);

/// The cost of a call beyond its two tasks of 50 microseconds. It directly follows another call, so
/// its workers are awake. The workers of the other side have gone to sleep meanwhile.
void two_tasks_of_50_us(benchmark::State& state) {
  bench::by_hand::small_pool two(2, 50us, [](int) { busy_for_50(); });
  fm::pool const workers(2);
  auto const beyond = [](auto const& call) {
    call();
    return bench::seconds_of(call) - 50e-6;
  };
  bench::in_turns(
      state,
      {.text = "beyond the work: warm call of 2 tasks of 50 us / processes that wait by pause and "
               "yield",
       .ratio_target = 1.5},
      [&] { return beyond([&] { two.run(2, true); }); },
      [&] { return beyond([&] { workers(busy_for_50, busy_for_50); }); });
}
BENCHMARK(two_tasks_of_50_us)->Iterations(2001)->UseManualTime()->Unit(benchmark::kMicrosecond);

struct small_argument {
  double x[6];
};
double use(small_argument const& a, double b) { return a.x[0] + b; }
constexpr std::size_t n_calls = 1'000'000;

/// 64 bytes: a function, 48 bytes and a double.
struct slot_of_64 {
  double (*fn)(small_argument const&, double);
  small_argument a;
  double b;
};
static_assert(sizeof(slot_of_64) == 64);
constexpr small_argument six{{1, 2, 3, 4, 5, 6}};

/// The first argument of call i: the same for all calls, or one that differs from its first byte to
/// its last.
small_argument same_six(std::size_t) { return six; }
small_argument own_six(std::size_t i) {
  auto const x = static_cast<double>(i);
  return {{x, x + 1, x + 2, x + 3, x + 4, x + 5}};
}

template <auto SixOf> void send_calls(fm::pool const& workers) {
  auto const all =
      workers(std::views::iota(std::size_t{0}, n_calls) | std::views::transform([](std::size_t i) {
                return fm::delayed(use)(SixOf(i), static_cast<double>(i));
              }));
  benchmark::DoNotOptimize(all.data());
}

/// The floor runs no task and uses one process.
template <auto SixOf> void calls_vs_filling(benchmark::State& state, bench::question const& asked) {
  std::vector<slot_of_64> slots(n_calls);
  fm::pool const workers(2);
  bench::time_in_turns(
      state, asked,
      [&] {
        for (std::size_t i = 0; i != n_calls; ++i) {
          slots[i] = {use, SixOf(i), static_cast<double>(i)};
          benchmark::ClobberMemory();
        }
      },
      [&] { send_calls<SixOf>(workers); });
}
void calls_of_64_bytes(benchmark::State& state) {
  calls_vs_filling<same_six>(
      state, {.text = "10^6 delayed calls with 64 bytes / filling 64-byte slots in one process",
              .ratio_target = 1.5});
}
BENCHMARK(calls_of_64_bytes)->Iterations(21)->UseManualTime()->Unit(benchmark::kMillisecond);
void calls_of_64_own_bytes(benchmark::State& state) {
  calls_vs_filling<own_six>(
      state, {.text = "10^6 delayed calls with 64 bytes, different in each / the same"});
}
BENCHMARK(calls_of_64_own_bytes)->Iterations(21)->UseManualTime()->Unit(benchmark::kMillisecond);

/// The floor does the necessary work of a call: it fills slots, two processes run them meanwhile,
/// and it copies the results back.
void calls_of_64_bytes_vs_hand(benchmark::State& state) {
  constexpr std::size_t published = 4096;  // slots at a time
  constexpr std::size_t taken = 64;
  struct shared {
    alignas(128) std::atomic<std::size_t> filled;
    alignas(128) std::atomic<std::size_t> next;
    alignas(128) slot_of_64 slots[n_calls];
    alignas(128) double results[n_calls];
  };
  auto* const memory = ::mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  bench::by_hand::check(memory != MAP_FAILED, "mmap");
  auto& all = *static_cast<shared*>(memory);
  bench::by_hand::small_pool two(2, 50us, [&](int) {
    for (std::size_t begin = 0; (begin = all.next.fetch_add(taken)) < n_calls;) {
      auto const end = std::min(n_calls, begin + taken);
      while (all.filled.load(std::memory_order_acquire) < end) ::sched_yield();
      for (auto i = begin; i != end; ++i)
        all.results[i] = all.slots[i].fn(all.slots[i].a, all.slots[i].b);
    }
  });
  fm::pool const workers(2);
  bench::time_in_turns(
      state, {.text = "10^6 delayed calls with 64 bytes / slots that two processes run meanwhile"},
      [&] {
        all.filled = all.next = 0;
        two.start(2);
        for (std::size_t i = 0; i != n_calls; ++i) {
          all.slots[i] = {use, six, static_cast<double>(i)};
          if ((i + 1) % published == 0) all.filled.store(i + 1, std::memory_order_release);
        }
        all.filled = n_calls;
        two.wait(true);
        std::vector<double> results(all.results, all.results + n_calls);
        benchmark::DoNotOptimize(results.data());
      },
      [&] { send_calls<same_six>(workers); });
  ::munmap(memory, sizeof(shared));
}
BENCHMARK(calls_of_64_bytes_vs_hand)
    ->Iterations(21)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

constexpr std::size_t n_doubles = 1'000'000;  // 8 MB
std::vector<double> const& ready_made() {
  static std::vector<double> const it(n_doubles, 1.5);
  return it;
}
std::vector<double> large(int) { return ready_made(); }

/// Sixteen results of 8 MB, made in a worker and copied to the caller.
void large_results(benchmark::State& state) {
  constexpr int n = 16;
  constexpr std::size_t bytes = n_doubles * sizeof(double);
  auto* const arena = static_cast<std::byte*>(
      ::mmap(nullptr, n * bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  static_cast<void>(ready_made());
  bench::by_hand::small_pool two(2, 50us, [&](int k) {
    for (int i = k; i < n; i += 2) {
      auto const made = large(i);
      std::memcpy(arena + static_cast<std::size_t>(i) * bytes, made.data(), bytes);
    }
  });
  fm::pool const workers(2);
  bench::time_in_turns(
      state,
      {.text = "16 results of 8 MB / copying through a shared arena that is used again",
       .ratio_target = 1.25},
      [&] {
        two.run(2, true);
        std::vector<std::vector<double>> all;
        all.reserve(n);
        for (int i = 0; i != n; ++i) {
          auto const* const first =
              reinterpret_cast<double const*>(arena + static_cast<std::size_t>(i) * bytes);
          all.emplace_back(first, first + n_doubles);
        }
        benchmark::DoNotOptimize(all.data());
      },
      [&] {
        auto const all = workers.map(large, std::views::iota(0, n));
        benchmark::DoNotOptimize(all.data());
      });
  ::munmap(arena, n * bytes);
}
BENCHMARK(large_results)->Iterations(11)->UseManualTime()->Unit(benchmark::kMillisecond);

void empty_tasks(benchmark::State& state) {
  constexpr int n = 100'000;
  fm::pool const workers(2);
  bench::time_in_turns(
      state,
      {.text = "10^5 empty tasks on a warm pool / calling them in a loop", .limit = n * 0.3e-6},
      [&] {
        for (int i = 0; i != n; ++i) benchmark::DoNotOptimize(same(i));
      },
      [&] { workers.map(nothing, std::views::iota(0, n)); });
}
BENCHMARK(empty_tasks)->Iterations(101)->UseManualTime()->Unit(benchmark::kMicrosecond);

double sum(std::span<double const> xs) {
  return std::accumulate(xs.begin(), xs.begin() + 100, 0.0);
}

/// Each task reads only the first elements, because the time to read the array is not measured.
void one_span_in_64_tasks(benchmark::State& state) {
  std::vector<double> const xs(10'000'000, 1.0);
  std::vector<double> copy(xs.size());
  fm::pool const workers(2);
  bench::time_in_turns(
      state, {.text = "64 tasks over one span of 80 MB / copying it once", .ratio_target = 1.2},
      [&] {
        std::memcpy(copy.data(), xs.data(), xs.size() * sizeof(double));
        benchmark::DoNotOptimize(copy.data());
      },
      [&] {
        auto const all = workers(std::views::iota(0, 64) | std::views::transform([&](int) {
                                   return fm::delayed(sum)(std::span(xs));
                                 }));
        benchmark::DoNotOptimize(all.data());
      });
}
BENCHMARK(one_span_in_64_tasks)->Iterations(21)->UseManualTime()->Unit(benchmark::kMillisecond);

/// The floor is forkmap's own call before the caller has grown. Both alternate five times.
void after_growing(benchmark::State& state) {
  fm::pool const workers(2);
  std::vector<double> before;
  std::vector<double> after;
  auto const call = [&] {
    return bench::seconds_of([&] { workers.map(same, std::views::iota(0, 2)); });
  };
  constexpr std::size_t in_a_row = 100;  // after these calls the caller grows or frees memory
  call();
  for (auto _ : state) {
    before.push_back(call());
    state.SetIterationTime(before.back());
    if (before.size() % in_a_row != 0) continue;
    std::vector<char> grown(std::size_t{1} << 30U, 1);
    benchmark::DoNotOptimize(grown.data());
    for (std::size_t i = 0; i != in_a_row; ++i) after.push_back(call());
  }
  bench::report(state,
                {.text = "warm map of 2 tasks after the caller has grown by 1 GiB / before",
                 .ratio_target = 1.5},
                before, after);
}
BENCHMARK(after_growing)->Iterations(500)->UseManualTime()->Unit(benchmark::kMicrosecond);

/// The time from the crash of a worker to the next result of its replacement. The floor is
/// forkmap's own time in a small caller.
void replacement(benchmark::State& state) {
  fm::pool const workers(1);
  auto const call = [&] {
    return bench::seconds_of([&] {
      auto const fates = workers.outcomes(std::views::iota(0, 2) | std::views::transform([](int i) {
                                            return fm::delayed([](int k) {
                                              if (k == 0) ::raise(SIGKILL);
                                              return k;
                                            })(i);
                                          }));
      benchmark::DoNotOptimize(fates.data());
    });
  };
  std::vector<double> before;
  std::vector<double> after;
  call();
  for (auto _ : state) {
    before.push_back(call());
    state.SetIterationTime(before.back());
  }
  std::vector<char> grown(std::size_t{4} << 30U, 1);
  benchmark::DoNotOptimize(grown.data());
  for (std::size_t i = 0; i != before.size(); ++i) after.push_back(call());
  bench::report(state,
                {.text = "replacing a dead worker of a caller with 4 GiB / of a small caller",
                 .ratio_target = 1.5},
                before, after);
}
BENCHMARK(replacement)->Iterations(101)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
