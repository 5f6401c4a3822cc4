// Streams of results, in order or as tasks end, from a pool and from workers forked for the call.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <functional>
#include <list>
#include <memory>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/sanitizers.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;

namespace {

int squared(int x) { return x * x; }
std::string long_text_of(int x) { return std::string(10'000, static_cast<char>('a' + x % 26)); }
[[noreturn]] int never_return(int) {
  for (;;) ::pause();
}
int fail_at_seven(int x) {
  if (x == 7) throw std::out_of_range("seven");
  return x;
}

template <class Fn> auto endless(Fn fn) {
  return std::views::iota(0) | std::views::transform([fn](int i) { return fm::delayed(fn)(i); });
}
template <class Fn> auto first_of(int n, Fn fn) { return endless(fn) | std::views::take(n); }

}  // namespace

TEST_CASE("stream: results are in input order, those of unordered have their index", "[stream]") {
  fm::pool const workers(3);
  for (int const n : {0, 1, 5, 300}) {
    int at = 0;
    for (int const x : workers.stream(first_of(n, squared))) {
      REQUIRE(x == at * at);
      ++at;
    }
    REQUIRE(at == n);
    std::vector<int> seen(static_cast<std::size_t>(n));
    for (auto const& [index, value] : workers.unordered(first_of(n, squared))) {
      REQUIRE(value == static_cast<int>(index * index));
      ++seen[index];
    }
    REQUIRE(std::ranges::count(seen, 1) == n);
  }
  int n = 0;
  for ([[maybe_unused]] std::monostate const& none : workers.stream(first_of(3, [](int) {}))) {
    ++n;
  }
  REQUIRE(n == 3);
}

TEST_CASE("stream: tasks have their index in the stream and its random numbers", "[stream]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .seed = 3});
  auto const draw = [](int i) {
    if (fm::this_task::index() != i) throw std::logic_error("another index");
    return fm::this_task::rng()();
  };
  auto const expected = workers(first_of(20, draw));
  std::size_t at = 0;
  for (auto const x : workers.stream(first_of(20, draw))) REQUIRE(x == expected[at++]);
}

TEST_CASE("stream: a stream is an input range", "[stream]") {
  fm::pool const workers(2);
  auto results = workers.stream(first_of(10, squared));
  static_assert(std::ranges::input_range<decltype(results)>);
  auto even = results | std::views::filter([](int x) { return x % 2 == 0; });
  std::vector<int> all;
  for (int const x : even) all.push_back(x);
  REQUIRE(all == std::vector{0, 4, 16, 36, 64});
}

TEST_CASE("stream: a slow consumer limits how far an endless range is read", "[stream]") {
  for (std::size_t const window : {std::size_t{1}, std::size_t{5}, std::size_t{0}}) {
    fm::pool const workers(fm::options{.n_jobs = 2, .pre_dispatch = window});
    std::size_t const most = window == 0 ? 64 : window;
    std::size_t made = 0;
    std::size_t consumed = 0;
    auto tasks = std::views::iota(0) | std::views::transform([&](int i) {
                   ++made;
                   return fm::delayed(squared)(i);
                 });
    for (int const x : workers.stream(tasks)) {
      REQUIRE(made - consumed <= most);
      REQUIRE(x == static_cast<int>(consumed * consumed));
      if (++consumed == 200) break;
    }
    // The range has been evaluated once for each task.
    REQUIRE(made <= 200 + most);
  }
}

TEST_CASE("stream: an input range is read only as far as tasks are dispatched", "[stream]") {
  fm::pool const worker(fm::options{.n_jobs = 1, .pre_dispatch = 1});
  std::istringstream in("0 1 2 3 4 5 6 7 8 9");
  auto tasks = std::views::istream<int>(in) |
               std::views::transform([](int i) { return fm::delayed(squared)(i); });
  int n = 0;
  for (int const x : worker.stream(tasks)) {
    REQUIRE(x == n * n);
    REQUIRE(in.tellg() == 2 * n + 1);
    if (++n == 5) break;
  }
  int next = 0;
  in >> next;
  REQUIRE(next == 5);
}

TEST_CASE("stream: a finished result does not wait for tasks that are slow to make", "[stream]") {
  fm::pool const worker(1);
  int made = 0;
  auto const tasks = [&] {
    made = 0;
    return std::views::iota(0, 60) | std::views::transform([&](int i) {
             ++made;
             // When this submitted task has ended, the previous task has, too, and the pool knows
             // it.
             if (i >= 2) REQUIRE(worker.submit(fm::delayed(squared)(i)).get() == i * i);
             return fm::delayed(squared)(i);
           });
  };
  for (int const x : worker.stream(tasks())) {
    REQUIRE(x == 0);
    break;
  }
  REQUIRE(made <= 3);
  for (auto const& [index, x] : worker.unordered(tasks())) {
    REQUIRE(x == static_cast<int>(index * index));
    break;
  }
  REQUIRE(made <= 3);
}

TEST_CASE("stream: leaving a loop early ends the running tasks, and the pool can be used again",
          "[stream]") {
  fm::pool const workers(2);
  auto const before = std::get<0>(workers(&::getppid));
  for (int const x :
       workers.stream(first_of(50, [](int i) { return i == 0 ? 5 : (never_return(i), 0); }))) {
    REQUIRE(x == 5);
    break;
  }
  auto results = workers.map(squared, std::views::iota(0, 3));
  REQUIRE(results == std::vector{0, 1, 4});
  REQUIRE(std::get<0>(workers(&::getppid)) == before);
  {
    auto const never_begun = workers.stream(first_of(50, squared));
  }
}

TEST_CASE("stream: a failure is thrown at its element, after all results before it", "[stream]") {
  fm::pool const workers(2);
  int n = 0;
  try {
    for (int const x : workers.stream(endless(fail_at_seven))) {
      REQUIRE(x == n);
      ++n;
    }
    FAIL("nothing was thrown");
  } catch (std::out_of_range const& e) {
    REQUIRE(std::string(e.what()) == "seven");
    REQUIRE(dynamic_cast<fm::task_context const&>(e).index() == 7);
  }
  REQUIRE(n == 7);
  REQUIRE_THROWS_AS(
      [&] {
        for (auto const& result : workers.unordered(endless(fail_at_seven))) n += result.value < 0;
      }(),
      std::out_of_range);
  try {
    for (int const x : workers.stream(first_of(9, [](int i) {
           if (i == 2) ::raise(SIGKILL);
           return i;
         }))) {
      n += x < 0;
    }
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    REQUIRE(e.index() == 2);
  }
}

TEST_CASE("stream: an exception of the range is thrown after all results before it", "[stream]") {
  int const n_first = GENERATE(0, 1, 7, 100);
  CAPTURE(n_first);
  fm::pool const workers(2);
  auto const gives = [n_first](int i) {
    if (i == n_first) throw std::runtime_error("no more");
    return fm::delayed(squared)(i);
  };
  auto tasks = std::views::iota(0) | std::views::transform(gives);
  std::vector<int> in_order;
  REQUIRE_THROWS_WITH(
      [&] {
        for (int const x : workers.stream(tasks)) in_order.push_back(x);
      }(),
      "no more");
  REQUIRE(in_order.size() == static_cast<std::size_t>(n_first));
  for (int i = 0; i != n_first; ++i) REQUIRE(in_order[static_cast<std::size_t>(i)] == i * i);
  int n_unordered = 0;
  REQUIRE_THROWS_WITH(
      [&] {
        for (auto const& result : workers.unordered(tasks)) n_unordered += result.value >= 0;
      }(),
      "no more");
  REQUIRE(n_unordered == n_first);
  REQUIRE(workers.map(squared, std::views::iota(0, 3)) == std::vector{0, 1, 4});
}

namespace {

template <class Make> auto lambdas(int n, Make make) {
  return std::views::iota(0, n) |
         std::views::transform([make](int i) { return [make, i] { return make(i); }; });
}

}  // namespace

namespace {

/// The number of resident pages of this process and its children. Shared pages are counted in each.
long resident() {
  auto const pages_of = [](std::string const& process) {
    std::ifstream file("/proc/" + process + "/statm");
    long total = 0;
    long pages = 0;
    file >> total >> pages;
    return pages;
  };
  long all = pages_of("self");
  for (auto const pid : support::child_processes()) all += pages_of(std::to_string(pid));
  return all;
}

/// Consumes n results of 10 kB one by one: 200 MB in total without sanitizers.
template <class Stream> void must_stay_small(Stream stream, int n) {
  std::size_t bytes = 0;
  long after_some = 0;
  long most = 0;
  int at = 0;
  for (auto const& text : stream) {
    bytes += text.size();
    if (++at == n / 10) after_some = resident();
    if (at % (n / 20) == 0) most = std::max(most, resident());
  }
  REQUIRE(bytes == static_cast<std::size_t>(n) * 10'000);
  if (!support::shadow_memory)
    REQUIRE(most < after_some + 800);  // 800 pages: 200 bytes for each result
}

constexpr int many = support::shadow_memory ? 2'000 : 20'000;

}  // namespace

TEST_CASE("stream: memory stays bounded over many results of a pool", "[stream]") {
  fm::pool const workers(2);
  must_stay_small(workers.stream(first_of(many, long_text_of)), many);
}

TEST_CASE("stream: memory stays bounded over many results of parallel()", "[stream]") {
  must_stay_small(fm::parallel(2).stream(lambdas(many, long_text_of)), many);
}

TEST_CASE("stream: tasks of parallel() can use all memory of the caller", "[stream]") {
  std::vector<std::string> const words{"a", "bb", "ccc"};
  for (int const n_jobs : {1, 2, 5}) {
    for (int const n : {0, 1, 3, 300}) {
      auto const size_of = [&](int i) { return words[static_cast<std::size_t>(i) % 3].size(); };
      int at = 0;
      for (auto const size : fm::parallel(n_jobs).stream(lambdas(n, size_of))) {
        REQUIRE(size == static_cast<std::size_t>(at % 3 + 1));
        ++at;
      }
      REQUIRE(at == n);
      std::vector<int> seen(static_cast<std::size_t>(n));
      for (auto const& [index, size] : fm::parallel(n_jobs).unordered(lambdas(n, size_of))) {
        REQUIRE(size == index % 3 + 1);
        ++seen[index];
      }
      REQUIRE(std::ranges::count(seen, 1) == n);
    }
  }
  REQUIRE(support::child_processes().empty());
}

TEST_CASE("stream: parallel() streams failures, can be left early and accepts all ranges",
          "[stream]") {
  for (int const n_jobs : {1, 3}) {
    int n = 0;
    try {
      for (int const x : fm::parallel(n_jobs).stream(lambdas(20, fail_at_seven))) n += x >= 0;
      FAIL("nothing was thrown");
    } catch (std::out_of_range const& e) {
      REQUIRE(dynamic_cast<fm::task_context const&>(e).index() == 7);
    }
    REQUIRE(n == 7);
    for (int const x : fm::parallel(n_jobs).stream(lambdas(1000, squared))) {
      if (x == 100) break;
    }
    // A range without random access, of tasks that return move-only objects.
    std::list<std::function<std::unique_ptr<int>()>> tasks;
    for (int i = 0; i != 5; ++i) tasks.push_back([i] { return std::make_unique<int>(i); });
    int at = 0;
    for (auto const& x : fm::parallel(n_jobs).stream(tasks)) REQUIRE(*x == at++);
    REQUIRE(at == 5);
    // A range that the stream owns.
    auto results =
        fm::parallel(n_jobs).stream(std::vector(4, [] { return fm::this_task::index(); }));
    at = 0;
    for (auto const index : results) REQUIRE(index == at++);
    REQUIRE(at == 4);
  }
  REQUIRE(support::child_processes().empty());
  int before = 0;
  try {
    for (int const x : fm::parallel(2).stream(lambdas(9, [](int i) {
           if (i == 4) ::raise(SIGSEGV);
           return i;
         })))
      before += x == before;
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    REQUIRE(e.index() == 4);
    REQUIRE(e.signal() == SIGSEGV);
  }
  REQUIRE(before == 4);
  REQUIRE_THROWS_AS(
      [] {
        for (int const x : fm::parallel({.n_jobs = 2, .deadline = std::chrono::milliseconds(50)})
                               .stream(lambdas(9, never_return)))
          static_cast<void>(x);
      }(),
      fm::deadline_exceeded);
  REQUIRE_THROWS_AS(fm::parallel({.n_jobs = 2, .resume = "j"}).stream(lambdas(9, squared)),
                    std::invalid_argument);
}

TEST_CASE("stream: results of parallel() arrive before later tasks have begun", "[stream]") {
  for (std::size_t const window : {std::size_t{2}, std::size_t{0}}) {
    std::size_t const most = window == 0 ? 64 : window;
    fm::shared_array<int> begun({1});
    std::size_t consumed = 0;
    for (int const x :
         fm::parallel({.n_jobs = 2, .pre_dispatch = window}).stream(lambdas(500, [&](int i) {
           std::atomic_ref(begun[0]).fetch_add(1);
           return i;
         }))) {
      auto const now = static_cast<std::size_t>(std::atomic_ref(begun[0]).load());
      REQUIRE(now - consumed <= most);
      REQUIRE(x == static_cast<int>(consumed));
      ++consumed;
    }
    REQUIRE(consumed == 500);
  }
}
