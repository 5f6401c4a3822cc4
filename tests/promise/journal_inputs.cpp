// Refusal of a journal if the inputs have changed, as far as their values can be compared.
// SPDX-License-Identifier: MIT
#include <array>
#include <chrono>
#include <complex>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

struct padded {
  char letter;
  double number;
  std::array<float, 3> place;
};
struct with_text {
  int number;
  std::string text;
  std::optional<double> maybe;
};
struct with_pointer {
  int number;
  int const* to;
};
struct with_function {
  int number;
  int (*function)(int);
};
class sealed {
 public:
  explicit sealed(int number) : number_(number) {}

 private:
  [[maybe_unused]] int number_;
};
class own_class {
 public:
  own_class() = default;
  explicit own_class(int number) : number_(number) {}
  int number() const { return number_; }

 private:
  int number_ = 0;
};

int zero_of(int) { return 0; }

}  // namespace

template <> struct forkmap::serializer<own_class> {
  static void save(forkmap::writer& out, own_class const& value) { out.put(value.number()); }
  static own_class load(forkmap::reader& in) { return own_class(in.get<int>()); }
};

namespace {

/// Runs with one journal, over elements that may differ.
struct two_runs {
  support::temporary_directory folder{};
  fm::options opts{.n_jobs = 2, .resume = folder.path() / "journal"};

  template <class Xs> void run(Xs const& xs) {
    fm::parallel(opts).map([](auto const&) { return 0; }, xs);
  }
};
/// Resumes a journal of (first, second) with the same elements, which must succeed.
/// Returns: whether resuming it with (first, third) is refused because element 1 differs.
template <class X> bool is_told_apart(X const& first, X const& second, X const& third) {
  two_runs runs;
  runs.run(std::vector<X>{first, second});
  runs.run(std::vector<X>{first, second});
  if (fm::last_report().resumed != 2) throw std::logic_error("the same inputs were not resumed");
  try {
    runs.run(std::vector<X>{first, third});
  } catch (std::invalid_argument const& e) {
    return std::string(e.what()).find("element 1 differs") != std::string::npos;
  }
  return false;
}
template <class X> bool is_told_apart(X const& first, X const& second) {
  return is_told_apart(first, first, second);
}

}  // namespace

TEST_CASE("journal inputs: changed elements are detected for all types that can be compared",
          "[journal_inputs]") {
  REQUIRE(is_told_apart(1, 2));
  REQUIRE(is_told_apart(1.5, 2.5));
  REQUIRE(is_told_apart(1.5L, 2.5L));
  REQUIRE(is_told_apart(true, false));
  REQUIRE(is_told_apart('a', 'b'));
  REQUIRE(is_told_apart(std::string("a"), std::string("b")));
  REQUIRE(is_told_apart(std::string("a"), std::string("a", 2)));
  REQUIRE(is_told_apart(std::string_view("a"), std::string_view("b")));
  REQUIRE(is_told_apart(std::filesystem::path("a"), std::filesystem::path("b")));
  REQUIRE(is_told_apart(std::pair(1, std::string("a")), std::pair(1, std::string("b"))));
  REQUIRE(is_told_apart(std::tuple(1, 2.0, 'c'), std::tuple(1, 2.0, 'd')));
  REQUIRE(is_told_apart(std::vector{1.0, 2.0}, std::vector{1.0, 3.0}));
  REQUIRE(is_told_apart(std::vector<std::string>{"a", "bc"}, std::vector<std::string>{"ab", "c"}));
  REQUIRE(is_told_apart(std::vector<bool>{true, false}, std::vector<bool>{true, true}));
  REQUIRE(
      is_told_apart(std::map<std::string, int>{{"a", 1}}, std::map<std::string, int>{{"a", 2}}));
  using names = std::unordered_map<std::string, int>;
  REQUIRE(is_told_apart(names{{"a", 1}, {"b", 2}}, names{{"a", 2}, {"b", 1}}));
  REQUIRE(is_told_apart(std::optional<int>(), std::optional<int>(), std::optional(0)));
  using either = std::variant<int, std::string>;
  REQUIRE(is_told_apart(either(1), either("1")));
  REQUIRE(is_told_apart(std::chrono::milliseconds(1), std::chrono::milliseconds(2)));
  REQUIRE(is_told_apart(std::chrono::sys_days(std::chrono::days(1)),
                        std::chrono::sys_days(std::chrono::days(2))));
  REQUIRE(is_told_apart(std::complex(1.0, 2.0), std::complex(1.0, 3.0)));
  REQUIRE(is_told_apart(fm::half(1.0F), fm::half(2.0F)));
  REQUIRE(is_told_apart(fm::fixed_string<4>("a"), fm::fixed_string<4>("b")));
  REQUIRE(is_told_apart(fm::slice{0, 1}, fm::slice{0, 2}));
  REQUIRE(is_told_apart(with_text{1, "a", {}}, with_text{1, "b", {}}));
  REQUIRE(is_told_apart(own_class(1), own_class(2)));
  std::vector const numbers{1.0, 2.0, 3.0, 1.0, 2.0};
  auto const all = std::span(numbers);
  REQUIRE(is_told_apart(all.first(2), all.subspan(3), all.subspan(1, 2)));
  support::temporary_directory const folder;
  auto const file = fm::memmap<int>::create(folder.path() / "a.npy", {4, 2});
  REQUIRE(is_told_apart(file.row(0), file.row(1)));
  REQUIRE(is_told_apart(file, fm::memmap<int>::create(folder.path() / "b.npy", {4, 2})));
  REQUIRE(is_told_apart(file, file.reshape({2, 4}), file.transposed()));
#if defined(__GNUC__) && !defined(__clang__)
  REQUIRE(is_told_apart(padded{'a', 1.0, {}}, padded{'a', 1.0, {{0, 0, 1}}}));
#endif
}

