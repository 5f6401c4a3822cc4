// Calls with a journal that were killed and are made again.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

/// Runs `call` in a process, kills the process once `enough()` is true, and waits until it has
/// ended.
template <class Call, class Enough> void run_and_kill(Call call, Enough enough) {
  auto const child = ::fork();
  if (child == 0) {
    call();
    ::_exit(0);
  }
  bool const reached = support::wait_until(enough);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  REQUIRE(reached);
}

/// Kills a map after half of its tasks and makes the same call again.
template <class Make> void must_resume(Make make) {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  constexpr int n = 40;
  fm::shared_array<int> runs({n});
  auto const call = [&](int first_paused) {
    return fm::parallel({.n_jobs = 2, .resume = journal})(
        support::tasks_of(n, [&, first_paused](int i) {
          ++runs[static_cast<std::size_t>(i)];
          if (i >= first_paused) ::pause();
          return make(i);
        }));
  };
  run_and_kill([&] { call(20); }, [&] { return runs[20] == 1 && runs[21] == 1; });
  auto const results = call(n);
  REQUIRE(fm::last_report().resumed == 20);
  for (int i = 0; i != n; ++i) {
    INFO(i);
    REQUIRE(results[static_cast<std::size_t>(i)] == make(i));
    REQUIRE(runs[static_cast<std::size_t>(i)] == (i == 20 || i == 21 ? 2 : 1));
  }
  // The journal is kept after success, so a third call runs nothing.
  REQUIRE(call(0) == results);
  REQUIRE(fm::last_report().resumed == n);
}

}  // namespace

TEST_CASE("resume: a map that was killed runs only the missing tasks", "[resume]") {
  must_resume([](int i) { return i * 1.5; });
  must_resume([](int i) { return std::string(static_cast<std::size_t>(i) * 1000, 'x'); });
  must_resume([](int i) { return std::vector<std::string>(3, std::to_string(i)); });
  must_resume([](int i) { return std::make_pair(i, std::to_string(i)); });
}

TEST_CASE("resume: tasks without results are not run again either", "[resume]") {
  support::temporary_directory const folder;
  fm::shared_array<int> runs({10});
  for (int round = 0; round != 2; ++round) {
    fm::parallel({.n_jobs = 2, .resume = folder.path() / "journal"})(
        support::tasks_of(10, [&](int i) { ++runs[static_cast<std::size_t>(i)]; }));
  }
  for (auto const n : runs) REQUIRE(n == 1);
}

TEST_CASE("resume: failures are not written to the journal, so failed tasks run again",
          "[resume]") {
  support::temporary_directory const folder;
  fm::shared_array<int> runs({12});
  for (int round = 0; round != 2; ++round) {
    auto const outcomes = fm::parallel({.n_jobs = 2, .resume = folder.path() / "journal"})
                              .outcomes(support::tasks_of(12, [&](int i) {
                                ++runs[static_cast<std::size_t>(i)];
                                if (round == 0 && i == 3) throw std::runtime_error("no");
                                if (round == 0 && i == 7) ::raise(SIGKILL);
                                return i;
                              }));
    for (std::size_t i = 0; i != 12; ++i) {
      REQUIRE(outcomes[i].has_value() == (round == 1 || (i != 3 && i != 7)));
      if (outcomes[i]) REQUIRE(*outcomes[i] == static_cast<int>(i));
    }
  }
  for (std::size_t i = 0; i != 12; ++i) REQUIRE(runs[i] == (i == 3 || i == 7 ? 2 : 1));
}

