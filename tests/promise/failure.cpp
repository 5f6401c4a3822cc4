// Calls with a task that fails: the right exception is thrown, and no worker is left running.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <any>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <typeinfo>
#include <variant>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

constexpr int job_counts[] = {1, 2, 5};

/// An exception that a task throws must arrive as E with the same text. `check` gets it for further
/// checks.
template <class E, class Throw, class Check>
void must_arrive(Throw throw_it, std::string const& text, Check check) {
  for (int const n_jobs : job_counts) {
    try {
      fm::parallel(n_jobs)(support::tasks_of(9, [=](int i) {
        if (i == 4) throw_it();
        return i;
      }));
      FAIL("nothing was thrown");
    } catch (E const& e) {
      INFO(typeid(e).name());
      REQUIRE(std::string(e.what()) == text);
      auto const& context = dynamic_cast<fm::task_context const&>(e);
      REQUIRE(context.index() == 4);
      REQUIRE(context.attempt() == 0);
      REQUIRE((context.worker_pid() == ::getpid()) == (n_jobs == 1));
      check(e, context);
    }
  }
}
template <class E> void must_arrive(E const& thrown) {
  must_arrive<E>([=] { throw thrown; }, thrown.what(), [](E const&, auto const&) {});
}

struct own_error : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct error_of_two_kinds : std::out_of_range, std::system_error {
  explicit error_of_two_kinds(std::error_code code)
      : std::out_of_range("far"), std::system_error(code, "both") {}
};
struct own_category : std::error_category {
  char const* name() const noexcept override { return "own"; }
  std::string message(int code) const override { return "own " + std::to_string(code); }
};
std::error_category const& category_made_in_worker() {
  static own_category const category;
  return category;
}
own_category const global_category;

}  // namespace

TEST_CASE("failure: every standard exception arrives with its type", "[failure]") {
  must_arrive(std::logic_error("a"));
  must_arrive(std::invalid_argument("b"));
  must_arrive(std::domain_error("c"));
  must_arrive(std::length_error("d"));
  must_arrive(std::out_of_range("e"));
  must_arrive(std::runtime_error("f"));
  must_arrive(std::range_error("g"));
  must_arrive(std::overflow_error("h"));
  must_arrive(std::underflow_error("i"));
  must_arrive(std::bad_alloc());
  must_arrive(std::bad_array_new_length());
  must_arrive(std::bad_cast());
  must_arrive(std::bad_typeid());
  must_arrive(std::bad_any_cast());
  must_arrive(std::bad_optional_access());
  must_arrive(std::bad_variant_access());
  must_arrive(std::bad_weak_ptr());
  must_arrive(std::bad_function_call());
  must_arrive(std::bad_exception());
  must_arrive(std::exception());
  must_arrive(std::ios_base::failure("j"));
}

TEST_CASE("failure: system_error keeps its code, filesystem_error its paths", "[failure]") {
  auto const code = std::make_error_code(std::errc::no_space_on_device);
  must_arrive<std::system_error>([=] { throw std::system_error(code, "k"); },
                                 std::system_error(code, "k").what(),
                                 [&](auto const& e, auto const&) { REQUIRE(e.code() == code); });
  std::filesystem::filesystem_error const fs("l", "/one", "/two", code);
  must_arrive<std::filesystem::filesystem_error>([=] { throw fs; }, fs.what(),
                                                 [&](auto const& e, auto const&) {
                                                   REQUIRE(e.path1() == "/one");
                                                   REQUIRE(e.path2() == "/two");
                                                   REQUIRE(e.code() == code);
                                                 });
  must_arrive<std::system_error>(
      [] { throw std::system_error(std::error_code(7, global_category)); }, "own 7",
      [](auto const& e, auto const&) { REQUIRE(e.code() == std::error_code(7, global_category)); });
  must_arrive<std::system_error>(
      [] { throw std::system_error(std::error_code(8, category_made_in_worker())); }, "own 8",
      [](auto const& e, auto const&) { REQUIRE(e.code().value() == 8); });
}

TEST_CASE("failure: a derived class arrives as its nearest standard base", "[failure]") {
  must_arrive<std::invalid_argument>(
      [] { throw own_error("bad input"); }, "bad input",
      [](auto const&, auto const& context) {
        REQUIRE(context.type_name().find("own_error") != std::string::npos);
      });
}

TEST_CASE("failure: with several standard bases an exception arrives as one of them", "[failure]") {
  auto const code = std::make_error_code(std::errc::no_space_on_device);
  must_arrive<std::system_error>(
      [=] { throw error_of_two_kinds(code); }, std::system_error(code, "both").what(),
      [&](auto const& e, auto const& context) {
        REQUIRE(e.code() == code);
        REQUIRE(context.type_name().find("error_of_two_kinds") != std::string::npos);
      });
}

