// Arguments of a pool's tasks, as the workers get them.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <array>
#include <atomic>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/pool_tasks.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {
using support::die_at_three;
using support::sum;
using support::text_of;
using support::wrapping_square;

int global = 1;

struct corner {
  double x, y;
  bool operator==(corner const&) const = default;
};
struct named {
  std::string name;
  std::vector<corner> points;
  bool operator==(named const&) const = default;
};
struct counter {
  int n;
  int plus(int m) const { return n + m; }
};

template <class T> T same(T const& value) { return value; }
int length(char const* text) { return text == nullptr ? -1 : static_cast<int>(std::strlen(text)); }
std::string view(std::string_view text) { return std::string(text); }
std::vector<int> as_vector(std::vector<int> const& xs) { return xs; }
int take(std::unique_ptr<int> x) { return *x; }
int span_and_vector(std::span<int const> a, std::vector<int> const& b) { return a[0] + b[0] * 10; }
bool is_aligned(std::span<std::complex<double> const> xs) {
  return reinterpret_cast<std::uintptr_t>(xs.data()) % alignof(std::complex<double>) == 0;
}

template <class T> void must_arrive(fm::pool const& workers, T const& value) {
  REQUIRE(std::get<0>(workers(fm::delayed(&same<T>)(value))) == value);
  REQUIRE(std::get<0>(workers(fm::delayed(&same<T>)(std::cref(value)))) == value);
}

}  // namespace

