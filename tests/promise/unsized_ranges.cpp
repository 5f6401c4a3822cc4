// Ranges without a size or without an end. Streams read only as much of them as they need.
// SPDX-License-Identifier: MIT
#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <forward_list>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <ranges>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"

namespace fm = forkmap;

namespace {

int square_of(int i) { return i * i; }
std::size_t length_of(std::string const& text) { return text.size(); }

/// The first n results, in order.
template <class Map, class Tasks> auto first_results(Map const& map, Tasks&& tasks, std::size_t n) {
  std::vector<int> all;
  for (int const x : map.stream(std::forward<Tasks>(tasks))) {
    all.push_back(x);
    if (all.size() == n) break;
  }
  return all;
}
/// The results of the first n indices, from unordered.
template <class Map, class Tasks>
auto first_unordered(Map const& map, Tasks&& tasks, std::size_t n) {
  std::vector<int> all(n, -1);
  std::size_t found = 0;
  for (auto const& [index, value] : map.unordered(std::forward<Tasks>(tasks))) {
    if (index >= n) continue;
    all[index] = value;
    if (++found == n) break;
  }
  return all;
}
std::vector<int> squares_up_to(int n) {
  std::vector<int> all;
  for (int i = 0; i != n; ++i) all.push_back(i * i);
  return all;
}

/// Runs `check` for each kind of map, with several values of pre_dispatch.
template <class Check> void with_each_map(Check check) {
  for (std::size_t const ahead : {std::size_t{0}, std::size_t{1}, std::size_t{8}}) {
    CAPTURE(ahead);
    check(fm::parallel({.n_jobs = 2, .pre_dispatch = ahead}));
    check(fm::parallel({.n_jobs = 1, .pre_dispatch = ahead}));
    check(fm::parallel({.n_jobs = 1, .isolate = true, .pre_dispatch = ahead}));
  }
}

/// A range that can be read only once, of the tasks make(0), make(1), ...
template <class F> class made_once {
 public:
  using task = std::invoke_result_t<F&, int>;
  struct iterator {
    using value_type = task;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;
    task operator*() const { return range->make_(range->at_); }
    iterator& operator++() {
      ++range->at_;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return range->at_ == range->end_; }
    made_once* range;
  };
  made_once(int end, F make) : end_(end), make_(std::move(make)) {}
  iterator begin() { return {this}; }
  std::default_sentinel_t end() const { return {}; }

 private:
  int at_ = 0;
  int end_;
  F make_;
};

}  // namespace

TEST_CASE("unsized: workers evaluate endless random-access ranges", "[unsized]") {
  int captured = 1;
  with_each_map([&](fm::parallel_map const& map) {
    auto const delayed = std::views::iota(0) | std::views::transform(fm::delayed(square_of));
    auto const lambdas = std::views::iota(0) | std::views::transform([&](int i) {
                           return [&captured, i] { return captured * i * i; };
                         });
    REQUIRE(first_results(map, delayed, 100) == squares_up_to(100));
    REQUIRE(first_results(map, lambdas, 100) == squares_up_to(100));
    REQUIRE(first_unordered(map, delayed, 20) == squares_up_to(20));
    REQUIRE(first_unordered(map, lambdas, 20) == squares_up_to(20));
  });
}

TEST_CASE("unsized: a range that ends at a predicate is read to its end", "[unsized]") {
  with_each_map([](fm::parallel_map const& map) {
    for (int const n : {0, 1, 3, 150}) {
      CAPTURE(n);
      auto const up_to = [n](int i) { return i < n; };
      auto const tasks = [&](auto numbers) {
        return std::move(numbers) |
               std::views::transform([](int i) { return [i] { return i * i; }; });
      };
      auto const cut = tasks(std::views::iota(0) | std::views::take_while(up_to));
      auto filtered = tasks(std::views::iota(0, 200) | std::views::filter(up_to));
      REQUIRE(first_results(map, cut, 1000) == squares_up_to(n));
      REQUIRE(first_results(map, filtered, 1000) == squares_up_to(n));
      REQUIRE(first_unordered(map, filtered, static_cast<std::size_t>(n)) == squares_up_to(n));
    }
  });
  REQUIRE(support::child_processes().empty());
}

