// Thread limits of libraries that have threads of their own, and the environment variables for them.
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <iterator>

#include <forkmap/detail/os/program_functions.hpp>

namespace forkmap::detail {

// The environment variables that libraries with threads of their own read: those that the user has set,
// and an environment for workers with other values.

/// Whether the user has set one of these variables.
inline bool is_any_set(std::initializer_list<char const*> names) noexcept {
  for (auto const* const name : names) {
    auto const* const value = std::getenv(name);
    if (value != nullptr && *value != '\0') return true;
  }
  return false;
}

/// The program's environment with the variables in `names` set to a number of threads. Created in the
/// caller: setenv() takes a lock that another thread may hold at a fork. A worker's own setenv() copies
/// the environment.
class thread_environment {
 public:
  /// Leaves the program's environment as it is.
  thread_environment() = default;
  explicit thread_environment(int threads) {
    std::size_t n = 0;
    while (::environ != nullptr && ::environ[n] != nullptr) ++n;
    all_ = new char*[n + std::size(names) + 1];
    auto** next = all_;
    for (std::size_t i = 0; i != n; ++i) {
      if (!is_named(::environ[i])) *next++ = ::environ[i];
    }
    auto* text = texts_;
    for (auto const* const name : names) {
      *next++ = text;
      text += 1 + std::snprintf(text, longest, "%s=%d", name, threads);
    }
    *next = nullptr;
  }
  ~thread_environment() { delete[] all_; }
  thread_environment(thread_environment const&) = delete;
  thread_environment& operator=(thread_environment const&) = delete;

  /// Called in a worker: sets the environment for programs that it starts and libraries that it loads.
  void apply() const noexcept {
    if (all_ != nullptr) ::environ = all_;
  }

 private:
  /// The variables that joblib sets.
  static constexpr char const* names[] = {
      "OMP_NUM_THREADS",        "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS",    "BLIS_NUM_THREADS",
      "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS",    "NUMEXPR_NUM_THREADS"};

  static bool is_named(char const* variable) noexcept {
    for (auto const* const name : names) {
      auto const n = std::strlen(name);
      if (std::strncmp(variable, name, n) == 0 && variable[n] == '=') return true;
    }
    return false;
  }

  static constexpr std::size_t longest = 40;  // a name of 22 characters, '=', a number, '\0'
  char texts_[sizeof names / sizeof *names * longest] = {};
  char** all_ = nullptr;
};

// Libraries that have threads of their own: OpenMP, OpenBLAS, MKL, BLIS. Found if the program has them;
// none is required.

/// The number of threads of such libraries in a worker: options::inner_threads if set; else the number
/// that the user has set by the libraries' environment variables or by omp_set_num_threads(); else the
/// worker's share of the cores. Determined in the caller, where that costs some microseconds if the
/// program has such a library; applied in a worker.
class thread_limits {
 public:
  /// `asked`: options::inner_threads. `given`: what apply() has returned in this process.
  thread_limits(int asked, int share, int given) : asked_(asked), share_(share) {
    if (asked > 0) environment_ = new thread_environment(asked);
    auto const free = [&](std::initializer_list<char const*> variables) {
      return asked > 0 ? asked : is_any_set(variables) ? 0 : share;
    };
    auto* const openmp = function_of_program<void(int)>("omp_set_num_threads");
    int const users = openmp != nullptr ? openmp_of_user(given) : 0;
    if (add("openblas_set_num_threads")) {
      auto* const kind = function_of_program<int()>("openblas_get_parallel");
      constexpr int by_openmp = 2;
      bool const shared = users != 0 && kind != nullptr && kind() == by_openmp;
      number(shared ? 0 : free({"OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"}));
    }
    // MKL's and BLIS's functions with other spellings are for Fortran, or take another type.
    if (add("MKL_Set_Num_Threads"))
      number(users != 0 ? 0 : free({"MKL_NUM_THREADS", "OMP_NUM_THREADS"}));
    if (add("flexiblas_set_num_threads"))
      number(free({"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS",
                   "BLIS_NUM_THREADS"}));
    set_blis_ = function_of_program<void(std::intptr_t)>("bli_thread_set_num_threads");
    if (set_blis_ != nullptr) blis_ = free({"BLIS_NUM_THREADS", "OMP_NUM_THREADS"});
    // OpenMP is last: the other libraries may use it and set it. LLVM's OpenMP loses its setting at a
    // fork.
    set_[n_] = openmp;
    if (openmp != nullptr) number(users != 0 ? users : free({}));
    automatic_ = asked <= 0 && users == 0;
    leaves_file_ =
        openmp != nullptr && function_of_program<void(int)>("kmp_set_blocktime") != nullptr;
  }
  thread_limits(thread_limits const&) = delete;
  thread_limits& operator=(thread_limits const&) = delete;
  ~thread_limits() { delete environment_; }

