// A pool whose system calls fail, each in turn: what it throws names the call, what it returns is
// right, and everything is released (the test program checks children, descriptors and files after
// each test).
#include <signal.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdint>
#include <ranges>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/forkmap.hpp>
#include <forkmap/system/template_process.hpp>

#include "fail_each.hpp"
#include "injection.hpp"
#include "support/catch.hpp"

namespace fm = forkmap;
using fault::fail_each;
using fault::function;

namespace {

int plus(int a, int b) { return a + b; }
std::string text_of(int i) { return std::to_string(i); }
std::string repeated(std::string const& text, int n) {
  std::string all;
  for (int i = 0; i != n; ++i) all += text;
  return all;
}
int die_at_three(int i) {
  if (i == 3) ::raise(SIGKILL);
  return i;
}

auto six_of_which_one_dies() {
  return std::views::iota(0, 6) |
         std::views::transform([](int i) { return fm::delayed(die_at_three)(i); });
}
/// Of a task that has died.
int signal_of(fm::outcome<int> const& fate) {
  try {
    return fate.value();
  } catch (fm::worker_died const& e) {
    return e.signal();
  }
}

void use_a_pool() {
  fm::pool const workers(2);
  auto const texts = workers.map(text_of, std::views::iota(0, 30));
  REQUIRE(texts.size() == 30);
  REQUIRE(texts[29] == "29");
}

/// Enough calls that the first run while the last are sent.
void send_many_calls() {
  constexpr int n = 100'000;
  fm::pool const workers(2);
  auto const sums = workers(std::views::iota(0, n) | std::views::transform([](int i) {
                              return fm::delayed(plus)(i, 2 * i);
                            }));
  REQUIRE(sums.size() == n);
  REQUIRE(sums[n - 1] == 3 * (n - 1));
}

/// Texts that need memory of their own for each task, one after the other.
void stream_texts() {
  fm::pool const workers(fm::options{.n_jobs = 2, .pre_dispatch = 4});
  int n_seen = 0;
  for (auto const& text : workers.stream(std::views::iota(0, 20) | std::views::transform([](int i) {
                                           return fm::delayed(repeated)(std::to_string(i), 1000);
                                         }))) {
    REQUIRE(text.starts_with(std::to_string(n_seen)));
    REQUIRE(text.size() == 1000 * std::to_string(n_seen).size());
    ++n_seen;
  }
  REQUIRE(n_seen == 20);
}

/// Texts of workers that are forked for them, which see what is asked for.
void stream_texts_of_forked_workers() {
  std::string const text(1000, 'x');
  auto const tasks = std::views::iota(0, 20) | std::views::transform([&](int i) {
                       return [&text, i] { return text + text_of(i); };
                     });
  int n_seen = 0;
  for (auto const& each : fm::parallel({.n_jobs = 2, .pre_dispatch = 4}).stream(tasks)) {
    REQUIRE(each == text + text_of(n_seen));
    ++n_seen;
  }
  REQUIRE(n_seen == 20);
}

/// Lets the first calls of f fail, one in each round.
/// Returns: in how many rounds something was thrown.
template <class Action> int fail_some(function f, int code, int rounds, Action action) {
  int thrown = 0;
  for (int nth = 1; nth <= rounds; ++nth) {
    INFO(fault::name_of(f) << ", call " << nth);
    fault::arm(f, nth, code);
    try {
      action();
    } catch (std::system_error const& e) {
      REQUIRE(e.code() == std::error_code(code, std::system_category()));
      REQUIRE(std::string(e.what()).find("forkmap: ") != std::string::npos);
      ++thrown;
    }
    fault::disarm();
  }
  return thrown;
}

}  // namespace

