// How a map runs: its options, and their defaults for a scope.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <utility>

namespace forkmap {

/// What can be said about a call. An aggregate: `parallel({.n_jobs = 4, .seed = 7})`.
struct options {
  /// k > 0: k workers. -1: one for every usable core; -2: all cores but one; ... 1 runs in the
  /// caller's own process, unless `isolate` is set.
  int n_jobs = -1;
  /// Tasks that a worker takes at a time. 0: automatic, one for long tasks and more for short ones.
  std::size_t batch_size = 0;
  /// Fork even for n_jobs == 1.
  bool isolate = false;
  /// Base of this_task::rng().
  std::uint64_t seed = 0;
  /// Cancels the call from outside: it throws task_cancelled. request_stop() may be called from a
  /// signal handler: it is looked at after each interruption and at least every 50 ms.
  std::stop_token stop{};
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
