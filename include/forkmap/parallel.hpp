// The map: tasks in, results in order out, in a pool of forked workers.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/collect.hpp>
#include <forkmap/cpu.hpp>
#include <forkmap/delayed.hpp>
#include <forkmap/engine/fork_join.hpp>
#include <forkmap/engine/serial.hpp>
#include <forkmap/error.hpp>
#include <forkmap/forked_results.hpp>
#include <forkmap/options.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/report.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/this_task.hpp>
#include <forkmap/transfer/take_results.hpp>
#include <forkmap/transfer/task_source.hpp>
#include <forkmap/transfer/typed_job.hpp>

namespace forkmap {
namespace detail {

/// Can be called without arguments.
template <class Task>
concept task = std::invocable<Task>;

/// An input range of things that can be called without arguments.
template <class Tasks>
concept range_of_tasks =
    std::ranges::input_range<Tasks> && task<indexed_element<std::remove_reference_t<Tasks>>>;

/// fn can be called with each element.
template <class F, class Xs>
concept maps_over =
    std::ranges::input_range<Xs> &&
    (std::invocable<F&, indexed_element<std::remove_reference_t<Xs>>&> ||
     std::invocable<F&, std::remove_reference_t<indexed_element<std::remove_reference_t<Xs>>>&&>);

template <class Tasks> using source_of = called_tasks<std::remove_reference_t<Tasks>>;

/// The decayed result of a source's tasks, checked: a reference result is copied.
template <class Source>
using result_of_source = std::remove_cvref_t<std::decay_t<typename Source::result_type>>;

/// Whether a call with these options runs in the caller's own process.
inline bool runs_here(options const& how) {
  bool const needs_worker = how.isolate || how.timeout.is_set() || how.deadline.is_set() ||
                            how.retries != 0 || how.memory_limit != 0 ||
                            how.max_tasks_per_worker != 0 || how.pin || !how.resume.empty() ||
                            how.worker_init || how.worker_exit;
  return how.n_jobs == 1 && !needs_worker;
}

[[noreturn]] inline void refuse_option(std::string const& what) {
  throw std::invalid_argument("forkmap: options::" + what);
}

/// Errors: std::invalid_argument for options that cannot be meant.
inline void check(options const& how) {
  static_cast<void>(effective_n_jobs(how.n_jobs));
  if (how.timeout.is_set() && how.timeout.value().count() <= 0) {
    refuse_option("timeout is " + text_of(how.timeout.value()) +
                  ": no task could run; leave it out for no limit");
  }
  auto const negative = [](char const* name, int value) {
    if (value < 0) refuse_option(name + (" is " + std::to_string(value)) + ", less than none");
  };
  negative("retries", how.retries);
  negative("max_tasks_per_worker", how.max_tasks_per_worker);
  negative("inner_threads", how.inner_threads);
}

/// Runs a job as the options say.
template <class = void> owner<call_results> run(job work, options const& how) {
  auto const n_jobs = effective_n_jobs(how.n_jobs);
  if (work.batch_tasks == 0) work.batch_tasks = how.batch_size;
  if (runs_here(how)) return serial_engine(how).run(work);
  return fork_join_engine(how, n_jobs).run(work);
}

}  // namespace detail

/// A parallel map, configured and ready to be called, any number of times and from any thread: what
/// parallel() returns.
///
/// A call forks workers, which see everything the caller sees, without copies; they take tasks
/// until none is left, and only results travel back. A random-access range of known size is never
/// materialised: a worker evaluates tasks[i] itself. Whatever a task changes in ordinary memory
/// stays in its worker.
///
/// Errors (all calls): a task's exception as remote<E> for its standard type E, else task_error; a
///   worker's death as worker_died; with several the one of the lowest index; the others are
///   cancelled, and no worker outlives the call. std::system_error if the system refuses processes,
///   memory or descriptors.
/// Cost: about two forks and waits per two workers; page tables of private memory are copied,
/// mapped
///   files and shared memory cost nothing. Then about 2 ns per task and core.
/// Forking: callable inside a task; the nested call forks workers of the worker.
class parallel_map {
 public:
  explicit parallel_map(options how) : how_(std::move(how)) { detail::check(how_); }

