// Tasks whose parts are all trivially copyable: their size in bytes, and how they are run.
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/pool/fast/flat_columns.hpp>

#include "support/catch.hpp"

using forkmap::delayed;
using forkmap::detail::flat_call;
using forkmap::detail::part_places;

namespace {

struct three {
  double x[3];
};
struct made_of_int {
  explicit made_of_int(int n) : value(n) {}
  int value;
};

double sum_of(three const& a, char b, float c) { return a.x[0] + a.x[1] + a.x[2] + b + c; }
double const& first_of(three const& a) { return a.x[0]; }
int count_up(int& n) { return ++n; }
int taken(made_of_int&& n) { return n.value; }

template <class Task> std::vector<std::byte> bytes_of(Task const& task, std::size_t shift) {
  std::vector<std::byte> bytes(shift + flat_call<Task>::bytes);
  flat_call<Task>::write(bytes.data() + shift, task);
  return bytes;
}

template <class Task> auto run(std::byte const* at) {
  part_places<Task> places;
  places.in_rows(at, 0);
  return places.run(0);
}

template <class Task> auto run_again(Task const& task) {
  // At an unaligned offset, because tasks of odd sizes are adjacent.
  auto const bytes = bytes_of(task, 3);
  return run<Task>(bytes.data() + 3);
}

}  // namespace

TEST_CASE("flat_call: the function and each argument are stored without padding", "[serialize]") {
  auto const task = delayed(sum_of)(three{{1, 2, 4}}, 'a', 0.5F);
  STATIC_REQUIRE(flat_call<decltype(task)>::bytes == 0);  // only for the non-const type
  using plain = std::remove_const_t<decltype(task)>;
  STATIC_REQUIRE(flat_call<plain>::bytes == sizeof(&sum_of) + 24 + 1 + 4);
  CHECK(run_again<plain>(task) == 7 + 'a' + 0.5);
}

TEST_CASE("flat_call: callables without state take no bytes", "[serialize]") {
  auto task = delayed([](int a, int b) { return 10 * a + b; })(3, 4);
  STATIC_REQUIRE(flat_call<decltype(task)>::bytes == 2 * sizeof(int));
  CHECK(run_again(task) == 34);
}

TEST_CASE("flat_call: a function without arguments is stored as its address", "[serialize]") {
  int (*const seven)() = [] { return 7; };
  using function = std::remove_const_t<decltype(seven)>;
  STATIC_REQUIRE(flat_call<function>::bytes == sizeof(function));
  CHECK(run_again<function>(seven) == 7);
}

TEST_CASE("flat_call: a task that changes its argument changes only a copy", "[serialize]") {
  auto task = delayed(count_up)(41);
  auto const bytes = bytes_of(task, 0);
  CHECK(run<decltype(task)>(bytes.data()) == 42);
  CHECK(run<decltype(task)>(bytes.data()) == 42);
}

TEST_CASE(
    "flat_call: a returned reference to an argument is copied before the argument is destroyed",
    "[serialize]") {
  auto task = delayed(first_of)(three{{6, 7, 8}});
  auto const bytes = bytes_of(task, 0);
  STATIC_REQUIRE(std::is_same_v<decltype(run<decltype(task)>(bytes.data())), double>);
  CHECK(run<decltype(task)>(bytes.data()) == 6);
}

TEST_CASE("flat_call: arguments may lack a default constructor and be taken by rvalue reference",
          "[serialize]") {
  CHECK(run_again(delayed(taken)(made_of_int(5))) == 5);
}

TEST_CASE(
    "flat_call: strings, pairs, spans, references, members and nested calls are not supported",
    "[serialize]") {
  [[maybe_unused]] auto const size = [](auto const& x) { return sizeof x; };
  STATIC_REQUIRE(flat_call<decltype(delayed(size)(std::string()))>::bytes == 0);
  STATIC_REQUIRE(flat_call<decltype(delayed(size)(std::span<int const>()))>::bytes == 0);
  STATIC_REQUIRE(flat_call<decltype(delayed(size)(std::pair<int, int>()))>::bytes == 0);
  STATIC_REQUIRE(flat_call<decltype(delayed(&made_of_int::value)(made_of_int(1)))>::bytes == 0);
  std::vector<int> const xs;
  STATIC_REQUIRE(flat_call<decltype(delayed(size)(std::cref(xs)))>::bytes == 0);
  STATIC_REQUIRE(flat_call<decltype(delayed([](auto const& f) { return f(); })(
                     delayed([] { return 1; })()))>::bytes == 0);
}
