// The parallel map: runs tasks in forked workers and returns their results in order.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <cstdint>
#include <ranges>
#include <type_traits>
#include <utility>

#include <forkmap/collect.hpp>
#include <forkmap/cpu.hpp>
#include <forkmap/delayed.hpp>
#include <forkmap/detail/engine/local_call.hpp>
#include <forkmap/detail/job/map_calls.hpp>
#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/detail/job/task_source.hpp>
#include <forkmap/detail/job/zipped.hpp>
#include <forkmap/detail/messages/send.hpp>
#include <forkmap/error.hpp>
#include <forkmap/options.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/report.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap {
namespace detail {

/// Defined in pool/forked_results.hpp, which forkmap/pool.hpp includes.
template <class Tasks, class R, stream_kind Kind> class forked_results;

template <class Results>
concept has_definition = requires { sizeof(Results); };

}  // namespace detail

/// A parallel map with its options: the return type of parallel(). It can be called any number of
/// times and from any thread.
///
/// The calls are operator(), map, outcomes, first, reduce, stream, unordered, stream_outcomes and
/// unordered_outcomes. A call forks workers, which see all of the caller's memory and open files without a copy. Each worker claims
/// tasks until none is left; only results are sent back. For a random-access range of known size, a
/// worker evaluates tasks[i] itself, and the range is never copied. Any other range is first
/// collected in the caller. What a task changes in ordinary memory stays in its worker. What it
/// prints to stdout and stderr appears in whole lines before the call returns.
///
/// The streams need <forkmap/pool.hpp>. They fork workers when they are called, and
/// options::resume is a std::invalid_argument. How a worker gets a task depends on the range:
///
///     random access, of known size or not  the worker evaluates tasks[i] itself
///     known size, no random access         the range is collected at the call
///     elements of a container, also        the worker uses the task where it is; the caller reads
///       through a filter                     no more tasks than are dispatched
///     other tasks that a pool accepts      the caller reads as many tasks as are dispatched, and
///                                            sends them as a pool does
///     other tasks (lambdas with captures)  new workers are forked for every pre_dispatch tasks (by
///                                            default 64 or two per worker, whichever is more)
///
/// In the last case worker_init is called again in the new workers. delayed(fn)(args...) with an fn
/// without captures avoids this case.
///
/// Errors: for every call. An exception of a task is thrown as remote<E>, where E is its standard
///   type or nearest standard base, else as task_error. A worker that crashes, exits or is killed
///   is a worker_died. If several tasks fail, the failure with the lowest index is thrown. The
///   tasks that still run are cancelled, and no worker outlives the call. std::system_error if the
///   system refuses processes, memory or descriptors.
/// Cost: one fork and one wait per worker. A fork copies the page tables of private memory; mapped
///   files and shared memory cost nothing. Then about 2 ns per task and core.
/// Forking: a task may call a map. The nested call forks workers of its worker.
/// Example: `std::vector<double> roots = forkmap::parallel(4).map(slow_root, numbers);`
class parallel_map : public detail::map_calls<parallel_map> {
 public:
  explicit parallel_map(options opts) : opts_(std::move(opts)) {
    detail::check(opts_);
    if (opts_.inner_threads != 0 && detail::runs_here(opts_))
      detail::refuse_option(
          "inner_threads applies to workers, and n_jobs = 1 has none: set isolate, too, or leave "
          "inner_threads out");
  }

 private:
  friend class detail::map_calls<parallel_map>;

  template <class Tasks> auto bind(Tasks& tasks) const {
    return detail::local_call<detail::called_tasks<Tasks>>(opts_, tasks);
  }
  template <class F, class X> auto bind_elements(F fn, X& xs) const {
    return detail::local_call<detail::mapped_elements<F, X>>(opts_, std::move(fn), xs,
                                                             detail::runs_here(opts_));
  }
  template <class F, class... Xs> auto bind_elements(F fn, Xs&... xs) const {
    auto calls = detail::calls_of_elements<true>(std::move(fn), std::ranges::ref_view(xs)...);
    return detail::local_call<detail::kept_tasks<decltype(calls)>>(opts_, std::move(calls));
  }

  template <class... Task> auto run_separate(Task&&... task) const {
    using tasks_type = detail::separate_tasks<Task...>;
    tasks_type tasks{{std::forward<Task>(task)...}};
    if constexpr (tasks_type::is_serializable) {
      auto const results = detail::run(tasks.as_job(), opts_);
      results->failures.throw_first();
      return tasks.collect_all(*results);
    }
  }

  template <detail::stream_kind Kind, class Tasks> auto stream_of(Tasks&& tasks) const {
    using view = std::views::all_t<Tasks>;
    using source_type = detail::called_tasks<view>;
    using R = typename detail::task_result<detail::result_of_source<source_type>,
                                           typename source_type::result_type>::type;
    using results_type = detail::forked_results<view, R, Kind>;
    static_assert(detail::has_definition<results_type>,
                  "forkmap: streams need #include <forkmap/pool.hpp>, too: they run in the workers "
                  "of a pool");
    if constexpr (detail::has_definition<results_type>) {
      if (!opts_.resume.empty())
        detail::refuse_option("resume is a journal of one call; a stream cannot have one");
      auto* const results = new results_type(std::views::all(std::forward<Tasks>(tasks)), opts_);
      task_stream<detail::streamed_result<R, Kind>, Kind.ordered> stream(results);
      if (!detail::runs_here(opts_)) {
        results->fork(std::min(static_cast<std::uint32_t>(effective_n_jobs(opts_.n_jobs)),
                               detail::most_workers));
      }
      return stream;
    }
  }
  template <detail::stream_kind Kind, class F, class... Xs>
  auto stream_elements(F fn, Xs&&... xs) const {
    return stream_of<Kind>(detail::calls_of_elements<true>(std::move(fn), std::forward<Xs>(xs)...));
  }

  options opts_;
};

/// A map with these options. Defaults of a scoped_config do not apply.
///
/// Errors: std::invalid_argument for invalid options: see options.
/// Example: `auto results = forkmap::parallel({.n_jobs = 4, .timeout = 1.5s})(tasks);`
inline parallel_map parallel(options opts) { return parallel_map(std::move(opts)); }

/// A map with this thread's default options (scoped_config); without these, one worker per usable
/// core.
///
/// Errors: std::invalid_argument for invalid defaults: see options.
/// Example: `auto results = forkmap::parallel()(tasks);`
inline parallel_map parallel() { return parallel_map(detail::current_options()); }

/// A map with n_jobs workers. This thread's default options (scoped_config) apply to the rest.
///
/// Errors: std::invalid_argument if n_jobs is 0 or does not fit into an int.
/// Example: `auto [a, b] = fm::parallel(2)(fm::delayed(slow_root)(2.0),
///   fm::delayed(slow_root)(3.0));`
template <detail::worker_count N> parallel_map parallel(N n_jobs) {
  auto opts = detail::current_options();
  opts.n_jobs = detail::checked_n_jobs(n_jobs);
  if (detail::runs_here(opts))
    opts.inner_threads = 0;  // the scope sets it for calls that have workers
  return parallel_map(std::move(opts));
}

}  // namespace forkmap
