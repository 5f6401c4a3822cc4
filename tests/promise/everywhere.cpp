// State of a pool's workers: everywhere() and refork().
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

std::string worker_log;  // what has run in this worker
int caller_value = 0;

void append_to_log(std::string const& text) { worker_log += text; }
std::string log_of_worker(int) { return worker_log; }
std::string log_then_die(int i) {
  if (i % 2 == 1) ::raise(SIGKILL);
  return worker_log;
}
int value_of_caller(int) { return caller_value; }

auto all_workers_tasks() { return std::views::iota(0, 40); }

/// Whether each task of a call finds that text in its worker.
bool all_logs_are(fm::pool const& workers, std::string const& text) {
  for (auto const& log : workers.map(log_of_worker, all_workers_tasks())) {
    if (log != text) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("everywhere: a task runs once in every worker, and in the order of the calls", "[pool]") {
  for (int const n_jobs : {1, 2, 5}) {
    CAPTURE(n_jobs);
    fm::pool const workers(n_jobs);
    CHECK(all_logs_are(workers, ""));
    std::string expected;
    for (auto const* const text : {"one ", "two ", "three "}) {
      workers.everywhere(fm::delayed(append_to_log)(std::string(text)));
      expected += text;
      CHECK(all_logs_are(workers, expected));
    }
  }
}

TEST_CASE("everywhere: all workers have run the task when it returns", "[pool]") {
  fm::shared_array<int> ran(fm::shape{8});
  auto const mark = [](fm::shared_array<int> into) {
    std::atomic_ref(into[static_cast<std::size_t>(fm::this_task::worker())]).fetch_add(1);
    if (fm::this_task::index() != -1) std::abort();
  };
  fm::pool const workers(4);
  workers.everywhere(fm::delayed(mark)(ran));
  for (std::size_t k = 0; k != 8; ++k) CHECK(ran[k] == (k < 4 ? 1 : 0));
}

TEST_CASE("everywhere: replacements run the tasks before their first task", "[pool]") {
  fm::pool const workers(2);
  workers.everywhere(fm::delayed(append_to_log)(std::string("a")));
  workers.everywhere(fm::delayed(append_to_log)(std::string("b")));
  for (int call = 0; call != 5; ++call) {
    auto const outcomes = workers.outcomes(log_then_die, std::views::iota(0, 10));
    for (std::size_t i = 0; i != 10; ++i) {
      CHECK(outcomes[i].has_value() == (i % 2 == 0));
      if (outcomes[i]) CHECK(*outcomes[i] == "ab");
    }
  }
  fm::pool const short_lived({.n_jobs = 2, .max_tasks_per_worker = 3});
  short_lived.everywhere(fm::delayed(append_to_log)(std::string("a")));
  CHECK(all_logs_are(short_lived, "a"));
}

TEST_CASE("everywhere: an exception is thrown, and the task is not run in replacements", "[pool]") {
  auto const fail = [](int) { throw std::out_of_range("no model"); };
  // Several pools: the failed call kills workers, whose replacements start at about the same time.
  for (int n = 0; n != 30; ++n) {
    fm::pool const workers(3);
    CHECK_THROWS_AS(workers.everywhere(fm::delayed(fail)(1)), std::out_of_range);
    workers.everywhere(fm::delayed(append_to_log)(std::string("a")));
    CHECK(all_logs_are(workers, "a"));
    static_cast<void>(workers.outcomes(log_then_die, std::views::iota(0, 10)));
    CHECK(all_logs_are(workers, "a"));
  }
}

TEST_CASE("everywhere: a task that kills its worker is an error, and the pool goes on", "[pool]") {
  fm::pool const workers(2);
  auto const die = [](int) { ::raise(SIGKILL); };
  CHECK_THROWS_AS(workers.everywhere(fm::delayed(die)(1)), std::exception);
  CHECK(all_logs_are(workers, ""));
  auto const die_once = [](int, fm::shared_array<int> n) {
    if (std::atomic_ref(n[0]).fetch_add(1) == 0) ::raise(SIGKILL);
    worker_log += "survived";
  };
  fm::shared_array<int> n(fm::shape{1});
  try {
    workers.everywhere(fm::delayed(die_once)(1, n));
  } catch (fm::worker_died const&) {
  }
  CHECK(workers.map([](int i) { return i; }, std::vector{1, 2}) == std::vector{1, 2});
}

TEST_CASE("everywhere: workers of another call run the task when that call is over", "[pool]") {
  fm::pool const workers(2);
  fm::shared_array<int> go(fm::shape{1});
  auto const wait_until_told = [](int i, fm::shared_array<int> told) {
    return support::wait_until([&] { return std::atomic_ref(told[0]).load() != 0; }) ? i : -1;
  };
  auto later = workers.submit(wait_until_told, 7, go);
  std::thread other([&] {
    std::this_thread::sleep_for(50ms);
    std::atomic_ref(go[0]).store(1);
  });
  workers.everywhere(fm::delayed(append_to_log)(std::string("x")));
  CHECK(std::atomic_ref(go[0]).load() == 1);
  CHECK(later.get() == 7);
  CHECK(all_logs_are(workers, "x"));
  other.join();
}

TEST_CASE("everywhere: large arguments, spans and references", "[pool]") {
  auto const keep = [](std::span<double const> values, std::string const& text) {
    worker_log = text + std::to_string(values.size()) + ' ' + std::to_string(values.back());
  };
  fm::pool const workers(3);
  std::vector<double> values(1'000'000, 0.5);
  values.back() = 2;
  workers.everywhere(fm::delayed(keep)(std::span<double const>(values), std::string("n ")));
  CHECK(all_logs_are(workers, "n 1000000 2.000000"));
}

TEST_CASE("everywhere: many threads use it beside calls", "[pool]") {
  fm::pool const workers(2);
  std::vector<std::thread> threads;
  for (int t = 0; t != 4; ++t) {
    threads.emplace_back([&] {
      for (int n = 0; n != 10; ++n) {
        workers.everywhere(fm::delayed(append_to_log)(std::string(".")));
        static_cast<void>(workers.map(log_of_worker, std::views::iota(0, 4)));
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(all_logs_are(workers, std::string(40, '.')));
}

TEST_CASE("refork: new workers see the caller as it is, and run the tasks of everywhere",
          "[pool]") {
  caller_value = 1;
  fm::pool const workers(2);
  workers.everywhere(fm::delayed(append_to_log)(std::string("a")));
  caller_value = 2;
  for (int const value : workers.map(value_of_caller, all_workers_tasks())) CHECK(value == 1);
  for (int n = 0; n != 3; ++n) {
    workers.refork();
    for (int const value : workers.map(value_of_caller, all_workers_tasks())) CHECK(value == 2);
    CHECK(all_logs_are(workers, "a"));
  }
  caller_value = 0;
}

TEST_CASE("refork: submitted tasks and streams end first", "[pool]") {
  fm::pool const workers(2);
  auto const slowly = [](int i) {
    ::usleep(2000);
    return i;
  };
  std::vector<fm::future<int>> futures;
  for (int i = 0; i != 100; ++i) futures.push_back(workers.submit(slowly, i));
  workers.refork();
  for (int i = 0; i != 100; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
  int next = 0;
  for (int const i : workers.stream(slowly, std::views::iota(0, 100))) {
    CHECK(i == next++);
    if (i == 50) workers.refork();
  }
  CHECK(next == 100);
}

TEST_CASE("refork: other threads may call meanwhile", "[pool]") {
  // g++ 12's ASan does not unlock its allocator in the child of a fork, if another thread has locked it.
  if (support::address_sanitizer) return;
  fm::pool const workers(2);
  std::atomic<bool> over = false;
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t != 3; ++t) {
    threads.emplace_back([&] {
      while (!over) {
        auto const results = workers.map([](int i) { return i; }, std::views::iota(0, 5));
        if (results != std::vector{0, 1, 2, 3, 4}) ++wrong;
        if (workers.submit([](int i) { return i; }, 3).get() != 3) ++wrong;
      }
    });
  }
  for (int n = 0; n != 5; ++n) workers.refork();
  over = true;
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("everywhere: a task that times out or crashes is named in the error", "[pool]") {
  fm::pool const workers({.n_jobs = 2, .timeout = 200ms});
  auto const message_of = [&](auto task) {
    try {
      workers.everywhere(fm::delayed(task)(1));
    } catch (std::exception const& e) {
      return std::string(e.what());
    }
    return std::string("no exception");
  };
  using Catch::Matchers::ContainsSubstring;
  CHECK_THAT(message_of([](int) {
               for (;;) ::pause();
             }),
             ContainsSubstring("a task of pool::everywhere ran longer than the limit of 200 ms"));
  CHECK_THAT(message_of([](int) { ::raise(SIGKILL); }),
             ContainsSubstring("a task of pool::everywhere killed its worker") &&
                 ContainsSubstring("SIGKILL"));
  CHECK(workers.map([](int i) { return i; }, std::vector{1, 2}) == std::vector{1, 2});
}

TEST_CASE("refork: handlers of messages may make calls while it waits", "[pool]") {
  fm::pool const* pool_of_handler = nullptr;
  auto const handler = [&](std::size_t, int const& i) {
    if (i == 1) pool_of_handler->map([](int k) { return k; }, std::views::iota(0, 3));
  };
  fm::pool const workers({.n_jobs = 2, .on_message = handler});
  pool_of_handler = &workers;
  auto const send_slowly = [](int) {
    for (int k = 0; k != 3; ++k) {
      ::usleep(20'000);
      fm::this_task::send(k);
    }
  };
  (void)workers.submit(send_slowly, 1);
  workers.refork();
  CHECK(workers.map([](int i) { return i; }, std::vector{1, 2}) == std::vector{1, 2});
}
