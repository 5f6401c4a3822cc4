// Locks that another thread of the caller holds while workers are forked: locks of the program, and
// locks of the C library that fork() does not take. No thread of a worker can release them, so a
// task that needs one hangs. With a time limit, the task is ended and reported with its backtrace.
// Other tasks are not affected.
// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <ranges>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

// The tasks: ordinary calls that take a lock.
[[gnu::noinline]] int draw_number() {
  int volatile drawn = std::rand();
  return drawn >= 0 ? 1 : 0;
}
[[gnu::noinline]] int change_environment() {
  int volatile failed = ::setenv("FORKMAP_TEST_HAZARD", "set", 1);
  return failed == 0 ? 1 : 0;
}
[[gnu::noinline]] int tell_the_time() {
  std::time_t const now = 0;
  tm broken_down{};
  auto* volatile told = ::localtime(&now);
  if (told != nullptr) broken_down = *told;
  return broken_down.tm_year >= 69 ? 1 : 0;
}
std::mutex log_lock;
int n_logged = 0;
[[gnu::noinline]] int write_log() {
  std::lock_guard const lock(log_lock);
  return ++n_logged;
}

template <int (*Hazard)()> int one_of_four(int i) { return i == 1 ? Hazard() : 10 * i; }

/// Runs four tasks, of which the second calls Hazard. If it hangs, checks the failure that is
/// reported.
/// Returns: whether it hung.
template <int (*Hazard)()> bool hangs(std::string const& where) {
  auto const outcomes = fm::parallel({.n_jobs = 2, .timeout = 300ms})
                            .outcomes(std::views::iota(0, 4) | std::views::transform([](int i) {
                                        return [i] { return one_of_four<Hazard>(i); };
                                      }));
  REQUIRE(outcomes.size() == 4);
  for (std::size_t const i : {0U, 2U, 3U}) REQUIRE(*outcomes[i] == 10 * static_cast<int>(i));
  if (outcomes[1].has_value()) return false;
  auto const& failure = outcomes[1].error();
  REQUIRE(failure.reason == fm::failure::timed_out);
  REQUIRE(failure.index() == 1);
  REQUIRE_THAT(failure.message, ContainsSubstring("task 1 ran longer than its limit of 300 ms"));
  REQUIRE_THAT(failure.trace(), ContainsSubstring(where));
  return true;
}

// The number of the last request to stop the thread, and the last request that it has followed. A
// stopped thread continues when `thawed` reaches its request.
std::atomic<int> times_asked{0};
std::atomic<int> frozen{0};
std::atomic<int> thawed{0};
void stay_frozen(int) {
  int const time = times_asked;
  frozen = time;
  while (thawed < time) ::sched_yield();
}

/// A thread that calls Hazard in a loop and can be stopped at any instruction, often inside of
/// Hazard.
template <int (*Hazard)()> class busy_thread {
 public:
  busy_thread() {
    struct sigaction freeze{};
    freeze.sa_handler = stay_frozen;
    ::sigaction(SIGUSR1, &freeze, &before_);
    REQUIRE(has_run_on());
  }
  busy_thread(busy_thread const&) = delete;
  busy_thread& operator=(busy_thread const&) = delete;
  ~busy_thread() {
    thawed = times_asked.load();
    stop_ = true;
    thread_.join();
    ::sigaction(SIGUSR1, &before_, nullptr);
  }

  void freeze() {
    ++times_asked;
    ::pthread_kill(thread_.native_handle(), SIGUSR1);
    REQUIRE(support::wait_until([] { return frozen == times_asked; }));
  }
  /// Lets the thread continue and waits until it has made progress. Without the wait, the next
  /// freeze() could stop it at the same place again.
  void thaw() {
    thawed = times_asked.load();
    REQUIRE(has_run_on());
  }

 private:
  [[nodiscard]] bool has_run_on() const {
    long const until = runs_ + 2;  // + 2 because one run had begun before
    return support::wait_until([&] { return runs_ >= until; });
  }

  std::atomic<long> runs_{0};
  std::atomic<bool> stop_{false};
  struct sigaction before_{};
  std::thread thread_{[this] {
    while (!stop_) {
      Hazard();
      ++runs_;
    }
  }};
};

