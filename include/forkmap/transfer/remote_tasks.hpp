// The tasks of a call as a pool's worker sees them: bytes, and what becomes of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/plan/dispatch.hpp>
#include <forkmap/transfer/flat_call.hpp>
#include <forkmap/transfer/flat_columns.hpp>
#include <forkmap/transfer/portable.hpp>
#include <forkmap/transfer/sending.hpp>
#include <forkmap/transfer/shared_arguments.hpp>
#include <forkmap/transfer/typed_job.hpp>

namespace forkmap::detail {

/// Where the bytes of each task lie.
struct remote_tasks {
  argument_reader const* arguments = nullptr;
  // The begin of each task, and of what follows the last; or of each chunk of tasks.
  std::uint64_t const* table = nullptr;
  std::uint64_t n_tasks = 0;
  std::uint64_t batch_tasks = 1;
  std::uint64_t end = 0;         // of all bytes
  std::uint64_t task_bytes = 0;  // of each, where there is no table
  bool in_chunks = false;
  sending* sent = nullptr;       // those whose tasks are still being sent wait for them
  void (*wake_others)(void const* workers) noexcept = nullptr;
  void const* workers = nullptr;

  /// Waits until task i is sent.
  void wait_for(std::uint64_t i) const {
    sent->wait_for(i, [this] { wake_others(workers); });
  }
  std::uint64_t begin_of(std::uint64_t i) const noexcept {
    return task_bytes != 0 ? i * task_bytes : table[i];
  }
  /// What was sent behind the last task.
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

/// What a task of that type gives in a worker: never a reference into it.
template <class Task>
using remote_result =
    std::decay_t<std::invoke_result_t<typename received_call<std::decay_t<Task>>::type&>>;

/// Runs flat tasks, one after the other.
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
  std::uint64_t until_ = 0;  // what is known of the places
  part_places<Task> places_;
};

/// Tasks of one type. Size() is known to the caller alone.
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
  /// The same, for many tasks in a row.
  auto in_a_row() const
    requires(flat_call<Task>::bytes != 0)
  {
    return flat_runner<Task>(tasks_);
  }

 private:
  remote_tasks tasks_;
  std::uint64_t n_;
};

/// As fold_tasks: op lies behind the last task.
template <class T, class Task, class Op> struct remote_fold {
  static job describe(std::uint64_t n_tasks, std::uint64_t batch_tasks) {
    job work;
    work.n_tasks = n_tasks;
    work.batch_tasks = batch_tasks;
    work.n_results = divide_up(n_tasks, batch_tasks);
    work.forked = slot_of_forked<T>();
    work.same_process = slot_of_object<T>();
    work.flat = flat_result<T>;
    work.whole_batches = true;
    work.run = [](void* erased, task_loop& loop) {
      auto const& tasks = *static_cast<remote_tasks const*>(erased);
      auto op = tasks.behind_tasks<Op>();
      remote_source<Task> source(tasks);
      // All batches but the last are full.
      fold_tasks<T, remote_source<Task>, decltype(op)>{source, op, tasks.batch_tasks}.run(loop);
    };
    return work;
  }
};

/// As separate_tasks.
template <class... Task> struct remote_separate_tasks {
  static job describe() {
    job work;
    work.n_tasks = work.n_results = sizeof...(Task);
    work.batch_tasks = 1;
    work.forked = {sizeof(std::uint64_t), alignof(std::uint64_t)};
    work.flat = false;
    work.run = [](void* erased, task_loop& loop) {
      auto const& tasks = *static_cast<remote_tasks const*>(erased);
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        for_each_task(loop, [&](std::uint64_t i) {
          (void)((I == i && (run_one<Task>(tasks, loop, I), true)) || ...);
        });
      }(std::index_sequence_for<Task...>{});
    };
    return work;
  }

 private:
  template <class One>
  static void run_one(remote_tasks const& tasks, task_loop& loop, std::uint64_t i) {
    deliver<remote_result<One>, true>(loop, i, [&]() { return remote_source<One>(tasks)(i); });
  }
};

}  // namespace forkmap::detail
