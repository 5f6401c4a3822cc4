// A pool that stays: workers forked once, for calls that come again and again.
#pragma once

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
#include <forkmap/engine/pool_engine.hpp>
#include <forkmap/engine/submitted_call.hpp>
#include <forkmap/future.hpp>
#include <forkmap/options.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/parallel.hpp>
#include <forkmap/pooled_results.hpp>
#include <forkmap/sent_tasks.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/transfer/portable.hpp>
#include <forkmap/transfer/take_results.hpp>

namespace forkmap {
/// Workers that are forked once and stay, so that a call costs microseconds instead of forks: for
/// services, for loops of calls, for programs that have grown large.
///
/// Tasks must be portable: functions, lambdas without captures, and delayed(fn)(args...) of these,
/// for the workers see the program's memory as it was when the pool was made. Arguments are sent:
/// values as results travel; std::span<T const>, std::string_view and std::cref(container) as their
/// elements, valid until the task returns, those above options::max_nbytes once per call; char
/// const* as a C string; a memmap as a reference to its file. They must not change until the call
/// has ended.
///
/// Several threads may use one pool at once. Options, failures and the fates of tasks are those of
/// parallel(). A worker that dies is replaced by one in the state of the first ones.
///
/// Errors: std::system_error if the system refuses processes, memory or descriptors;
///   std::logic_error when used in another process than that which made it, or moved from.
/// Cost: making it, a fork and one for each worker. A call, some microseconds while the workers are
///   still awake from the last one (50 microseconds), then a wake-up. Idle workers use no CPU.
/// Forking: it keeps a thread, which sleeps, and a process that its workers are forked from.
/// Example: `forkmap::pool workers(4); auto roots = workers.map(slow_root, numbers);`
class pool {
 public:
  // Templates: see engine/engine.hpp.
  template <class = void> explicit pool(int n_jobs) : pool(with_n_jobs(n_jobs)) {}
  /// Errors: std::invalid_argument as from parallel(), and for options::resume, a journal of one
  ///   call. What worker_exit throws is printed to stderr: no call is there to throw it.
  template <class = void> explicit pool(options const& how) {
    detail::check(how);
    if (!how.resume.empty())
      detail::refuse_option("resume is the journal of one call: not for a pool");
    auto const n_workers = static_cast<std::uint32_t>(effective_n_jobs(how.n_jobs));
    engine_ = new detail::pool_engine<>(how, std::min(n_workers, detail::most_workers));
  }
  pool(pool&& other) noexcept : engine_(std::exchange(other.engine_, nullptr)) {}
  pool& operator=(pool&& other) noexcept {
    std::swap(engine_, other.engine_);
    return *this;
  }
  /// Ends what runs and waits for the workers. Does nothing in another process.
  ~pool() {
    if (engine_ != nullptr) engine_->remove(engine_);
  }

  /// As parallel_map's, for portable tasks. The range is evaluated on the calling thread.
  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto operator()(Tasks&& tasks) const {
    using sent = detail::sent_tasks<std::remove_reference_t<Tasks>>;
    using R = typename detail::portable_result<typename sent::task_type>::type;
    if constexpr (detail::check_portable<typename sent::task_type>::ok) {
      detail::sent_map<std::remove_reference_t<Tasks>, R> all(tasks, true, false);
      auto const results = engine().run(all);
      if constexpr (std::is_void_v<R>) {
        if (results != nullptr) results->failures.throw_first();
      } else {
        if (results == nullptr) return std::vector<R>{};
        results->failures.throw_first();
        return all.take_all(*results);
      }
    }
  }

  template <class... Task>
    requires((detail::task<Task> && ...) && sizeof...(Task) > 0)
  auto operator()(Task&&... task) const {
    if constexpr ((detail::check_portable<std::decay_t<Task>>::ok && ...)) {
      using results_type = std::tuple<detail::value_or_monostate<
          typename detail::portable_result<std::decay_t<Task>>::type>...>;
      detail::sent_separate_tasks<detail::as_sent<Task>...> all(task...);
      auto const results = engine().run(all);
      results->failures.throw_first();
      return [&]<std::size_t... I>(std::index_sequence<I...>) {
        return results_type{
            detail::take_separate<typename detail::portable_result<std::decay_t<Task>>::type>(
                *results, I)...};
      }(std::index_sequence_for<Task...>{});
    }
  }