TEST_CASE("pool: arguments of all supported types arrive", "[pool]") {
  // With a max_nbytes of 16, most arguments are sent as shared blocks.
  for (std::size_t const max_nbytes : {std::size_t{1} << 20U, std::size_t{16}}) {
    fm::pool const workers(fm::options{.n_jobs = 2, .max_nbytes = max_nbytes});
    must_arrive(workers, 7);
    must_arrive(workers, true);
    must_arrive(workers, corner{1, 2});
    must_arrive(workers, std::string("a rather long string that does not fit into any small one"));
    must_arrive(workers, std::vector<int>{1, 2, 3, 4, 5, 6, 7});
    must_arrive(workers, std::vector<bool>{true, false, true});
    must_arrive(workers, std::vector<std::string>{"a", "", "c"});
    must_arrive(workers, std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
    must_arrive(workers, std::optional<int>{});
    must_arrive(workers, std::array<int, 3>{1, 2, 3});
    must_arrive(workers, named{"n", {{1, 2}, {3, 4}}});
    must_arrive(workers, std::filesystem::path("/a/b"));
    auto const one = [&](auto task) { return std::get<0>(workers(task)); };
    REQUIRE(one(fm::delayed(length)("hello")) == 5);
    REQUIRE(one(fm::delayed(length)(static_cast<char const*>(nullptr))) == -1);
    REQUIRE(one(fm::delayed(view)(std::string_view("some text of some length"))) ==
            "some text of some length");
    REQUIRE(one(fm::delayed(view)(std::string_view())).empty());
    std::vector<double> const xs(100, 0.5);
    REQUIRE(one(fm::delayed(sum)(std::cref(xs))) == 50);
    REQUIRE(one(fm::delayed(sum)(std::span(xs))) == 50);
    REQUIRE(one(fm::delayed(sum)(std::span(xs).subspan(90))) == 5);
    REQUIRE(one(fm::delayed(sum)(std::span<double const>())) == 0);
    std::vector<int> const ints{1, 2, 3, 4, 5, 6};
    REQUIRE(one(fm::delayed(as_vector)(std::cref(ints))) == ints);
    REQUIRE(one(fm::delayed(span_and_vector)(std::cref(ints), std::cref(ints))) == 11);
    REQUIRE(one(fm::delayed(&counter::plus)(counter{3}, 4)) == 7);
    REQUIRE(one(fm::delayed(&counter::n)(counter{3})) == 3);
    REQUIRE(one(fm::delayed(std::plus<>())(3, 4)) == 7);
    REQUIRE(one(fm::delayed(take)(std::make_unique<int>(9))) == 9);
    REQUIRE(one(fm::delayed([](auto const& call, int x) { return call() + x; })(
                fm::delayed(wrapping_square)(3), 1)) == 10);
    REQUIRE(one(fm::delayed([](int (*fn)(int), int x) { return fn(x); })(&wrapping_square, 4)) ==
            16);
    std::vector<std::complex<double>> const complex(9);
    REQUIRE(one(fm::delayed([](char, std::span<std::complex<double> const> c) {
      return is_aligned(c);
    })('x', std::cref(complex))));
  }
}

TEST_CASE("pool: an array that many tasks of a call use is read once in each call", "[pool]") {
  fm::pool const workers(2);
  std::vector<double> xs(1'000'000, 1.0);
  auto const sums = [&] {
    return workers(support::count_to(64) |
                   std::views::transform([&](int) { return fm::delayed(sum)(std::cref(xs)); }));
  };
  REQUIRE(sums() == std::vector<double>(64, 1e6));
  xs.assign(xs.size(), 2.0);
  REQUIRE(sums() == std::vector<double>(64, 2e6));
  // Another array may have the same address as the last one.
  std::vector<double>(1'000'000, 3.0).swap(xs);
  REQUIRE(sums() == std::vector<double>(64, 3e6));
}

namespace {
using address_seen = std::pair<pid_t, std::uint64_t>;

address_seen address_of(void const* data) {
  return {::getpid(), static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(data))};
}
address_seen vector_seen(std::vector<double> const& xs) {
  if (xs.size() != 50'000 || xs[7] != 7) throw std::logic_error("not the caller's vector");
  return address_of(xs.data());
}
using named_numbers = std::map<std::string, std::vector<int>>;
address_seen map_seen(named_numbers const& all, int i) {
  if (all.size() != 500 || all.at("7").size() != 107U || i < 0)
    throw std::logic_error("not the caller's map");
  return address_of(&all);
}
void write_at(fm::memmap<double> const& xs, int i) { xs[static_cast<std::size_t>(i)] = i; }
std::size_t size_of(fm::owned_array<double> const& xs) { return xs.size(); }
address_seen memmap_seen(fm::memmap<double const> const& xs) { return address_of(xs.data()); }
address_seen array_seen(fm::shared_array<double> const& xs) { return address_of(xs.data()); }
}  // namespace

TEST_CASE("pool: an argument that tasks of a call share is constructed once in each worker",
          "[pool]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .max_nbytes = 10'000});
  constexpr int n = 64;
  auto const n_addresses = [&](auto const& task) {
    auto const all = workers(std::views::iota(0, n) | std::views::transform(task));
    return std::set(all.begin(), all.end()).size();
  };
  std::vector<double> xs(50'000);
  std::iota(xs.begin(), xs.end(), 0.0);
  CHECK(n_addresses([&](int) { return fm::delayed(vector_seen)(std::cref(xs)); }) <= 2);

  named_numbers numbers;
  for (int i = 0; i != 500; ++i) numbers[std::to_string(i)].resize(100U + static_cast<unsigned>(i));
  CHECK(n_addresses([&](int i) { return fm::delayed(map_seen)(std::cref(numbers), i); }) <= 2);

  support::temporary_directory const folder;
  fm::dump(xs, folder.path() / "xs.npy");
  auto const mapped = fm::load<double>(folder.path() / "xs.npy");
  CHECK(n_addresses([&](int) { return fm::delayed(memmap_seen)(mapped); }) <= 2);
  fm::shared_array<double> const shared({1000});
  CHECK(n_addresses([&](int) { return fm::delayed(array_seen)(shared); }) <= 2);

  // A memmap by reference is not sent as its elements: a worker writes to the file.
  auto const written = fm::memmap<double>::create(folder.path() / "out.npy", {n});
  workers(std::views::iota(0, n) | std::views::transform([&](int i) {
            return fm::delayed(write_at)(std::cref(written), i);
          }));
  CHECK(written[n - 1] == n - 1);
  // An array that can be constructed only by its serializer.
  auto const owned = fm::load<double>(folder.path() / "xs.npy", fm::in_memory);
  CHECK(workers(fm::delayed(sum)(std::cref(owned)), fm::delayed(size_of)(std::cref(owned))) ==
        std::tuple(sum(owned), owned.size()));

  // The next call gets the changed map.
  numbers.erase("9");
  REQUIRE_THROWS_WITH(workers(fm::delayed(map_seen)(std::cref(numbers), 1)),
                      ContainsSubstring("not the caller's map"));
}

TEST_CASE("pool: arrays in files and in shared memory are the same memory in workers", "[pool]") {
  support::temporary_directory const folder;
  fm::pool const workers(2);
  fm::shared_array<int> counts({10});  // made after the pool, so workers must map it
  auto file = fm::memmap<double>::create(folder.path() / "out.npy", {10});
  workers(support::count_to(40) | std::views::transform([&](int i) {
            return fm::delayed([](fm::shared_array<int> to, fm::memmap<double> out, int k) {
              std::atomic_ref(to[static_cast<std::size_t>(k % 10)]).fetch_add(1);
              out[static_cast<std::size_t>(k % 10)] = k % 10;
            })(counts, file, i);
          }));
  for (int i = 0; i != 10; ++i) {
    REQUIRE(counts[static_cast<std::size_t>(i)] == 4);
    REQUIRE(file[static_cast<std::size_t>(i)] == i);
  }
  fm::shared_array<int const> const readable = counts;
  REQUIRE(std::get<0>(workers(fm::delayed([](fm::shared_array<int const> const& from) {
            return from[3];
          })(std::cref(readable)))) == 4);
}

TEST_CASE("pool: results and arguments can have many megabytes", "[pool]") {
  fm::pool const workers(2);
  auto const large = [](std::vector<int> const& xs, int k) {
    auto copy = xs;
    for (auto& x : copy) x += k;
    return copy;
  };
  std::vector<int> xs(3'000'000);
  std::iota(xs.begin(), xs.end(), 0);
  for (int round = 0; round != 2; ++round) {
    auto const all = workers(support::count_to(4) | std::views::transform([&](int k) {
                               return fm::delayed(large)(std::cref(xs), k);
                             }));
    for (int k = 0; k != 4; ++k) {
      auto const& result = all[static_cast<std::size_t>(k)];
      REQUIRE(result.size() == xs.size());
      REQUIRE(result.front() == k);
      REQUIRE(result.back() == 2'999'999 + k);
    }
  }
}

TEST_CASE("pool: calls of different sizes can follow each other in the same memory", "[pool]") {
  fm::pool const workers(2);
  unsigned random = 1;
  for (int round = 0; round != 200; ++round) {
    random = random * 1664525U + 1013904223U;
    int const n = static_cast<int>((random >> 16U) % (round % 20 == 0 ? 30'000U : 300U));
    if (round % 3 == 0) {
      auto const texts = workers(support::portable_tasks_of(n, text_of));
      for (int i = 0; i != n; ++i) {
        if (texts[static_cast<std::size_t>(i)] != text_of(i)) FAIL(round << " " << i);
      }
    } else if (round % 3 == 1) {
      auto const xs = workers.map(wrapping_square, support::count_to(n));
      for (int i = 0; i != n; ++i) {
        if (xs[static_cast<std::size_t>(i)] != i * i) FAIL(round << " " << i);
      }
    } else {
      auto const expected = static_cast<long>(n) * (n - 1) / 2;
      REQUIRE(
          workers.reduce(support::portable_tasks_of(n, [](int i) { return static_cast<long>(i); }),
                         0L, std::plus<>()) == expected);
    }
  }
}

TEST_CASE("pool: tasks see global variables as they were when the pool was made", "[pool]") {
  global = 1;
  fm::pool const workers(2);
  global = 2;
  auto const read = [](int) { return global; };
  REQUIRE(workers.map(read, support::count_to(4)) == std::vector(4, 1));
  // So do tasks in a replacement worker.
  REQUIRE_THROWS_AS(workers(support::portable_tasks_of(4, die_at_three)), fm::worker_died);
  REQUIRE(workers.map(read, support::count_to(4)) == std::vector(4, 1));
  global = 1;
}

namespace {
std::size_t characters_of(std::span<std::string const> texts, int more) {
  std::size_t n = 0;
  for (auto const& text : texts) n += text.size();
  return n + static_cast<std::size_t>(more);
}
std::size_t numbers_in(std::span<std::vector<int> const> lists) {
  std::size_t n = 0;
  for (auto const& list : lists) n += list.size();
  return n;
}
}  // namespace

TEST_CASE("pool: spans of strings and of containers are sent by their elements", "[pool]") {
  std::vector<std::string> const texts{"a", "bb", std::string(1000, 'c')};
  fm::pool const workers({.n_jobs = 2, .max_nbytes = 100});
  std::span<std::string const> const all(texts);
  CHECK(workers.submit(characters_of, all, 5).get() == 1008);
  CHECK(workers.submit(characters_of, all.first(2), 0).get() == 3);
  CHECK(workers.submit(characters_of, all.first(0), 0).get() == 0);
  // Parts of one block in one call: each has an identity of its own.
  auto const tasks =
      std::views::iota(0, 40) | std::views::transform([&](int i) {
        return fm::delayed(characters_of)(all.first(static_cast<std::size_t>(i % 4)), i);
      });
  auto const results = workers(tasks);
  std::size_t const sizes[] = {0, 1, 3, 1003};
  for (std::size_t i = 0; i != 40; ++i) CHECK(results[i] == sizes[i % 4] + i);
  std::vector<std::vector<int>> const lists{{1, 2}, {}, std::vector<int>(100)};
  CHECK(workers.submit(numbers_in, std::span<std::vector<int> const>(lists)).get() == 102);
}
