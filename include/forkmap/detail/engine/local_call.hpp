// A call whose tasks workers inherit by fork, or that runs in the caller's process.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include <forkmap/detail/engine/run.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/map_calls.hpp>
#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/detail/job/task_source.hpp>
#include <forkmap/detail/job/typed_job.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/options.hpp>
#include <forkmap/report.hpp>

namespace forkmap::detail {

/// The decayed result of a source's tasks: a reference result is copied.
template <class Source>
using result_of_source = std::remove_cvref_t<std::decay_t<typename Source::result_type>>;

/// A call for map_calls. Source: tasks by their index; see task_source.hpp.
template <class Source> class local_call {
  using returned = result_of_source<Source>;

 public:
  static constexpr bool ok = true;
  using result_type = typename task_result<returned, typename Source::result_type>::type;

  /// `from`: the arguments of the source's constructor.
  template <class... From>
  explicit local_call(options const& opts, From&&... from)
      : opts_(opts), source_(std::forward<From>(from)...) {}
  local_call(local_call const&) = delete;
  local_call& operator=(local_call const&) = delete;

  template <call_goal Goal> owner<call_results> run() {
    if (nothing_to_run(source_.size())) return nullptr;
    if constexpr (Goal == call_goal::first)
      return detail::run(race_job<result_type>(source_), opts_);
    else
      return detail::run(map_job<result_type>(source_, Goal == call_goal::all), opts_);
  }

  std::uint64_t n_tasks() const { return source_.size(); }
  auto collect_all(call_results& results) const {
    return detail::collect_all<result_type>(results, n_tasks(), room_for<result_type>(n_tasks()));
  }

  template <class T, class Op> void fold(T& init, Op& op) {
    if constexpr (check_fold<returned, T, Op>::ok) {
      auto const n = n_tasks();
      if (nothing_to_run(n)) return;
      if constexpr (folds_in_workers<returned, T>) {
        auto const batch = opts_.batch_size != 0 ? opts_.batch_size : (n - 1) / reduce_batches + 1;
        fold_tasks<T, Source, Op> fold{source_, op, batch};
        auto const this_job = fold.as_job();
        fold_results<T>(*detail::run(this_job, opts_), this_job.n_results, init, op);
      } else if (runs_here(opts_)) {
        fold_in_place<returned, T, Source, Op> fold{source_, init, op};
        detail::run(fold.as_job(), opts_)->failures.throw_first();
      } else {
        fold_results<returned>(*detail::run(map_job<returned>(source_, true), opts_), n, init, op);
      }
    }
  }

 private:
  options const& opts_;
  Source source_;
};

/// Tasks and the range that holds them.
template <class Tasks> class kept_tasks {
 public:
  using result_type = typename called_tasks<Tasks>::result_type;

  explicit kept_tasks(Tasks tasks) : range_(std::move(tasks)), tasks_(range_) {}
  kept_tasks(kept_tasks const&) = delete;
  kept_tasks& operator=(kept_tasks const&) = delete;

  std::uint64_t size() const { return tasks_.size(); }
  result_type operator()(std::uint64_t i) { return tasks_(i); }
  void look_at(std::uint64_t i, input_digest& into)
    requires requires(called_tasks<Tasks>& tasks) { tasks.look_at(i, into); }
  {
    tasks_.look_at(i, into);
  }

 private:
  Tasks range_;
  called_tasks<Tasks> tasks_;
};

}  // namespace forkmap::detail
