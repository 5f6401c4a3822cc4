// A call of tasks that are sent to a pool.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <ranges>
#include <type_traits>
#include <utility>

#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/map_calls.hpp>
#include <forkmap/detail/job/typed_job.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/pool_interface.hpp>
#include <forkmap/detail/pool/send/sendable.hpp>
#include <forkmap/detail/pool/sent_tasks.hpp>

namespace forkmap::detail {

/// A call with the interface that map_calls needs.
template <class Tasks> class sent_call {
  using task = typename sent_tasks<Tasks>::task_type;

 public:
  static constexpr bool ok = true;
  using result_type = typename sendable_result<task>::type;

  sent_call(pool_interface& engine, Tasks& tasks) : engine_(engine), tasks_(tasks), all_(tasks) {}
  sent_call(sent_call const&) = delete;
  sent_call& operator=(sent_call const&) = delete;

  template <call_goal Goal> owner<call_results> run() {
    all_.set_goal(Goal);
    return engine_.run(all_);
  }
  std::uint64_t n_tasks() const noexcept { return all_.n_tasks(); }
  auto collect_all(call_results& results) { return all_.collect_all(results); }

  template <class T, class Op> void fold(T& init, Op& op) {
    if constexpr (!folds_in_workers<result_type, T>) {
      if constexpr (check_fold<result_type, T, Op>::ok) {
        sent_map<Tasks, result_type, false> all(tasks_);
        auto const results = engine_.run(all);
        if (results != nullptr) fold_results<result_type>(*results, all.n_tasks(), init, op);
      }
    } else if constexpr (check_sendable<Op>::ok && check_fold<result_type, T, Op>::ok) {
      sent_fold<Tasks, T, Op> all(tasks_, op, engine_.opts().batch_size);
      auto const results = engine_.run(all);
      if (results != nullptr) fold_results<T>(*results, all.n_results(), init, op);
    }
  }

 private:
  pool_interface& engine_;
  Tasks& tasks_;
  sent_map<Tasks, result_type> all_;
};

/// A call of tasks that cannot be sent, beside the error message that says why.
template <class Tasks> class refused_call {
 public:
  static constexpr bool ok = false;
  refused_call(pool_interface&, Tasks&) {}
};

template <class Tasks>
using call_of_sent = std::conditional_t<check_sendable<typename sent_tasks<Tasks>::task_type>::ok,
                                        sent_call<Tasks>, refused_call<Tasks>>;

/// A call that owns its tasks, which were made for it.
template <class Tasks> class kept_range {
 protected:
  explicit kept_range(Tasks tasks) : range_(std::move(tasks)) {}

  Tasks range_;
};
template <class Tasks> class kept_sent_call : kept_range<Tasks>, public call_of_sent<Tasks> {
 public:
  kept_sent_call(pool_interface& engine, Tasks tasks)
      : kept_range<Tasks>(std::move(tasks)), call_of_sent<Tasks>(engine, this->range_) {}
};

}  // namespace forkmap::detail
