// The tasks of a call as a pool's worker sees them: their bytes, and the jobs that run them.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/detail/job/typed_job.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/pool/fast/flat_call.hpp>
#include <forkmap/detail/pool/fast/flat_columns.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/pool/send/sendable.hpp>

namespace forkmap::detail {

/// The bytes of each task.
struct remote_tasks {
  argument_reader const* arguments = nullptr;
  // Where each task begins, and what follows the last one; or where each chunk of tasks begins.
  std::uint64_t const* table = nullptr;
  std::uint64_t n_tasks = 0;
  std::uint64_t batch_tasks = 1;
  std::uint64_t end = 0;         // of all bytes
  std::uint64_t task_bytes = 0;  // of each task, if there is no table
  bool in_chunks = false;
  sending const* sent = nullptr;  // to wait for tasks that are still being sent
  void (*wake_others)(void const* workers) noexcept = nullptr;
  void const* workers = nullptr;

  /// Waits until task i is sent.
  void wait_for(std::uint64_t i) const {
    sent->wait_for(i, [this] { wake_others(workers); });
  }
  std::uint64_t begin_of(std::uint64_t i) const noexcept {
    return task_bytes != 0 ? i * task_bytes : table[i];
  }
  /// The object that was sent after the last task.
  template <class T> auto behind_tasks() const {
    reader bytes(arguments->at(begin_of(n_tasks)), arguments->at(end));
    return receive_task<T>(bytes, *arguments);
  }
  template <class Task> auto get(std::uint64_t i) const {
    arguments->cache().begin_task();
    reader bytes(arguments->at(begin_of(i)), arguments->at(begin_of(i + 1)));
    return receive_task<Task>(bytes, *arguments);
  }
};

/// The type of a task's result in a worker: never a reference, which would point into the worker.
template <class Task>
using remote_result =
    std::decay_t<std::invoke_result_t<typename received_call<std::decay_t<Task>>::type&>>;

/// Runs fixed-size tasks (fast/flat_call.hpp), one after the other.
template <class Task> class flat_runner {
 public:
  explicit flat_runner(remote_tasks const& tasks) noexcept : tasks_(tasks) {}

  auto operator()(std::uint64_t i) {
    if (i >= until_) [[unlikely]]
      find(i);
    return places_.run(i);
  }

 private:
  [[gnu::noinline]] void find(std::uint64_t i) {
    if (tasks_.in_chunks) {
      auto const chunk = i / sending::chunk;
      tasks_.wait_for(i);
      places_.in_chunk(*tasks_.arguments, tasks_.table[chunk], chunk * sending::chunk);
      until_ = (chunk + 1) * sending::chunk;
    } else {
      places_.in_rows(tasks_.arguments->at(tasks_.begin_of(i)), i);
      until_ = ~std::uint64_t{0};
    }
  }

  remote_tasks const& tasks_;
  std::uint64_t until_ = 0;  // places_ is valid for tasks before this one
  part_places<Task> places_;
};

/// Tasks of one type. Only the caller knows size().
template <class Task> class remote_source {
 public:
  using opened_from = remote_tasks;
  using result_type = remote_result<Task>;

  explicit remote_source(remote_tasks const& tasks, std::uint64_t n = 0) : tasks_(tasks), n_(n) {}
  std::uint64_t size() const { return n_; }
  result_type operator()(std::uint64_t i) const {
    if constexpr (flat_call<Task>::bytes != 0) {
      return in_a_row()(i);
    } else {
      auto task = tasks_.get<Task>(i);
      return std::invoke(task);
    }
  }
  /// A function object that runs many tasks in a row.
  auto in_a_row() const
    requires(flat_call<Task>::bytes != 0)
  {
    return flat_runner<Task>(tasks_);
  }

 private:
  remote_tasks tasks_;
  std::uint64_t n_;
};

/// The job of a fold, like fold_tasks; op lies behind the last task.
template <class T, class Task, class Op> struct remote_fold {
  static job describe(std::uint64_t n_tasks, std::uint64_t batch_tasks) {
    job this_job;
    this_job.n_tasks = n_tasks;
    this_job.batch_tasks = batch_tasks;
    this_job.n_results = divide_up(n_tasks, batch_tasks);
    this_job.forked = slot_of_forked<T>();
    this_job.same_process = slot_of_object<T>();
    this_job.flat = inline_result_type<T>;
    this_job.whole_batches = true;
    this_job.run = [](void* erased, task_loop& loop) {
      auto const& tasks = *static_cast<remote_tasks const*>(erased);
      auto op = tasks.behind_tasks<Op>();
      remote_source<Task> source(tasks);
      // All batches but the last are full.
      fold_tasks<T, remote_source<Task>, decltype(op)>{source, op, tasks.batch_tasks}.run(loop);
    };
    return this_job;
  }
};

/// The job of tasks of several types, like separate_tasks.
template <class... Task> struct remote_separate_tasks {
  static job describe() {
    job this_job;
    this_job.n_tasks = this_job.n_results = sizeof...(Task);
    this_job.batch_tasks = 1;
    this_job.forked = {sizeof(std::uint64_t), alignof(std::uint64_t)};
    this_job.flat = false;
    this_job.run = [](void* erased, task_loop& loop) {
      auto const& tasks = *static_cast<remote_tasks const*>(erased);
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        for_each_task(loop, [&](std::uint64_t i) {
          (void)((I == i && (run_one<Task>(tasks, loop, I), true)) || ...);
        });
      }(std::index_sequence_for<Task...>{});
    };
    return this_job;
  }

 private:
  template <class One>
  static void run_one(remote_tasks const& tasks, task_loop& loop, std::uint64_t i) {
    deliver<remote_result<One>, true>(loop, i, [&]() { return remote_source<One>(tasks)(i); });
  }
};

}  // namespace forkmap::detail
