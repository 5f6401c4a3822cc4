// The index of a task (of a submitted task, its number in its pool), and its random numbers, which
// depend on the seeds and indices of all enclosing calls.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;

namespace {

using drawn_numbers = std::vector<std::uint64_t>;

std::uint64_t drawn(int) { return fm::this_task::rng()(); }
std::uint64_t drawn_once() { return fm::this_task::rng()(); }
int abort_at_five(int i) {
  if (i == 5) std::abort();
  return i;
}
int throw_at_five(int i) {
  if (i == 5) throw std::out_of_range("five");
  return i;
}
std::ptrdiff_t own_index() { return fm::this_task::index(); }
[[noreturn]] int never_ends() {
  for (;;) ::pause();
}

/// The numbers that are drawn by three tasks, each of which makes a call with three tasks.
template <class Outer, class Inner>
drawn_numbers drawn_inside(Outer const& outer, Inner const& inner) {
  drawn_numbers all;
  for (auto const& some : outer.map([&](int) { return inner().map(drawn, support::count_to(3)); },
                                    support::count_to(3)))
    all.insert(all.end(), some.begin(), some.end());
  return all;
}
drawn_numbers drawn_by_pools(std::uint64_t seed) {
  fm::pool const outer(fm::options{.n_jobs = 2, .seed = seed});
  drawn_numbers all;
  for (auto const& some :
       outer.map([](int) { return fm::parallel(2).map(drawn, support::count_to(3)); },
                 support::count_to(3)))
    all.insert(all.end(), some.begin(), some.end());
  return all;
}
bool all_numbers_differ(drawn_numbers const& all) {
  return std::set(all.begin(), all.end()).size() == all.size();
}

}  // namespace

TEST_CASE("submit: the index of a task is its number in its pool", "[numbers_of_tasks]") {
  fm::pool const workers(2);
  std::vector<fm::future<std::ptrdiff_t>> all;
  for (int i = 0; i != 6; ++i) {
    all.push_back(workers.submit(own_index));
    workers.map(drawn, support::count_to(2));  // does not change the numbers of submitted tasks
  }
  for (int i = 0; i != 6; ++i) REQUIRE(all[static_cast<std::size_t>(i)].get() == i);
  fm::pool const others(1);
  REQUIRE(others.submit(own_index).get() == 0);
}

TEST_CASE("submit: failures have the task's number in its pool as index", "[numbers_of_tasks]") {
  fm::pool const workers(2);
  std::vector<fm::future<int>> crashing, throwing;
  for (int i = 0; i != 8; ++i) crashing.push_back(workers.submit(fm::delayed(abort_at_five)(i)));
  for (int i = 0; i != 8; ++i) throwing.push_back(workers.submit(fm::delayed(throw_at_five)(i)));
  auto endless = workers.submit(never_ends);
  for (int i = 0; i != 8; ++i) {
    auto& crashed = crashing[static_cast<std::size_t>(i)];
    auto& threw = throwing[static_cast<std::size_t>(i)];
    if (i != 5) {
      REQUIRE(crashed.get() == i);
      REQUIRE(threw.get() == i);
      continue;
    }
    try {
      crashed.get();
      FAIL("nothing was thrown");
    } catch (fm::worker_died const& e) {
      REQUIRE(e.index() == 5);
      REQUIRE(std::string(e.what()).starts_with("task 5 killed its worker"));
    }
    try {
      threw.get();
      FAIL("nothing was thrown");
    } catch (fm::task_context const& e) {
      REQUIRE(e.index() == 8 + 5);
    }
  }
  endless.cancel();
  try {
    endless.get();
    FAIL("nothing was thrown");
  } catch (fm::task_cancelled const& e) {
    REQUIRE(e.index() == 16);
    REQUIRE(std::string(e.what()).find("task 16 ") != std::string::npos);
  }
}

TEST_CASE("rng: submitted tasks draw the random numbers of their index", "[numbers_of_tasks]") {
  auto const of_a_call = fm::parallel({.n_jobs = 2, .seed = 3}).map(drawn, support::count_to(6));
  fm::pool const workers(fm::options{.n_jobs = 2, .seed = 3});
  std::vector<fm::future<std::uint64_t>> all;
  for (int i = 0; i != 6; ++i) all.push_back(workers.submit(drawn_once));
  for (std::size_t i = 0; i != all.size(); ++i) REQUIRE(all[i].get() == of_a_call[i]);
  REQUIRE(all_numbers_differ(of_a_call));
}

