// Results and arguments of unusual types.
// SPDX-License-Identifier: MIT
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;

namespace {

/// Like std::any: constructible and assignable from any value. A copy of a non-const object calls
/// the converting constructor.
struct takes_anything {
  int value = 0;
  takes_anything(int is, std::nullptr_t) : value(is) {}
  template <class T> takes_anything(T&& /*other*/) : value(-1) {}
  template <class T> takes_anything& operator=(T&& /*other*/) {
    value = -2;
    return *this;
  }
};
static_assert(std::is_trivially_copyable_v<takes_anything>);

/// Deserializing it fails if the text is "unreadable".
struct parsed {
  std::string text;
  bool operator==(parsed const&) const = default;
};

struct labelled {
  std::string const label;
  std::vector<int> const numbers;
  bool operator==(labelled const&) const = default;
};

struct lists {
  std::array<std::vector<int>, 2> all;
  bool operator==(lists const&) const = default;
};
struct nested {
  int number = 0;
  std::array<std::string, 3> names;
  std::optional<int> maybe;
  lists inner;
  std::array<std::unique_ptr<int>, 2> pointers;
  std::array<double, 2> plain;
  std::string last;
};

nested nested_of(int i) {
  auto const text = std::to_string(i);
  return {i,
          {text, "b", text + "c"},
          i,
          {{std::vector<int>{i}, {}}},
          {nullptr, std::make_unique<int>(i)},
          {0.5, double(i)},
          "last" + text};
}
std::string text_of_names(nested const& x) { return x.names[0] + x.names[2] + x.last; }
lists lists_of(int i) { return {{std::vector<int>(3, i), {i}}}; }

labelled label_of(int i) { return {std::to_string(i), {i, i + 1}}; }
std::tuple<std::string const, int> tuple_of(int i) { return {std::to_string(i), i}; }
std::optional<std::string const> optional_of(int i) {
  return i == 0 ? std::nullopt : std::optional<std::string const>(std::to_string(i));
}
std::variant<int const, std::string const> variant_of(int i) {
  if (i == 0) return i;
  return std::to_string(i);
}
std::pair<std::string const, int> entry_of(std::pair<std::string const, int> const& entry) {
  return {entry.first + "!", entry.second + 1};
}
bool opposite(bool x) { return !x; }
parsed parse(int i) { return {i == 2 ? "unreadable" : std::to_string(i)}; }
std::uint64_t draw(int) { return fm::this_task::rng()(); }

}  // namespace

template <> struct forkmap::serializer<parsed> {
  static void save(writer& out, parsed const& value) { out.put(value.text); }
  static parsed load(reader& in) {
    parsed value{in.get<std::string>()};
    if (value.text == "unreadable") throw std::out_of_range("there is no such text");
    return value;
  }
};

TEST_CASE("kinds: results and arguments with const members can be sent", "[kinds]") {
  std::map<std::string, int> const numbers{{"one", 1}, {"two", 2}, {"three", 3}};
  fm::pool const workers(2);
  auto const same = [&](auto fn) {
    auto const here = std::vector{fn(0), fn(1), fn(2)};
    REQUIRE(fm::parallel(2).map(fn, std::views::iota(0, 3)) == here);
    REQUIRE(workers.map(fn, std::views::iota(0, 3)) == here);
    REQUIRE(std::get<0>(fm::parallel(2)(fm::delayed(fn)(1))) == here[1]);
    REQUIRE(workers.submit(fm::delayed(fn)(2)).get() == here[2]);
  };
  same(label_of);
  same(tuple_of);
  same(optional_of);
  same(variant_of);
  auto const entries = workers.map(entry_of, numbers);
  REQUIRE(entries == fm::parallel(2).map(entry_of, numbers));
  REQUIRE(entries.at(1) == std::pair<std::string const, int>("three!", 4));
}

TEST_CASE("kinds: aggregates with arrays of strings and other types as members can be sent",
          "[kinds]") {
  fm::pool const workers(2);
  auto const check = [](std::vector<nested> const& all) {
    for (int i = 0; i != 3; ++i) {
      auto const& x = all.at(static_cast<std::size_t>(i));
      auto const expected = nested_of(i);
      REQUIRE((x.number == i && x.names == expected.names && x.maybe == i));
      REQUIRE((x.inner == expected.inner && x.plain == expected.plain && x.last == expected.last));
      REQUIRE((x.pointers[0] == nullptr && *x.pointers[1] == i));
    }
  };
  check(fm::parallel(2).map(nested_of, std::views::iota(0, 3)));
  check(workers.map(nested_of, std::views::iota(0, 3)));
  REQUIRE(workers.submit(fm::delayed(text_of_names)(nested_of(7))).get() == "77clast7");
  REQUIRE(fm::parallel(2).map(lists_of, std::views::iota(0, 3)).at(2) == lists_of(2));
}

TEST_CASE("kinds: std::vector<bool> is a range of bool", "[kinds]") {
  std::vector<bool> flags{true, false, false, true};
  std::vector<bool> const expected{false, true, true, false};
  fm::pool const workers(2);
  REQUIRE(workers.map(opposite, flags) == expected);
  REQUIRE(workers.map(opposite, std::as_const(flags)) == expected);
  REQUIRE(fm::parallel(2).map(opposite, flags) == expected);
}

TEST_CASE("kinds: in outcomes, a result that cannot be deserialized is the failure of its task",
          "[kinds]") {
  fm::pool const workers(2);
  auto const tasks =
      std::views::iota(0, 5) | std::views::transform([](int i) { return fm::delayed(parse)(i); });
  auto const check = [](std::vector<fm::outcome<parsed>> const& all) {
    REQUIRE(all.size() == 5);
    for (std::size_t i = 0; i != 5; ++i) {
      REQUIRE(all[i].has_value() == (i != 2));
      if (i != 2) REQUIRE(all[i]->text == std::to_string(i));
    }
    REQUIRE(all[2].error().index() == 2);
    REQUIRE_THROWS_AS(all[2].value(), fm::remote<std::out_of_range>);
  };
  check(fm::parallel(2).outcomes(tasks));
  check(workers.outcomes(tasks));
}

TEST_CASE("kinds: random numbers in a pool depend only on seed and index, in every call",
          "[kinds]") {
  auto const expected = fm::parallel({.n_jobs = 2, .seed = 3}).map(draw, std::views::iota(0, 4));
  // The index of a submitted task is the number of tasks submitted to its pool before.
  auto const submitted = fm::parallel({.n_jobs = 2, .seed = 3}).map(draw, std::views::iota(0, 20));
  for (int const n_workers : {1, 2}) {
    fm::pool const workers(fm::options{.n_jobs = n_workers, .seed = 3});
    for (int round = 0; round != 20; ++round) {
      REQUIRE(workers.submit(fm::delayed(draw)(0)).get() ==
              submitted[static_cast<std::size_t>(round)]);
      REQUIRE(workers.map(draw, std::views::iota(0, 4)) == expected);
    }
  }
}

TEST_CASE("kinds: trivially copyable results are copied, not converted", "[map][pool]") {
  auto const three = std::vector<int>{5, 6, 7};
  auto const make = [](int i) { return takes_anything(i, nullptr); };
  auto const is_right = [](std::vector<takes_anything> const& results) {
    return results.size() == 3 && results[0].value == 5 && results[1].value == 6 &&
           results[2].value == 7;
  };
  REQUIRE(is_right(fm::parallel(2).map(make, three)));
  REQUIRE(is_right(fm::parallel(1).map(make, three)));
  fm::pool const workers(2);
  REQUIRE(is_right(workers.map(make, three)));
}