  template <class F, std::ranges::input_range Xs> auto map(F fn, Xs&& xs) const {
    auto const call = delayed(std::move(fn));
    return (*this)(std::views::transform(xs, [&](auto&& x) {
      if constexpr (detail::gives_bit_proxies<Xs>)
        return call(static_cast<bool>(x));
      else
        return call(std::forward<decltype(x)>(x));
    }));
  }

  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto outcomes(Tasks&& tasks) const {
    using sent = detail::sent_tasks<std::remove_reference_t<Tasks>>;
    using R = typename detail::portable_result<typename sent::task_type>::type;
    detail::sent_map<std::remove_reference_t<Tasks>, R> all(tasks, false, false);
    auto const results = engine().run(all);
    if (results == nullptr) return std::vector<outcome<R>>{};
    results->failures.throw_outside_tasks();
    return detail::take_outcomes<R>(*results, all.n_tasks());
  }

  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto first(Tasks&& tasks) const {
    using sent = detail::sent_tasks<std::remove_reference_t<Tasks>>;
    using R = typename detail::portable_result<typename sent::task_type>::type;
    detail::sent_map<std::remove_reference_t<Tasks>, R> all(tasks, false, true);
    auto const results = engine().run(all);
    if (results == nullptr) {
      throw std::invalid_argument("forkmap: first(tasks): there are no tasks, so none can succeed");
    }
    return detail::take_winner<R>(*results);
  }

  /// Runs a range of tasks, lazily, even an endless one: see task_stream. The pool must outlive it.
  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto stream(Tasks&& tasks) const& {
    return stream_of<true>(std::forward<Tasks>(tasks));
  }
  /// The same, in the order in which tasks end: of indexed<R>.
  template <std::ranges::input_range Tasks>
    requires detail::range_of_tasks<Tasks>
  auto unordered(Tasks&& tasks) const& {
    return stream_of<false>(std::forward<Tasks>(tasks));
  }
  template <class Tasks> auto stream(Tasks&&) const&& { return outlives_pool<Tasks>::value; }
  template <class Tasks> auto unordered(Tasks&&) const&& { return outlives_pool<Tasks>::value; }

  /// Has a task run as soon as a worker is free; returns at once. Beyond 64 calls at a time tasks
  /// wait, and what they are given as spans and references must live as long.
  /// Returns: future<R>.
  template <class Task>
    requires detail::task<Task>
  auto submit(Task task) const {
    using R = typename detail::portable_result<Task>::type;
    if constexpr (detail::check_portable<Task>::ok) {
      auto call = std::make_shared<detail::submitted_call>(detail::owner<detail::pool_tasks>(
          new detail::sent_separate_tasks<Task>(std::move(task))));
      engine().submit(call, detail::nanoseconds_now());
      return future<R>(engine_, std::move(call));
    }
  }

  /// As parallel_map's; op must be portable, too.
  template <std::ranges::input_range Tasks, class T, class Op>
    requires detail::range_of_tasks<Tasks>
  T reduce(Tasks&& tasks, T init, Op op) const {
    using sent = detail::sent_tasks<std::remove_reference_t<Tasks>>;
    using R = typename detail::portable_result<typename sent::task_type>::type;
    if constexpr (detail::check_portable<typename sent::task_type>::ok &&
                  detail::check_portable<Op>::ok && detail::check_fold<R, T, Op>::ok) {
      detail::sent_fold<std::remove_reference_t<Tasks>, T, Op> all(tasks, op,
                                                                   engine().how().batch_size);
      auto const results = engine().run(all);
      if (results == nullptr) return init;
      results->failures.throw_first();
      for (std::uint64_t i = 0; i != all.n_results(); ++i) {
        init = op(std::move(init), detail::take<T>(*results, i));
      }
    }
    return init;
  }

 private:
  template <bool Ordered, class Tasks> auto stream_of(Tasks&& tasks) const {
    using task = std::remove_cvref_t<std::ranges::range_reference_t<Tasks>>;
    using R = typename detail::portable_result<task>::type;
    if constexpr (detail::check_portable<task>::ok) {
      return task_stream<R, Ordered>(
          new detail::pooled_results<std::views::all_t<Tasks>, R, Ordered>(
              engine(), std::views::all(std::forward<Tasks>(tasks))));
    }
  }

  template <class Tasks> struct outlives_pool {
    static_assert(std::is_void_v<Tasks>,
                  "forkmap: the stream of a temporary pool would outlive it: give the pool a name, "
                  "or use forkmap::parallel(n_jobs).stream(tasks)");
    static constexpr int value = 0;
  };

  static options with_n_jobs(int n_jobs) {
    auto how = detail::current_options();
    how.n_jobs = n_jobs;
    return how;
  }

  detail::pool_engine<>& engine() const {
    if (engine_ == nullptr) {
      throw std::logic_error("forkmap: a pool is used that was moved from: use the one it became");
    }
    return *engine_;
  }

  detail::pool_engine<>* engine_ = nullptr;
};

}  // namespace forkmap
