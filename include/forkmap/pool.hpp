// A pool of workers that are forked once and serve many calls.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/cpu.hpp>
#include <forkmap/delayed.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/map_calls.hpp>
#include <forkmap/detail/job/task_source.hpp>
#include <forkmap/detail/job/zipped.hpp>
#include <forkmap/detail/messages/send.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/forked_results.hpp>
#include <forkmap/detail/pool/make_pool.hpp>
#include <forkmap/detail/pool/pool_interface.hpp>
#include <forkmap/detail/pool/pooled_results.hpp>
#include <forkmap/detail/pool/send/sendable.hpp>
#include <forkmap/detail/pool/sent_call.hpp>
#include <forkmap/detail/pool/sent_tasks.hpp>
#include <forkmap/detail/pool/submitted_call.hpp>
#include <forkmap/future.hpp>
#include <forkmap/options.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/parallel.hpp>
#include <forkmap/stream.hpp>

namespace forkmap {
/// A pool of workers that are forked once, so that a call costs microseconds instead of forks. For
/// services, for loops of calls, and for programs with much memory.
///
/// The workers see the program's memory as it was when the pool was made. So tasks are sent to
/// them, and only some tasks can be sent: functions, member functions, lambdas without captures,
/// and delayed(fn)(args...) of these. Others do not compile. Arguments are sent as follows, and
/// must not change until the call has ended:
///
///     a value                               a copy, serialized as results are
///     std::span<T const>, std::string_view  the elements, valid until the task returns
///     std::cref(container)                  a span where fn takes one, else one copy per worker
///                                             and call
///     char const*                           a C string
///     memmap                                a mapping of the same file; of a copy_on_write one,
///                                             also its content
///     shared_array                          the same memory
///
/// Spans, views and containers of more than options::max_nbytes are sent once per call.
///
/// The calls are operator(), map, outcomes, first, reduce, stream, unordered, stream_outcomes,
/// unordered_outcomes and submit. Ranges are
/// evaluated on the calling thread. If the tasks of a reduce return the type of init, workers call
/// op, so op must be a callable that can be sent, too. A stream is lazy: it reads tasks while it is
/// iterated, and the pool must outlive it.
///
/// Several threads may use one pool at once. Options and failures are those of parallel(). A worker
/// that has exited or crashed is replaced by one in the state in which the first workers started.
/// When a call fails or is abandoned, the workers that still run its tasks are killed and replaced.
///
/// Errors: std::system_error if the system refuses processes, memory or descriptors.
///   std::logic_error if the pool was moved from, or is used in a process that did not make it.
/// Cost: to make a pool, one fork per worker and one more. A call takes some microseconds if it
///   comes within 50 microseconds of the previous one, while the workers are awake; otherwise it
///   must also wake them. Idle workers use no CPU.
/// Forking: the pool keeps a thread, which sleeps, and a fork server, the process that forks its
///   workers.
/// Example: `forkmap::pool workers(4); auto roots = workers.map(slow_root, numbers);`
class pool : public detail::map_calls<pool> {
 public:
  // These constructors are templates: see detail/pool/pool_engine.hpp.
  /// A pool with this thread's default options (scoped_config); without these, one worker per
  /// usable core.
  ///
  /// Errors: as pool(options const&).
  template <class = void> pool() : pool(detail::current_options()) {}
  /// A pool of n_jobs workers. This thread's default options (scoped_config) apply to the rest.
  ///
  /// Errors: std::invalid_argument if n_jobs is 0 or does not fit into an int; as pool(options
  ///   const&).
  template <detail::worker_count N>
  explicit pool(N n_jobs) : pool(with_n_jobs(detail::checked_n_jobs(n_jobs))) {}
  /// A pool with these options. Defaults of a scoped_config do not apply.
  ///
  /// Errors: std::invalid_argument for invalid options, as from parallel(), and for
  ///   options::resume, a journal of one call. An exception of worker_exit is printed to stderr,
  ///   because no call can throw it. std::system_error if the system refuses processes, memory or
  ///   descriptors.
  template <class = void> explicit pool(options const& opts) {
    detail::check(opts);
    if (!opts.resume.empty())
      detail::refuse_option("resume is a journal of one call; a pool cannot have one");
    auto const n_workers = static_cast<std::uint32_t>(effective_n_jobs(opts.n_jobs));
    engine_ = detail::make_pool(opts, std::min(n_workers, detail::most_workers));
  }
  pool(pool&& other) noexcept : map_calls(), engine_(std::exchange(other.engine_, nullptr)) {}
  pool& operator=(pool&& other) noexcept {
    std::swap(engine_, other.engine_);
    return *this;
  }
  /// Cancels submitted tasks, running ones too, and waits for the workers to end: call wait() before
  /// if they are to end by themselves. Does nothing in a process that did not make the pool.
  ~pool() {
    if (engine_ != nullptr) detail::pool_interface::remove(engine_);
  }

