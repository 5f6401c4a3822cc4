// reduce with an accumulator of the same type as the results, and of another type.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

double real_of(int i) { return i; }
std::string short_text_of(int i) { return std::to_string(i % 10); }
std::vector<int> list_of(int i) { return {i, i + 1}; }
bool is_even(int i) { return i % 2 == 0; }
int number_of(int i) { return i; }
long half_way(int i) {
  if (i == 1234) throw std::range_error("no number for this one");
  return i;
}

/// Cannot be serialized, so it must stay in the caller.
class histogram {
 public:
  explicit histogram(std::map<int, int>* counts) : counts_(counts) {}
  histogram(histogram const&) = delete;
  histogram(histogram&&) = default;
  histogram& operator=(histogram&&) = default;
  histogram add(double x) && {
    ++(*counts_)[static_cast<int>(x) % 10];
    return std::move(*this);
  }

 private:
  std::map<int, int>* counts_;
};

/// Counts its objects in this process.
class counted_result {
 public:
  static inline int alive = 0, most = 0;
  counted_result() { most = std::max(most, ++alive); }
  counted_result(counted_result&&) noexcept { most = std::max(most, ++alive); }
  counted_result& operator=(counted_result&&) noexcept = default;
  ~counted_result() { --alive; }
};

constexpr int many_folded = 3000;

/// reduce over make(0), make(1), ... must return the same as a loop, in every kind of call.
template <class T, class Make, class Op> void must_fold(Make make, T const& init, Op op) {
  T expected = init;
  for (int i = 0; i != many_folded; ++i) expected = op(std::move(expected), make(i));
  auto const tasks = support::portable_tasks_of(many_folded, make);
  for (int const n_jobs : {1, 2, 3, 7}) {
    REQUIRE(fm::parallel(n_jobs).reduce(tasks, init, op) == expected);
    REQUIRE(fm::parallel({.n_jobs = n_jobs, .batch_size = 5}).reduce(tasks, init, op) == expected);
  }
  REQUIRE(fm::parallel({.n_jobs = 1, .isolate = true}).reduce(tasks, init, op) == expected);
  for (int const n_jobs : {1, 3}) {
    REQUIRE(fm::pool(n_jobs).reduce(tasks, init, op) == expected);
  }
  auto const none = support::portable_tasks_of(0, make);
  REQUIRE(fm::parallel(2).reduce(none, init, op) == init);
  REQUIRE(fm::pool(1).reduce(none, init, op) == init);
}

}  // namespace

template <> struct forkmap::serializer<counted_result> {
  static void save(writer&, counted_result const&) {}
  static counted_result load(reader&) { return {}; }
};

TEST_CASE("reduce: with an accumulator of another type the caller folds in the order of the tasks",
          "[reduce]") {
  must_fold(&real_of, 0, [](int n, double x) { return n + (x > 1000); });
  must_fold(&real_of, std::string(), [](std::string text, double x) {
    return text.size() < 10'000 ? text + std::to_string(x) : text;
  });
  must_fold(&short_text_of, std::size_t{1}, [](std::size_t n, std::string const& text) {
    return n * 31 + text.size() * static_cast<std::size_t>(text[0]);
  });
  must_fold(&number_of, 0L, [](long a, int b) { return (7 * a - b) % 1'000'003; });
  must_fold(&is_even, 0, [](int n, bool even) { return even ? n + 1 : n - 2; });
  must_fold(&list_of, std::map<int, int>{},
            [](std::map<int, int> counts, std::vector<int> const& xs) {
              for (int const x : xs) ++counts[x % 10];
              return counts;
            });
  must_fold(&number_of, 0.0F, [](float a, int b) { return a / 2 + static_cast<float>(b); });
}

TEST_CASE("reduce: with one type workers fold groups, and the result is that of a loop",
          "[reduce]") {
  must_fold(&number_of, 5, std::plus<>());
  must_fold(&short_text_of, std::string(">"), std::plus<>());
}

TEST_CASE(
    "reduce: where the caller folds, op may capture anything and init need not be serializable",
    "[reduce]") {
  fm::pool const workers(2);
  for (int const n_jobs : {1, 2}) {
    std::set<pid_t> processes;
    std::map<int, int> counts;
    auto const op = [&](histogram h, double x) {
      processes.insert(::getpid());
      return std::move(h).add(x);
    };
    auto const tasks = support::portable_tasks_of(1000, &real_of);
    fm::parallel(n_jobs).reduce(tasks, histogram(&counts), op);
    REQUIRE(counts.at(7) == 100);
    workers.reduce(tasks, histogram(&counts), op);
    REQUIRE(counts.at(7) == 200);
    REQUIRE(processes == std::set{::getpid()});
  }
}

TEST_CASE("reduce: exceptions of a task and of op leave the call", "[reduce]") {
  auto const tasks = support::portable_tasks_of(many_folded, &half_way);
  fm::pool const workers(2);
  auto const sum = [](double a, long b) { return a + static_cast<double>(b); };
  auto const throws = [](double a, long b) -> double {
    if (b == 17) throw std::out_of_range("op at " + std::to_string(b));
    return a;
  };
  auto const is_of_task = [](auto const& call) {
    try {
      call();
      FAIL("nothing was thrown");
    } catch (fm::remote<std::range_error> const& e) {
      REQUIRE(e.index() == 1234);
    }
  };
  for (int const n_jobs : {1, 2}) {
    is_of_task([&] { fm::parallel(n_jobs).reduce(tasks, 0.0, sum); });
    auto const first = support::portable_tasks_of(100, &half_way);
    REQUIRE_THROWS_AS(fm::parallel(n_jobs).reduce(first, 0.0, throws), std::out_of_range);
    REQUIRE(fm::parallel(n_jobs).reduce(first, 0.0, sum) == 4950);
  }
  is_of_task([&] { workers.reduce(tasks, 0.0, sum); });
  REQUIRE_THROWS_AS(workers.reduce(support::portable_tasks_of(100, &half_way), 0.0, throws),
                    std::out_of_range);
}

TEST_CASE("reduce: a journal has the results that the caller folds", "[reduce][resume]") {
  support::temporary_directory const folder;
  fm::shared_array<int> runs({1});
  for (int round = 0; round != 2; ++round) {
    auto const sum = fm::parallel({.n_jobs = 2, .resume = folder.path() / "fold"})
                         .reduce(support::tasks_of(50,
                                                   [&](int i) {
                                                     if (round == 1) ++runs[0];
                                                     return i;
                                                   }),
                                 0.5, [](double a, int b) { return a + b; });
    REQUIRE(sum == 1225.5);
  }
  REQUIRE(runs[0] == 0);
}

TEST_CASE("reduce: the caller holds no more than one result at a time", "[reduce]") {
  auto const tasks = std::views::iota(0, 1000) |
                     std::views::transform([](int) { return [] { return counted_result(); }; });
  REQUIRE(fm::parallel(1).reduce(tasks, 0, [](int n, counted_result const&) { return n + 1; }) ==
          1000);
  REQUIRE(counted_result::most <= 3);
  REQUIRE(counted_result::alive == 0);
  REQUIRE(fm::parallel(2).reduce(tasks, 0, [](int n, counted_result const&) { return n + 1; }) ==
          1000);
  REQUIRE(counted_result::most <= 3);
  REQUIRE(counted_result::alive == 0);
}
