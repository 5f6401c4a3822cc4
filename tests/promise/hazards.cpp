// Locks that another thread of the caller holds while workers are forked, and that nobody can give
// back in them: the program's own, and those of the C library that fork does not take. The task that
// needs one hangs. With a limit it is ended and says where it was; the others never notice.
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

// The tasks: what a program does without a thought.
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

/// Four tasks, of which the second is the hazard.
/// Returns: whether it hung. Then all of that is checked which the caller must be told.
template <int (*Hazard)()> bool hangs(std::string const& where) {
  auto const fates = fm::parallel({.n_jobs = 2, .timeout = 300ms})
                         .outcomes(std::views::iota(0, 4) | std::views::transform([](int i) {
                                     return [i] { return one_of_four<Hazard>(i); };
                                   }));
  REQUIRE(fates.size() == 4);
  for (std::size_t const i : {0U, 2U, 3U}) REQUIRE(*fates[i] == 10 * static_cast<int>(i));
  if (fates[1].has_value()) return false;
  auto const& failure = fates[1].error();
  REQUIRE(failure.reason == fm::failure::timed_out);
  REQUIRE(failure.index() == 1);
  REQUIRE_THAT(failure.message, ContainsSubstring("task 1 ran longer than its limit of 300 ms"));
  REQUIRE_THAT(failure.trace(), ContainsSubstring(where));
  return true;
}

// Numbers of times that a thread is stopped.
std::atomic<int> times_asked{0};
std::atomic<int> frozen{0};
std::atomic<int> thawed{0};
void stay_frozen(int) {
  int const time = times_asked;
  frozen = time;
  while (thawed < time) ::sched_yield();
}

/// A thread that does nothing but call Hazard, and can be stopped wherever it is: often inside.
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
  /// Lets it run on: stopped again before it has, it would be where it was, each time.
  void thaw() {
    thawed = times_asked.load();
    REQUIRE(has_run_on());
  }

 private:
  [[nodiscard]] bool has_run_on() const {
    long const until = runs_ + 2;  // one was begun before
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

/// Tries until the thread was stopped while it held the lock.
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
  REQUIRE_FALSE(hangs<Hazard>(where));  // and nothing of it stays
}

/// Allocators of sanitizers hang in a fork of a program with threads; signals come late under TSan.
constexpr bool out_of_sight = support::shadow_memory;

}  // namespace

TEST_CASE("hazards: a mutex of the program", "[hazards]") {
  if (out_of_sight) return;
  std::atomic<bool> locked{false};
  std::atomic<bool> enough{false};
  std::thread holder([&] {
    std::lock_guard const lock(log_lock);
    locked = true;
    while (!enough) std::this_thread::sleep_for(1ms);
  });
  REQUIRE(support::wait_until([&] { return locked.load(); }));
  CHECK(hangs<write_log>("write_log"));

  // A pool's workers are born with it in the same way, and their replacements, too.
  fm::pool const workers(fm::options{.n_jobs = 2, .timeout = 300ms});
  enough = true;
  holder.join();
  for (int call = 0; call != 2; ++call) {
    auto const fates = workers.outcomes(std::views::iota(0, 4) | std::views::transform([](int i) {
                                          return fm::delayed(one_of_four<write_log>)(i);
                                        }));
    REQUIRE_FALSE(fates[1].has_value());
    CHECK(fates[1].error().reason == fm::failure::timed_out);
    CHECK_THAT(fates[1].error().trace(), ContainsSubstring("write_log"));
    for (std::size_t const i : {0U, 2U, 3U}) CHECK(*fates[i] == 10 * static_cast<int>(i));
  }
  CHECK_FALSE(hangs<write_log>("write_log"));
}

TEST_CASE("hazards: rand", "[hazards]") {
  if (out_of_sight) return;
  must_be_survived<draw_number>("draw_number");
}

TEST_CASE("hazards: setenv", "[hazards]") {
  if (out_of_sight) return;
  must_be_survived<change_environment>("change_environment");
  ::unsetenv("FORKMAP_TEST_HAZARD");
}

TEST_CASE("hazards: localtime", "[hazards]") {
  if (out_of_sight) return;
  // A thread that reads the time zone from a pipe holds the lock until somebody writes to it.
  support::temporary_directory const folder;
  auto const zone = folder.path() / "zone";
  REQUIRE(::mkfifo(zone.c_str(), 0600) == 0);
  char const* const usual = std::getenv("TZ");
  std::string const before = usual != nullptr ? usual : "";
  ::setenv("TZ", (":" + zone.native()).c_str(), 1);
  std::thread other([] { tell_the_time(); });
  int writing = -1;  // opens when there is a reader
  CHECK(support::wait_until([&] {
    writing = ::open(zone.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    return writing >= 0;
  }));
  CHECK(hangs<tell_the_time>("tell_the_time"));
  if (usual != nullptr)
    ::setenv("TZ", before.c_str(), 1);
  else
    ::unsetenv("TZ");
  ::close(writing);  // lets it go
  other.join();
  CHECK_FALSE(hangs<tell_the_time>("tell_the_time"));
}
