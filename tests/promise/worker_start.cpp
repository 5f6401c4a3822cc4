// Effect of options::timeout before a worker's first task.
// SPDX-License-Identifier: MIT
#include <pthread.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

int started(int i) { return i; }

/// Makes each fork take 300 ms, as on a busy machine, until it is destroyed.
class slow_forks {
 public:
  slow_forks() {
    static bool const registered = ::pthread_atfork(nullptr, nullptr, [] {
                                     if (is_on_) ::usleep(300'000);
                                   }) == 0;
    REQUIRE(registered);
    is_on_ = true;
  }
  ~slow_forks() { is_on_ = false; }

 private:
  static inline bool is_on_ = false;
};

fm::options with_hanging_init() {
  fm::options opts{.n_jobs = 2, .timeout = 100ms};
  opts.worker_init = [](int) {
    for (;;) ::pause();
  };
  return opts;
}

void require_init_timeout(std::function<void()> const& call) {
  try {
    call();
  } catch (fm::task_timeout const& e) {
    std::string const what = e.what();
    CHECK(what.find("worker_init ran longer than the limit of a task, 100 ms") != what.npos);
    CHECK(e.trace().find("pause") != std::string::npos);
    return;
  }
  FAIL("nothing was thrown");
}

}  // namespace

TEST_CASE("start: a worker_init that hangs is ended at the time limit of a task", "[start]") {
  auto const tasks = std::views::iota(0, 4);
  require_init_timeout([&] { fm::parallel(with_hanging_init()).map(started, tasks); });
  require_init_timeout([] { fm::parallel(with_hanging_init())([] {}, [] {}); });
  require_init_timeout(
      [] { fm::parallel(with_hanging_init()).outcomes(std::vector{[] { return 1; }}); });
  require_init_timeout([&] {
    for (int const i : fm::parallel(with_hanging_init()).stream(std::vector{[] { return 1; }})) {
      if (i != 1) throw std::logic_error("wrong result");
    }
  });
}

TEST_CASE("start: the same holds in a pool, and its destructor does not wait longer",
          "[start][pool]") {
  auto const tasks = std::views::iota(0, 4);
  require_init_timeout([&] { fm::pool(with_hanging_init()).map(started, tasks); });
  require_init_timeout([] { fm::pool(with_hanging_init()).submit(fm::delayed(started)(1)).get(); });
  fm::pool const unused(with_hanging_init());
}

TEST_CASE("start: a worker_init within the limit does not reduce the time of the tasks",
          "[start]") {
  fm::options opts{.n_jobs = 2, .timeout = 20s};
  opts.worker_init = [](int) { ::usleep(50'000); };
  REQUIRE(fm::parallel(opts).map(started, std::views::iota(0, 4))[3] == 3);
  REQUIRE(fm::pool(opts).map(started, std::views::iota(0, 4))[3] == 3);
}

TEST_CASE("start: a worker has one second to start, even if the limit of a task is shorter",
          "[start]") {
  slow_forks const busy_machine;
  fm::options const opts{.n_jobs = 2, .timeout = 50ms};
  REQUIRE(fm::parallel(opts).map(started, std::views::iota(0, 4))[3] == 3);
  REQUIRE(fm::pool(opts).map(started, std::views::iota(0, 4))[3] == 3);
}