  /// Runs a range of tasks.
  /// Returns: std::vector<R> in input order; void when the tasks return void.
  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto operator()(Tasks&& tasks) const {
    detail::source_of<Tasks> source(tasks);
    return run_map(source);
  }

  /// Runs one or more tasks, of any types.
  /// Returns: std::tuple<R...>; std::monostate stands for void.
  template <class... Task>
    requires((detail::task<Task> && ...) && sizeof...(Task) > 0)
  auto operator()(Task&&... task) const {
    using tasks_type = detail::separate_tasks<Task...>;
    tasks_type tasks{{std::forward<Task>(task)...}};
    if constexpr (tasks_type::can_travel) {
      auto const results = detail::run(tasks.as_job(), how_);
      results->failures.throw_first();
      return tasks.take_all(*results);
    }
  }

  // clang-format off
  /// A map takes tasks (things that can be called without arguments) or one range of them.
  template <class... NoTasks>
  void operator()(NoTasks&&...) const = delete;  // forkmap: a map takes tasks, which can be called without arguments, or one range of them: write delayed(fn)(args...), or use .map(fn, range)
  // clang-format on

  /// Calls fn with each element of xs: fn(x), as an lvalue, or as an rvalue where fn needs one.
  /// Returns: as for a range of tasks.
  template <class F, std::ranges::input_range Xs>
    requires detail::maps_over<F, Xs>
  auto map(F fn, Xs&& xs) const {
    detail::mapped_elements<F, std::remove_reference_t<Xs>> source(std::move(fn), xs,
                                                                   detail::runs_here(how_));
    return run_map(source);
  }

  // clang-format off
  /// What a map is not: the compiler shows the sentence behind it.
  template <class... Unsuitable>
  void map(Unsuitable&&...) const = delete;  // forkmap: map(fn, xs) calls fn(x) for each x of the range xs: this fn cannot be called so, or this xs is no range
  // clang-format on

  /// Runs a range of tasks to the end, whatever becomes of each.
  /// Returns: std::vector<outcome<R>>, one per task, in input order.
  /// Errors: none for a task. What worker_init or worker_exit throws is thrown.
  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto outcomes(Tasks&& tasks) const {
    detail::source_of<Tasks> source(tasks);
    using R = checked_result<detail::source_of<Tasks>>;
    if (detail::nothing_to_run(source.size())) return std::vector<outcome<R>>{};
    auto const results = detail::run(detail::map_job<R>(source, false), how_);
    results->failures.throw_outside_tasks();
    return detail::take_outcomes<R>(*results, source.size());
  }

  /// Runs tasks until one of them succeeds. The others are then ended.
  /// Returns: indexed<R>, the index of the task that succeeded first, and its result.
  /// Errors: if all fail, the failure of the lowest index. std::invalid_argument for no tasks.
  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto first(Tasks&& tasks) const {
    detail::source_of<Tasks> source(tasks);
    using R = checked_result<detail::source_of<Tasks>>;
    if (detail::nothing_to_run(source.size())) {
      throw std::invalid_argument("forkmap: first(tasks): there are no tasks, so none can succeed");
    }
    return detail::take_winner<R>(*detail::run(detail::race_job<R>(source), how_));
  }

  /// Runs a range of tasks and gives their results one by one: see task_stream. Forks now; at most
  /// options::pre_dispatch tasks are dispatched and not yet consumed.
  /// Errors: std::invalid_argument for options::resume, a journal of one call.
  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto stream(Tasks&& tasks) const {
    return stream_of<true>(std::forward<Tasks>(tasks));
  }
  /// The same, in the order in which tasks end: of indexed<R>.
  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto unordered(Tasks&& tasks) const {
    return stream_of<false>(std::forward<Tasks>(tasks));
  }