TEST_CASE("unsized: the caller reads a range only as far as tasks are dispatched", "[unsized]") {
  constexpr int ahead = 8;
  int read = 0;
  auto const counted = [&read](int) {
    ++read;
    return true;
  };
  std::string const text(20, 'x');
  auto const check = [&](auto&& tasks, auto const& map) {
    read = 0;
    int consumed = 0;
    for ([[maybe_unused]] auto const& x : map.stream(tasks)) {
      ++consumed;
      // One more element is read to see whether the range has ended.
      REQUIRE(read <= consumed + ahead + 1);
      if (consumed == 40) break;
    }
    REQUIRE(consumed == 40);
  };
  for (int const n : {1, 2}) {
    auto const map = fm::parallel({.n_jobs = n, .pre_dispatch = ahead});
    // In order: tasks that are sent to workers, tasks that workers get by a fork in windows, tasks
    // that exist before the call, tasks that workers evaluate.
    check(std::views::iota(0, 100'000) | std::views::filter(counted) |
              std::views::transform(fm::delayed(square_of)),
          map);
    check(std::views::iota(0, 100'000) | std::views::filter(counted) |
              std::views::transform([&](int i) { return [&text, i] { return text[3] + i; }; }),
          map);
    std::vector<std::function<int()>> const kept(1000, [] { return 1; });
    check(kept | std::views::filter([&](auto const&) { return counted(0); }), map);
    check(std::views::iota(0) | std::views::take_while(counted) |
              std::views::transform(fm::delayed(square_of)),
          map);
  }
}

TEST_CASE("unsized: tasks of a range that can be read only once arrive unchanged", "[unsized]") {
  with_each_map([](fm::parallel_map const& map) {
    made_once sendable(100, [](int i) { return fm::delayed(square_of)(i); });
    REQUIRE(first_results(map, sendable, 1000) == squares_up_to(100));
    // The captured objects are made after the first workers were forked.
    made_once captures(
        100, [](int i) { return [some = std::make_unique<int>(i)] { return *some * *some; }; });
    REQUIRE(first_results(map, captures, 1000) == squares_up_to(100));
    made_once again(50, [](int i) { return std::function<int()>([i] { return i * i; }); });
    REQUIRE(first_unordered(map, again, 50) == squares_up_to(50));
    std::istringstream words("a bb ccc dddd");
    std::vector<std::size_t> lengths;
    for (auto const n : map.stream(std::views::istream<std::string>(words) |
                                   std::views::transform(fm::delayed(length_of))))
      lengths.push_back(n);
    REQUIRE(lengths == std::vector<std::size_t>{1, 2, 3, 4});
  });
}

TEST_CASE("unsized: tasks that exist before the call are not copied", "[unsized]") {
  with_each_map([](fm::parallel_map const& map) {
    std::forward_list<std::function<int()>> tasks;
    for (int i = 29; i >= 0; --i) tasks.push_front([i] { return i * i; });
    REQUIRE(first_results(map, tasks, 100) == squares_up_to(30));
    auto all = std::list<std::function<int()>>(tasks.begin(), tasks.end());
    REQUIRE(first_results(map,
                          all | std::views::filter([](auto const& task) { return bool(task); }),
                          100) == squares_up_to(30));
    REQUIRE(first_results(map,
                          std::move(all) | std::views::take_while([](auto const&) { return true; }),
                          100) == squares_up_to(30));
  });
}

TEST_CASE("unsized: failures of tasks and of the range are thrown at their position in a stream",
          "[unsized]") {
  with_each_map([](fm::parallel_map const& map) {
    auto const expect = [&](auto&& tasks, std::string const& text) {
      int at = 0;
      try {
        for (int const x : map.stream(tasks)) {
          REQUIRE(x == at * at);
          ++at;
        }
        FAIL("nothing was thrown");
      } catch (std::runtime_error const& e) {
        REQUIRE(e.what() == text);
        REQUIRE(at == 25);
      }
    };
    auto const failing = [](int i) {
      if (i == 25) throw std::runtime_error("in the task");
      return i * i;
    };
    made_once sendable(100, [&](int i) { return fm::delayed(failing)(i); });
    expect(sendable, "in the task");
    std::string const name = "in the task";
    made_once captures(100, [&](int i) {
      return [i, name] {
        if (i == 25) throw std::runtime_error(name);
        return i * i;
      };
    });
    expect(captures, "in the task");
    made_once thrown(100, [&](int i) {
      if (i == 25) throw std::runtime_error("in the range");
      return [i, name] { return i * i; };
    });
    expect(thrown, "in the range");
    expect(std::views::iota(0) | std::views::take_while([](int i) {
             if (i == 25) throw std::runtime_error("in the predicate");
             return true;
           }) | std::views::transform(fm::delayed(square_of)),
           "in the predicate");
  });
}

TEST_CASE("unsized: there are never more workers than tasks", "[unsized]") {
  std::string const text = "text";
  auto const numbers_of = [&](auto&& tasks) {
    std::set<int> seen;
    for (int const worker : fm::parallel(8).stream(tasks)) seen.insert(worker);
    return seen;
  };
  auto two = std::views::iota(0, 20) | std::views::filter([](int i) { return i < 2; });
  for (int round = 0; round != 3; ++round) {
    auto sendable = two | std::views::transform([](int) { return fm::this_task::worker; });
    auto captures = two | std::views::transform(
                              [&](int) { return [text] { return fm::this_task::worker(); }; });
    for (auto const& seen : {numbers_of(sendable), numbers_of(captures)}) {
      REQUIRE(!seen.empty());
      REQUIRE(*seen.rbegin() <= 1);
    }
  }
  auto none = std::views::iota(0, 20) | std::views::filter([](int i) { return i < 0; }) |
              std::views::transform(fm::delayed(square_of));
  REQUIRE(first_results(fm::parallel(2), none, 1).empty());
}

TEST_CASE("unsized: tasks have their index, and their random numbers depend only on it",
          "[unsized]") {
  std::string const text = "text";
  auto const draw = [text] { return std::pair(fm::this_task::index(), fm::this_task::rng()()); };
  auto const right = fm::parallel({.n_jobs = 2, .seed = 4})(std::vector(100, draw));
  for (int const n : {1, 2}) {
    made_once tasks(100, [&](int) { return draw; });
    std::size_t at = 0;
    for (auto const& pair : fm::parallel({.n_jobs = n, .seed = 4}).stream(tasks))
      REQUIRE(pair == right[at++]);
    REQUIRE(at == right.size());
  }
}

TEST_CASE("unsized: a worker that exits fails only its task in every kind of range", "[unsized]") {
  std::string const text = "text";
  auto const check = [&](auto&& tasks) {
    std::size_t at = 0;
    try {
      for (auto const x : fm::parallel({.n_jobs = 2, .pre_dispatch = 4}).stream(tasks)) {
        REQUIRE(x == 0);
        ++at;
      }
      FAIL("nothing was thrown");
    } catch (fm::worker_died const& e) {
      REQUIRE(e.index() == 13);
      REQUIRE(e.exit_status() == 3);
      REQUIRE(at == 13);
    }
  };
  auto const leave_at = [](int i) {
    if (i == 13) ::_exit(3);
    return 0;
  };
  check(made_once(40, [&](int i) { return fm::delayed(leave_at)(i); }));
  check(made_once(40, [&](int i) { return [text, leave_at, i] { return leave_at(i); }; }));
  check(std::views::iota(0) |
        std::views::transform([&](int i) { return [leave_at, i] { return leave_at(i); }; }));
}
