// Guarantees of every call of a map, for any n_jobs.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <complex>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <functional>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <boost/range/iterator_range.hpp>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace fm = forkmap;
namespace {

int square(int x) { return x * x; }

std::vector<int> numbers(int n) {
  std::vector<int> all(static_cast<std::size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  return all;
}

auto squares_of(std::vector<int> const& xs) {
  return xs | std::views::transform([](int x) { return fm::delayed(square)(x); });
}

/// Serial, a few workers, and more workers than most machines have cores.
constexpr std::array numbers_of_jobs{1, 2, 5};

template <class N>
concept counts_jobs = requires(N n) { fm::parallel(n); };

/// The result of a task that runs in a worker.
template <class Make> std::invoke_result_t<Make> result_of_worker(Make make) {
  auto results = fm::parallel({.n_jobs = 1, .isolate = true})(std::vector{make});
  REQUIRE(results.size() == 1);
  return std::move(results.front());
}

}  // namespace

TEST_CASE("map: results come in the order of the tasks", "[map]") {
  for (int const n_jobs : numbers_of_jobs) {
    for (int const n : {1, 2, 3, 7, 100, 5000}) {
      auto const xs = numbers(n);
      auto const results = fm::parallel(n_jobs)(squares_of(xs));
      REQUIRE(results.size() == xs.size());
      for (auto const x : xs) REQUIRE(results[static_cast<std::size_t>(x)] == x * x);
    }
  }
}

TEST_CASE("map: an empty range returns an empty vector", "[map]") {
  auto const none = std::vector<int>{};
  for (int const n_jobs : numbers_of_jobs) {
    REQUIRE(fm::parallel(n_jobs)(squares_of(none)).empty());
    REQUIRE(fm::parallel(n_jobs).outcomes(squares_of(none)).empty());
    REQUIRE(fm::parallel(n_jobs).reduce(squares_of(none), 7, std::plus<>{}) == 7);
    fm::parallel(n_jobs).map([](int) {}, none);
  }
}

TEST_CASE("map: 10^6 tasks, each run once", "[map]") {
  fm::shared_array<unsigned char> runs({1'000'000});
  auto const results = fm::parallel(4).map(
      [&](std::size_t i) {
        ++runs[i];
        return i;
      },
      std::views::iota(std::size_t{0}, runs.size()));
  REQUIRE(results.size() == runs.size());
  for (std::size_t i = 0; i != results.size(); ++i) {
    if (results[i] != i || runs[i] != 1) FAIL("task " << i << " ran " << int{runs[i]} << " times");
  }
}

TEST_CASE("map: batch_size only groups the tasks", "[map]") {
  auto const xs = numbers(1000);
  for (std::size_t const batch_size : {1U, 3U, 4U, 64U, 999U, 1000U, 5000U}) {
    auto const results = fm::parallel({.n_jobs = 3, .batch_size = batch_size})(squares_of(xs));
    REQUIRE(results.size() == 1000);
    REQUIRE(results[999] == 999 * 999);
  }
}

TEST_CASE("map: there are never more workers than tasks", "[map]") {
  auto const workers = fm::parallel(8).map([](int) { return fm::this_task::worker(); }, numbers(2));
  REQUIRE(std::ranges::max(workers) < 2);
}

TEST_CASE("map: separate tasks return a tuple, with monostate for void", "[map]") {
  for (int const n_jobs : numbers_of_jobs) {
    auto const [a, b, c, d] = fm::parallel(n_jobs)(
        [] { return 1; }, [] { return std::string("two"); }, [] {}, fm::delayed(square)(3));
    REQUIRE(a == 1);
    REQUIRE(b == "two");
    STATIC_REQUIRE(std::same_as<decltype(c), std::monostate const>);
    REQUIRE(d == 9);
  }
}

TEST_CASE("map: separate tasks may return move-only types", "[map]") {
  for (int const n_jobs : numbers_of_jobs) {
    auto [a, b] = fm::parallel(n_jobs)([] { return std::make_unique<int>(4); },
                                       [] { return std::vector<std::string>(3, "x"); });
    REQUIRE(*a == 4);
    REQUIRE(b == std::vector<std::string>(3, "x"));
  }
}

TEST_CASE("map: separate results of different sizes do not overlap", "[map]") {
  struct pair {
    double a, b;
  };
  for (int const n_jobs : numbers_of_jobs) {
    auto const [p, s, c, q] =
        fm::parallel(n_jobs)([] { return pair{1, 2}; }, [] { return std::string(100, 's'); },
                             [] { return 'c'; }, [] { return pair{3, 4}; });
    REQUIRE((p.a == 1 && p.b == 2 && q.a == 3 && q.b == 4));
    REQUIRE(s == std::string(100, 's'));
    REQUIRE(c == 'c');
  }
}

TEST_CASE("map: .map(fn, xs) does not change the caller's elements", "[map]") {
  for (int const n_jobs : numbers_of_jobs) {
    std::vector<std::string> words{"a", "b"};
    auto const grow = [](std::string& word) {
      word += "!";
      return word;
    };
    REQUIRE(fm::parallel(n_jobs).map(grow, words) == std::vector<std::string>{"a!", "b!"});
    auto const take = [](std::string&& word) { return std::string(std::move(word)); };
    REQUIRE(fm::parallel(n_jobs).map(take, words) == std::vector<std::string>{"a", "b"});
    REQUIRE(words == std::vector<std::string>{"a", "b"});
  }
}

TEST_CASE("map: no result refers to an object of a task that has ended", "[map]") {
  auto const xs = numbers(50);
  auto texts =
      xs | std::views::transform([](int x) { return std::string(100, 'a') + std::to_string(x); });
  auto const first = [](std::string const& a, int) -> std::string const& { return a; };
  for (int const n_jobs : numbers_of_jobs) {
    auto const same = fm::parallel(n_jobs).map(std::identity{}, texts);
    REQUIRE(same[7] == std::string(100, 'a') + "7");
    auto const kept = fm::parallel(n_jobs)(xs | std::views::transform([&](int x) {
                                             return fm::delayed(first)(std::string(100, 'b'), x);
                                           }));
    REQUIRE(kept[49] == std::string(100, 'b'));
  }
}

TEST_CASE("map: .map(fn, xs) calls fn with each element", "[map]") {
  std::vector<std::string> const words{"a", "bb", "ccc"};
  for (int const n_jobs : numbers_of_jobs) {
    REQUIRE(fm::parallel(n_jobs).map(&std::string::size, words) ==
            std::vector<std::size_t>{1, 2, 3});
    REQUIRE(fm::parallel(n_jobs).map([](auto&& x) { return x * 2; }, std::list<int>{1, 2, 3}) ==
            std::vector<int>{2, 4, 6});
    // Elements that a view makes, passed as rvalues.
    auto owners = std::views::iota(0, 3) |
                  std::views::transform([](int i) { return std::make_unique<int>(i); });
    REQUIRE(fm::parallel(n_jobs).map([](std::unique_ptr<int> p) { return *p; }, owners) ==
            std::vector<int>{0, 1, 2});
  }
}

TEST_CASE("map: ranges of every category are accepted", "[map]") {
  for (int const n_jobs : numbers_of_jobs) {
    auto const map = fm::parallel(n_jobs);
    std::list<std::function<int()>> const list{[] { return 1; }, [] { return 2; }};
    REQUIRE(map(list) == std::vector<int>{1, 2});
    std::istringstream in("3 4 5");
    REQUIRE(map(std::views::istream<int>(in) | std::views::transform([](int x) {
                  return [x] { return x; };
                })) == std::vector<int>{3, 4, 5});
    auto const xs = numbers(10);
    REQUIRE(map(xs | std::views::filter([](int x) { return x % 2 == 0; }) |
                std::views::transform([](int x) { return [x] { return x; }; })) ==
            std::vector<int>{0, 2, 4, 6, 8});
    std::array<int (*)(), 2> const functions{[] { return 6; }, [] { return 7; }};
    REQUIRE(map(functions) == std::vector<int>{6, 7});
    std::deque<std::unique_ptr<int>> owners;
    owners.push_back(std::make_unique<int>(8));
    auto const follow = fm::delayed([](int* p) { return *p; });
    std::list const tasks{follow(owners[0].get())};
    REQUIRE(map(tasks) == std::vector<int>{8});
  }
}

TEST_CASE("map: workers evaluate a random-access range, collect() evaluates it in the caller",
          "[map]") {
  int evaluated = 0;
  auto counting = std::views::iota(0, 10) | std::views::transform([&](int i) {
                    ++evaluated;
                    return [i] { return i; };
                  });
  auto const expected = numbers(10);
  REQUIRE(fm::parallel(2)(counting) == expected);
  REQUIRE(evaluated == 0);
  REQUIRE(fm::parallel(2)(fm::collect(counting)) == expected);
  REQUIRE(evaluated == 10);
}

namespace {

/// Like a C++20 generator: each element is a reference to the same string, which the generator
/// changes later.
class growing_texts {
 public:
  class iterator {
   public:
    using value_type = std::string;
    using difference_type = std::ptrdiff_t;
    explicit iterator(growing_texts& owner) : owner_(&owner) {}
    std::string& operator*() const { return owner_->text_; }
    iterator& operator++() {
      owner_->text_ += "abcdefghijklmnop";
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return owner_->text_.size() > 64; }

