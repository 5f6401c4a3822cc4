// Processes that a task forks and that leave the task, where the caller's own process runs it.
// SPDX-License-Identifier: MIT
#include <sys/wait.h>
#include <unistd.h>

#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;

namespace {

/// Waits for a child and returns its exit status.
int status_of(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/// Task 2 forks a child that returns from it, after a call of its own.
int fork_at_two(int i) {
  if (i != 2) return i;
  auto const child = ::fork();
  if (child != 0) return 100 + status_of(child);
  auto const own = fm::parallel(1).map([](int x) { return x + 1; }, std::vector{1, 2});
  if (own != std::vector{2, 3}) ::_exit(7);
  return 2;
}

int fork_and_throw(int i) {
  auto const child = ::fork();
  if (child != 0) return 100 + status_of(child);
  throw std::runtime_error(std::to_string(i));
}

// Both run in a worker, so that a child that leaves its task ends with the worker's call.
std::vector<int> results_of_calls() {
  auto all = fm::parallel(1).map(fork_at_two, std::views::iota(0, 4));
  for (int const x : fm::parallel(1).map(fork_at_two, std::vector{2})) all.push_back(x);
  for (int const x : fm::parallel(1).stream(fork_at_two, std::views::iota(1, 4))) all.push_back(x);
  for (auto const& outcome : fm::parallel(1).outcomes(fork_and_throw, std::views::iota(0, 2)))
    all.push_back(outcome.value());
  all.push_back(fm::parallel(1).reduce(std::views::iota(1, 4) | std::views::transform([](int i) {
                                         return fm::delayed(fork_at_two)(i);
                                       }),
                                       0, [](int a, int b) { return a + b; }));
  return all;
}

// Objects of namespace scope: the first use of one may construct all of a file.
struct made_in {
  pid_t process = ::getpid();
  ~made_in() {}
};
thread_local made_in const maker;

bool is_made_here(int) { return maker.process == ::getpid(); }

}  // namespace

TEST_CASE("n_jobs = 1: a child that a task forks ends when it leaves the task", "[fork]") {
  auto const call = fm::parallel({.n_jobs = 1, .isolate = true});
  CHECK(std::get<0>(call(results_of_calls)) ==
        std::vector{0, 1, 101, 3, 101, 1, 101, 3, 101, 101, 105});
}

TEST_CASE("thread_local objects of the program are made in the worker that uses them", "[fork]") {
  auto const check = [](auto const& workers) {
    for (int n = 0; n != 2; ++n) {
      for (bool const here : workers.map(is_made_here, std::views::iota(0, 4))) CHECK(here);
      for (bool const here : workers.stream(is_made_here, std::views::iota(0, 4))) CHECK(here);
    }
  };
  check(fm::parallel(2));
  check(fm::pool(2));
  static_cast<void>(fm::last_report());
  check(fm::parallel(2));
}
