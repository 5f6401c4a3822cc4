// Chunks of trivially copyable tasks, stored in columns: written, read and run.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/pool/fast/flat_columns.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;
using forkmap::delayed;

namespace {

struct triple {
  double x[3];
};
double weighed(triple const& a, char b, double c) { return a.x[0] + 10 * a.x[1] + b + 1000 * c; }
double weighed_otherwise(triple const& a, char b, double c) { return -weighed(a, b, c); }
int seven() { return 7; }
int eight() { return 8; }

/// The chunks of one call, and a reader of them.
template <class Task> class sent_columns {
 public:
  explicit sent_columns(std::vector<Task> const& tasks) {
    column_writer<Task> columns(out_);
    auto next = tasks.begin();
    while (next != tasks.end()) {
      auto const left = static_cast<std::uint64_t>(tasks.end() - next);
      chunks_.push_back(columns.write_chunk(std::min(sending::chunk, left), next));
    }
    REQUIRE(out_.size() <= column_writer<Task>::most_bytes(tasks.size()));
    in_.begin_call(out_.size());
  }

  std::uint64_t bytes() const { return out_.size(); }

  auto run(std::uint64_t i) {
    part_places<Task> places;
    auto const chunk = i / sending::chunk;
    places.in_chunk(in_, chunks_[chunk], chunk * sending::chunk);
    return places.run(i);
  }

 private:
  static constexpr std::uint64_t begin = map_grain;  // any offset

  shared_file file_{std::uint64_t{1} << 34U};
  argument_writer out_{file_.get(), begin, std::uint64_t{1} << 33U};
  std::vector<std::uint64_t> chunks_{};
  call_cache cache_{};
  argument_reader in_{file_.get(), begin, 1, cache_};
};

/// Whether tasks return the same result after they were sent. Checks a sample of all tasks.
template <class Task> bool all_run(std::vector<Task> tasks, sent_columns<Task>& sent) {
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < tasks.size(); i += i % 7 + 1) wrong += sent.run(i) != tasks[i]();
  return wrong == 0;
}

constexpr std::size_t many = 3 * sending::chunk + 100;

}  // namespace

TEST_CASE("flat_columns: a value that is equal in all tasks is written once", "[serialize]") {
  std::vector const tasks(many, delayed(weighed)(triple{{1, 2, 3}}, 'a', 0.5));
  sent_columns sent(tasks);
  CHECK(sent.bytes() == 4 * column_writer<std::remove_cvref_t<decltype(tasks[0])>>::head_bytes);
  CHECK(all_run(tasks, sent));
}

TEST_CASE("flat_columns: a value that differs between tasks has a column", "[serialize]") {
  std::vector<decltype(delayed(weighed)(triple{}, 'a', 0.5))> tasks;
  SECTION("one argument") {
    for (std::size_t i = 0; i != many; ++i)
      tasks.push_back(delayed(weighed)(triple{{1, 2, 3}}, 'a', static_cast<double>(i)));
    sent_columns sent(tasks);
    CHECK(sent.bytes() < 9 * many);
    CHECK(all_run(tasks, sent));
  }
  SECTION("all arguments and the function") {
    for (std::size_t i = 0; i != many; ++i) {
      auto const x = static_cast<double>(i);
      tasks.push_back(delayed(i % 3 == 0 ? weighed : weighed_otherwise)(
          triple{{x, 2, 3}}, static_cast<char>(i % 100), x));
    }
    sent_columns sent(tasks);
    CHECK(all_run(tasks, sent));
  }
  SECTION("a value that changes within a chunk, or in one task only") {
    for (std::size_t i = 0; i != many; ++i) {
      auto const late = i < 2000 ? 2.0 : 5.0;
      tasks.push_back(
          delayed(weighed)(triple{{1, late, 3}}, i == 5000 ? 'b' : 'a', i + 1 == many ? 1.0 : 0.0));
    }
    sent_columns sent(tasks);
    CHECK(sent.bytes() < 30 * sending::chunk);
    CHECK(all_run(tasks, sent));
  }
}

TEST_CASE("flat_columns: arguments that differ only in their last bytes have a column",
          "[serialize]") {
  std::vector<decltype(delayed(weighed)(triple{}, 'a', 0.5))> tasks;
  for (std::size_t i = 0; i != 100; ++i)
    tasks.push_back(delayed(weighed)(triple{{1, 2, static_cast<double>(i)}}, 'a', 0.5));
  sent_columns sent(tasks);
  CHECK(sent.bytes() > 100 * sizeof(triple));
}

TEST_CASE("flat_columns: padding bytes of an argument are ignored", "[serialize]") {
  struct padded {
    char a;
    int b;
  };
  STATIC_REQUIRE(has_no_padding<triple>);
  STATIC_REQUIRE(has_no_padding<double>);
  STATIC_REQUIRE(has_no_padding<int (*)()>);
  STATIC_REQUIRE_FALSE(has_no_padding<padded>);
  auto const sum = [](padded const& p, int i) { return p.a + p.b + i; };
  auto const task = [&](int padding, int i) {
    padded argument;
    std::memset(&argument, padding, sizeof argument);
    argument.a = 'a';
    argument.b = 5;
    return delayed(sum)(argument, i);
  };
  std::vector<decltype(task(0, 0))> tasks;
  for (int i = 0; i != 1000; ++i) tasks.push_back(task(i, i));
  sent_columns sent(tasks);
#if __has_builtin(__builtin_clear_padding)
  CHECK(sent.bytes() < 1000 * (sizeof(int) + 1));
#endif
  CHECK(all_run(tasks, sent));
}

TEST_CASE("flat_columns: functions without arguments, and callables without state", "[serialize]") {
  std::vector<int (*)()> functions(5000, seven);
  functions[4500] = eight;
  sent_columns sent(functions);
  CHECK(all_run(functions, sent));

  auto const call = [](int i) { return delayed([](int a) { return 2 * a; })(i); };
  std::vector<decltype(call(1))> lambdas;
  for (int i = 0; i != 5000; ++i) lambdas.push_back(call(i));
  sent_columns sent_lambdas(lambdas);
  CHECK(all_run(lambdas, sent_lambdas));
}

namespace {

struct padded {
  char c;
  std::array<double, 300> x;
};
double last_of(std::array<double, 300> const& a, padded const& b, char c) {
  return a[299] + b.x[299] + b.c + c;
}

}  // namespace

TEST_CASE("flat_columns: arguments larger than the unrolled copy", "[serialize]") {
  std::array<double, 300> a{};
  padded b{'b', {}};
  std::vector<decltype(delayed(last_of)(a, b, 'c'))> tasks;
  for (std::size_t i = 0; i != 300; ++i) {
    a[299] = i < 100 ? 0.5 : static_cast<double>(i);
    b.x[299] = static_cast<double>(i / 50);
    tasks.push_back(delayed(last_of)(a, b, 'c'));
  }
  sent_columns sent(tasks);
  CHECK(all_run(tasks, sent));
}
