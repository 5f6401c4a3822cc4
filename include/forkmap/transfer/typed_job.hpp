// From typed tasks to a job: the only part of the engine side that is instantiated for each map call,
// with what takes its results.
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
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

#include <forkmap/system/prefetch.hpp>
#include <forkmap/transfer/results.hpp>

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

/// A source's tasks, to be run one after the other.
template <class Source> decltype(auto) in_a_row(Source& source) {
  if constexpr (requires { source.in_a_row(); })
    return source.in_a_row();
  else
    return (source);
}

/// So many results in a row are written while the next ones' lines come; all that there are, where
/// they are not written in place.
template <class R> consteval std::uint64_t results_in_a_stretch() {
  if constexpr (flat_result<R>)
    return std::max<std::uint64_t>(1, prefetched_bytes / sizeof(R));
  else
    return ~std::uint64_t{0};
}

/// Runs the tasks of the loop, one result of type R each. What it takes beyond the tasks is a few
/// instructions: no task can make the compiler read the loop's members again. The caller's core has
/// read the results of the last call, and must give up their lines.
template <class R, class Source> void run_map(Source& source, task_loop& loop) {
  constexpr auto stretch = results_in_a_stretch<R>();
  constexpr bool in_place = stretch != ~std::uint64_t{0};
  auto i = loop.begin;
  auto const end = loop.end;
  auto* const current = loop.watched ? nullptr : loop.current;
  while (i != end) {
    try {
      auto&& tasks = in_a_row(source);
      [[maybe_unused]] auto* slot = loop.results + i * loop.result_bytes;
      // Not the first line, which is written now.
      if constexpr (in_place) prefetch_to_write(slot + 1, (end - i) * sizeof(R) - 1);
      while (i != end) {
        auto const stop = end - i > stretch ? i + stretch : end;
        if constexpr (in_place) {
          auto const n = stop - i;
          prefetch_to_write(slot + n * sizeof(R), (end - stop) * sizeof(R));
        }
        for (; i != stop; ++i) {
          if (current != nullptr) [[likely]]
            current->store(i, std::memory_order_release);  // as loop.starts(i)
          else
            loop.starts(i);
          if constexpr (in_place) {
            ::new (static_cast<void*>(slot)) R(tasks(i));
            slot += sizeof(R);
          } else {
            deliver<R>(loop, i, [&]() -> decltype(auto) { return tasks(i); });
          }
        }
      }
    } catch (...) {
      if (!loop.failed(i)) return;
      ++i;
    }
  }
}

/// The tasks behind a job's pointer: themselves, or what they are made from where they are run.
template <class Source> decltype(auto) source_at(void* erased) {
  if constexpr (requires { typename Source::opened_from; })
    return Source(*static_cast<typename Source::opened_from const*>(erased));
  else
    return *static_cast<Source*>(erased);
}

/// One result of type R for each task.
template <class R, class Source> job map_job(Source& tasks, bool stop_at_failure) {
  job work;
  work.n_tasks = work.n_results = tasks.size();
  work.forked = slot_of_forked<R>();
  work.same_process = slot_of_object<R>();
  work.flat = std::is_void_v<R> || flat_result<R>;
  work.stop_at_failure = stop_at_failure;
  work.tasks = std::addressof(tasks);
  work.run = [](void* erased, task_loop& loop) {
    auto&& source = source_at<Source>(erased);
    run_map<R>(source, loop);
  };
  work.destroy = destroyer<R>();
  work.result_type = typeid(R).name();
  return work;
}

/// The result of the first task that succeeds. Its place is its task's, as in a map.
template <class R, class Source> job race_job(Source& tasks) {
  auto work = map_job<R>(tasks, false);
  work.race = true;
  work.run = [](void* erased, task_loop& loop) {
    auto&& source = source_at<Source>(erased);
    auto&& run = in_a_row(source);
    for_each_task(loop, [&](std::uint64_t i) {
      deliver<R>(loop, i, [&]() -> decltype(auto) { return run(i); });
      loop.won(i);
      loop.end = i + 1;
    });
  };
  return work;
}

/// Batches of a fold, where their size is not given: many enough for every machine, and the same on
/// all of them.
inline constexpr std::uint64_t reduce_batches = 1024;

