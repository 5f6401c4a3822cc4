// A small program that uses every part of forkmap, for processors for which the tests are not
// compiled.
// Usage: everything [<bytes of a page>]; with the argument it also checks the page size.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <numeric>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

void check(bool right, char const* subject) {
  if (right) return;
  std::printf("everything: wrong: %s\n", subject);
  std::exit(1);
}

int square(int x) { return x * x; }
double sum(std::span<double const> xs) { return std::accumulate(xs.begin(), xs.end(), 0.0); }

int misbehave(int i) {
  if (i == 1) ::raise(SIGSEGV);
  if (i == 2) throw std::out_of_range("task two");
  if (i == 3) {
    for (;;) ::pause();
  }
  return i;
}

auto const first_hundred = std::views::iota(0, 100);

void maps() {
  auto const squares = fm::parallel(2).map(square, first_hundred);
  check(squares.size() == 100 && squares[99] == 9801, "a map");
  auto const many = fm::parallel(3).map([](int i) { return i; }, std::views::iota(0, 300'000));
  check(std::accumulate(many.begin(), many.end(), 0LL) == 44'999'850'000, "a map of many tasks");
  auto const texts = fm::parallel(2).map(
      [](int i) { return std::string(static_cast<std::size_t>(i) * 1000, 'x'); }, first_hundred);
  check(texts[99].size() == 99'000, "results of different sizes");
  auto const tasks = first_hundred | std::views::transform([](int i) { return [i] { return i; }; });
  check(fm::parallel(2).reduce(tasks, 0, std::plus<>()) == 4950, "reduce");
  int n = 0;
  for (int i : fm::parallel(2).stream(tasks)) n += i;
  for (auto const& result : fm::parallel(2).unordered(tasks)) n += result.value;
  check(n == 9900, "streams");
  check(fm::parallel(2).first(tasks).value >= 0, "first");
}

void failures() {
  auto const outcomes = fm::parallel({.n_jobs = 2, .timeout = 2s})
                            .outcomes(std::views::iota(0, 5) | std::views::transform([](int i) {
                                        return [i] { return misbehave(i); };
                                      }));
  check(*outcomes[0] == 0 && *outcomes[4] == 4, "results beside failures");
  check(outcomes[1].error().reason == fm::failure::died, "a crash");
  check(outcomes[1].error().message.find("SIGSEGV") != std::string::npos, "the message of a crash");
  check(outcomes[2].error().reason == fm::failure::threw, "an exception");
  check(outcomes[3].error().reason == fm::failure::timed_out, "a time limit");
}

void pools() {
  fm::pool const workers(2);
  check(workers.map(square, std::vector{1, 2, 3}) == std::vector{1, 4, 9}, "a pool");
  std::vector<double> const ones(1'000'000, 1.0);
  auto later = workers.submit(fm::delayed(sum)(std::cref(ones)));
  check(later.get() == 1e6, "a submitted task");
  auto const squares = std::views::iota(0) | std::views::transform(fm::delayed(square));
  int n = 0;
  for (int x : workers.stream(squares)) {
    if (++n == 1000) break;
    check(x == (n - 1) * (n - 1), "a pool's stream");
  }
}

void arrays() {
  auto const file = std::filesystem::temp_directory_path() /
                    ("forkmap-everything-" + std::to_string(::getpid()) + ".npy");
  std::vector<double> numbers(100'000);
  std::iota(numbers.begin(), numbers.end(), 0.5);
  fm::dump(numbers, file);
  auto const mapped = fm::load<double>(file, fm::read_write);
  auto const slices = fm::sliding_windows(mapped.size(), 10'000, 10'000);
  fm::parallel(2).map(
      [&](fm::slice s) {
        auto const mine = mapped.guard(s);
        for (double& x : mapped[s]) x += 1;
      },
      slices);
  bool right = true;
  for (std::size_t i = 0; i != mapped.size(); ++i) right &= mapped[i] == numbers[i] + 1;
  check(right, "an array in a file");
  std::filesystem::remove(file);
  fm::shared_array<int> const shared({100});
  fm::parallel(2).map([&](int i) { shared[static_cast<std::size_t>(i)] = i; }, first_hundred);
  check(shared[99] == 99, "an array in shared memory");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) check(::sysconf(_SC_PAGESIZE) == std::atol(argv[1]), "the size of a page");
  maps();
  failures();
  pools();
  arrays();
  std::puts("everything: right");
}
