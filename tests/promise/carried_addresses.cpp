// Results and exceptions that contain an address: of an error category, a function or a type. If
// the caller has the object, the address arrives unchanged. If only the worker has it, using the
// result is safe.
// SPDX-License-Identifier: MIT
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <ranges>
#include <source_location>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <typeindex>
#include <utility>
#include <variant>
#include <vector>

#include <boost/system/error_code.hpp>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

/// The name is a member object: name() reads invalid memory if the category was not constructed in
/// this process.
class named_category final : public std::error_category {
 public:
  explicit named_category(std::string name) : name_(std::move(name)) {}
  char const* name() const noexcept override { return name_.c_str(); }
  std::string message(int code) const override { return name_ + ' ' + std::to_string(code); }
  std::error_condition default_error_condition(int code) const noexcept override {
    if (code == 2) return std::errc::no_such_file_or_directory;
    return {code, *this};
  }

 private:
  std::string name_;
};
named_category const category_of_program("a category of the program");

std::error_category const& category_of_worker() {
  static named_category const category("a category of the worker");
  return category;
}
std::error_code code_of_worker(int value) { return {value, category_of_worker()}; }

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"  // Boost's class has none
class boost_category final : public boost::system::error_category {
 public:
  explicit boost_category(std::string name) : name_(std::move(name)) {}
  char const* name() const noexcept override { return name_.c_str(); }
  using boost::system::error_category::message;
  std::string message(int code) const override { return name_ + ' ' + std::to_string(code); }

 private:
  std::string name_;
};
#pragma GCC diagnostic pop
boost::system::error_code boost_code_of_worker(int value) {
  static boost_category const category("a category of Boost in the worker");
  return {value, category};
}

struct answer {
  int number;
  std::error_code code;
};
struct answer_of_answers {
  std::array<answer, 2> both;
  std::optional<std::error_code> maybe;
};

/// Checks the results of make(i) as tasks of a map, and of make(9) as a task submitted to a pool.
template <class R, class Check> void in_map_and_pool(R (*make)(int), Check check) {
  auto const made = fm::parallel(2).map(make, std::views::iota(0, 3));
  for (int i = 0; i != 3; ++i) check(made[static_cast<std::size_t>(i)], i);
  fm::pool const workers(1);
  check(workers.submit(fm::delayed(make)(9)).get(), 9);
}

void must_be_of_worker(std::error_code const& code, int value) {
  REQUIRE(code.value() == value);
  REQUIRE(code.category().name() == std::string("a category of the worker"));
  REQUIRE(code.message() == "a category of the worker " + std::to_string(value));
  REQUIRE((code == std::errc::no_such_file_or_directory) == (value == 2));
}

double half_of(double x) { return x / 2; }
struct with_functions {
  int one(int x) const { return x + 1; }
  virtual int two(int x) const { return x + 2; }
  virtual ~with_functions() = default;
};
struct named_function {
  int number;
  double (*function)(double);
};
struct a_type {};

/// A function of a library that only the worker loads. The library is not closed: it stays loaded
/// until the worker exits.
template <class F> F from_library(char const* name) {
  void* const library = ::dlopen(FORKMAP_LOADED_LATER, RTLD_NOW);
  if (library == nullptr) throw std::runtime_error("not loaded");
  return reinterpret_cast<F>(::dlsym(library, name));
}

template <class Make> void must_be_refused_as_not_loaded(Make make, std::string const& name) {
  REQUIRE_THROWS_WITH(fm::parallel(2).map(make, std::views::iota(0, 2)),
                      ContainsSubstring(name) && ContainsSubstring("has not loaded"));
  auto const outcomes = fm::parallel(2).outcomes(support::tasks_of(2, make));
  REQUIRE_THAT(outcomes[1].error().message, ContainsSubstring(name));
}

}  // namespace

TEST_CASE("addresses: an error_code of a category that the caller has arrives unchanged",
          "[addresses]") {
  in_map_and_pool<std::error_code>(
      [](int i) { return std::error_code(i, category_of_program); },
      [](auto const& code, int i) { REQUIRE(code == std::error_code(i, category_of_program)); });
  in_map_and_pool<std::error_code>(
      [](int i) { return std::error_code(i, std::system_category()); },
      [](auto const& code, int i) { REQUIRE(code == std::error_code(i, std::system_category())); });
  in_map_and_pool<std::error_code>(
      [](int) { return std::make_error_code(std::io_errc::stream); },
      [](auto const& code, int) { REQUIRE(code == std::io_errc::stream); });
  in_map_and_pool<std::error_condition>(
      [](int) { return std::make_error_condition(std::errc::timed_out); },
      [](auto const& code, int) { REQUIRE(code == std::errc::timed_out); });
  in_map_and_pool<boost::system::error_code>(
      [](int i) { return boost::system::error_code(i, boost::system::system_category()); },
      [](auto const& code, int i) {
        REQUIRE(code == boost::system::error_code(i, boost::system::system_category()));
      });
}