   private:
    growing_texts* owner_;
  };
  iterator begin() { return iterator(*this); }
  std::default_sentinel_t end() const { return {}; }

 private:
  std::string text_ = "abcdefghijklmnop";
};

}  // namespace

TEST_CASE("map: collect() moves from owned ranges and copies from others", "[map]") {
  std::vector<std::unique_ptr<int>> owned;
  owned.push_back(std::make_unique<int>(7));
  auto const taken = fm::collect(std::move(owned));
  REQUIRE((taken.size() == 1 && *taken[0] == 7));

  std::vector<std::string> const texts{"a text too long to be kept in place", "b"};
  std::span<std::string const> const view(texts);
  REQUIRE(fm::collect(texts) == texts);
  REQUIRE(fm::collect(std::span(view)) == texts);
  std::vector<std::string> changeable = texts;
  REQUIRE(fm::collect(std::span(changeable)) == texts);  // a view does not own its elements
  REQUIRE(fm::collect(changeable) == texts);
  REQUIRE(changeable == texts);
  REQUIRE(fm::collect(std::vector<bool>{true, false}) == std::vector<bool>{true, false});
  // These two do not own their elements, but no trait tells so.
  REQUIRE(fm::collect(boost::make_iterator_range(changeable)) == texts);
  REQUIRE(changeable == texts);
  auto const grown = fm::collect(growing_texts());
  REQUIRE(grown.size() == 4);
  REQUIRE(grown[3].size() == 64);
}

TEST_CASE("map: workers read the caller's memory and change only their own copy", "[map]") {
  std::vector<double> big(1'000'000, 0.5);
  auto const sums = fm::parallel(2).map(
      [&](std::size_t i) {
        big[i] = 99;
        return std::accumulate(big.begin(), big.end(), 0.0) - 99 - 0.5 * (1e6 - 1);
      },
      std::views::iota(std::size_t{0}, std::size_t{2}));
  REQUIRE(sums.size() == 2);
  REQUIRE(big[0] == 0.5);
  REQUIRE(big[1] == 0.5);
}

TEST_CASE("map: the caller sees what a worker writes to a shared_array", "[map]") {
  fm::shared_array<int> out({100});
  fm::parallel(3).map([&](int i) { out[static_cast<std::size_t>(i)] = i + 1; }, numbers(100));
  REQUIRE(std::accumulate(out.begin(), out.end(), 0) == 5050);
}

TEST_CASE("map: reduce returns the same result for any n_jobs", "[map]") {
  auto const xs = numbers(10'000);
  auto const tasks = xs | std::views::transform([](int x) { return [x] { return std::sin(x); }; });
  auto const expected = fm::parallel(1).reduce(tasks, 1.0, std::plus<>{});
  REQUIRE(expected == Catch::Approx(1.0 + [&] {
            double sum = 0;
            for (int const x : xs) sum += std::sin(x);
            return sum;
          }()));
  for (int const n_jobs : {2, 3, 7}) {
    REQUIRE(fm::parallel(n_jobs).reduce(tasks, 1.0, std::plus<>{}) == expected);
  }
}

TEST_CASE("map: reduce works with small batches and many tasks", "[map]") {
  for (int const n_jobs : {1, 2}) {
    auto const tasks =
        std::views::iota(0, 100'000) | std::views::transform([](int) { return [] { return -1; }; });
    auto const larger = [](int a, int b) { return std::max(a, b); };
    REQUIRE(fm::parallel({.n_jobs = n_jobs, .batch_size = 1}).reduce(tasks, -5, larger) == -1);
  }
}

TEST_CASE("map: reduce never reorders, uses init once and accepts any type", "[map]") {
  std::string expected = "init";
  for (int i = 0; i != 3000; ++i) expected += ',' + std::to_string(i);
  for (int const n_jobs : numbers_of_jobs) {
    auto const xs = numbers(3000);
    auto const joined = fm::parallel(n_jobs).reduce(
        xs | std::views::transform([](int x) { return [x] { return ',' + std::to_string(x); }; }),
        std::string("init"), [](std::string a, std::string b) { return a + b; });
    REQUIRE(joined == expected);
  }
}

TEST_CASE("map: results of all supported types arrive", "[map]") {
  using strings = std::vector<std::string>;
  REQUIRE(result_of_worker([] { return true; }));
  REQUIRE(result_of_worker([] { return std::string(100'000, 'x'); }).size() == 100'000);
  REQUIRE(result_of_worker([] { return strings{"a", "", "ccc"}; }) == strings{"a", "", "ccc"});
  using map_type = std::map<std::string, std::vector<int>>;
  REQUIRE(result_of_worker([] { return map_type{{"a", {1, 2}}, {"b", {}}}; }) ==
          map_type{{"a", {1, 2}}, {"b", {}}});
  using hash_type = std::unordered_map<int, std::string>;
  REQUIRE(result_of_worker([] { return hash_type{{1, "x"}}; }) == hash_type{{1, "x"}});
  REQUIRE(result_of_worker([] { return std::set<int>{3, 1}; }) == std::set<int>{1, 3});
  REQUIRE(result_of_worker([] { return std::list<double>{1.5}; }) == std::list<double>{1.5});
  REQUIRE(result_of_worker([] { return std::pair(1, std::string("p")); }) ==
          std::pair(1, std::string("p")));
  REQUIRE(result_of_worker([] { return std::tuple(1, 'c', strings{"t"}); }) ==
          std::tuple(1, 'c', strings{"t"}));
  REQUIRE(result_of_worker([] { return std::optional<std::string>("o"); }) == "o");
  REQUIRE(!result_of_worker([] { return std::optional<std::string>(); }));
  REQUIRE(std::get<std::string>(
              result_of_worker([] { return std::variant<int, std::string>("v"); })) == "v");
  REQUIRE(*result_of_worker([] { return std::make_unique<std::string>("u"); }) == "u");
  REQUIRE(result_of_worker([] { return std::unique_ptr<int>(); }) == nullptr);
  REQUIRE(result_of_worker([] { return std::complex<float>(1, 2); }) == std::complex<float>(1, 2));
  REQUIRE(result_of_worker([] { return std::vector<bool>{true, false, true}; }) ==
          std::vector<bool>{true, false, true});
  REQUIRE(result_of_worker([] { return std::filesystem::path("/a/b"); }) == "/a/b");
  REQUIRE(result_of_worker([] { return std::array<std::string, 2>{"x", "y"}; })[1] == "y");
}

namespace {
struct point {
  double x, y;
};
struct report {
  std::string name;
  std::vector<point> path;
  std::map<std::string, int> counts;
  std::unique_ptr<int> owner;
};
class no_default {
 public:
  explicit no_default(int value) : value_(value) {}
  int value() const { return value_; }

 private:
  int value_;
};
struct alignas(64) aligned {
  int value = 0;
};
class opaque {
 public:
  explicit opaque(std::string text) : text_(std::move(text)) {}
  std::string const& text() const { return text_; }
  opaque(opaque&&) = default;
  opaque& operator=(opaque&&) = default;

 private:
  std::string text_;
};
}  // namespace

template <> struct forkmap::serializer<opaque> {
  static void save(writer& out, opaque const& o) { out.put(o.text()); }
  static opaque load(reader& in) { return opaque(in.get<std::string>()); }
};

TEST_CASE("map: aggregates need no macro, other classes need a serializer", "[map]") {
  auto const back = result_of_worker(
      [] { return report{"n", {{1, 2}, {3, 4}}, {{"k", 5}}, std::make_unique<int>(6)}; });
  REQUIRE(back.name == "n");
  REQUIRE(back.path[1].y == 4);
  REQUIRE(back.counts.at("k") == 5);
  REQUIRE(*back.owner == 6);
  REQUIRE(result_of_worker([] { return no_default(7); }).value() == 7);
  REQUIRE(result_of_worker([] { return opaque("private"); }).text() == "private");
  for (int const n_jobs : numbers_of_jobs) {
    auto const results = fm::parallel(n_jobs).map([](int i) { return aligned{i}; }, numbers(9));
    for (int i = 0; i != 9; ++i) {
      auto const& result = results[static_cast<std::size_t>(i)];
      REQUIRE(result.value == i);
      REQUIRE(reinterpret_cast<std::uintptr_t>(&result) % 64 == 0);
    }
  }
}

namespace {
struct tree {
  int value;
  std::vector<tree> kids;
};
struct fixed {
  int const id;
  double value;
};
struct alignas(8192) over_aligned {
  int value = 0;
};
}  // namespace

TEST_CASE("map: recursive types, types without assignment and over-aligned types can be results",
          "[map]") {
  auto const back = result_of_worker([] { return tree{1, {{2, {}}, {3, {{4, {}}}}}}; });
  REQUIRE(back.kids.at(1).kids.at(0).value == 4);
  for (int const n_jobs : numbers_of_jobs) {
    auto const all = fm::parallel(n_jobs).map([](int i) { return fixed{i, 0.5}; }, numbers(100));
    REQUIRE(all[99].id == 99);
    auto const nested = fm::parallel(n_jobs).map(
        [](int i) { return std::vector<fixed>(3, fixed{i, 1}); }, numbers(3));
    REQUIRE(nested[2][2].id == 2);
    auto const wide = fm::parallel(n_jobs).map([](int i) { return over_aligned{i}; }, numbers(5));
    REQUIRE(wide[4].value == 4);
  }
}

TEST_CASE("map: a reference result is copied, and bool results are a vector<bool>", "[map]") {
  std::vector<std::string> const words{"a", "b"};
  for (int const n_jobs : numbers_of_jobs) {
    auto const results =
        fm::parallel(n_jobs).map([&](std::size_t i) -> std::string const& { return words[i]; },
                                 std::views::iota(std::size_t{0}, std::size_t{2}));
    STATIC_REQUIRE(std::same_as<decltype(results), std::vector<std::string> const>);
    REQUIRE(results == words);
    auto const flags = fm::parallel(n_jobs).map([](int i) { return i % 3 == 0; }, numbers(4));
    REQUIRE(flags == std::vector<bool>{true, false, false, true});
  }
}

TEST_CASE("map: results can have any size: one of 256 MiB, 10^6 short strings", "[map]") {
  constexpr std::size_t size = std::size_t{1} << (support::shadow_memory ? 23U : 25U);
  auto const big = result_of_worker([] { return std::vector<double>(size, 1.5); });
  REQUIRE(big.size() == size);
  REQUIRE(big.front() == 1.5);
  REQUIRE(big.back() == 1.5);
  constexpr int n_texts = support::shadow_memory ? 200'000 : 1'000'000;
  auto const many =
      fm::parallel(2).map([](int i) { return std::to_string(i); }, std::views::iota(0, n_texts));
  for (int i = 0; i != n_texts; ++i) {
    if (many[static_cast<std::size_t>(i)] != std::to_string(i)) FAIL("result " << i);
  }
}

TEST_CASE("map: large results are serialized in pieces across window borders", "[map]") {
  auto const results = fm::parallel(2).map(
      [](int i) { return std::list<std::string>(static_cast<std::size_t>(i) * 3000, "piece"); },
      numbers(8));
  for (int i = 0; i != 8; ++i) {
    auto const& pieces = results[static_cast<std::size_t>(i)];
    REQUIRE(pieces.size() == static_cast<std::size_t>(i) * 3000);
    REQUIRE(std::ranges::all_of(pieces, [](auto const& s) { return s == "piece"; }));
  }
}

TEST_CASE("map: a task may move from its argument", "[map]") {
  auto take = [](std::unique_ptr<int> p, int& calls) {
    ++calls;
    return *p + calls;
  };
  for (int const n_jobs : numbers_of_jobs) {
    std::vector<decltype(fm::delayed(take)(std::make_unique<int>(), 0))> tasks;
    for (int i = 0; i != 4; ++i) tasks.push_back(fm::delayed(take)(std::make_unique<int>(i), 10));
    REQUIRE(fm::parallel(n_jobs)(tasks) == std::vector<int>{11, 12, 13, 14});
  }
}

TEST_CASE("map: calls can be nested", "[map]") {
  for (int const n_jobs : numbers_of_jobs) {
    auto const sums = fm::parallel(n_jobs).map(
        [](int i) {
          auto const inner = fm::parallel(2).map([i](int j) { return i * j; }, numbers(5));
          return std::accumulate(inner.begin(), inner.end(), 0);
        },
        numbers(4));
    REQUIRE(sums == std::vector<int>{0, 10, 20, 30});
  }
}

TEST_CASE("map: several threads can call at once", "[map]") {
  if (support::address_sanitizer) return;  // g++ 12's ASan locks its allocator across forks
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t != 10; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round != 5; ++round) {
        auto const results =
            fm::parallel(2).map([t](int i) { return std::to_string(t * 100 + i); }, numbers(20));
        if (results.size() == 20 && results[7] == std::to_string(t * 100 + 7)) ++good;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  REQUIRE(good == 50);
}

TEST_CASE("map: one map object can be called again and from several threads", "[map]") {
  if (support::address_sanitizer) return;  // g++ 12's ASan locks its allocator across forks
  auto const map = fm::parallel(2);
  std::jthread const other([&] { map.map(square, numbers(10)); });
  REQUIRE(map.map(square, numbers(3)) == std::vector<int>{0, 1, 4});
  REQUIRE(map.map(square, numbers(3)) == std::vector<int>{0, 1, 4});
}

TEST_CASE("map: calls are constrained", "[map]") {
  STATIC_REQUIRE(std::invocable<fm::parallel_map const&, std::vector<std::function<int()>>>);
  STATIC_REQUIRE(!std::invocable<fm::parallel_map const&, std::vector<int>>);
  STATIC_REQUIRE(!std::invocable<fm::parallel_map const&, int>);
  STATIC_REQUIRE(!std::invocable<fm::parallel_map const&>);
  STATIC_REQUIRE(counts_jobs<int> && counts_jobs<long> && counts_jobs<unsigned char>);
  STATIC_REQUIRE(!counts_jobs<bool> && !counts_jobs<char> && !counts_jobs<double>);
}