TEST_CASE("failure: an exception without a standard base arrives as task_error", "[failure]") {
  must_arrive<fm::task_error>(
      [] { throw 42; }, "threw int",
      [](auto const&, auto const& context) { REQUIRE(context.type_name() == "int"); });
  must_arrive<fm::task_error>([] { throw "text"; }, "text", [](auto const&, auto const&) {});
  must_arrive<fm::task_error>([] { throw std::string("str"); }, "str",
                              [](auto const&, auto const&) {});
}

TEST_CASE("failure: nested exceptions are in trace()", "[failure]") {
  must_arrive<std::runtime_error>(
      [] {
        try {
          throw std::out_of_range("inner");
        } catch (...) {
          std::throw_with_nested(std::runtime_error("outer"));
        }
      },
      "outer",
      [](auto const&, auto const& context) {
        REQUIRE(context.trace() == "caused by std::out_of_range: inner\n");
      });
}

TEST_CASE("failure: a nested map's exception keeps its type", "[failure]") {
  must_arrive<std::domain_error>(
      [] {
        fm::parallel(2).map([](int) { throw std::domain_error("deep"); }, support::count_to(2));
      },
      "deep", [](auto const&, auto const&) {});
}

TEST_CASE("failure: of several failures the one with the lowest index is thrown", "[failure]") {
  for (int const n_jobs : job_counts) {
    auto const fails = [](int i) -> int { throw std::out_of_range(std::to_string(i)); };
    try {
      fm::parallel({.n_jobs = n_jobs, .batch_size = 1})(support::tasks_of(5, fails));
      FAIL("nothing was thrown");
    } catch (std::out_of_range const& e) {
      auto const index = dynamic_cast<fm::task_context const&>(e).index();
      REQUIRE(e.what() == std::to_string(index));
      REQUIRE(index < static_cast<std::size_t>(n_jobs));
    }
  }
}

TEST_CASE("failure: the other tasks are cancelled and no worker outlives the call", "[failure]") {
  auto const begin = std::chrono::steady_clock::now();
  REQUIRE_THROWS_AS(fm::parallel(4)(support::tasks_of(4,
                                                      [](int i) {
                                                        if (i == 2)
                                                          throw std::runtime_error("first");
                                                        std::this_thread::sleep_for(1h);
                                                      })),
                    std::runtime_error);
  REQUIRE(std::chrono::steady_clock::now() - begin < 60s);
  REQUIRE(support::child_processes().empty());
}

TEST_CASE("failure: copying a caught exception does not throw", "[failure]") {
  STATIC_REQUIRE(std::is_nothrow_copy_constructible_v<fm::remote<std::runtime_error>>);
  STATIC_REQUIRE(
      std::is_nothrow_copy_constructible_v<fm::remote<std::filesystem::filesystem_error>>);
  STATIC_REQUIRE(std::is_nothrow_copy_constructible_v<fm::worker_died>);
  STATIC_REQUIRE(std::is_nothrow_copy_constructible_v<fm::task_error>);
  STATIC_REQUIRE(!std::is_base_of_v<std::exception, fm::task_context>);
}

TEST_CASE("failure: outcomes has the results of tasks that succeeded and the failures of others",
          "[failure]") {
  for (int const n_jobs : job_counts) {
    auto const outcomes = fm::parallel(n_jobs).outcomes(support::tasks_of(100, [](int i) {
      if (i % 7 == 3) throw std::invalid_argument("odd " + std::to_string(i));
      return std::to_string(i);
    }));
    REQUIRE(outcomes.size() == 100);
    for (std::size_t i = 0; i != 100; ++i) {
      REQUIRE(outcomes[i].has_value() == (i % 7 != 3));
      if (outcomes[i]) {
        REQUIRE(*outcomes[i] == std::to_string(i));
        REQUIRE(outcomes[i].value().size() == outcomes[i]->size());
      } else {
        REQUIRE(outcomes[i].error().reason == fm::failure::threw);
        REQUIRE(outcomes[i].error().index() == i);
        REQUIRE(outcomes[i].error().message == "odd " + std::to_string(i));
        REQUIRE_THROWS_AS(outcomes[i].value(), std::invalid_argument);
        REQUIRE(outcomes[i].value_or("-") == "-");
      }
    }
    auto const nothing = fm::parallel(n_jobs).outcomes(support::tasks_of(3, [](int i) {
      if (i == 1) throw 1;
    }));
    REQUIRE(nothing[0].has_value());
    nothing[0].value();
    REQUIRE_THROWS_AS(nothing[1].value(), fm::task_error);
  }
}