TEST_CASE(
    "addresses: an error_code of a category made in a worker keeps its name, value and message",
    "[addresses]") {
  in_map_and_pool<std::error_code>(code_of_worker, must_be_of_worker);
  auto const tasks = support::portable_tasks_of(3, code_of_worker);
  must_be_of_worker(std::get<0>(fm::parallel(2)(fm::delayed(code_of_worker)(7), [] {})), 7);
  must_be_of_worker(fm::parallel(2).outcomes(tasks)[2].value(), 2);
  int next = 0;
  for (auto const& code : fm::parallel(2).stream(tasks)) must_be_of_worker(code, next++);
  fm::pool const workers(2);
  must_be_of_worker(workers.map(code_of_worker, std::views::iota(0, 3))[2], 2);
  auto const largest = [](int value, std::error_code const& code) {
    return std::max(value, code.value());
  };
  REQUIRE(fm::parallel(2).reduce(tasks, 0, largest) == 2);
  in_map_and_pool<std::error_condition>(
      [](int i) { return std::error_condition(i, category_of_worker()); },
      [](auto const& condition, int i) {
        REQUIRE(condition.value() == i);
        REQUIRE(condition.message() == "a category of the worker " + std::to_string(i));
      });
  in_map_and_pool<boost::system::error_code>(boost_code_of_worker, [](auto const& code, int i) {
    REQUIRE(code.value() == i);
    REQUIRE(code.category().name() == std::string("a category of Boost in the worker"));
    REQUIRE(code.message() == "a category of Boost in the worker " + std::to_string(i));
  });
  in_map_and_pool<std::error_code>(
      [](int i) {  // the address is on the worker's heap, where the caller has no category
        static auto* const on_heap = new named_category("on the heap of the worker");
        return std::error_code(i, *on_heap);
      },
      [](auto const& code, int i) {
        REQUIRE(code.message() == "on the heap of the worker " + std::to_string(i));
      });
}

TEST_CASE("addresses: two results of one category that the caller does not have share a category",
          "[addresses]") {
  auto const codes = fm::parallel(2).map(code_of_worker, std::vector{5, 6, 5});
  REQUIRE(codes[0] == codes[2]);
  REQUIRE(codes[0].category() == codes[1].category());
  REQUIRE(codes[0] != codes[1]);
}

TEST_CASE("addresses: error codes inside of other results arrive", "[addresses]") {
  in_map_and_pool<std::pair<int, std::error_code>>(
      [](int i) { return std::pair(i, code_of_worker(i)); },
      [](auto const& x, int i) { must_be_of_worker(x.second, i); });
  in_map_and_pool<std::tuple<std::error_code, std::string>>(
      [](int i) { return std::tuple(code_of_worker(i), std::string("x")); },
      [](auto const& x, int i) { must_be_of_worker(std::get<0>(x), i); });
  in_map_and_pool<std::optional<std::error_code>>(
      [](int i) { return std::optional(code_of_worker(i)); },
      [](auto const& x, int i) { must_be_of_worker(*x, i); });
  in_map_and_pool<std::variant<int, std::error_code>>(
      [](int i) { return std::variant<int, std::error_code>(code_of_worker(i)); },
      [](auto const& x, int i) { must_be_of_worker(std::get<1>(x), i); });
  in_map_and_pool<std::vector<std::error_code>>(
      [](int i) { return std::vector(3, code_of_worker(i)); },
      [](auto const& x, int i) { must_be_of_worker(x.at(2), i); });
  in_map_and_pool<std::array<std::error_code, 2>>(
      [](int i) { return std::array{std::error_code(), code_of_worker(i)}; },
      [](auto const& x, int i) { must_be_of_worker(x[1], i); });
  in_map_and_pool<std::map<int, std::error_code>>(
      [](int i) { return std::map<int, std::error_code>{{i, code_of_worker(i)}}; },
      [](auto const& x, int i) { must_be_of_worker(x.at(i), i); });
  in_map_and_pool<answer>([](int i) { return answer{i, code_of_worker(i)}; },
                          [](auto const& x, int i) { must_be_of_worker(x.code, i); });
  in_map_and_pool<answer_of_answers>(
      [](int i) {
        return answer_of_answers{{answer{i, {}}, answer{i, code_of_worker(i)}}, code_of_worker(i)};
      },
      [](auto const& x, int i) {
        must_be_of_worker(x.both[1].code, i);
        must_be_of_worker(*x.maybe, i);
      });
}

