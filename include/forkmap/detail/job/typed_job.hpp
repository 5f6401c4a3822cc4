// Jobs made from typed tasks. This header, and the functions that take the results, are all that a
// map call instantiates on the side of the engine.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <new>
#include <optional>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/journal/digest.hpp>
#include <forkmap/detail/journal/seen_tasks.hpp>
#include <forkmap/detail/memory/prefault.hpp>
#include <forkmap/detail/serialize/traits.hpp>

namespace forkmap::detail {

/// Calls body(i) for each task of the loop; body's exceptions become failures.
template <class Body> void for_each_task(task_loop& loop, Body&& body) {
  auto i = loop.begin;
  while (i != loop.end) {
    try {
      for (; i != loop.end; ++i) {
        loop.starts(i);
        body(i);
      }
    } catch (...) {
      if (!loop.failed(i)) return;
      ++i;
    }
  }
}

/// A source's tasks, prepared to be run in order.
template <class Source> decltype(auto) in_a_row(Source& source) {
  if constexpr (requires { source.in_a_row(); })
    return source.in_a_row();
  else
    return (source);
}

/// The number of results written from one prefetch to the next, which fetches the cache lines of as
/// many results. The largest number for results that are not inline.
template <class R> consteval std::uint64_t results_per_prefetch() {
  if constexpr (inline_result_type<R>)
    return std::max<std::uint64_t>(1, prefetched_bytes / sizeof(R));
  else
    return ~std::uint64_t{0};
}

/// Runs the tasks of the loop, each with one result of type R. Loop state is kept in locals, so
/// that an opaque task call does not force reloads. Cache lines of result slots are prefetched for
/// writing: the caller's core may hold them, because it has read the results of the last call.
template <class R, class Source> void run_map(Source& source, task_loop& loop) {
  constexpr auto per_prefetch = results_per_prefetch<R>();
  constexpr bool in_place = per_prefetch != ~std::uint64_t{0};
  auto i = loop.begin;
  auto const end = loop.end;
  auto* const current = loop.watched ? nullptr : loop.current;
  auto* const range = loop.range;
  bool const in_registers = in_place && range != nullptr && current != nullptr;
  auto const most_tasks = in_registers ? range->most_tasks() : 0;
  auto digest = in_registers ? range->digest : 0;
  while (i != end) {
    try {
      auto&& tasks = in_a_row(source);
      [[maybe_unused]] auto* slot = loop.results + i * loop.result_bytes;
      // The first line is written at once, so that a prefetch would be of no use.
      if constexpr (in_place) prefetch_to_write(slot + 1, (end - i) * sizeof(R) - 1);
      while (i != end) {
        auto const stop = end - i > per_prefetch ? i + per_prefetch : end;
        if constexpr (in_place) {
          auto const n = stop - i;
          prefetch_to_write(slot + n * sizeof(R), (end - stop) * sizeof(R));
          if (in_registers) {
            if (i - range->begin() >= most_tasks) {
              range->digest = digest;
              range->close_before(i);
              digest = range->digest;
            }
            auto& shared_digest = range->shared_digest();
            for (; i != stop; ++i) {
              loop.begins(i);
              ::new (static_cast<void*>(slot)) R(tasks(i));
              digest += digest_of_result<R>(slot, i);
              shared_digest.store(digest, std::memory_order_release);  // after the result
              slot += sizeof(R);
            }
            continue;
          }
        }
        for (; i != stop; ++i) {
          if (current != nullptr) [[likely]]
            loop.begins(i);
          else
            loop.starts(i);
          deliver<R>(loop, i, [&]() -> decltype(auto) { return tasks(i); });
        }
        if constexpr (in_place) slot = loop.results + i * loop.result_bytes;
      }
    } catch (...) {
      if (in_registers) range->digest = digest;
      if (!loop.failed(i)) return;
      if (in_registers) digest = range->digest;
      ++i;
    }
  }
  if (in_registers) range->digest = digest;
}

/// The tasks that a job's pointer refers to. If Source names a type opened_from, the pointer refers
/// to an object of that type, from which the running process makes the Source.
template <class Source> decltype(auto) source_at(void* erased) {
  if constexpr (requires { typename Source::opened_from; })
    return Source(*static_cast<typename Source::opened_from const*>(erased));
  else
    return *static_cast<Source*>(erased);
}

/// The function job::look_at of a source's tasks; null if no input can be hashed.
template <class Source> constexpr auto look_of() -> void (*)(void*, std::uint64_t, input_digest&) {
  if constexpr (requires(Source& source, input_digest& into) { source.look_at(0, into); })
    return [](void* erased, std::uint64_t i, input_digest& into) {
      static_cast<Source*>(erased)->look_at(i, into);
    };
  else
    return nullptr;
}

/// One result of type R for each task.
template <class R, class Source> job map_job(Source& tasks, bool stop_at_failure) {
  job this_job;
  this_job.n_tasks = this_job.n_results = tasks.size();
  this_job.forked = slot_of_forked<R>();
  this_job.same_process = slot_of_object<R>();
  this_job.flat = std::is_void_v<R> || inline_result_type<R>;
  this_job.stop_at_failure = stop_at_failure;
  this_job.tasks = std::addressof(tasks);
  this_job.run = [](void* erased, task_loop& loop) {
    auto&& source = source_at<Source>(erased);
    run_map<R>(source, loop);
  };
  this_job.destroy = destroyer<R>();
  this_job.look_at = look_of<Source>();
  this_job.result_type = typeid(R).name();
  return this_job;
}

/// The result of the first task that succeeds. It is in the slot of its task, as in a map.
template <class R, class Source> job race_job(Source& tasks) {
  auto this_job = map_job<R>(tasks, false);
  this_job.race = true;
  this_job.run = [](void* erased, task_loop& loop) {
    auto&& source = source_at<Source>(erased);
    auto&& run = in_a_row(source);
    for_each_task(loop, [&](std::uint64_t i) {
      deliver<R>(loop, i, [&]() -> decltype(auto) { return run(i); });
      loop.won(i);
      loop.end = i + 1;
    });
  };
  return this_job;
}

/// Number of batches of a fold if batch_size is not set: enough for any machine, and the same
/// number on all machines.
inline constexpr std::uint64_t reduce_batches = 1024;

/// A fold with one result of type T per batch: op folds the results of its tasks.
template <class T, class Source, class Op> struct fold_tasks {
  Source& source;
  Op& op;
  std::uint64_t batch_tasks;

  job as_job() {
    job this_job;
    this_job.n_tasks = source.size();
    this_job.batch_tasks = batch_tasks;
    this_job.n_results =
        this_job.n_tasks / batch_tasks + (this_job.n_tasks % batch_tasks != 0 ? 1 : 0);
    this_job.forked = slot_of_forked<T>();
    this_job.same_process = slot_of_object<T>();
    this_job.flat = inline_result_type<T>;
    this_job.whole_batches = true;
    this_job.tasks = this;
    this_job.run = [](void* erased, task_loop& loop) {
      static_cast<fold_tasks*>(erased)->run(loop);
    };
    this_job.destroy = destroyer<T>();
    this_job.look_at = look_of<fold_tasks>();
    this_job.result_type = typeid(T).name();
    return this_job;
  }

  void look_at(std::uint64_t i, input_digest& into)
    requires requires { source.look_at(i, into); }
  {
    source.look_at(i, into);
  }
  void run(task_loop& loop) {
    auto i = loop.begin;
    try {
      auto&& tasks = in_a_row(source);
      loop.starts(i);
      T folded(tasks(i));
      for (++i; i != loop.end; ++i) {
        loop.starts(i);
        folded = op(std::move(folded), static_cast<T>(tasks(i)));
      }
      --i;  // an exception from encode() is a failure of the last task
      deliver<T>(loop, loop.begin / batch_tasks, [&]() -> T&& { return std::move(folded); });
    } catch (...) {
      loop.failed(i);
    }
  }
};

// Folds with op(T, R), where the results' type R is not the accumulator's type T. op cannot combine
// partial folds, so that the caller folds all results, in order.

/// Whether workers fold batches. Only op(T, T) can combine the results of batches.
template <class R, class T> inline constexpr bool folds_in_workers = std::same_as<R, T>;

/// Rejects an Op that cannot fold results R to a T, with an error that says why.
template <class R, class T, class Op> struct check_fold {
  static constexpr bool in_workers = folds_in_workers<R, T>;
  static constexpr bool folds = std::is_invocable_r_v<T, Op&, T, R>;
  static_assert(!std::is_void_v<R>,
                "forkmap: reduce(tasks, init, op): the tasks return void, so there is nothing to "
                "fold");
  static_assert(!in_workers || folds,
                "forkmap: reduce(tasks, init, op): op must take two values of init's type and "
                "return one");
  static_assert(
      in_workers || std::is_void_v<R> || folds,
      "forkmap: reduce(tasks, init, op): op must take a value of init's type and a task's "
      "result, and return init's type");
  using checked = typename task_result<R>::type;
  static constexpr bool ok = !std::is_void_v<checked> && folds;
};

/// A fold without workers: each task's result is folded before the next task runs. An exception
/// from op leaves the call, as in a fold of results from workers.
template <class R, class T, class Source, class Op> struct fold_in_place {
  Source& source;
  T& folded;
  Op& op;

  job as_job() {
    job this_job;
    this_job.n_tasks = source.size();
    this_job.tasks = this;
    this_job.run = [](void* erased, task_loop& loop) {
      static_cast<fold_in_place*>(erased)->run(loop);
    };
    return this_job;
  }

 private:
  void run(task_loop& loop) {
    for (auto i = loop.begin; i != loop.end; ++i) {
      std::optional<R> result;
      try {
        loop.starts(i);
        result.emplace(source(i));
      } catch (...) {
        loop.failed(i);
        return;
      }
      folded = op(std::move(folded), std::move(*result));
    }
  }
};

/// Folds the results of a call's workers in order. Each result is taken when op needs it.
template <class R, class T, class Op>
void fold_results(call_results& results, std::uint64_t n, T& folded, Op& op) {
  results.failures.throw_first();
  for (std::uint64_t i = 0; i != n; ++i) folded = op(std::move(folded), take<R>(results, i));
}

}  // namespace forkmap::detail
