// The time that a worker gets to end by itself before it is killed: options::grace.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

/// What a task does when it gets SIGTERM.
enum class reaction { none, writes_and_exits, ignores };

std::sig_atomic_t volatile got_sigterm = 0;

/// Runs for ever, unless SIGTERM ends it.
int run_on(int i, std::string const& folder, reaction what) {
  struct sigaction action{};
  if (what == reaction::writes_and_exits) action.sa_handler = [](int) { got_sigterm = 1; };
  if (what == reaction::ignores) action.sa_handler = SIG_IGN;
  if (what != reaction::none) ::sigaction(SIGTERM, &action, nullptr);
  std::ofstream(folder + "/began" + std::to_string(i)) << i;
  while (got_sigterm == 0) ::usleep(1000);
  std::ofstream(folder + "/saved" + std::to_string(i)) << "state";
  std::_Exit(0);
}

bool exists(std::string const& path) { return std::ifstream(path).good(); }

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

TEST_CASE("grace: a task that has timed out may save its state", "[limits]") {
  for (auto const what : {reaction::none, reaction::writes_and_exits, reaction::ignores}) {
    for (bool const of_pool : {false, true}) {
      support::temporary_directory const folder;
      CAPTURE(static_cast<int>(what), of_pool);
      auto const grace = what == reaction::ignores ? 500ms : 20'000ms;
      fm::options const opts{.n_jobs = 2, .timeout = 100ms, .grace = grace};
      auto const tasks = std::views::iota(0, 2) | std::views::transform([&](int i) {
                           return fm::delayed(run_on)(i, folder.path().string(), what);
                         });
      auto const begin = std::chrono::steady_clock::now();
      auto const outcomes =
          of_pool ? fm::pool(opts).outcomes(tasks) : fm::parallel(opts).outcomes(tasks);
      auto const took = seconds_since(begin);
      for (std::size_t i = 0; i != 2; ++i) {
        CHECK(outcomes[i].error().reason == fm::failure::timed_out);
        CHECK(exists(folder.path() / ("saved" + std::to_string(i))) ==
              (what == reaction::writes_and_exits));
      }
      CHECK(took < 18);
      if (what == reaction::ignores) CHECK(took > 0.55);
    }
  }
}

TEST_CASE("grace: a stop and a deadline let tasks end", "[limits]") {
  for (bool const of_pool : {false, true}) {
    for (bool const by_deadline : {false, true}) {
      CAPTURE(of_pool, by_deadline);
      support::temporary_directory const folder;
      auto const path = folder.path().string();
      std::string const began[] = {path + "/began0", path + "/began1"};
      std::stop_source stop;
      fm::options opts{.n_jobs = 2, .stop = stop.get_token(), .grace = 60s};
      if (by_deadline) opts.deadline = 500ms;
      std::jthread stopper;
      if (!by_deadline) {
        stopper = std::jthread([&] {
          // access() and not exists(): the program forks meanwhile, and g++ 12's ASan does not unlock its
          // allocator in the child.
          while (::access(began[0].c_str(), F_OK) != 0 || ::access(began[1].c_str(), F_OK) != 0)
            std::this_thread::sleep_for(1ms);
          stop.request_stop();
        });
      }
      auto const tasks = std::views::iota(0, 2) | std::views::transform([&](int i) {
                           return fm::delayed(run_on)(i, path, reaction::writes_and_exits);
                         });
      auto const outcomes =
          of_pool ? fm::pool(opts).outcomes(tasks) : fm::parallel(opts).outcomes(tasks);
      for (std::size_t i = 0; i != 2; ++i) {
        CHECK_FALSE(outcomes[i]);
        CHECK(exists(path + "/began" + std::to_string(i)) ==
              exists(path + "/saved" + std::to_string(i)));
      }
    }
  }
}

TEST_CASE("grace: a pool that ends, and a cancelled future, let tasks end", "[limits]") {
  support::temporary_directory const folder;
  auto const path = folder.path().string();
  auto const wait_for = [&](char const* name) {
    while (!exists(path + name)) std::this_thread::sleep_for(1ms);
  };
  {
    fm::pool const workers({.n_jobs = 2, .grace = 60s});
    auto first = workers.submit(run_on, 0, path, reaction::writes_and_exits);
    wait_for("/began0");
    first.cancel();
    CHECK_THROWS_AS(first.get(), fm::task_cancelled);
    wait_for("/saved0");
    auto second = workers.submit(run_on, 1, path, reaction::writes_and_exits);
    wait_for("/began1");
  }
  CHECK(exists(path + "/saved1"));
}

TEST_CASE("grace: a failure of another task lets tasks end, and a pool goes on", "[limits]") {
  support::temporary_directory const folder;
  auto const path = folder.path().string();
  auto const fail_or_run = [](int i, std::string const& in) {
    while (i == 0 && !exists(in + "/began1")) ::usleep(1000);
    if (i == 0) throw std::runtime_error("first");
    return run_on(i, in, reaction::writes_and_exits);
  };
  fm::pool const workers({.n_jobs = 2, .grace = 60s});
  auto const tasks = std::views::iota(0, 2) | std::views::transform([&](int i) {
                       return fm::delayed(fail_or_run)(i, path);
                     });
  CHECK_THROWS_WITH(workers(tasks), "first");
  CHECK(exists(path + "/saved1"));
  CHECK(workers.map([](int i) { return i; }, std::vector{1, 2}) == std::vector{1, 2});
}

TEST_CASE("grace: a negative time is refused", "[limits]") {
  CHECK_THROWS_AS(fm::parallel({.n_jobs = 2, .grace = -1ms}), std::invalid_argument);
}