TEST_CASE("journal inputs: pointers, private members and captures are not compared",
          "[journal_inputs]") {
  int const a = 0;
  int const b = 0;
  REQUIRE(!is_told_apart(&a, &b));
  REQUIRE(!is_told_apart(with_pointer{1, &a}, with_pointer{2, &b}));
  REQUIRE(!is_told_apart(with_function{1, zero_of}, with_function{2, zero_of}));
  REQUIRE(!is_told_apart(sealed(1), sealed(2)));
  REQUIRE(!is_told_apart(std::make_shared<int>(1), std::make_shared<int>(2)));
  REQUIRE(!is_told_apart(std::span<int>(), std::span<int>()));
  REQUIRE(!is_told_apart(fm::shared_array<int>({1}), fm::shared_array<int>({2})));
  REQUIRE(!is_told_apart(std::function<int()>([] { return 1; }), std::function<int()>()));
  support::temporary_directory const folder;
  for (int const captured : {1, 2}) {
    auto const r = fm::parallel({.n_jobs = 2, .resume = folder.path() / "journal"})(
        support::tasks_of(3, [captured](int i) { return captured * i; }));
    REQUIRE(r == std::vector{0, 1, 2});
  }
}

TEST_CASE("journal inputs: changed arguments of delayed tasks are detected in every call",
          "[journal_inputs]") {
  support::temporary_directory const folder;
  auto const map_with = [&](char const* name) {
    return fm::parallel({.n_jobs = 2, .resume = folder.path() / name});
  };
  auto const add = [](int a, int b) { return a + b; };
  auto const tasks = [&](int last) {
    return support::count_to(10) |
           std::views::transform([=](int i) { return fm::delayed(add)(i, i == 9 ? last : 1); });
  };
  auto const differs = ContainsSubstring("element 9 differs");
  for (int round = 0; round != 2; ++round) {
    REQUIRE(map_with("range")(tasks(1)).size() == 10);
    REQUIRE(map_with("outcomes").outcomes(tasks(1)).size() == 10);
    REQUIRE(map_with("fold").reduce(tasks(1), 0, std::plus<int>()) == 55);
    REQUIRE(map_with("race").first(tasks(1)).value <= 10);
    REQUIRE(map_with("tuple")(fm::delayed(add)(1, 2), [] { return 3; }) == std::tuple(3, 3));
  }
  REQUIRE_THROWS_WITH(map_with("range")(tasks(2)), differs);
  REQUIRE_THROWS_WITH(map_with("outcomes").outcomes(tasks(2)), differs);
  REQUIRE_THROWS_WITH(map_with("fold").reduce(tasks(2), 0, std::plus<int>()), differs);
  REQUIRE_THROWS_WITH(map_with("race").first(tasks(2)), differs);
  REQUIRE_THROWS_WITH(map_with("tuple")(fm::delayed(add)(1, 3), [] { return 3; }),
                      ContainsSubstring("element 0 differs"));
  // Also in ranges that are collected first.
  auto few = support::count_to(10) | std::views::filter([](int i) { return i % 2 == 0; });
  REQUIRE(map_with("collected").map(zero_of, few).size() == 5);
  auto others = support::count_to(10) | std::views::filter([](int i) { return i % 2 == 1; });
  REQUIRE_THROWS_WITH(map_with("collected").map(zero_of, others),
                      ContainsSubstring("element 0 differs, and 4 more"));
}