  using detail::map_calls<pool>::stream;
  using detail::map_calls<pool>::unordered;
  using detail::map_calls<pool>::stream_outcomes;
  using detail::map_calls<pool>::unordered_outcomes;
  template <class... Tasks> auto stream(Tasks&&...) const&& {
    return outlives_pool<Tasks...>::value;
  }
  template <class... Tasks> auto unordered(Tasks&&...) const&& {
    return outlives_pool<Tasks...>::value;
  }
  template <class... Tasks> auto stream_outcomes(Tasks&&...) const&& {
    return outlives_pool<Tasks...>::value;
  }
  template <class... Tasks> auto unordered_outcomes(Tasks&&...) const&& {
    return outlives_pool<Tasks...>::value;
  }

  /// Submits one task and returns at once; the task runs as soon as a worker is free.
  ///
  /// At most 64 calls run at a time; further tasks wait. The data of span and reference arguments
  /// must exist until the task has ended. Tasks are numbered from 0 in the order of their
  /// submission to this pool; the number is the task's this_task::index() and the index() of its
  /// failure.
  /// Returns: future<R>, where R is the task's result type.
  /// Errors: std::logic_error as for every call. A failure of the task is thrown by future::get().
  /// Example: `auto later = workers.submit(slow_root, 2.0); double const root = later.get();`
  template <class Task>
    requires detail::task<Task>
  auto submit(Task task) const {
    using R = typename detail::sendable_result<Task>::type;
    if constexpr (detail::check_sendable<Task>::ok) {
      auto const number = engine().next_submission();
      auto call = std::make_shared<detail::submitted_call>(
          detail::owner<detail::pool_tasks>(new detail::sent_separate_tasks<Task>(std::move(task))),
          number);
      engine().submit(call, detail::nanoseconds_now());
      return future<R>(engine_, std::move(call));
    }
  }

  /// Submits the task delayed(fn)(args...).
  template <class F, class Arg, class... Args>
  auto submit(F&& fn, Arg&& arg, Args&&... args) const {
    using task =
        decltype(delayed(std::forward<F>(fn))(std::forward<Arg>(arg), std::forward<Args>(args)...));
    if constexpr (!std::is_void_v<task>) {  // void if delayed() has already failed to compile
      return submit(
          delayed(std::forward<F>(fn))(std::forward<Arg>(arg), std::forward<Args>(args)...));
    }
  }

  /// Waits until all submitted tasks have ended, also those that are submitted meanwhile. Their
  /// failures stay in their futures.
  ///
  /// Errors: std::logic_error as for every call.
  /// Example: `for (auto const& file : files) (void)workers.submit(convert, file); workers.wait();`
  void wait() const { engine().wait(); }