TEST_CASE("failure: reduce throws the exception of a task", "[failure]") {
  for (int const n_jobs : job_counts) {
    try {
      fm::parallel(n_jobs).reduce(support::tasks_of(5000,
                                                    [](int i) {
                                                      if (i == 2345) throw std::range_error("r");
                                                      return i;
                                                    }),
                                  0, std::plus<>{});
      FAIL("nothing was thrown");
    } catch (std::range_error const& e) {
      REQUIRE(dynamic_cast<fm::task_context const&>(e).index() == 2345);
    }
  }
}

namespace {
/// Counts its objects in this process.
class counted {
 public:
  static inline int alive = 0;
  counted() { ++alive; }
  counted(counted&&) noexcept { ++alive; }
  counted& operator=(counted&&) noexcept = default;
  ~counted() { --alive; }
};
}  // namespace

template <> struct forkmap::serializer<counted> {
  static void save(writer&, counted const&) {}
  static counted load(reader&) { return {}; }
};

TEST_CASE("failure: results of tasks before the failed one are destroyed", "[failure]") {
  for (int const n_jobs : job_counts) {
    auto const tasks = support::tasks_of(9, [](int i) {
      if (i == 6) throw std::runtime_error("x");
      return counted();
    });
    REQUIRE_THROWS_AS(fm::parallel(n_jobs)(tasks), std::runtime_error);
    REQUIRE(counted::alive == 0);
    REQUIRE(fm::parallel(n_jobs).outcomes(tasks).size() == 9);
    REQUIRE(counted::alive == 0);
    REQUIRE_THROWS_AS(fm::parallel(n_jobs)([] { return counted(); },
                                           []() -> int { throw std::runtime_error("x"); }),
                      std::runtime_error);
    REQUIRE(counted::alive == 0);
  }
}

TEST_CASE("failure: a call after a failed one works", "[failure]") {
  for (int round = 0; round != 50; ++round) {
    REQUIRE_THROWS(fm::parallel(2)(support::tasks_of(3, [](int i) -> int { throw i; })));
    REQUIRE(fm::parallel(2)(support::tasks_of(3, [](int i) { return i; })) ==
            std::vector<int>{0, 1, 2});
  }
}

TEST_CASE("crash: worker_died names the task that the worker was running", "[failure]") {
  auto const die_at = [](int index, auto die) {
    return support::tasks_of(20, [=](int i) {
      if (i == index) die();
      return i;
    });
  };
  try {
    fm::parallel(2)(die_at(7, [] { ::kill(::getpid(), SIGKILL); }));
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    REQUIRE(e.index() == 7);
    REQUIRE(e.signal() == SIGKILL);
    REQUIRE(e.exit_status() == -1);
    REQUIRE(std::string(e.what()) ==
            "task 7 killed its worker (pid " + std::to_string(e.worker_pid()) + "): SIGKILL");
  }
  try {
    fm::parallel(2)(die_at(7, [] { std::exit(3); }));
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    REQUIRE(e.index() == 7);
    REQUIRE(e.signal() == 0);
    REQUIRE(e.exit_status() == 3);
  }
  REQUIRE_THROWS_AS(fm::parallel(2)(die_at(0, [] { ::_exit(0); })), fm::worker_died);
  REQUIRE_THROWS_AS(fm::parallel(2)(die_at(19, [] { std::abort(); })), fm::worker_died);
}

TEST_CASE("crash: outcomes has the results of all other tasks", "[failure]") {
  for (int const n : {20, 3000}) {
    for (std::size_t const batch_size : {0U, 1U, 7U}) {
      fm::shared_array<int> runs({static_cast<std::size_t>(n)});
      auto const outcomes = fm::parallel({.n_jobs = 3, .batch_size = batch_size})
                                .outcomes(support::tasks_of(n, [&](int i) {
                                  ++runs[static_cast<std::size_t>(i)];
                                  if (i % 97 == 5) ::kill(::getpid(), SIGKILL);
                                  return std::to_string(i);
                                }));
      REQUIRE(outcomes.size() == static_cast<std::size_t>(n));
      for (std::size_t i = 0; i != outcomes.size(); ++i) {
        REQUIRE(runs[i] == 1);
        REQUIRE(outcomes[i].has_value() == (i % 97 != 5));
        if (outcomes[i])
          REQUIRE(*outcomes[i] == std::to_string(i));
        else
          REQUIRE(outcomes[i].error().reason == fm::failure::died);
      }
    }
  }
}

TEST_CASE("crash: a worker that exits before its first task ends the call without a task's index",
          "[failure]") {
  fm::options opts{.n_jobs = 2};
  opts.worker_init = [](int) { std::exit(4); };
  try {
    fm::parallel(opts).outcomes(support::tasks_of(4, [](int i) { return i; }));
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    REQUIRE(e.index() == static_cast<std::size_t>(-1));
    REQUIRE(e.exit_status() == 4);
  }
}