TEST_CASE("journal inputs: const references are compared by value, mutable ones are not compared",
          "[journal_inputs]") {
  support::temporary_directory const folder;
  auto const run = [&](char const* name, auto const& tasks) {
    fm::parallel({.n_jobs = 2, .resume = folder.path() / name})(tasks);
  };
  std::vector data(10'000, 0.5);
  auto const read = [&](std::size_t i) {
    return fm::delayed([](std::span<double const> xs, std::size_t at) { return xs[at]; })(
        std::cref(data), i);
  };
  std::array const reading{read(0), read(1)};
  std::vector<int> out(4);
  auto const write = [&](int i) {
    return fm::delayed([](std::vector<int>& to, int x) { to[0] = x; })(std::ref(out), i);
  };
  std::array const writing{write(0), write(1)};
  run("reading", reading);
  run("writing", writing);
  out[2] = 5;
  run("writing", writing);
  REQUIRE(fm::last_report().resumed == 2);
  run("reading", reading);
  data[9999] = 1.5;
  REQUIRE_THROWS_WITH(run("reading", reading), ContainsSubstring("element 0 differs"));
}

TEST_CASE("journal inputs: of very many elements, the group that has changed is named",
          "[journal_inputs]") {
  support::temporary_directory const folder;
  auto const run = [&](int changed) {
    fm::parallel({.n_jobs = 2, .batch_size = 1000, .resume = folder.path() / "journal"})
        .reduce(std::views::iota(0, 100'000) | std::views::transform([=](int i) {
                  return fm::delayed([](int x) { return long{x}; })(i == changed ? -1 : i);
                }),
                0L, std::plus<long>());
  };
  run(-1);
  run(-1);
  REQUIRE(fm::last_report().resumed == 100);
  REQUIRE_THROWS_WITH(run(70'001),
                      ContainsSubstring("one of the 2 elements from 70000 on differs"));
}

TEST_CASE("journal inputs: a view that throws for an element fails only that task",
          "[journal_inputs]") {
  support::temporary_directory const folder;
  for (int round = 0; round != 2; ++round) {
    auto const outcomes = fm::parallel({.n_jobs = 2, .resume = folder.path() / "journal"})
                              .outcomes(support::count_to(4) | std::views::transform([](int i) {
                                          if (i == 2) throw std::runtime_error("no element");
                                          return fm::delayed(zero_of)(i);
                                        }));
    for (std::size_t i = 0; i != 4; ++i) REQUIRE(outcomes[i].has_value() == (i != 2));
  }
}

TEST_CASE("journal inputs: a journal of the previous format is refused", "[journal_inputs]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  support::write_bytes(journal, "forkmap1 and whatever follows in it, up to a whole header");
  REQUIRE_THROWS_WITH(fm::parallel({.n_jobs = 2, .resume = journal}).map(zero_of, std::array{1}),
                      ContainsSubstring("journal of another version of forkmap"));
}