  /// Called in a worker: sets the numbers of threads. The environment variables come too late for
  /// libraries that are already loaded, but not for programs that are started.
  /// Returns: how many threads OpenMP was given, if that was the worker's share; else 0.
  int apply() const noexcept {
    if (environment_ != nullptr) environment_->apply();
    for (int i = 0; i != n_; ++i) {
      if (numbers_[i] > 0) set_[i](numbers_[i]);
    }
    if (set_blis_ != nullptr && blis_ > 0) set_blis_(blis_);
    forget(::getpid());
    return automatic_ ? share_ : 0;
  }

  /// Removes a file of LLVM's OpenMP, which creates one for each process that has it, also at a fork,
  /// and removes it only at exit(); forkmap's processes do not end that way. Called in the worker, and
  /// by its parent for a worker that was killed before.
  void forget(pid_t process) const noexcept {
    if (!leaves_file_) return;
    char name[64];
    std::snprintf(name, sizeof name, "/dev/shm/__KMP_REGISTERED_LIB_%d_%d",
                  static_cast<int>(process), static_cast<int>(::getuid()));
    ::unlink(name);
  }

 private:
  /// The number of OpenMP threads that the user has set; 0: none.
  int openmp_of_user(int given) const noexcept {
    if (asked_ > 0) return 0;
    auto* const most = function_of_program<int()>("omp_get_max_threads");
    auto* const cores = function_of_program<int()>("omp_get_num_procs");
    if (most == nullptr || cores == nullptr) return 0;
    auto const n = most();
    if (is_any_set({"OMP_NUM_THREADS"})) return n;
    bool const is_default = n == cores() || n == given || n == ::sysconf(_SC_NPROCESSORS_ONLN);
    return is_default ? 0 : n;
  }

  bool add(char const* name) noexcept {
    set_[n_] = function_of_program<void(int)>(name);
    return set_[n_] != nullptr;
  }
  void number(int threads) noexcept { numbers_[n_++] = threads; }

  static constexpr int n_libraries = 4;

  int asked_, share_;
  bool automatic_ = false;
  bool leaves_file_ = false;
  int n_ = 0;
  void (*set_[n_libraries])(int) = {};
  int numbers_[n_libraries] = {};  // 0: unchanged
  void (*set_blis_)(std::intptr_t) = nullptr;
  int blis_ = 0;
  thread_environment* environment_ = nullptr;  // null: the program's own
};

/// Ends GNU OpenMP's threads, before the caller forks: they do not survive a fork, and the child's first
/// parallel region would wait for them. They are created again when they are next needed. LLVM's and
/// Intel's OpenMP handles a fork by itself, and would forget the user's settings here.
/// Returns: false if that was refused, because this thread is inside a parallel region.
/// Source: OpenMP 5.0, omp_pause_resource_all; omp_pause_hard is 2.
inline bool pause_openmp() noexcept {
  auto* const pause = function_of_program<int(int)>("omp_pause_resource_all");
  if (pause == nullptr) return true;
  if (auto* const other = function_of_program<void(int)>("kmp_set_blocktime"); other != nullptr) {
    Dl_info llvm_library{};
    Dl_info library{};
    if (::dladdr(reinterpret_cast<void*>(pause), &library) != 0 &&
        ::dladdr(reinterpret_cast<void*>(other), &llvm_library) != 0 &&
        llvm_library.dli_fbase == library.dli_fbase)
      return true;
  }
  constexpr int omp_pause_hard = 2;
  return pause(omp_pause_hard) == 0;
}

/// Whether this thread uses CUDA, whose contexts do not work in a child.
inline bool uses_cuda() noexcept {
  auto* const current = function_of_program<int(void**)>("cuCtxGetCurrent");
  void* context = nullptr;
  return current != nullptr && current(&context) == 0 && context != nullptr;
}

}  // namespace forkmap::detail
