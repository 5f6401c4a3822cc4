// forkmap's own exceptions that a task throws: from a nested call or from load(), at any depth.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <ranges>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

/// The file that tasks load. The workers of a pool have its value from when the pool was made.
std::filesystem::path file_of_test;

void load_as_double(int) { fm::load<double>(file_of_test); }

/// Calls that fail. All but those that are stopped or exceed their deadline fail in their second
/// task.
void call_that_crashes(int) {
  fm::parallel(2).map(
      [](int j) {
        if (j == 1) ::raise(SIGSEGV);
      },
      std::views::iota(0, 3));
}
void call_that_exits(int) {
  fm::parallel(2).map(
      [](int j) {
        if (j == 1) ::_exit(7);
      },
      std::views::iota(0, 3));
}
void call_that_times_out(int) {
  fm::parallel({.n_jobs = 2, .timeout = 50ms})
      .map(
          [](int j) {
            if (j == 1) std::this_thread::sleep_for(1h);
          },
          std::views::iota(0, 3));
}
void call_over_its_deadline(int) {
  fm::parallel({.n_jobs = 2, .deadline = 50ms})
      .map([](int) { std::this_thread::sleep_for(1h); }, std::views::iota(0, 3));
}
void call_that_is_stopped(int) {
  std::stop_source source;
  source.request_stop();
  fm::parallel({.n_jobs = 2, .stop = source.get_token()})
      .map([](int) { std::this_thread::sleep_for(1h); }, std::views::iota(0, 3));
}
void call_that_throws_int(int) {
  fm::parallel(2).map(
      [](int j) {
        if (j == 1) throw 42;
      },
      std::views::iota(0, 3));
}
struct own_domain_error : std::domain_error {
  using std::domain_error::domain_error;
};
void call_that_throws_standard(int) {
  fm::parallel(2).map(
      [](int j) {
        if (j == 1) throw own_domain_error("deep");
      },
      std::views::iota(0, 3));
}

/// Runs Call in a task of another call.
template <void (*Call)(int)> void in_a_call(int) {
  fm::parallel(2).map(Call, std::views::iota(0, 1));
}

/// The exception of a task fail(3) must be an E that passes `check`, in every kind of call.
template <class E, class Fail, class Check> void must_come_through(Fail fail, Check check) {
  auto const catches = [&](auto const& call) {
    try {
      call();
      FAIL("nothing was thrown");
    } catch (E const& e) {
      auto const* const context = dynamic_cast<fm::task_context const*>(&e);
      REQUIRE(context != nullptr);
      check(e, *context);
    }
    REQUIRE_THROWS_AS(call(), fm::task_context);  // not an ambiguous base
    REQUIRE_THROWS_AS(call(), std::runtime_error);
  };
  for (auto const& opts : {fm::options{.n_jobs = 1}, fm::options{.n_jobs = 2}}) {
    catches([&] { fm::parallel(opts).map(fail, std::views::iota(3, 4)); });
    catches([&] {
      for ([[maybe_unused]] auto const& x : fm::parallel(opts).stream(
               std::views::iota(3, 4) | std::views::transform(fm::delayed(fail)))) {
      }
    });
    auto const outcomes = fm::parallel(opts).outcomes(support::tasks_of(1, fail));
    catches([&] { outcomes[0].value(); });
    REQUIRE(outcomes[0].error().reason == fm::failure::threw);
    REQUIRE_FALSE(outcomes[0].error().type_name().empty());
  }
  fm::pool const workers(1);
  catches([&] { workers.map(fail, std::views::iota(3, 4)); });
  catches([&] { workers.submit(fm::delayed(fail)(3)).get(); });
}

}  // namespace

TEST_CASE("own errors: a format_error arrives with its type and path", "[failure]") {
  support::temporary_directory const folder;
  file_of_test = folder.path() / "not_an_array";
  std::ofstream(file_of_test) << "hello";
  auto const check = [&](fm::format_error const& e, fm::task_context const& context) {
    REQUIRE(e.path() == file_of_test);
    REQUIRE_THAT(e.what(), ContainsSubstring("not_an_array"));
    REQUIRE(context.type_name() == "forkmap::format_error");
    REQUIRE(context.index() == 0);
  };
  must_come_through<fm::format_error>(&load_as_double, check);
  must_come_through<fm::format_error>(&in_a_call<load_as_double>, check);
  must_come_through<fm::format_error>(&in_a_call<in_a_call<load_as_double>>, check);
  STATIC_REQUIRE(std::is_nothrow_copy_constructible_v<fm::remote<fm::format_error>>);
}

TEST_CASE("own errors: a dtype_error arrives with its type and path", "[failure]") {
  support::temporary_directory const folder;
  file_of_test = folder.path() / "integers.npy";
  fm::dump(std::vector{1, 2, 3}, file_of_test);
  auto const check = [&](fm::dtype_error const& e, fm::task_context const& context) {
    REQUIRE(e.path() == file_of_test);
    REQUIRE_THAT(e.what(), ContainsSubstring("double"));
    REQUIRE(context.type_name() == "forkmap::dtype_error");
  };
  must_come_through<fm::dtype_error>(&load_as_double, check);
  must_come_through<fm::dtype_error>(&in_a_call<load_as_double>, check);
}

