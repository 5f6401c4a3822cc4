// The calls of a map, shared by parallel_map, pool and all other classes that bind tasks.
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <ranges>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/task_source.hpp>
#include <forkmap/detail/job/zipped.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/stream.hpp>

namespace forkmap::detail {

/// Can be called without arguments.
template <class Task>
concept task = std::invocable<Task>;

/// An input range of things that can be called without arguments.
template <class Tasks>
concept range_of_tasks =
    std::ranges::input_range<Tasks> && task<indexed_element<std::remove_reference_t<Tasks>>>;

/// fn can be called with each element: as an lvalue, or as an rvalue if fn takes no lvalue.
template <class F, class Xs>
concept maps_over =
    std::ranges::input_range<Xs> &&
    (std::invocable<F&, indexed_element<std::remove_reference_t<Xs>>&> ||
     std::invocable<F&, std::remove_reference_t<indexed_element<std::remove_reference_t<Xs>>>&&>);

/// fn can be called with one element of each range, as delayed(fn) can.
template <class F, class... Xs>
concept maps_over_all =
    sizeof...(Xs) > 1 && (std::ranges::input_range<Xs> && ...) &&
    std::copy_constructible<F>&& arguments_to_move<
        F, std::remove_cvref_t<zipped_element<std::remove_reference_t<Xs>>>...>() >= 0;

template <class F, class... Xs>
concept maps = (sizeof...(Xs) == 1 && (maps_over<F, Xs> && ...)) || maps_over_all<F, Xs...>;

/// A stream keeps fn in a view, which can be copied.
template <class F, class... Xs>
concept streams = std::copy_constructible<F> && maps<F, Xs...>;

/// The results that a call needs of its tasks.
enum class call_goal {
  all,   // every result; the first failure ends the call
  each,  // the outcome of every task
  first  // the result of the task that succeeds first
};

/// The calls of a Runner, which derives from this class. Runner has these members, where Tasks is a
/// range of tasks and Xs are ranges:
///   bind(Tasks&)                  a call of the tasks
///   bind_elements(fn, Xs&...)     a call of fn for the elements of the ranges
///   run_separate(tasks...)        runs a few tasks of any types; the tuple of their results
///   stream_of<stream_kind>(Tasks&&)   a task_stream of the tasks' results
///   stream_elements<stream_kind>(fn, Xs&&...)   the same for fn and the elements of the ranges
/// A call C of tasks with results of type R is constructed in place and never moved. C has:
///   C::ok                   false only where a static_assert says what is wrong with the tasks
///   C::result_type          R
///   run<Goal>()             owner<call_results> of the finished call; null if there were no tasks
///   n_tasks()               the number of tasks; after run()
///   collect_all(results)    std::vector<R>
///   fold(init, op)          runs the tasks and folds their results
template <class Runner> class map_calls {
 public:
  /// Runs a range of tasks.
  /// Returns: std::vector<R> in input order; void when the tasks return void.
  template <std::ranges::input_range Tasks>
    requires range_of_tasks<Tasks>
  auto operator()(Tasks&& tasks) const {
    return results_of(runner().bind(tasks));
  }

  /// Runs one or more tasks, of any types.
  /// Returns: std::tuple<R...>; std::monostate stands for void.
  template <class... Task>
    requires((task<Task> && ...) && sizeof...(Task) > 0)
  auto operator()(Task&&... tasks) const {
    return runner().run_separate(std::forward<Task>(tasks)...);
  }

  /// Calls fn(x) with each element x of xs: as an lvalue, or as an rvalue if fn takes no lvalue.
  /// With several ranges, calls fn(x, y...) with one element of each, as delayed(fn)(x, y...) does,
  /// up to the end of the shortest range.
  /// Returns: as for a range of tasks.
  template <class F, std::ranges::input_range... Xs>
    requires maps<F, Xs...>
  auto map(F fn, Xs&&... xs) const {
    return results_of(runner().bind_elements(std::move(fn), xs...));
  }

  /// Runs all tasks of a range; a failure does not end the call.
  /// Returns: std::vector<outcome<R>>, one per task, in input order.
  /// Errors: no failure of a task is thrown. Exceptions from worker_init and worker_exit are.
  template <std::ranges::input_range Tasks>
    requires range_of_tasks<Tasks>
  auto outcomes(Tasks&& tasks) const {
    return outcomes_of(runner().bind(tasks));
  }
  /// The same for the tasks fn(x), or fn(x, y...): see map.
  template <class F, std::ranges::input_range... Xs>
    requires maps<F, Xs...>
  auto outcomes(F fn, Xs&&... xs) const {
    return outcomes_of(runner().bind_elements(std::move(fn), xs...));
  }

  /// Runs tasks until one of them succeeds; the other tasks are then ended.
  /// Returns: indexed<R>, the index of the task that succeeded first, and its result.
  /// Errors: if all tasks fail, the failure of the lowest index. std::invalid_argument if there are
  ///   no tasks.
  template <std::ranges::input_range Tasks>
    requires range_of_tasks<Tasks>
  auto first(Tasks&& tasks) const {
    return winner_of(runner().bind(tasks));
  }
  /// The same for the tasks fn(x), or fn(x, y...): see map.
  template <class F, std::ranges::input_range... Xs>
    requires maps<F, Xs...>
  auto first(F fn, Xs&&... xs) const {
    return winner_of(runner().bind_elements(std::move(fn), xs...));
  }

  /// Runs a range of tasks and gives their results one by one: see task_stream. The range need not
  /// have an end: at most options::pre_dispatch tasks are dispatched and not yet consumed.
  /// Returns: task_stream<R>, in input order.
  template <std::ranges::input_range Tasks>
    requires range_of_tasks<Tasks>
  auto stream(Tasks&& tasks) const& {
    return runner().template stream_of<in_order>(std::forward<Tasks>(tasks));
  }
  /// The same for the tasks delayed(fn)(x), or delayed(fn)(x, y...). The stream owns the ranges
  /// that are temporary.
  template <class F, std::ranges::input_range... Xs>
    requires streams<F, Xs...>
  auto stream(F fn, Xs&&... xs) const& {
    return runner().template stream_elements<in_order>(std::move(fn), std::forward<Xs>(xs)...);
  }
  /// The same, in the order in which tasks end.
  /// Returns: task_stream of indexed<R>.
  template <std::ranges::input_range Tasks>
    requires range_of_tasks<Tasks>
  auto unordered(Tasks&& tasks) const& {
    return runner().template stream_of<as_they_end>(std::forward<Tasks>(tasks));
  }
  template <class F, std::ranges::input_range... Xs>
    requires streams<F, Xs...>
  auto unordered(F fn, Xs&&... xs) const& {
    return runner().template stream_elements<as_they_end>(std::move(fn), std::forward<Xs>(xs)...);
  }

  /// Runs a range of tasks and gives their outcomes one by one, in input order: a failure is an
  /// element, and the other tasks run on. As stream() otherwise.
  /// Returns: task_stream of outcome<R>.
  template <std::ranges::input_range Tasks>
    requires range_of_tasks<Tasks>
  auto stream_outcomes(Tasks&& tasks) const& {
    return runner().template stream_of<outcomes_in_order>(std::forward<Tasks>(tasks));
  }
  template <class F, std::ranges::input_range... Xs>
    requires streams<F, Xs...>
  auto stream_outcomes(F fn, Xs&&... xs) const& {
    return runner().template stream_elements<outcomes_in_order>(std::move(fn),
                                                                std::forward<Xs>(xs)...);
  }
  /// The same, in the order in which tasks end.
  /// Returns: task_stream of indexed<outcome<R>>.
  template <std::ranges::input_range Tasks>
    requires range_of_tasks<Tasks>
  auto unordered_outcomes(Tasks&& tasks) const& {
    return runner().template stream_of<outcomes_as_they_end>(std::forward<Tasks>(tasks));
  }
  template <class F, std::ranges::input_range... Xs>
    requires streams<F, Xs...>
  auto unordered_outcomes(F fn, Xs&&... xs) const& {
    return runner().template stream_elements<outcomes_as_they_end>(std::move(fn),
                                                                   std::forward<Xs>(xs)...);
  }

  /// Folds the results in index order: op(op(op(init, r0), r1), r2)... The result does not depend
  /// on n_jobs.
  ///
  /// If the tasks return init's type T, op(T, T) must be associative: workers fold contiguous
  /// batches, which depend only on the number of tasks and batch_size, and the caller folds the
  /// batches' results in index order. If the tasks return another type R, the caller calls op(T, R)
  /// for each result.
  /// Returns: the folded value; init for an empty range.
  /// Errors: as for a range of tasks, and exceptions from op in the caller.
  template <std::ranges::input_range Tasks, class T, class Op>
    requires range_of_tasks<Tasks>
  T reduce(Tasks&& tasks, T init, Op op) const {
    auto call = runner().bind(tasks);
    if constexpr (decltype(call)::ok) call.fold(init, op);
    return init;
  }

  // Calls with wrong arguments. The compiler's error shows the line with the comment.
  // clang-format off
  template <class... NoTasks>
  void operator()(NoTasks&&...) const = delete;  // forkmap: a map takes tasks, which can be called without arguments, or one range of them: write delayed(fn)(args...), or use .map(fn, range)
  template <class... Unsuitable>
  void map(Unsuitable&&...) const = delete;  // forkmap: map(fn, xs) calls fn(x) for each x of the range xs, map(fn, xs, ys) calls fn(x, y): fn cannot be called like that, or one of the other arguments is not a range
  template <class... Unsuitable>
  void outcomes(Unsuitable&&...) const = delete;  // forkmap: outcomes(tasks) takes a range of tasks, which can be called without arguments; outcomes(fn, xs) calls fn(x) for each x of the range xs
  template <class... Unsuitable>
  void first(Unsuitable&&...) const = delete;  // forkmap: first(tasks) takes a range of tasks, which can be called without arguments; first(fn, xs) calls fn(x) for each x of the range xs
  template <class... Unsuitable>
  void stream(Unsuitable&&...) const& = delete;  // forkmap: stream(tasks) takes a range of tasks, which can be called without arguments; stream(fn, xs) calls fn(x) for each x of the range xs, with a copy of fn
  template <class... Unsuitable>
  void unordered(Unsuitable&&...) const& = delete;  // forkmap: unordered(tasks) takes a range of tasks, which can be called without arguments; unordered(fn, xs) calls fn(x) for each x of the range xs, with a copy of fn
  template <class... Unsuitable>
  void stream_outcomes(Unsuitable&&...) const& = delete;  // forkmap: stream_outcomes(tasks) takes a range of tasks, which can be called without arguments; stream_outcomes(fn, xs) calls fn(x) for each x of the range xs, with a copy of fn
  template <class... Unsuitable>
  void unordered_outcomes(Unsuitable&&...) const& = delete;  // forkmap: unordered_outcomes(tasks) takes a range of tasks, which can be called without arguments; unordered_outcomes(fn, xs) calls fn(x) for each x of the range xs, with a copy of fn
  template <class... Unsuitable>
  void reduce(Unsuitable&&...) const = delete;  // forkmap: reduce(tasks, init, op) takes a range of tasks, which can be called without arguments, the value to start with, and op(value, result)
  // clang-format on

 protected:
  map_calls() = default;
  ~map_calls() = default;
  map_calls(map_calls const&) = default;
  map_calls& operator=(map_calls const&) = default;

 private:
  static constexpr stream_kind in_order{.ordered = true, .outcomes = false};
  static constexpr stream_kind as_they_end{.ordered = false, .outcomes = false};
  static constexpr stream_kind outcomes_in_order{.ordered = true, .outcomes = true};
  static constexpr stream_kind outcomes_as_they_end{.ordered = false, .outcomes = true};

  Runner const& runner() const noexcept { return static_cast<Runner const&>(*this); }

  template <class Call> static auto results_of(Call&& call) {
    if constexpr (Call::ok) {
      using R = typename Call::result_type;
      auto const results = call.template run<call_goal::all>();
      if constexpr (std::is_void_v<R>) {
        if (results != nullptr) results->failures.throw_first();
      } else {
        if (results == nullptr) return std::vector<R>{};
        results->failures.throw_first();
        return call.collect_all(*results);
      }
    }
  }

  template <class Call> static auto outcomes_of(Call&& call) {
    if constexpr (Call::ok) {
      using R = typename Call::result_type;
      auto const results = call.template run<call_goal::each>();
      if (results == nullptr) return std::vector<outcome<R>>{};
      results->failures.throw_outside_tasks();
      return take_outcomes<R>(*results, call.n_tasks());
    }
  }

  template <class Call> static auto winner_of(Call&& call) {
    if constexpr (Call::ok) {
      auto const results = call.template run<call_goal::first>();
      if (results == nullptr) {
        throw std::invalid_argument(
            "forkmap: first(tasks) needs at least one task; the range is empty");
      }
      return take_winner<typename Call::result_type>(*results);
    }
  }
};

}  // namespace forkmap::detail
