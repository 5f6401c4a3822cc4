// The number of OpenMP threads inside workers: options::inner_threads, else the user's setting,
// else a share of the cores.
// SPDX-License-Identifier: MIT
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;

namespace {

int (*openmp_threads)() = nullptr;
void (*set_openmp_threads)(int) = nullptr;

int threads_of_task(int) { return openmp_threads(); }

/// The value of an environment variable in a shell that the task starts; "unset" if it has none.
std::string variable_of_program(char const* name) {
  auto const command = "printf %s ${" + std::string(name) + ":-unset}";
  auto* const out = ::popen(command.c_str(), "r");
  if (out == nullptr) return "no program";
  std::array<char, 64> text{};
  auto const n = std::fread(text.data(), 1, text.size() - 1, out);
  ::pclose(out);
  return {text.data(), n};
}
std::string omp_variable(int) { return variable_of_program("OMP_NUM_THREADS"); }

/// Runs `steps` in a child that has loaded the library, because the test program itself must not
/// have its threads.
/// Returns: the exit status of the child; 77 if the library is not installed.
template <class Steps> int with_openmp(char const* library, char const* variable, Steps steps) {
  auto const child = ::fork();
  if (child == 0) {
    for (auto const* const name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}) ::unsetenv(name);
    if (variable != nullptr) ::setenv("OMP_NUM_THREADS", variable, 1);
    auto* const handle = ::dlopen(library, RTLD_NOW | RTLD_GLOBAL);
    if (handle == nullptr) ::_exit(77);
    openmp_threads = reinterpret_cast<int (*)()>(::dlsym(handle, "omp_get_max_threads"));
    set_openmp_threads = reinterpret_cast<void (*)(int)>(::dlsym(handle, "omp_set_num_threads"));
    int status = 99;
    try {
      status = steps();
    } catch (std::exception const& e) {
      std::fprintf(stderr, "%s\n", e.what());
    }
    std::fflush(stdout);
    std::exit(status);  // the library removes its name from /dev/shm
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::vector<int> threads_with(fm::options const& opts) {
  return fm::parallel(opts).map(threads_of_task, support::count_to(2));
}

constexpr std::array openmp_libraries{"libgomp.so.1", "libomp.so.5"};

}  // namespace

TEST_CASE("inner threads: the user's OMP_NUM_THREADS wins over the share of the cores",
          "[user_threads]") {
  for (auto const* const library : openmp_libraries) {
    auto const status = with_openmp(library, "4", [] {
      if (threads_with({.n_jobs = 2}) != std::vector(2, 4)) return 1;
      if (threads_with({.n_jobs = 2, .inner_threads = 3}) != std::vector(2, 3)) return 2;
      if (fm::pool(2).map(threads_of_task, support::count_to(2)) != std::vector(2, 4)) return 3;
      fm::pool const asked(fm::options{.n_jobs = 1, .inner_threads = 3});
      if (asked.map(threads_of_task, support::count_to(2)) != std::vector(2, 3)) return 4;
      for (int const n : fm::parallel(2).stream(support::portable_tasks_of(2, threads_of_task))) {
        if (n != 4) return 5;
      }
      if (openmp_threads() != 4) return 6;
      return 42;
    });
    CAPTURE(library);
    REQUIRE((status == 42 || status == 77));
  }
}

TEST_CASE("inner threads: an earlier omp_set_num_threads wins, too, and is kept in the caller",
          "[user_threads]") {
  for (auto const* const library : openmp_libraries) {
    auto const status = with_openmp(library, nullptr, [] {
      auto const share = std::max(1, fm::cpu_count() / 2);
      if (threads_with({.n_jobs = 2}) != std::vector(2, share)) return 1;
      int const users = 2 * fm::cpu_count() + 1;
      set_openmp_threads(users);
      for (int round = 0; round != 2; ++round) {
        if (threads_with({.n_jobs = 2}) != std::vector(2, users)) return 2;
        if (openmp_threads() != users) return 3;
      }
      if (threads_with({.n_jobs = 2, .inner_threads = 3}) != std::vector(2, 3)) return 4;
      if (fm::pool(2).map(threads_of_task, support::count_to(2)) != std::vector(2, users)) return 5;
      // It wins in nested calls as well.
      auto const nested = fm::parallel(2).map([](int) { return threads_with({.n_jobs = 2})[1]; },
                                              support::count_to(2));
      if (nested != std::vector(2, users)) return 6;
      return 42;
    });
    CAPTURE(library);
    REQUIRE((status == 42 || status == 77));
  }
}

TEST_CASE("inner threads: nested calls share the cores or keep inner_threads", "[user_threads]") {
  auto const status = with_openmp("libgomp.so.1", nullptr, [] {
    auto const nested = [](int inner) {
      return fm::parallel({.n_jobs = 2, .inner_threads = inner})
          .map([](int) { return threads_with({.n_jobs = 4})[1]; }, support::count_to(2));
    };
    auto const share = std::max(1, std::max(1, fm::cpu_count() / 2) / 4);
    if (nested(0) != std::vector(2, share)) return 1;
    if (nested(5) != std::vector(2, 5)) return 2;
    return 42;
  });
  REQUIRE((status == 42 || status == 77));
}

TEST_CASE("inner threads: programs that tasks start get only inner_threads in their environment",
          "[user_threads]") {
  auto const omp_before = omp_variable(0);
  for (int const inner : {0, 3}) {
    auto const right = inner == 0 ? omp_before : "3";
    fm::options const opts{.n_jobs = 2, .inner_threads = inner};
    REQUIRE(fm::parallel(opts).map(omp_variable, support::count_to(3)) == std::vector(3, right));
    REQUIRE(fm::pool(opts).map(omp_variable, support::count_to(3)) == std::vector(3, right));
    REQUIRE(omp_variable(0) == omp_before);
  }
  auto const others = fm::parallel({.n_jobs = 1, .isolate = true, .inner_threads = 3})
                          .map([](char const* name) { return variable_of_program(name); },
                               std::array{"OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",
                                          "BLIS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "HOME"});
  REQUIRE(std::vector(others.begin(), others.end() - 1) == std::vector<std::string>(4, "3"));
  REQUIRE(others.back() == variable_of_program("HOME"));
  // The task may still change the environment.
  auto const changed =
      fm::parallel({.n_jobs = 2, .inner_threads = 3})
          .map(
              [](int) {
                ::setenv("OMP_NUM_THREADS", "7", 1);
                ::setenv("FORKMAP_TEST_VARIABLE", "here", 1);
                return omp_variable(0) + variable_of_program("FORKMAP_TEST_VARIABLE");
              },
              support::count_to(2));
  REQUIRE(changed == std::vector<std::string>(2, "7here"));
}

TEST_CASE("inner threads: inner_threads is refused if the call has no workers", "[user_threads]") {
  REQUIRE_THROWS_AS(fm::parallel({.n_jobs = 1, .inner_threads = 2}), std::invalid_argument);
  REQUIRE_NOTHROW(fm::parallel({.n_jobs = 1, .isolate = true, .inner_threads = 2}));
  REQUIRE_NOTHROW(fm::parallel({.n_jobs = 1, .inner_threads = 2, .pin = true}));
  {
    fm::scoped_config const defaults(fm::options{.inner_threads = 2});
    REQUIRE(fm::parallel(1).map([](int i) { return i; }, support::count_to(2)).size() == 2);
  }
  fm::scoped_config const here(fm::options{.n_jobs = 1, .inner_threads = 2});
  REQUIRE_THROWS_AS(fm::parallel(), std::invalid_argument);
}