TEST_CASE("addresses: the category of a thrown system_error is looked up in the caller, too",
          "[addresses]") {
  for (int const n_jobs : {1, 2}) {
    try {
      fm::parallel(n_jobs).map(
          [](int i) {
            if (i == 1) throw std::system_error(2, category_of_program, "here");
          },
          std::views::iota(0, 2));
      FAIL("nothing was thrown");
    } catch (std::system_error const& e) {
      REQUIRE(e.code() == std::error_code(2, category_of_program));
      REQUIRE(e.code() == std::errc::no_such_file_or_directory);
    }
  }
  try {
    fm::parallel(2).map([](int i) { throw std::system_error(code_of_worker(i), "there"); },
                        std::views::iota(2, 3));
    FAIL("nothing was thrown");
  } catch (std::system_error const& e) {
    must_be_of_worker(e.code(), 2);
  }
  // With n_jobs = 1 the task runs in this process: a category on the stack is valid.
  named_category const on_stack("on the stack");
  try {
    fm::parallel(1).map([&](int) { throw std::system_error(3, on_stack); }, std::views::iota(0, 1));
    FAIL("nothing was thrown");
  } catch (std::system_error const& e) {
    REQUIRE(e.code() == std::error_code(3, on_stack));
  }
}

TEST_CASE("addresses: a category address that a worker sends is checked before use",
          "[addresses]") {
  // Addresses of bytes that are no category of the program: on the heap, on the stack, in static
  // memory.
  static std::uintptr_t const no_category[4]{1, 2, 3, 4};
  named_category const on_stack("claimed");
  auto const heap = std::vector<std::uintptr_t>(8, 0x4141414141414141);
  for (void const* const address :
       {static_cast<void const*>(no_category), static_cast<void const*>(&on_stack),
        static_cast<void const*>(heap.data()), reinterpret_cast<void const*>(&half_of),
        static_cast<void const*>("text"), static_cast<void const*>(nullptr),
        static_cast<void const*>(reinterpret_cast<char const*>(&category_of_program) + 1),
        static_cast<void const*>(reinterpret_cast<char const*>(&category_of_program) + 8),
        reinterpret_cast<void const*>(std::uintptr_t{0xdeadbeef0000})}) {
    fm::detail::sent_code code;
    code.value = 4;
    code.category = "claimed";
    code.message = "four";
    code.address = reinterpret_cast<std::uintptr_t>(address);
    code.is_of_this_process = false;
    auto const& category = fm::detail::category_of<std::error_category>(code);
    REQUIRE(&category != address);
    REQUIRE(category.name() == std::string("claimed"));
    REQUIRE(category.message(4) == "four");
  }
}

TEST_CASE("addresses: functions and types of the program arrive unchanged", "[addresses]") {
  in_map_and_pool<double (*)(double)>([](int) { return &half_of; },
                                      [](auto* function, int) { REQUIRE(function(3) == 1.5); });
  in_map_and_pool<double (*)(double)>([](int) -> double (*)(double) { return nullptr; },
                                      [](auto* function, int) { REQUIRE(function == nullptr); });
  in_map_and_pool<named_function>([](int i) { return named_function{i, &half_of}; },
                                  [](auto const& x, int) { REQUIRE(x.function(3) == 1.5); });
  using member = int (with_functions::*)(int) const;
  in_map_and_pool<std::pair<member, member>>(
      [](int) { return std::pair<member, member>(&with_functions::one, &with_functions::two); },
      [](auto const& x, int) {
        REQUIRE((with_functions().*x.first)(1) == 2);
        REQUIRE((with_functions().*x.second)(1) == 3);
      });
  in_map_and_pool<std::type_index>(
      [](int i) { return i == 0 ? std::type_index(typeid(a_type)) : std::type_index(typeid(int)); },
      [](auto const& type, int i) { REQUIRE(type == (i == 0 ? typeid(a_type) : typeid(int))); });
  in_map_and_pool<std::map<std::type_index, int>>(
      [](int i) {
        return std::map<std::type_index, int>{
            {typeid(std::vector<a_type>), i}, {typeid(int*), i},   {typeid(int(&)[3]), i},
            {typeid(std::errc), i},           {typeid(void()), i}, {typeid(named_category), i}};
      },
      [](auto const& types, int i) {
        REQUIRE(types.size() == 6);
        REQUIRE(types.at(typeid(named_category)) == i);
      });
  in_map_and_pool<std::source_location>([](int) { return std::source_location::current(); },
                                        [](auto const& place, int) {
                                          REQUIRE_THAT(place.file_name(),
                                                       ContainsSubstring("carried_addresses"));
                                        });
}

TEST_CASE("addresses: functions and types of a library that only the worker has loaded are refused",
          "[addresses]") {
  must_be_refused_as_not_loaded([](int) { return from_library<int (*)(int)>("loaded_later"); },
                                "a pointer to a function");
  must_be_refused_as_not_loaded(
      [](int) {
        return std::type_index(
            *from_library<std::type_info const* (*)()>("type_of_loaded_later")());
      },
      "type_loaded_later");
  auto const codes = fm::parallel(2).map(
      [](int i) {
        return std::error_code(
            i, *from_library<std::error_category const* (*)()>("category_of_loaded_later")());
      },
      std::views::iota(0, 2));
  REQUIRE(codes[1].message() == "later 1");
  REQUIRE(codes[1].category().name() == std::string("loaded later"));
}
