// A check that the load of a serializer reads exactly the bytes that its save has written.
// SPDX-License-Identifier: MIT
#include <map>
#include <memory>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

/// How much of two numbers a serializer reads: the right amount, less or more.
enum class reads { all, less, more };

template <reads Amount> class two_numbers {
 public:
  two_numbers(int a, int b) : a_(a), b_(b) {}
  int a() const { return a_; }
  int b() const { return b_; }
  bool operator==(two_numbers const&) const = default;
  bool operator<(two_numbers const& other) const { return a_ < other.a_; }

 private:
  int a_, b_;
};
using right_numbers = two_numbers<reads::all>;
using careless_numbers = two_numbers<reads::less>;
using greedy_numbers = two_numbers<reads::more>;

/// Contains values with another serializer between other members.
struct parcel {
  std::string name;
  std::vector<right_numbers> numbers;
  double last;
};
struct holds_careless {
  std::string name;
  careless_numbers numbers;
};

}  // namespace

template <reads Amount> struct forkmap::serializer<two_numbers<Amount>> {
  static void save(writer& out, two_numbers<Amount> const& x) {
    out.put(x.a());
    out.put(x.b());
  }
  static two_numbers<Amount> load(reader& in) {
    auto const a = in.get<int>();
    if constexpr (Amount == reads::less) return {a, 0};
    auto const b = in.get<int>();
    if constexpr (Amount == reads::more) return {a, b + in.get<int>()};
    return {a, b};
  }
};
template <> struct forkmap::serializer<parcel> {
  static void save(writer& out, parcel const& x) {
    out.put(x.name);
    out.put(x.numbers);
    out.put(x.last);
  }
  static parcel load(reader& in) {
    auto name = in.get<std::string>();
    auto numbers = in.get<std::vector<right_numbers>>();
    return {std::move(name), std::move(numbers), in.get<double>()};
  }
};

namespace {

template <class T> T numbers_of(int i) { return {i, 7}; }
template <class T> int sum_of(T const& x) { return x.a() + x.b(); }
template <class T> int sum_of_all(std::vector<T> const& xs) { return xs.at(0).a() + xs.at(1).b(); }

template <class Make> void must_name_serializer(Make make, std::string const& text) {
  auto const names = [&](auto const& call) {
    REQUIRE_THROWS_WITH(call(), ContainsSubstring("two_numbers") && ContainsSubstring(text) &&
                                    ContainsSubstring("the 8 bytes that"));
  };
  names([&] { fm::parallel(2).map(make, std::views::iota(0, 2)); });
  names([&] { fm::parallel(2)(fm::delayed(make)(1), fm::delayed(make)(2)); });
  names([&] { fm::parallel(2).first(support::tasks_of(1, make)); });
  names([&] {
    for ([[maybe_unused]] auto const& x : fm::parallel(2).stream(support::tasks_of(2, make))) {
    }
  });
  auto const outcomes = fm::parallel(2).outcomes(support::tasks_of(2, make));
  REQUIRE_THAT(outcomes[0].error().message, ContainsSubstring(text));
  fm::pool const workers(2);
  names([&] { workers.map(make, std::views::iota(0, 2)); });
  names([&] { workers.submit(fm::delayed(make)(1)).get(); });
}

/// The same check in a map only: all calls read results with the same code.
template <class Make> void must_name_serializer_in_map(Make make, std::string const& text) {
  REQUIRE_THROWS_WITH(fm::parallel(2).map(make, std::views::iota(0, 2)),
                      ContainsSubstring("two_numbers") && ContainsSubstring(text));
}

template <class T> void must_name_serializer_everywhere(std::string const& text) {
  must_name_serializer([](int i) { return numbers_of<T>(i); }, text);
  must_name_serializer_in_map([](int i) { return std::vector(3, numbers_of<T>(i)); }, text);
  must_name_serializer_in_map([](int i) { return std::pair(numbers_of<T>(i), 5); }, text);
  must_name_serializer_in_map(
      [](int i) { return std::tuple(5, numbers_of<T>(i), std::string("x")); }, text);
  must_name_serializer_in_map([](int i) { return std::optional(numbers_of<T>(i)); }, text);
  must_name_serializer_in_map([](int i) { return std::variant<int, T>(numbers_of<T>(i)); }, text);
  must_name_serializer_in_map([](int i) { return std::map<int, T>{{i, numbers_of<T>(i)}}; }, text);
  must_name_serializer_in_map([](int i) { return std::make_unique<T>(numbers_of<T>(i)); }, text);
}

}  // namespace