TEST_CASE("crash: a replacement that cannot start ends the call without a task's index",
          "[failure]") {
  fm::shared_array<int> starts({1});
  fm::options opts{.n_jobs = 1, .batch_size = 6, .isolate = true};
  opts.worker_init = [&](int) {
    if (++starts[0] > 1) ::kill(::getpid(), SIGKILL);
  };
  try {
    fm::parallel(opts).outcomes(support::tasks_of(6, [](int i) {
      if (i == 0) ::kill(::getpid(), SIGKILL);
      return i;
    }));
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    REQUIRE(e.index() == static_cast<std::size_t>(-1));
  }
}

TEST_CASE("crash: a single worker that crashes before its first task is replaced", "[failure]") {
  fm::shared_array<int> starts({1});
  fm::options opts{.n_jobs = 2};
  opts.worker_init = [&](int) {
    if (++std::atomic_ref(starts[0]) == 1) ::kill(::getpid(), SIGKILL);
  };
  auto const outcomes = fm::parallel(opts).outcomes(support::tasks_of(50, [](int i) { return i; }));
  for (int i = 0; i != 50; ++i) REQUIRE(*outcomes[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("crash: worker_died::max_rss is the peak memory of the worker", "[failure]") {
  try {
    fm::parallel(2)(support::tasks_of(2, [](int i) {
      std::vector<char> const big(std::size_t{50} << 20U, 'x');
      if (i == 0 && big.back() == 'x') ::kill(::getpid(), SIGKILL);
    }));
    FAIL("nothing was thrown");
  } catch (fm::worker_died const& e) {
    REQUIRE(e.max_rss() >= std::size_t{50} << 20U);
  }
}

TEST_CASE("failure: a thread of the caller that waits for input delays no call", "[failure]") {
  int pipe_ends[2];
  REQUIRE(::pipe(pipe_ends) == 0);
  int const saved = ::dup(STDIN_FILENO);
  ::dup2(pipe_ends[0], STDIN_FILENO);
  std::atomic<bool> reading{false};
  bool has_read = false;
  std::thread reader([&] {
    char line[8];
    reading = true;
    has_read = std::fgets(line, sizeof line, stdin) != nullptr;
  });
  while (!reading || ::ftrylockfile(stdin) == 0) {  // until the reader holds the lock of stdin
    if (reading) ::funlockfile(stdin);
    std::this_thread::yield();
  }
  CHECK(fm::parallel(2)(support::tasks_of(10, [](int i) { return i; })).size() == 10);
  CHECK(::write(pipe_ends[1], "go\n", 3) == 3);
  reader.join();
  CHECK(has_read);
  ::dup2(saved, STDIN_FILENO);
  for (int const fd : {saved, pipe_ends[0], pipe_ends[1]}) ::close(fd);
}

TEST_CASE("failure: calls work if the program ignores SIGCHLD or reaps all children", "[failure]") {
  auto const results = [] {
    return fm::parallel(2)(support::tasks_of(50, [](int i) { return i; })).size();
  };
  auto const death = [] {
    try {
      fm::parallel(2)(support::tasks_of(5, [](int i) {
        if (i == 2) ::raise(SIGKILL);
      }));
    } catch (fm::worker_died const& e) {
      return e.index();
    }
    return std::size_t{99};
  };
  for (auto const handler : {SIG_IGN, +[](int) {
                               int const saved = errno;
                               while (::waitpid(-1, nullptr, WNOHANG) > 0) {
                               }
                               errno = saved;
                             }}) {
    struct sigaction act{}, before{};
    act.sa_handler = handler;
    ::sigaction(SIGCHLD, &act, &before);
    for (int round = 0; round != 20; ++round) {
      CHECK(results() == 50);
      CHECK(death() == 2);
    }
    ::sigaction(SIGCHLD, &before, nullptr);
  }
}

namespace {
[[gnu::noinline]] int store_at(int volatile* place, int i) {
  *place = i;
  return i;
}
int crash_at_one(int i) {
  int volatile here = 0;
  return store_at(i == 1 ? nullptr : &here, i) + 1;
}
}  // namespace

TEST_CASE("failure: the trace of a crash has the task's functions and none of forkmap",
          "[failure]") {
  if (support::address_sanitizer || support::thread_sanitizer) return;  // they intercept the signal
  auto const check = [](fm::outcome<int> const& outcome) {
    REQUIRE_FALSE(outcome);
    auto const& trace = outcome.error().trace();
    for (auto const* const name : {"store_at", "crash_at_one"})
      CHECK(trace.find(name) != std::string::npos);
    CHECK(trace.find("forkmap::") == std::string::npos);
  };
  check(fm::parallel(2).outcomes(crash_at_one, std::views::iota(0, 2))[1]);
  check(fm::pool(2).outcomes(crash_at_one, std::views::iota(0, 2))[1]);
  check(fm::parallel(2).outcomes(std::vector(2, fm::delayed(crash_at_one)(1)))[0]);
}