TEST_CASE("own errors: worker_died of a nested call keeps its signal, exit status and backtrace",
          "[failure]") {
  auto const crashed = [](fm::worker_died const& e, fm::task_context const& context) {
    REQUIRE(e.signal() == SIGSEGV);
    REQUIRE(e.exit_status() == -1);
    REQUIRE(e.max_rss() > 0);
    REQUIRE_THAT(e.what(), ContainsSubstring("task 1 killed its worker"));
    REQUIRE(context.type_name() == "forkmap::worker_died");
    REQUIRE_THAT(context.trace(), ContainsSubstring("in task 1 of a nested call") &&
                                      ContainsSubstring("call_that_crashes"));
    REQUIRE(context.index() == 0);  // of the outer call
  };
  must_come_through<fm::worker_died>(&call_that_crashes, crashed);
  must_come_through<fm::worker_died>(&in_a_call<call_that_crashes>, crashed);
  must_come_through<fm::worker_died>(&call_that_exits,
                                     [](fm::worker_died const& e, fm::task_context const&) {
                                       REQUIRE(e.signal() == 0);
                                       REQUIRE(e.exit_status() == 7);
                                     });
}

TEST_CASE("own errors: the index is that of the outer task, and trace() has that of the inner task",
          "[failure]") {
  try {
    fm::parallel(2).map(
        [](int i) {
          if (i == 5) call_that_crashes(i);
        },
        std::views::iota(0, 8));
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    REQUIRE(e.index() == 5);
    REQUIRE_THAT(e.trace(), ContainsSubstring("in task 1 of a nested call"));
  }
}

TEST_CASE("own errors: timeouts, deadlines and stops of a nested call keep their types",
          "[failure]") {
  must_come_through<fm::task_timeout>(
      &call_that_times_out, [](fm::task_timeout const& e, fm::task_context const& context) {
        REQUIRE_THAT(e.what(), ContainsSubstring("longer than its limit of 50 ms"));
        REQUIRE(context.type_name() == "forkmap::task_timeout");
      });
  must_come_through<fm::deadline_exceeded>(
      &call_over_its_deadline, [](fm::deadline_exceeded const&, fm::task_context const& context) {
        REQUIRE(context.type_name() == "forkmap::deadline_exceeded");
      });
  must_come_through<fm::task_cancelled>(
      &call_that_is_stopped, [](fm::task_cancelled const&, fm::task_context const& context) {
        REQUIRE(context.type_name() == "forkmap::task_cancelled");
      });
}

TEST_CASE("own errors: type_name() is the type that the task of a nested call threw", "[failure]") {
  must_come_through<fm::task_error>(&in_a_call<call_that_throws_int>,
                                    [](fm::task_error const& e, fm::task_context const& context) {
                                      REQUIRE(std::string(e.what()) == "threw int");
                                      REQUIRE(context.type_name() == "int");
                                    });
  for (int const n_jobs : {1, 2}) {
    try {
      fm::parallel(n_jobs).map(in_a_call<call_that_throws_standard>, std::views::iota(0, 2));
      FAIL("nothing was thrown");
    } catch (fm::remote<std::domain_error> const& e) {
      REQUIRE(std::string(e.what()) == "deep");
      REQUIRE_THAT(e.type_name(), ContainsSubstring("own_domain_error"));
      REQUIRE_THAT(e.trace(), ContainsSubstring("in task 0 of a nested call") &&
                                  ContainsSubstring("in task 1 of a nested call"));
    }
  }
}

TEST_CASE(
    "own errors: worker_died of a nested call is an exception of its task, which is not retried",
    "[failure]") {
  fm::shared_array<int> runs({1});
  REQUIRE_THROWS_AS(fm::parallel({.n_jobs = 1, .retries = 3})
                        .map(
                            [&](int i) {
                              ++runs[0];
                              call_that_exits(i);
                            },
                            std::views::iota(0, 1)),
                    fm::worker_died);
  REQUIRE(runs[0] == 1);
}

TEST_CASE("failure: trace() has the first of a chain of a thousand nested exceptions",
          "[failure]") {
  for (int const n_jobs : {1, 2}) {
    try {
      fm::parallel(n_jobs).map(
          [](int) {
            std::exception_ptr chain = std::make_exception_ptr(std::runtime_error("innermost"));
            for (int depth = 0; depth != 1000; ++depth) {
              try {
                try {
                  std::rethrow_exception(chain);
                } catch (...) {
                  std::throw_with_nested(std::runtime_error("level " + std::to_string(depth)));
                }
              } catch (...) {
                chain = std::current_exception();
              }
            }
            std::rethrow_exception(chain);
          },
          std::views::iota(0, 2));
      FAIL("nothing was thrown");
    } catch (fm::remote<std::runtime_error> const& e) {
      REQUIRE(std::string(e.what()) == "level 999");
      REQUIRE_THAT(e.trace(), ContainsSubstring("level 998\n") &&
                                  ContainsSubstring("level 940\n") &&
                                  ContainsSubstring("caused by more exceptions, not shown\n"));
      REQUIRE(e.trace().size() < 64 * 100);
    }
  }
}

TEST_CASE("failure: a message of any length and with any content arrives whole", "[failure]") {
  std::string const with_zeros("be\0fore", 7);
  for (int const n_jobs : {1, 2}) {
    auto const outcomes = fm::parallel(n_jobs).outcomes(support::tasks_of(3, [&](int i) {
      if (i == 0) throw with_zeros;
      if (i == 1) throw std::runtime_error(with_zeros + "after");
      throw std::runtime_error(std::string(5'000'000, 'x'));
    }));
    REQUIRE(outcomes[0].error().message == with_zeros);
    REQUIRE(outcomes[1].error().message == "be");  // what() ends at the first zero byte
    REQUIRE(outcomes[2].error().message == std::string(5'000'000, 'x'));
  }
}
