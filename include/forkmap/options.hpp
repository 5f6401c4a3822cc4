// Options of a call, and their defaults for a scope.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

#include <forkmap/message_handler.hpp>
#include <forkmap/output.hpp>

#ifndef __cpp_lib_jthread
#error "forkmap needs std::stop_token: libc++ before version 20 has it with -fexperimental-library"
#endif

namespace forkmap {

/// A limit on run time; by default there is no limit. Converts from every chrono duration.
///
/// Units: nanoseconds. A duration too long for them (292 years) means no limit.
/// Errors: std::invalid_argument if the duration is NaN.
/// Example: `parallel({.timeout = 1.5s})`
class time_limit {
 public:
  constexpr time_limit() = default;
  template <class Rep, class Period>
  constexpr time_limit(std::chrono::duration<Rep, Period> limit) : nanoseconds_(count(limit)) {}

  /// Whether there is a limit.
  constexpr bool is_set() const noexcept { return nanoseconds_ != none; }
  /// The limit. Precondition: is_set().
  constexpr std::chrono::nanoseconds value() const noexcept {
    return std::chrono::nanoseconds(nanoseconds_);
  }

 private:
  static constexpr std::int64_t none = INT64_MAX;

  template <class Rep, class Period>
  static constexpr std::int64_t count(std::chrono::duration<Rep, Period> limit) {
    auto const seconds = std::chrono::duration<double>(limit).count();
    if (seconds != seconds) throw std::invalid_argument("forkmap: a time limit must not be NaN");
    constexpr double longest = 9.2e9;
    if (seconds > longest) return none;
    if (seconds < -longest) return -(none - 1);
    if constexpr (std::is_floating_point_v<Rep>) {
      return static_cast<std::int64_t>(seconds * 1e9);
    } else {
      return std::chrono::duration_cast<std::chrono::nanoseconds>(limit).count();
    }
  }