TEST_CASE("rng: in nested calls, random numbers depend on seeds and indices of all enclosing calls",
          "[numbers_of_tasks]") {
  auto const with = [](std::uint64_t seed, int n, bool isolate = false) {
    return fm::parallel({.n_jobs = n, .isolate = isolate, .seed = seed});
  };
  auto const two = [] { return fm::parallel(2); };
  auto const one = [] { return fm::parallel(1); };
  auto const right = drawn_inside(with(5, 2), two);
  REQUIRE(right.size() == 9);
  REQUIRE(all_numbers_differ(right));
  REQUIRE(drawn_inside(with(5, 1), two) == right);
  REQUIRE(drawn_inside(with(5, 3), one) == right);
  REQUIRE(drawn_inside(with(5, 1), one) == right);
  REQUIRE(drawn_inside(with(5, 1, true), two) == right);
  REQUIRE(drawn_by_pools(5) == right);
  auto both = drawn_inside(with(6, 2), two);
  both.insert(both.end(), right.begin(), right.end());
  REQUIRE(all_numbers_differ(both));
  // An inner seed changes the numbers, too, and tasks of different outer tasks still draw different
  // ones.
  auto const seeded = [&] { return with(9, 2); };
  auto inner = drawn_inside(with(5, 2), seeded);
  inner.insert(inner.end(), both.begin(), both.end());
  REQUIRE(all_numbers_differ(inner));
}

TEST_CASE("rng: nested pools, streams and submitted tasks draw the same numbers as nested maps",
          "[numbers_of_tasks]") {
  auto const inside = [](int n_jobs, auto const& call) {
    drawn_numbers all;
    for (auto const& some : fm::parallel({.n_jobs = n_jobs, .seed = 5})
                                .map([&](int) { return call(); }, support::count_to(3)))
      all.insert(all.end(), some.begin(), some.end());
    return all;
  };
  auto const right = inside(2, [] { return fm::parallel(2).map(drawn, support::count_to(3)); });
  auto const tasks = support::portable_tasks_of(3, drawn);
  auto const streamed = [&](int n) {
    drawn_numbers some;
    for (auto const x : fm::parallel(n).stream(tasks)) some.push_back(x);
    return some;
  };
  REQUIRE(inside(2, [&] { return streamed(2); }) == right);
  REQUIRE(inside(1, [&] { return streamed(1); }) == right);
  REQUIRE(inside(2, [&] {
            drawn_numbers some(3);
            for (auto const& [i, x] : fm::parallel(2).unordered(tasks)) some[i] = x;
            return some;
          }) == right);
  REQUIRE(inside(2, [&] { return fm::pool(2)(tasks); }) == right);
  REQUIRE(inside(2, [&] {
            fm::pool const workers(2);
            drawn_numbers some;
            for (auto const x : workers.stream(tasks)) some.push_back(x);
            return some;
          }) == right);
  REQUIRE(inside(2, [&] {
            fm::pool const workers(2);
            std::vector<fm::future<std::uint64_t>> later;
            for (int i = 0; i != 3; ++i) later.push_back(workers.submit(drawn_once));
            drawn_numbers some;
            for (auto& x : later) some.push_back(x.get());
            return some;
          }) == right);
  // A call on a thread that the task has started.
  REQUIRE(inside(2, [&] {
            drawn_numbers some;
            std::thread([&] { some = fm::parallel(2).map(drawn, support::count_to(3)); }).join();
            return some;
          }) == right);
}

TEST_CASE("rng: a retry draws the same numbers as the first attempt", "[numbers_of_tasks]") {
  fm::shared_array<std::uint64_t> const first({3});
  auto const retried = fm::parallel({.n_jobs = 2, .retries = 1, .seed = 5})
                           .map(
                               [&](int i) {
                                 auto const x = fm::parallel(2).map(drawn, support::count_to(2))[1];
                                 if (fm::this_task::attempt() == 0) {
                                   first[static_cast<std::size_t>(i)] = x;
                                   std::abort();
                                 }
                                 return x;
                               },
                               support::count_to(3));
  for (std::size_t i = 0; i != 3; ++i) REQUIRE(retried[i] == first[i]);
  REQUIRE(all_numbers_differ(retried));
}

TEST_CASE("rng: a call that is not nested uses the documented seed sequence",
          "[numbers_of_tasks]") {
  auto const all = fm::parallel({.n_jobs = 2, .seed = 7}).map(drawn, support::count_to(2));
  std::seed_seq sequence{7U, 0U, 1U, 0U};
  REQUIRE(all[1] == std::mt19937_64(sequence)());
}
