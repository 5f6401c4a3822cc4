// The exceptions of <regex> and <future>, which this file includes before forkmap.hpp.
// SPDX-License-Identifier: MIT
#include <future>
#include <ranges>
#include <regex>
#include <stdexcept>
#include <string>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

struct own_regex_error : std::regex_error {
  using std::regex_error::regex_error;
};

/// Throws an exception of the given kind. A function, so that it can be sent to a pool.
int fail(int kind) {
  if (kind == 0) throw std::regex_error(std::regex_constants::error_paren);
  if (kind == 1) throw own_regex_error(std::regex_constants::error_stack);
  if (kind == 2) {
    std::promise<int> promise;
    promise.set_value(1);
    promise.set_value(2);
  }
  if (kind == 3) throw std::future_error(std::future_errc::broken_promise);
  throw std::runtime_error("neither");
}

std::string text_of(int kind) {
  try {
    fail(kind);
  } catch (std::exception const& e) {
    return e.what();
  }
  return {};
}

template <class E, class Call> void must_throw(Call call, int kind, auto code) {
  try {
    call();
    FAIL("nothing was thrown");
  } catch (fm::remote<E> const& e) {
    REQUIRE(e.code() == code);
    REQUIRE(std::string(e.what()) == text_of(kind));
    REQUIRE(e.index() == 0);
    REQUIRE(e.type_name().find(kind < 2 ? "regex_error" : "future_error") != std::string::npos);
  }
}

/// `call(kind)` throws what fail(kind) does.
template <class Call> void all_arrive(Call call) {
  must_throw<std::regex_error>([&] { call(0); }, 0, std::regex_constants::error_paren);
  must_throw<std::regex_error>([&] { call(1); }, 1, std::regex_constants::error_stack);
  must_throw<std::future_error>([&] { call(2); }, 2,
                                make_error_code(std::future_errc::promise_already_satisfied));
  must_throw<std::future_error>([&] { call(3); }, 3,
                                make_error_code(std::future_errc::broken_promise));
  REQUIRE_THROWS_AS(call(4), fm::remote<std::runtime_error>);
}

auto tasks_of(int kind) {
  return std::views::iota(0, 1) |
         std::views::transform([kind](int) { return fm::delayed(fail)(kind); });
}

}  // namespace

TEST_CASE("failure: regex_error and future_error arrive with their types and codes", "[failure]") {
  for (auto const& opts : {fm::options{.n_jobs = 1}, fm::options{.n_jobs = 1, .isolate = true},
                           fm::options{.n_jobs = 3}}) {
    all_arrive([&](int kind) { fm::parallel(opts)(tasks_of(kind)); });
    all_arrive([&](int kind) { fm::parallel(opts).outcomes(tasks_of(kind)).front().value(); });
    all_arrive([&](int kind) { fm::parallel(opts).first(tasks_of(kind)); });
    all_arrive([&](int kind) {
      for ([[maybe_unused]] int const result : fm::parallel(opts).stream(tasks_of(kind))) {
      }
    });
  }
}

TEST_CASE("failure: regex_error and future_error arrive through nested maps", "[failure]") {
  all_arrive([](int kind) {
    fm::parallel(2)(std::views::iota(0, 1) | std::views::transform([kind](int) {
                      return [kind] { return fm::parallel(2)(tasks_of(kind)).front(); };
                    }));
  });
}

TEST_CASE("pool: regex_error and future_error arrive with their types and codes", "[pool]") {
  fm::pool workers(2);
  all_arrive([&](int kind) { workers(tasks_of(kind)); });
  all_arrive([&](int kind) { workers.outcomes(tasks_of(kind)).front().value(); });
  all_arrive([&](int kind) {
    fm::pool one(1);  // a new pool, in which the task has index 0
    one.submit(fm::delayed(fail)(kind)).get();
  });
}

TEST_CASE("resume: a call with a journal throws regex_error and future_error, too", "[resume]") {
  support::temporary_directory const folder;
  all_arrive([&](int kind) {
    fm::parallel({.n_jobs = 2, .resume = folder.path() / ("journal" + std::to_string(kind))})(
        tasks_of(kind));
  });
}