/// Repeats until the other thread is stopped while it holds the lock.
template <int (*Hazard)()> void must_be_survived(std::string const& where) {
  bool hung = false;
  {
    busy_thread<Hazard> other;
    for (int round = 0; round != 2000 && !hung; ++round) {
      other.freeze();
      hung = hangs<Hazard>(where);
      other.thaw();
    }
  }
  REQUIRE(hung);
  REQUIRE_FALSE(hangs<Hazard>(where));  // later calls are not affected
}

/// Not tested with sanitizers: their allocators hang in a fork of a program with threads, and TSan
/// delivers signals late.
constexpr bool not_testable = support::shadow_memory;

}  // namespace

TEST_CASE("hazards: a task that needs a mutex which another thread held at the fork times out",
          "[hazards]") {
  if (not_testable) return;
  std::atomic<bool> locked{false};
  std::atomic<bool> enough{false};
  std::thread holder([&] {
    std::lock_guard const lock(log_lock);
    locked = true;
    while (!enough) std::this_thread::sleep_for(1ms);
  });
  REQUIRE(support::wait_until([&] { return locked.load(); }));
  CHECK(hangs<write_log>("write_log"));

  // The workers of a pool, and their replacements, are forked with the locked mutex, too.
  fm::pool const workers(fm::options{.n_jobs = 2, .timeout = 300ms});
  enough = true;
  holder.join();
  for (int call = 0; call != 2; ++call) {
    auto const outcomes =
        workers.outcomes(std::views::iota(0, 4) | std::views::transform([](int i) {
                           return fm::delayed(one_of_four<write_log>)(i);
                         }));
    REQUIRE_FALSE(outcomes[1].has_value());
    CHECK(outcomes[1].error().reason == fm::failure::timed_out);
    CHECK_THAT(outcomes[1].error().trace(), ContainsSubstring("write_log"));
    for (std::size_t const i : {0U, 2U, 3U}) CHECK(*outcomes[i] == 10 * static_cast<int>(i));
  }
  CHECK_FALSE(hangs<write_log>("write_log"));
}

TEST_CASE("hazards: a task that calls rand() while another thread held its lock times out",
          "[hazards]") {
  if (not_testable) return;
  must_be_survived<draw_number>("draw_number");
}

TEST_CASE("hazards: a task that calls setenv() while another thread held its lock times out",
          "[hazards]") {
  if (not_testable) return;
  must_be_survived<change_environment>("change_environment");
  ::unsetenv("FORKMAP_TEST_HAZARD");
}

TEST_CASE("hazards: a task that calls localtime() while another thread held its lock times out",
          "[hazards]") {
  if (not_testable) return;
  // localtime() in the other thread reads the time zone from a named pipe. It holds the lock until
  // the writing end is closed.
  support::temporary_directory const folder;
  auto const zone = folder.path() / "zone";
  REQUIRE(::mkfifo(zone.c_str(), 0600) == 0);
  char const* const usual = std::getenv("TZ");
  std::string const before = usual != nullptr ? usual : "";
  ::setenv("TZ", (":" + zone.native()).c_str(), 1);
  std::thread other([] { tell_the_time(); });
  int writing = -1;  // can be opened once there is a reader
  CHECK(support::wait_until([&] {
    writing = ::open(zone.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    return writing >= 0;
  }));
  CHECK(hangs<tell_the_time>("tell_the_time"));
  if (usual != nullptr)
    ::setenv("TZ", before.c_str(), 1);
  else
    ::unsetenv("TZ");
  ::close(writing);  // the other thread releases the lock
  other.join();
  CHECK_FALSE(hangs<tell_the_time>("tell_the_time"));
}