  std::int64_t nanoseconds_ = none;
};

namespace detail {

/// The time as text: "1.5 s", "20 ms".
inline std::string text_of(std::chrono::nanoseconds time) {
  auto const count = time.count();
  bool const small = count < 1'000'000'000;
  // Thousandths of the unit, rounded down, without trailing zeros.
  auto const thousandths = small ? count / 1'000 : count / 1'000'000;
  auto text = std::to_string(thousandths / 1000);
  if (auto const rest = thousandths % 1000; rest > 0) {
    auto digits = std::to_string(1000 + rest).substr(1);
    digits.resize(digits.find_last_not_of('0') + 1);
    text += '.' + digits;
  }
  return text + (small ? " ms" : " s");
}

}  // namespace detail

/// Options of a call or a pool. An aggregate: name the members that differ from their defaults, in
/// the order of declaration.
///
/// "Implies isolate" below means that workers are forked even for n_jobs = 1.
/// Errors: parallel() and pool throw std::invalid_argument for n_jobs = 0, a timeout that is not
///   positive, and negative counts.
/// Example: `parallel({.n_jobs = 4, .timeout = 1.5s})`
struct options {
  /// The number of workers. k > 0: k workers. -1: one per usable core. -2: all cores but one, and
  /// so on. With 1, parallel runs the tasks in the caller's process, unless isolate is set or
  /// implied; a pool always forks.
  int n_jobs = -1;
  /// The maximum run time of one task. The worker of a task that exceeds it is killed, with the
  /// processes that the task started, and replaced. The task fails with task_timeout. Implies
  /// isolate.
  time_limit timeout{};
  /// Further attempts for a task whose worker died or that timed out. A task that threw is never
  /// retried. Implies isolate.
  int retries = 0;
  /// The number of tasks that a worker claims at a time. 0: automatic. 1 for long tasks, more for
  /// short ones, always more than 1 above 65,536 tasks.
  std::size_t batch_size = 0;
  /// Fork a worker even for n_jobs = 1.
  bool isolate = false;
  /// Replace a worker after this many tasks, for libraries that leak. 0: never. Implies isolate.
  int max_tasks_per_worker = 0;
  /// Bytes of address space that a worker may add to what it has at the fork. Further allocations
  /// fail (std::bad_alloc). 0: only the system's limits. Implies isolate.
  std::size_t memory_limit = 0;
  /// For calls of a pool: an argument with more bytes than this (a span, a std::cref of a
  /// container, a string_view) is sent once per call, whatever the number of tasks that use it.
  std::size_t max_nbytes = std::size_t{1} << 20U;
  /// The number of threads that OpenMP, OpenBLAS, MKL and BLIS may use in a worker, if the program
  /// uses them, and in programs that tasks start (by OMP_NUM_THREADS and the corresponding
  /// variables). 0: the number that the user set by these variables or by omp_set_num_threads, else
  /// the worker's share of the cores. OpenMP's own default does not count as set by the user.
  /// std::invalid_argument if n_jobs = 1 runs in the caller's process.
  int inner_threads = 0;
  /// Pin worker k to the k-th usable core. Implies isolate.
  bool pin = false;
  /// The seed of this_task::rng().
  std::uint64_t seed = 0;
  /// For stream and unordered: the maximum number of tasks that are dispatched and whose results
  /// are not yet consumed. 0: automatic, 64 or two per worker, whichever is more. A result that is
  /// ready is delivered as soon as two tasks per worker are dispatched.
  std::size_t pre_dispatch = 0;
  /// The maximum run time of the whole call. outcomes() then returns the results that exist; other
  /// calls throw deadline_exceeded. Implies isolate.
  time_limit deadline{};
  /// Cancels the call from outside; the call throws task_cancelled. request_stop() may be called
  /// from a signal handler. The token is checked after each interrupted wait and at least every 50
  /// ms.
  std::stop_token stop{};
  /// The path of a journal of the call's results. If the program is killed and run again, the call
  /// takes the results from the journal and runs only the other tasks. The journal is kept after
  /// success. Implies isolate.
  ///
  /// A journal belongs to one call. The call is identified by the number of tasks, the result type,
  /// the seed, the program (its build id, or its file if it has no build id) and the inputs: the
  /// elements of map(fn, xs) and the arguments of delayed tasks, as far as forkmap can see their
  /// values. Spans and references to const among them count by their elements. These do not count:
  /// captures of lambdas, pointers, private members of classes, an aggregate, pair or tuple with any
  /// of these, arguments by std::ref, data that tasks read elsewhere, and the function itself. If
  /// only these change, the call takes the old results. The journal of another call is a
  /// std::invalid_argument that names the difference. FORKMAP_RESUME_ANY_PROGRAM=1 in the
  /// environment allows another build of
  /// the program.
  /// Cost: the caller reads each input once; it evaluates a lazy range once for this.
  std::filesystem::path resume{};
  /// Called in each worker before its first and after its last task. Imply isolate. An exception of
  /// theirs is thrown by the call as a task's would be, with index() == std::size_t(-1).
  std::function<void(int worker)> worker_init{}, worker_exit{};
  /// Called in the caller's process with each message that a task sends by this_task::send(), while
  /// the task runs: f(std::size_t task, M const& message). It runs on the thread that waits for the
  /// call or iterates the stream. The messages of submitted tasks are handled by a thread that waits
  /// for the pool: in get, wait, wait_for, wait_any or a call; meanwhile they are kept. What the
  /// handler throws ends the call with that exception, also outcomes(); for a submitted task,
  /// get() throws it. The handler may make calls, but must not wait for the task that sent the
  /// message. If several threads wait for a pool, it may run in several of them at once.
  message_handler on_message{};
  /// What becomes of what tasks print to stdout and stderr: see forkmap::output. All modes but inherit
  /// imply isolate.
  output_mode output = forkmap::output::inherit;
  /// How long a worker may take to end by itself before it is killed, where it would be killed at once
  /// otherwise: because its task has timed out, or its call was stopped, has failed or is past its
  /// deadline. It gets SIGTERM then, whose default action ends it; a task may install a handler. A task
  /// that ends in that time still counts as timed out or cancelled. Programs that it has started are
  /// killed when it has ended. 0 or unset: killed at once.
  time_limit grace{};
  /// For outcomes, stream_outcomes and unordered_outcomes: end the call after this many failed tasks.
  /// Tasks that then run are ended (failure::cancelled), those that have not begun are never_started.
  /// A stream gives the outcomes of the tasks that it has dispatched and ends. 0: no limit.
  int max_failures = 0;
  /// The cost of a task, in any unit: the tasks of a call are begun in the order of falling costs, so that
  /// no long task begins when the others are over. Called once for each task, in the caller. Results keep
  /// their order. std::invalid_argument if it returns NaN. Streams, submitted tasks and n_jobs = 1 keep
  /// the order of the tasks.
  std::function<double(std::size_t task)> cost{};
  /// Called in the caller's process, on the thread that makes the call or the pool, before and after
  /// workers are forked: to stop threads, to release locks and to flush files that workers must not
  /// have as they are. A call of parallel forks all its workers between one pair of calls, and each
  /// replacement between a further pair. A pool forks only once, when it is made; so does a stream of
  /// parallel, except one that forks new workers for every pre_dispatch tasks. If before_fork throws,
  /// nothing is forked and the call fails with that exception. after_fork is called even if the fork
  /// fails.
  std::function<void()> before_fork{}, after_fork{};
};

namespace detail {
inline thread_local constinit options const* scoped_options = nullptr;
}  // namespace detail

/// Default options of this thread, until the end of the scope. parallel(), parallel(n_jobs), pool()
/// and pool(n_jobs) start from them. Scopes nest; the innermost one applies and is not merged with
/// the others.
///
/// Forking: workers inherit the scope that is active at the fork.
/// Source: joblib.parallel_config.
/// Example: `forkmap::scoped_config defaults({.n_jobs = 4});`
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

/// This thread's default options.
inline options current_options() { return scoped_options != nullptr ? *scoped_options : options{}; }

}  // namespace detail
}  // namespace forkmap