  /// Runs a task in every worker, and in each replacement of a worker before its first task: to load a
  /// model, to set globals, to warm up. Tasks given to several calls run in the order of the calls.
  ///
  /// Waits until all workers have run the task; those that serve another call run it afterwards. Calls
  /// that begin later find it done. Its result is discarded. In it, this_task::index() is -1 and
  /// this_task::worker() the worker's number. The worker serves one call at a time, so that the task
  /// needs no lock. Data of span and reference arguments are copied; they need not outlive this call.
  /// Errors: what the task throws in a worker, as a call's exception with index() == std::size_t(-1);
  ///   worker_died; task_timeout beyond options::timeout, which limits it like other tasks. The task then is not run in replacements; workers that have run it keep its effects.
  ///   std::system_error after about 4000 tasks.
  /// Example: `workers.everywhere(forkmap::delayed(load_model)("model.bin"));`
  template <class Task>
    requires detail::task<Task>
  void everywhere(Task task) const {
    if constexpr (detail::check_sendable<Task>::ok) {
      engine().everywhere(detail::owner<detail::pool_tasks>(
          new detail::sent_separate_tasks<Task>(std::move(task))));
    }
  }

  /// Replaces all workers by new ones, which are forked from the caller as it is now, so that they see
  /// what has changed since the pool was made. Calls that run are not interrupted: this waits for them
  /// and for all submitted tasks. Calls of other threads wait meanwhile.
  ///
  /// The tasks of everywhere() run again in the new workers; data of their span and reference arguments
  /// must still exist.
  /// Errors: std::system_error if the system refuses processes, memory or descriptors; then calls throw
  ///   std::runtime_error until another refork() succeeds.
  /// Cost: that of making a pool.
  /// Forking: must not be called by a handler of messages.
  void refork() const { engine().refork(); }

 private:
  friend class detail::map_calls<pool>;

  template <class Tasks> auto bind(Tasks& tasks) const {
    return detail::call_of_sent<Tasks>(engine(), tasks);
  }
  template <class F, class... Xs> auto bind_elements(F fn, Xs&... xs) const {
    auto calls = detail::calls_of_elements<false>(std::move(fn), std::ranges::ref_view(xs)...);
    return detail::kept_sent_call<decltype(calls)>(engine(), std::move(calls));
  }

  template <class... Task> auto run_separate(Task&&... task) const {
    if constexpr ((detail::check_sendable<std::decay_t<Task>>::ok && ...)) {
      using results_type = std::tuple<detail::value_or_monostate<
          typename detail::sendable_result<std::decay_t<Task>>::type>...>;
      detail::sent_separate_tasks<detail::as_sent<Task>...> all(task...);
      auto const results = engine().run(all);
      results->failures.throw_first();
      return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return results_type{
            detail::take_separate<typename detail::sendable_result<std::decay_t<Task>>::type>(
                *results, I)...};
      }(std::index_sequence_for<Task...>{});
    }
  }

  template <detail::stream_kind Kind, class Tasks> auto stream_of(Tasks&& tasks) const {
    using task = std::remove_cvref_t<std::ranges::range_reference_t<Tasks>>;
    using R = typename detail::sendable_result<task>::type;
    if constexpr (detail::check_sendable<task>::ok) {
      return task_stream<detail::streamed_result<R, Kind>, Kind.ordered>(
          new detail::pooled_results<std::views::all_t<Tasks>, R, Kind>(
              engine(), std::views::all(std::forward<Tasks>(tasks))));
    }
  }
  template <detail::stream_kind Kind, class F, class... Xs>
  auto stream_elements(F fn, Xs&&... xs) const {
    return stream_of<Kind>(
        detail::calls_of_elements<false>(std::move(fn), std::forward<Xs>(xs)...));
  }

  template <class... Tasks> struct outlives_pool {
    static_assert(sizeof...(Tasks) < 0,
                  "forkmap: the stream of a temporary pool would outlive the pool: give the pool a "
                  "name, or use forkmap::parallel(n_jobs).stream(tasks)");
    static constexpr int value = 0;
  };

  static options with_n_jobs(int n_jobs) {
    auto opts = detail::current_options();
    opts.n_jobs = n_jobs;
    return opts;
  }

  detail::pool_interface& engine() const {
    if (engine_ == nullptr) {
      throw std::logic_error(
          "forkmap: this pool was moved from; use the pool that it was moved to");
    }
    return *engine_;
  }

  detail::pool_interface* engine_ = nullptr;
};

}  // namespace forkmap