TEST_CASE("serializer: a load that reads less than save wrote is an error that names the type",
          "[serializer]") {
  must_name_serializer_everywhere<careless_numbers>("reads only 4 of");
  must_name_serializer([](int) { return holds_careless{"x", {1, 2}}; }, "reads only 4 of");
}

TEST_CASE("serializer: a load that reads more than save wrote is an error that names the type",
          "[serializer]") {
  must_name_serializer_everywhere<greedy_numbers>("reads 12 bytes, more than");
}

TEST_CASE("serializer: loads of a pool's arguments are checked, too", "[serializer]") {
  fm::pool const workers(2);
  auto const refuses = [&](auto const& task, std::string const& text) {
    REQUIRE_THROWS_WITH(workers(task), ContainsSubstring(text) && ContainsSubstring("two_numbers"));
    REQUIRE_THROWS_WITH(workers.submit(task).get(), ContainsSubstring(text));
  };
  refuses(fm::delayed(sum_of<careless_numbers>)(careless_numbers(1, 2)), "reads only 4 of");
  refuses(fm::delayed(sum_of<greedy_numbers>)(greedy_numbers(1, 2)), "reads 12 bytes");
  std::vector<careless_numbers> const all(3, {1, 2});
  refuses(fm::delayed(sum_of_all<careless_numbers>)(all), "reads only 4 of");
  refuses(fm::delayed(sum_of_all<careless_numbers>)(std::cref(all)), "reads only 4 of");
  std::vector<right_numbers> const right(3, {1, 2});
  REQUIRE(workers.submit(fm::delayed(sum_of_all<right_numbers>)(std::cref(right))).get() == 3);
}

TEST_CASE("serializer: nested serializers with values of many sizes arrive unchanged",
          "[serializer]") {
  auto const make = [](int i) {
    auto const n = static_cast<std::size_t>(i);
    return std::vector<parcel>(
        3, parcel{std::string(n * n, 'x'), std::vector<right_numbers>(n * 10, {i, -i}), i / 2.0});
  };
  auto const check = [&](std::vector<std::vector<parcel>> const& all) {
    for (int i = 0; i != 100; ++i) {
      auto const expected = make(i);
      auto const& parcels = all.at(static_cast<std::size_t>(i));
      REQUIRE(parcels.size() == 3);
      for (auto const& received : parcels) {
        REQUIRE(received.name == expected[0].name);
        REQUIRE(received.numbers == expected[0].numbers);
        REQUIRE(received.last == expected[0].last);
      }
    }
  };
  check(fm::parallel(2).map(make, std::views::iota(0, 100)));
  fm::pool const workers(2);
  check(workers.map(make, std::views::iota(0, 100)));
}

TEST_CASE("serializer: a value larger than any window of memory arrives unchanged",
          "[serializer]") {
  auto const large = fm::parallel(2).map(
      [](int i) {
        return parcel{"large", std::vector<right_numbers>(std::size_t{300'000}, {i, 1}), 2};
      },
      std::views::iota(0, 2));
  REQUIRE(large[1].numbers.size() == 300'000);
  REQUIRE(large[1].numbers.back() == right_numbers(1, 1));
  REQUIRE(large[1].last == 2);
}
