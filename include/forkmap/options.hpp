// How a map runs: its options, and their defaults for a scope.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <utility>

#include <forkmap/time_limit.hpp>

#ifndef __cpp_lib_jthread
#error "forkmap needs std::stop_token: libc++ before version 20 has it with -fexperimental-library"
#endif

namespace forkmap {

/// What can be said about a call. An aggregate: `parallel({.n_jobs = 4, .timeout = 1.5s})`.
///
/// Errors: std::invalid_argument, from parallel(), for what cannot be meant: n_jobs 0, a timeout
///   that is not positive, negative counts.
struct options {
  /// k > 0: k workers. -1: one for every usable core; -2: all cores but one; ... 1 runs in the
  /// caller's own process, unless `isolate` is set or an option says that it implies it.
  int n_jobs = -1;
  /// The longest that one task may run. Its worker is then killed, with the processes that it has
  /// started, and replaced; the task's failure is a task_timeout. Implies isolate.
  time_limit timeout{};
  /// Further attempts for a task that died or timed out (never for one that threw). Implies
  /// isolate.
  int retries = 0;
  /// Tasks that a worker takes at a time. 0: automatic, one for long tasks and more for short ones;
  /// of more than 65536 never one alone.
  std::size_t batch_size = 0;
  /// Fork even for n_jobs == 1.
  bool isolate = false;
  /// Replaces a worker after that many tasks: for libraries that leak. 0: never. Implies isolate.
  int max_tasks_per_worker = 0;
  /// Bytes of address space that a worker may add to what it was born with; then allocations fail
  /// (std::bad_alloc). 0: no limit but the system's. Implies isolate.
  std::size_t memory_limit = 0;
  /// Of a pool's calls: larger blocks of bytes (a span, a std::cref of a container, a string_view)
  /// are sent once per call, however many tasks name them.
  std::size_t max_nbytes = std::size_t{1} << 20U;
  /// Threads that OpenMP, OpenBLAS, MKL and BLIS may use inside a worker, where they are there. 0:
  /// the worker's share of the cores.
  int inner_threads = 0;
  /// Pins worker k to the k-th usable core. Implies isolate.
  bool pin = false;
  /// Base of this_task::rng().
  std::uint64_t seed = 0;
  /// Of stream and unordered: tasks that are dispatched and not yet consumed. 0: automatic, up to
  /// 64, or two for each worker if that is more; a result that is there does not wait for more than
  /// the latter.
  std::size_t pre_dispatch = 0;
  /// The longest that the call may take. outcomes() keeps what is done by then; other calls throw
  /// deadline_exceeded. Implies isolate.
  time_limit deadline{};
  /// Cancels the call from outside: it throws task_cancelled. request_stop() may be called from a
  /// signal handler: it is looked at after each interruption and at least every 50 ms.
  std::stop_token stop{};
  /// A journal of the call's results: killed half-way and run again, only what is missing runs. It
  /// knows its call by the number of tasks, the type of the results and the seed; that of another
  /// is refused with std::invalid_argument. It is kept after success. Implies isolate.
  std::filesystem::path resume{};
  /// Run in each worker before its first and after its last task. Imply isolate. What they throw
  /// leaves the call as if a task had thrown it, with index() == std::size_t(-1).
  std::function<void(int worker)> worker_init{}, worker_exit{};
};

namespace detail {
inline thread_local constinit options const* scoped_options = nullptr;
}  // namespace detail

/// Default options for this thread: parallel() and parallel(n_jobs) start from them until the end
/// of the scope. Scopes nest; the inner one counts alone, it is not merged with the outer one.
/// Forking: workers inherit the scope that was active at the fork.
/// Source: joblib.parallel_config.
class scoped_config {
 public:
  explicit scoped_config(options defaults)
      : defaults_(std::move(defaults)), outer_(detail::scoped_options) {
    detail::scoped_options = &defaults_;
  }
  scoped_config(scoped_config const&) = delete;
  scoped_config& operator=(scoped_config const&) = delete;
  ~scoped_config() { detail::scoped_options = outer_; }

 private:
  options defaults_;
  options const* outer_;
};

namespace detail {

/// This thread's defaults.
inline options current_options() { return scoped_options != nullptr ? *scoped_options : options{}; }

}  // namespace detail
}  // namespace forkmap