TEST_CASE("resume: works for reduce, separate tasks and first", "[resume]") {
  support::temporary_directory const folder;
  fm::shared_array<int> runs({1});
  for (int round = 0; round != 2; ++round) {
    auto const sum = fm::parallel({.n_jobs = 2, .resume = folder.path() / "fold"})
                         .reduce(support::tasks_of(5000,
                                                   [&](int i) {
                                                     if (round == 1) ++runs[0];
                                                     return i;
                                                   }),
                                 0L, std::plus<long>());
    REQUIRE(sum == 4999L * 5000 / 2);
    auto const text = fm::parallel({.n_jobs = 2, .batch_size = 3, .resume = folder.path() / "text"})
                          .reduce(support::tasks_of(10, [](int i) { return std::to_string(i); }),
                                  std::string(), std::plus<std::string>());
    REQUIRE(text == "0123456789");
    auto const [a, b] = fm::parallel({.n_jobs = 2, .resume = folder.path() / "tuple"})(
        [&] { return round == 0 ? 1 : ++runs[0]; }, [] { return std::string("b"); });
    REQUIRE(a == 1);
    REQUIRE(b == "b");
    auto const first = fm::parallel({.n_jobs = 2, .resume = folder.path() / "race"})
                           .first(support::tasks_of(4, [&](int i) {
                             if (round == 1) ++runs[0];
                             if (i != 2) throw std::runtime_error("no");
                             return i;
                           }));
    REQUIRE(first.index == 2);
    REQUIRE(first.value == 2);
  }
  REQUIRE(runs[0] == 0);
}

TEST_CASE("resume: first writes the winner's result to the journal before other tasks are ended",
          "[resume]") {
  // Large, so that another worker ends, and wakes the caller, while the result is still being
  // written.
  using large = std::array<char, std::size_t{1} << 20U>;
  support::temporary_directory const folder;
  fm::shared_array<int> runs({2});
  for (std::size_t round = 0; round != 2; ++round) {
    auto const first = fm::parallel({.n_jobs = 2, .resume = folder.path() / "race"})
                           .first(support::tasks_of(200, [&](int i) {
                             ++runs[round];
                             if (i != 3) {
                               std::this_thread::sleep_for(std::chrono::microseconds(100));
                               throw std::runtime_error("no");
                             }
                             auto const result = std::make_unique<large>();
                             result->fill('x');
                             return *result;
                           }));
    REQUIRE(first.index == 3);
    REQUIRE(first.value.back() == 'x');
  }
  REQUIRE(runs[0] >= 1);
  REQUIRE(runs[1] == 0);
}

TEST_CASE("resume: the journal of another call is refused before anything runs", "[resume]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  auto const call = [&](int n, std::uint64_t seed, auto result) {
    return fm::parallel({.n_jobs = 2, .seed = seed, .resume = journal})(
        support::tasks_of(n, [=](int) { return result; }));
  };
  call(5, 0, 1);
  REQUIRE_THROWS_WITH(call(6, 0, 1), ContainsSubstring("number of results is 5 (here 6)"));
  REQUIRE_THROWS_WITH(call(5, 1, 1), ContainsSubstring("seed is 0 (here 1)"));
  REQUIRE_THROWS_WITH(call(5, 0, 1.0), ContainsSubstring("type is int (here double)"));
  REQUIRE_THROWS_AS(call(5, 0, std::string()), std::invalid_argument);
  REQUIRE(call(5, 0, 2) == std::vector(5, 1));
}

TEST_CASE("resume: killed workers lose no result that was written to the journal", "[resume]") {
  support::temporary_directory const folder;
  fm::shared_array<int> runs({300});
  auto const outcomes = fm::parallel({.n_jobs = 3,
                                      .timeout = std::chrono::seconds(60),
                                      .retries = 1,
                                      .max_tasks_per_worker = 7,
                                      .resume = folder.path() / "j"})
                            .outcomes(support::tasks_of(300, [&](int i) {
                              ++runs[static_cast<std::size_t>(i)];
                              if (i % 50 == 10 && fm::this_task::attempt() == 0) ::raise(SIGKILL);
                              return i;
                            }));
  for (std::size_t i = 0; i != 300; ++i) {
    REQUIRE(*outcomes[i] == static_cast<int>(i));
    REQUIRE(runs[i] == (i % 50 == 10 ? 2 : 1));
  }
  auto const resumed = fm::parallel({.n_jobs = 3, .resume = folder.path() / "j"})(
      support::tasks_of(300, [&](int) { return -1; }));
  for (std::size_t i = 0; i != 300; ++i) REQUIRE(resumed[i] == static_cast<int>(i));
}
