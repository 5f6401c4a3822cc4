// Waiting for results with a limit, with poll(), for one of several futures, and for a whole pool.
// SPDX-License-Identifier: MIT
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

using gate = fm::shared_array<int>;

/// Returns i when the gate has been opened for it.
int wait_for_gate(gate const& open, int i) {
  while (std::atomic_ref(const_cast<int&>(open[0])).load() <= i) ::usleep(500);
  return i;
}
void open_until(gate& open, int i) { std::atomic_ref(open[0]).store(i); }

bool is_readable(int fd, int milliseconds) {
  pollfd event{fd, POLLIN, 0};
  int n = 0;
  do {
    n = ::poll(&event, 1, milliseconds);
  } while (n < 0 && errno == EINTR);
  return n == 1 && event.revents == POLLIN;
}

constexpr int long_ms = 60'000;

}  // namespace

TEST_CASE("next_for: an element that comes too late is there at a later call", "[stream]") {
  gate open({1});
  auto const check = [&](auto const& workers) {
    open_until(open, 0);
    auto const tasks = std::views::iota(0, 3) | std::views::transform([&](int i) {
                         return fm::delayed(wait_for_gate)(open, i);
                       });
    auto results = workers.stream(tasks);
    CHECK_FALSE(results.next_for(10ms).has_value());
    CHECK_FALSE(results.next_for(0ms).has_value());
    CHECK_FALSE(results.next_for(-1s).has_value());
    CHECK_FALSE(results.at_end());
    for (int i = 0; i != 3; ++i) {
      open_until(open, i + 1);
      CHECK(results.next_for(1h) == i);
      CHECK_FALSE(results.next_for(1ms).has_value());
      CHECK(results.at_end() == (i == 2));
    }
    CHECK_FALSE(results.next_for(1h).has_value());

    open_until(open, 2);
    auto as_they_end = workers.unordered(tasks);
    auto const a = as_they_end.next_for(1h);
    auto const b = as_they_end.next_for({});
    REQUIRE((a.has_value() && b.has_value()));
    CHECK(a->index + b->index == 1);
    CHECK_FALSE(as_they_end.next_for(5ms).has_value());
    open_until(open, 3);
    CHECK(as_they_end.next_for(1h)->value == 2);
  };
  check(fm::pool(2));
  check(fm::parallel(2));
}

TEST_CASE("next_for: elements can be taken beside an iterator, and without workers", "[stream]") {
  auto results = fm::parallel(1).stream([](int i) { return i * i; }, std::views::iota(0, 6));
  auto at = results.begin();
  CHECK(*at == 0);
  CHECK(results.next_for(0s) == 1);
  ++at;
  CHECK(*at == 4);
  CHECK(results.next_for(0s) == 9);
  CHECK(results.next_for(0s) == 16);
  CHECK(results.next_for(0s) == 25);
  CHECK_FALSE(results.at_end());
  CHECK_FALSE(results.next_for(0s).has_value());
  CHECK(results.at_end());
}

TEST_CASE("next_for: a failure is thrown, and the stream is then at its end", "[stream]") {
  fm::pool const workers(2);
  auto results = workers.stream(
      [](int i) {
        if (i == 1) throw std::range_error("one");
        return i;
      },
      std::views::iota(0, 5));
  CHECK(results.next_for(1h) == 0);
  CHECK_THROWS_WITH(results.next_for(1h), "one");
  CHECK(results.at_end());
  CHECK_FALSE(results.next_for(1h).has_value());
}

TEST_CASE("next_for: a stream that was moved from is at its end", "[stream]") {
  auto first = fm::parallel(1).stream([](int i) { return i; }, std::views::iota(0, 3));
  CHECK(first.next_for(0s) == 0);
  auto second = std::move(first);
  CHECK(first.at_end());  // NOLINT(bugprone-use-after-move): what is tested
  CHECK_FALSE(first.next_for(0s).has_value());
  CHECK(first.begin() == first.end());
  CHECK_THROWS_AS(first.descriptor(), std::logic_error);
  CHECK(second.next_for(0s) == 1);
  CHECK_FALSE(second.at_end());
}

TEST_CASE("descriptor: readable exactly when the next element of a stream is there", "[stream]") {
  gate open({1});
  auto const check = [&](auto const& workers) {
    open_until(open, 0);
    auto const tasks = std::views::iota(0, 4) | std::views::transform([&](int i) {
                         // Task 1 ends before task 0.
                         return fm::delayed(wait_for_gate)(open, i == 0 ? 1 : i == 1 ? 0 : i);
                       });
    auto results = workers.stream(tasks);
    auto const fd = results.descriptor();
    CHECK_FALSE(is_readable(fd, 0));
    open_until(open, 1);
    CHECK_FALSE(is_readable(fd, 20));  // task 1 has ended; the stream takes task 0 next
    open_until(open, 2);
    REQUIRE(is_readable(fd, long_ms));
    CHECK(results.next_for(0s) == 1);
    REQUIRE(is_readable(fd, long_ms));
    CHECK(results.next_for(0s) == 0);
    CHECK_FALSE(is_readable(fd, 5));
    open_until(open, 4);
    for (int i = 2; i != 4; ++i) {
      REQUIRE(is_readable(fd, long_ms));
      CHECK(results.next_for(0s) == i);
    }
    REQUIRE(is_readable(fd, long_ms));  // the end
    CHECK_FALSE(results.next_for(0s).has_value());
    CHECK(results.at_end());
    CHECK(is_readable(fd, 0));
    CHECK(results.descriptor() == fd);

    auto as_they_end = workers.unordered_outcomes(tasks);
    auto const other = as_they_end.descriptor();
    for (int n = 0; n != 4; ++n) {
      REQUIRE(is_readable(other, long_ms));
      CHECK(as_they_end.next_for(0s).has_value());
    }
    REQUIRE(is_readable(other, long_ms));
    CHECK_FALSE(as_they_end.next_for(0s).has_value());
  };
  check(fm::pool(2));
  check(fm::parallel(2));
}