/// Refuses a fold of results R to T by Op with the sentence that helps.
template <class R, class T, class Op> struct check_fold {
  static_assert(std::convertible_to<R, T>,
                "forkmap: reduce(tasks, init, op): the tasks' results must convert to init's type");
  static_assert(std::is_invocable_r_v<T, Op&, T, T>,
                "forkmap: reduce(tasks, init, op): op must take two values of init's type and "
                "return one");
  using checked = typename task_result<T>::type;
  static constexpr bool ok =
      !std::is_void_v<checked> && std::convertible_to<R, T> && std::is_invocable_r_v<T, Op&, T, T>;
};

/// One result of type T for each batch of tasks, folded by op.
template <class T, class Source, class Op> struct fold_tasks {
  Source& source;
  Op& op;
  std::uint64_t batch_tasks;

  job as_job() {
    job work;
    work.n_tasks = source.size();
    work.batch_tasks = batch_tasks;
    work.n_results = work.n_tasks / batch_tasks + (work.n_tasks % batch_tasks != 0 ? 1 : 0);
    work.forked = slot_of_forked<T>();
    work.same_process = slot_of_object<T>();
    work.flat = flat_result<T>;
    work.whole_batches = true;
    work.tasks = this;
    work.run = [](void* erased, task_loop& loop) { static_cast<fold_tasks*>(erased)->run(loop); };
    work.destroy = destroyer<T>();
    work.result_type = typeid(T).name();
    return work;
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
      --i;  // what the encoding throws is the last task's
      deliver<T>(loop, loop.begin / batch_tasks, [&]() -> T&& { return std::move(folded); });
    } catch (...) {
      loop.failed(i);
    }
  }
};

template <class R>
using value_or_monostate = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

/// Takes result i of tasks of several types.
template <class R> value_or_monostate<R> take_separate(call_results& results, std::uint64_t i) {
  if constexpr (std::is_void_v<R>)
    return {};
  else
    return take<R, true>(results, i);
}

/// Tasks of several types, a result of its own type for each.
template <class... Task> struct separate_tasks {
  template <class T> using result_of = std::decay_t<std::invoke_result_t<T>>;
  using results_type = std::tuple<value_or_monostate<result_of<Task>>...>;

  /// False only beside an error that says so.
  static constexpr bool can_travel =
      (std::same_as<typename task_result<result_of<Task>>::type, result_of<Task>> && ...);

  std::tuple<Task&&...> tasks;

  job as_job() {
    job work;
    work.n_tasks = work.n_results = sizeof...(Task);
    work.batch_tasks = 1;
    // Records all of them, so that each has a mark of its own that says that it is there.
    work.forked = {sizeof(std::uint64_t), alignof(std::uint64_t)};
    work.flat = false;
    work.same_process = widest({slot_of_object<result_of<Task>>()...});
    work.tasks = this;
    work.run = [](void* erased, task_loop& loop) {
      static_cast<separate_tasks*>(erased)->run(loop, std::index_sequence_for<Task...>{});
    };
    work.destroy = [](std::byte* slot, std::uint64_t i) {
      static constexpr std::array destroyers{destroyer<result_of<Task>>()...};
      if (destroyers[i] != nullptr) destroyers[i](slot, i);
    };
    work.result_type = typeid(results_type).name();
    return work;
  }

  results_type take_all(call_results& results) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return results_type{take_separate<result_of<Task>>(results, I)...};
    }(std::index_sequence_for<Task...>{});
  }

 private:
  static slot_shape widest(std::initializer_list<slot_shape> shapes) {
    slot_shape all;
    for (auto const& each : shapes) {
      all.bytes = std::max(all.bytes, each.bytes);
      all.align = std::max(all.align, each.align);
    }
    all.bytes = (all.bytes + all.align - 1) / all.align * all.align;
    return all;
  }

  template <std::size_t... I> void run(task_loop& loop, std::index_sequence<I...>) {
    for_each_task(loop,
                  [&](std::uint64_t i) { (void)((I == i && (run_one<I>(loop), true)) || ...); });
  }
  template <std::size_t I> void run_one(task_loop& loop) {
    using task = std::tuple_element_t<I, std::tuple<Task...>>;
    deliver<result_of<task>, true>(loop, I, [&]() -> decltype(auto) {
      return std::invoke(std::forward<task>(std::get<I>(tasks)));
    });
  }
};

}  // namespace forkmap::detail