  /// Folds the results: op(op(op(init, r0), r1), r2)..., where op(T, T) may be grouped freely but
  /// is never reordered. Workers fold contiguous batches, the caller folds those in index order;
  /// batches depend on the number of tasks (and batch_size) alone, so that one input has one
  /// result, whatever n_jobs is.
  /// Returns: init for an empty range.
  template <std::ranges::input_range Tasks, class T, class Op>
    requires detail::range_of_tasks<Tasks>
  T reduce(Tasks&& tasks, T init, Op op) const {
    detail::source_of<Tasks> source(tasks);
    using R = detail::result_of_source<detail::source_of<Tasks>>;
    if constexpr (detail::check_fold<R, T, Op>::ok) {
      auto const n = source.size();
      if (detail::nothing_to_run(n)) return init;
      auto const batch =
          how_.batch_size != 0 ? how_.batch_size : (n - 1) / detail::reduce_batches + 1;
      detail::fold_tasks<T, detail::source_of<Tasks>, Op> fold{source, op, batch};
      auto const work = fold.as_job();
      auto const results = detail::run(work, how_);
      results->failures.throw_first();
      for (std::uint64_t i = 0; i != work.n_results; ++i) {
        init = op(std::move(init), detail::take<T>(*results, i));
      }
    }
    return init;
  }

 private:
  /// The result type of a source; refused with a sentence if it cannot travel.
  template <class Source>
  using checked_result = typename detail::task_result<detail::result_of_source<Source>,
                                                      typename Source::result_type>::type;

  template <bool Ordered, class Tasks> auto stream_of(Tasks&& tasks) const {
    using view = std::views::all_t<Tasks>;
    using R = checked_result<detail::called_tasks<view>>;
    using source = detail::forked_results<view, R, Ordered>;
    if (!how_.resume.empty())
      detail::refuse_option("resume is the journal of one call: not for a stream");
    auto* const results = new source(std::views::all(std::forward<Tasks>(tasks)), how_);
    task_stream<R, Ordered> stream(results);
    auto const n = results->n_tasks();
    if (n != 0 && !detail::runs_here(how_)) {
      auto const n_workers =
          std::min<std::uint64_t>(n, static_cast<std::uint64_t>(effective_n_jobs(how_.n_jobs)));
      results->fork(static_cast<std::uint32_t>(n_workers));
    }
    return stream;
  }

  template <class Source> auto run_map(Source& source) const {
    using R = checked_result<Source>;
    if constexpr (std::is_void_v<R>) {
      if (detail::nothing_to_run(source.size())) return;
      detail::run(detail::map_job<R>(source, true), how_)->failures.throw_first();
    } else {
      if (detail::nothing_to_run(source.size())) return std::vector<R>{};
      auto const results = detail::run(detail::map_job<R>(source, true), how_);
      results->failures.throw_first();
      return detail::take_all<R>(*results, source.size(), detail::room_for<R>(source.size()));
    }
  }

  options how_;
};

/// A map with these options, and no others.
inline parallel_map parallel(options opts) { return parallel_map(std::move(opts)); }

/// A map with this thread's defaults (scoped_config); every usable core without any.
inline parallel_map parallel() { return parallel_map(detail::current_options()); }

/// A map with n_jobs workers, and this thread's defaults for the rest.
/// Errors: std::invalid_argument for 0 and for numbers that no int holds.
/// Example: `auto roots = fm::parallel(2)(fm::delayed(slow_root)(2.0),
/// fm::delayed(slow_root)(3.0));`
template <std::integral N>
  requires(!std::same_as<N, bool> && !std::same_as<N, char>)
parallel_map parallel(N n_jobs) {
  if (!std::in_range<int>(n_jobs)) {
    throw std::invalid_argument("forkmap: n_jobs is " + std::to_string(n_jobs) +
                                ", more workers than can be counted");
  }
  auto how = detail::current_options();
  how.n_jobs = static_cast<int>(n_jobs);
  return parallel_map(std::move(how));
}

}  // namespace forkmap