TEST_CASE("fault: a pool without shared memory, processes or descriptors", "[fault]") {
  REQUIRE(fail_each(function::memfd_create, EMFILE, "memfd_create", use_a_pool) == 1);
  REQUIRE(fail_each(function::ftruncate, ENOMEM, "ftruncate of shared memory", use_a_pool) == 1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory", use_a_pool) >= 3);
  REQUIRE(fail_each(function::fork, EAGAIN, "fork of", use_a_pool) == 1);
  // Not others: a futex that cannot be woken, a child that cannot be waited for, are nowhere.
  for (long const number : {SYS_pidfd_open, SYS_madvise}) {
    fault::count_only(number);
    REQUIRE(fail_some(function::syscall, ENOMEM, 8, use_a_pool) >= 2);
  }
  fault::count_only(-1);
  use_a_pool();
}

TEST_CASE("fault: a pool without memory for calls that run while others are sent", "[fault]") {
  fault::count_only(SYS_madvise);
  // For the call, for its arguments as they grow, and for its results, which come page by page then.
  REQUIRE(fail_some(function::syscall, ENOMEM, 12, send_many_calls) >= 3);
  fault::count_only(-1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory", send_many_calls) >= 3);
  send_many_calls();
}

// A task that cannot be dispatched is an error of its element; whatever comes before it is right.
TEST_CASE("fault: a pool's stream whose dispatch the system refuses", "[fault]") {
  fault::count_only(SYS_madvise);
  // How many there are depends on how many tasks run at once.
  REQUIRE(fail_some(function::syscall, ENOMEM, 30, stream_texts) >= 3);
  fault::count_only(-1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory", stream_texts) >= 3);
  stream_texts();
}

TEST_CASE("fault: a stream of forked workers without memory, processes or descriptors", "[fault]") {
  REQUIRE(fail_each(function::memfd_create, EMFILE, "memfd_create",
                    stream_texts_of_forked_workers) == 1);
  REQUIRE(fail_each(function::fork, EAGAIN, "fork of", stream_texts_of_forked_workers) == 1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory",
                    stream_texts_of_forked_workers) >= 3);
  fault::count_only(SYS_madvise);
  REQUIRE(fail_some(function::syscall, ENOMEM, 20, stream_texts_of_forked_workers) >= 2);
  fault::count_only(-1);
  stream_texts_of_forked_workers();
}

TEST_CASE("fault: a pool without its socket, its event, or an answer", "[fault]") {
  REQUIRE(fail_each(function::socketpair, EMFILE, "socketpair of a pool", use_a_pool) == 1);
  REQUIRE(fail_each(function::eventfd, EMFILE, "eventfd of a pool", use_a_pool) == 1);
  // Two workers are asked for; how they have ended may stay without an answer.
  REQUIRE(fail_some(function::send, ENOBUFS, 6, use_a_pool) == 2);
  REQUIRE(fail_some(function::recv, ENOMEM, 6, use_a_pool) == 2);
  REQUIRE(fail_some(function::send, EINTR, 6, use_a_pool) == 0);
  REQUIRE(fail_some(function::recv, EINTR, 6, use_a_pool) == 0);
  REQUIRE(fail_some(function::write, EINTR, 6, use_a_pool) == 0);
}

TEST_CASE("fault: a worker whose end cannot be asked for has died of nobody knows what",
          "[fault]") {
  fm::pool const workers(1);
  fault::arm(function::send, 1, ENOBUFS);
  auto const fates = workers.outcomes(six_of_which_one_dies());
  REQUIRE(fault::disarm());
  CHECK(signal_of(fates[3]) == 0);
  CHECK(*fates[2] == 2);
  CHECK(*fates[5] == 5);
  // Then all is as it was.
  CHECK(signal_of(workers.outcomes(six_of_which_one_dies())[3]) == SIGKILL);
}

TEST_CASE("fault: a pool that has lost an answer breaks, and mistakes no other for it", "[fault]") {
  fm::pool const workers(1);
  fault::arm(function::recv, 1, ENOMEM);
  REQUIRE_THROWS_AS(workers.outcomes(six_of_which_one_dies()), std::system_error);
  REQUIRE(fault::disarm());
  REQUIRE_THROWS_AS(workers.outcomes(six_of_which_one_dies()), std::system_error);
}

// What has been killed may live on for a moment, and its last answer lie in the socket: taken for the
// next one's, the number of a child would be 0, which for kill() is everybody.
TEST_CASE("fault: a pool's process that has lost an answer is asked no more", "[fault]") {
  fm::detail::template_process makes(1, [](std::uint32_t, pid_t, sigset_t const&) {});
  auto child = makes.start(0);
  fault::arm(function::recv, 1, ENOMEM);
  CHECK_FALSE(makes.collect(child).known);
  REQUIRE(fault::disarm());
  fault::arm(function::send, 1, ENOBUFS);
  CHECK_THROWS_WITH(makes.start(1), Catch::Matchers::ContainsSubstring("make a new pool"));
  CHECK_FALSE(fault::disarm());
}

TEST_CASE("fault: a pool's thread that cannot sleep looks again", "[fault]") {
  REQUIRE(fail_some(function::ppoll, EINTR, 5, use_a_pool) == 0);
}

TEST_CASE("fault: a worker of a pool that cannot be replaced is missed by its call alone",
          "[fault]") {
  fm::pool const workers(2);
  for (int round = 0; round != 5; ++round) {
    fault::count_only(SYS_pidfd_open);
    fault::arm(function::syscall, 1 + round % 2, EMFILE);
    try {
      auto const fates =
          workers.outcomes(std::views::iota(0, 20) | std::views::transform([](int i) {
                             return fm::delayed(die_at_three)(i);
                           }));
      for (int i = 0; i != 20; ++i) {
        REQUIRE(fates[static_cast<std::size_t>(i)].has_value() == (i != 3));
      }
    } catch (std::system_error const& e) {
      REQUIRE(e.code().value() == EMFILE);
    }
    fault::disarm();
    fault::count_only(-1);
    REQUIRE(workers.map(text_of, std::views::iota(0, 3)) ==
            std::vector<std::string>{"0", "1", "2"});
  }
}