TEST_CASE("descriptor: a polled stream computes ahead, also over windows and without workers",
          "[stream]") {
  for (int const n_jobs : {1, 2}) {
    // Lambdas with captures of a range without random access: new workers for every three tasks.
    int offset = 10;
    auto tasks = std::views::iota(0, 8) | std::views::filter([](int) { return true; }) |
                 std::views::transform([&](int i) { return [&offset, i] { return i + offset; }; }) |
                 std::views::filter([](auto const&) { return true; });
    auto results = fm::parallel({.n_jobs = n_jobs, .pre_dispatch = 3}).stream(tasks);
    for (int i = 0; i != 8; ++i) {
      REQUIRE(is_readable(results.descriptor(), long_ms));
      CHECK(results.next_for(n_jobs == 1 ? 1h : 0h) == i + offset);
    }
    REQUIRE(is_readable(results.descriptor(), long_ms));
    CHECK_FALSE(results.next_for(0s).has_value());
    CHECK(results.at_end());
  }
  CHECK(support::child_processes().empty());
}

TEST_CASE("descriptor: readable when the next element is a failure or an exception of the range",
          "[stream]") {
  fm::pool const workers(2);
  auto const tasks = std::views::iota(0) | std::views::transform([](int i) {
                       if (i == 2) throw std::runtime_error("the range");
                       return fm::delayed([](int x) {
                         if (x == 1) ::raise(SIGKILL);
                         return x;
                       })(i);
                     });
  auto results = workers.stream_outcomes(tasks);
  REQUIRE(is_readable(results.descriptor(), long_ms));
  CHECK(results.next_for(0s)->value() == 0);
  REQUIRE(is_readable(results.descriptor(), long_ms));
  CHECK_FALSE(results.next_for(0s)->has_value());
  REQUIRE(is_readable(results.descriptor(), long_ms));
  CHECK_THROWS_WITH(results.next_for(0s), "the range");
  CHECK(is_readable(results.descriptor(), 0));
}

TEST_CASE("future: its descriptor is readable when the task has ended", "[future]") {
  fm::pool const workers(2);
  gate open({1});
  auto later = workers.submit(wait_for_gate, open, 0);
  auto const fd = later.descriptor();
  CHECK_FALSE(is_readable(fd, 5));
  open_until(open, 1);
  REQUIRE(is_readable(fd, long_ms));
  CHECK(later.descriptor() == fd);
  CHECK(later.get() == 0);
  CHECK_THROWS_AS(later.descriptor(), std::logic_error);

  auto ended = workers.submit(wait_for_gate, open, 0);
  ended.wait();
  CHECK(is_readable(ended.descriptor(), 0));
  auto crash = workers.submit([] { ::raise(SIGKILL); });
  REQUIRE(is_readable(crash.descriptor(), long_ms));
  CHECK_THROWS_AS(crash.get(), fm::worker_died);
}

TEST_CASE("wait_any: gives a future whose task has ended, and leaves out those without a state",
          "[future]") {
  gate open({1});
  std::vector<fm::future<int>> futures;
  {
    fm::pool const workers(3);
    for (int i = 0; i != 3; ++i) futures.push_back(workers.submit(wait_for_gate, open, 2 - i));
    CHECK_FALSE(fm::wait_any(futures, 5ms).has_value());
    CHECK_FALSE(fm::wait_any(futures, 0s).has_value());
    for (int i = 0; i != 3; ++i) {
      open_until(open, i + 1);
      auto const at = fm::wait_any(futures);
      REQUIRE(at == static_cast<std::size_t>(2 - i));
      CHECK(futures[*at].get() == i);
    }
    CHECK_FALSE(fm::wait_any(futures).has_value());
    CHECK_FALSE(fm::wait_any(std::list<fm::future<int>>()).has_value());
    futures[1] = workers.submit(wait_for_gate, open, 1'000);
  }
  CHECK(fm::wait_any(futures, 0s) == 1U);  // the pool has cancelled its task
  CHECK_THROWS_AS(futures[1].get(), fm::task_cancelled);
}

TEST_CASE("wait_any: many threads wait for futures of several pools", "[future]") {
  fm::pool const a(2);
  fm::pool const b(2);
  std::atomic<int> sum = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t != 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<fm::future<int>> futures;
      for (int i = 0; i != 20; ++i)
        futures.push_back((i % 2 == 0 ? a : b).submit([](int x) { return x; }, 100 * t + i));
      while (auto const at = fm::wait_any(futures)) sum += futures[*at].get();
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(sum == 20 * 100 * (0 + 1 + 2 + 3) + 4 * 190);
}

TEST_CASE("pool::wait: waits for all submitted tasks, also for those that fail", "[future]") {
  fm::pool const workers(2);
  workers.wait();  // nothing was submitted
  fm::shared_array<int> count({1});
  std::vector<fm::future<void>> futures;
  for (int i = 0; i != 100; ++i) {
    futures.push_back(workers.submit(
        [](fm::shared_array<int> done, int x) {
          if (x == 50) ::raise(SIGKILL);
          if (x == 60) throw std::runtime_error("sixty");
          std::atomic_ref(done[0]).fetch_add(1);
        },
        count, i));
  }
  workers.wait();
  CHECK(count[0] == 98);
  for (auto const& future : futures) CHECK(future.wait_for(0s));
  CHECK_THROWS_AS(futures[50].get(), fm::worker_died);
  CHECK_THROWS_WITH(futures[60].get(), "sixty");
}
