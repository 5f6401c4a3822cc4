// Tasks that are sent to a pool.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <new>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/endless.hpp>
#include <forkmap/detail/job/map_calls.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/pool/fast/flat_call.hpp>
#include <forkmap/detail/pool/fast/flat_columns.hpp>
#include <forkmap/detail/pool/remote_tasks.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/pool/send/sendable.hpp>

namespace forkmap::detail {

/// A range of tasks of one type, evaluated on the calling thread as it is sent.
template <class Tasks> class sent_tasks : public pool_tasks {
 public:
  using task_type = std::remove_cvref_t<std::ranges::range_reference_t<Tasks>>;

  static constexpr std::size_t flat = flat_call<task_type>::bytes;

  explicit sent_tasks(Tasks& tasks) : tasks_(tasks) { static_cast<void>(check_end<Tasks>::ok); }

  std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) override {
    std::uint64_t n = 0;
    for (auto&& task : tasks_) {
      ++n;
      if constexpr (flat != 0) {
        flat_call<task_type>::write(out.take(flat), task);
      } else {
        begins.push_back(out.size());
        send_task<task_type>(out, task);
      }
    }
    if constexpr (flat == 0) begins.push_back(out.size());
    n_tasks_ = n;
    return n;
  }
  std::uint64_t task_bytes() const override { return flat; }
  std::uint64_t expected() const override {
    if constexpr (std::ranges::sized_range<Tasks>)
      return static_cast<std::uint64_t>(std::ranges::size(tasks_));
    else
      return 0;
  }

  std::uint64_t n_tasks() const noexcept { return n_tasks_; }

 protected:
  void send_all_chunks(argument_writer& out, std::uint64_t n_tasks, std::uint64_t* offsets) {
    n_tasks_ = n_tasks;
    column_writer<task_type> columns(out);
    auto next = std::ranges::begin(tasks_);
    for (auto left = n_tasks_; left != 0;) {
      auto const n = std::min(left, sending::chunk);
      *offsets++ = columns.write_chunk(n, next);
      left -= n;
      if (!out.chunk_done()) return;
    }
  }

 private:
  Tasks& tasks_;
  std::uint64_t n_tasks_ = 0;
};

/// InVector: the results are collected into a vector.
template <class Tasks, class R, bool InVector = !std::is_void_v<R>>
class sent_map final : public sent_tasks<Tasks> {
  static constexpr bool in_a_vector = InVector;

 public:
  explicit sent_map(Tasks& tasks) : sent_tasks<Tasks>(tasks) {}

  /// To be called before the call is run.
  void set_goal(call_goal goal) noexcept { goal_ = goal; }

  /// Not 0 if the first tasks may run while the last ones are sent.
  std::uint64_t task_count() const override {
    if constexpr (in_chunks)
      return this->expected();
    else
      return 0;
  }
  void send_chunks(argument_writer& out, std::uint64_t n, std::uint64_t* offsets) override {
    if constexpr (in_chunks) this->send_all_chunks(out, n, offsets);
  }
  std::uint64_t most_chunk_bytes(std::uint64_t n) const override {
    if constexpr (in_chunks)
      return column_writer<typename sent_tasks<Tasks>::task_type>::most_bytes(n);
    else
      return 0;
  }
  /// Allocates the vector of results, if that takes more than a moment.
  void look_ahead() noexcept override {
    if constexpr (in_a_vector) {
      if (goal_ != call_goal::all || this->n_tasks() * sizeof(R) < populate_bytes) return;
      try {
        room_ = room_for<R>(this->n_tasks());
      } catch (...) {  // collect_all() tries again, and may throw
      }
    }
  }
  bool take_ahead([[maybe_unused]] std::byte* results,
                  [[maybe_unused]] std::uint64_t n) noexcept override {
    if constexpr (can_take_ahead) {
      if (room_.capacity() < this->n_tasks()) return false;
      append_results(room_, std::launder(reinterpret_cast<R*>(results)), n);
      return true;
    } else {
      return false;
    }
  }
  /// All results of a call without failures, in input order.
  auto collect_all(call_results& results)
    requires in_a_vector
  {
    if (room_.capacity() < this->n_tasks()) room_ = room_for<R>(this->n_tasks());
    return detail::collect_all<R>(results, this->n_tasks(), std::move(room_));
  }

  job describe(std::uint64_t n_tasks) override {
    remote_source<typename sent_tasks<Tasks>::task_type> source({}, n_tasks);
    return goal_ == call_goal::first ? race_job<R>(source)
                                     : map_job<R>(source, goal_ == call_goal::all);
  }

 private:
  static constexpr bool in_chunks =
      sent_tasks<Tasks>::flat != 0 && std::ranges::random_access_range<Tasks>;
  static constexpr bool can_take_ahead = [] {
    if constexpr (in_chunks && in_a_vector)
      return inline_result_type<R> && std::copyable<R> && !std::same_as<R, bool>;
    else
      return false;
  }();

  call_goal goal_ = call_goal::all;
  std::vector<std::conditional_t<in_a_vector, R, char>> room_{};  // has results taken ahead
};

template <class Tasks, class T, class Op> class sent_fold final : public sent_tasks<Tasks> {
 public:
  sent_fold(Tasks& tasks, Op const& op, std::uint64_t batch_size)
      : sent_tasks<Tasks>(tasks), op_(op), batch_size_(batch_size) {}

  std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) override {
    auto const n_tasks = sent_tasks<Tasks>::send(out, begins);
    send_task<Op>(out, op_);  // after the last task
    return n_tasks;
  }
  job describe(std::uint64_t n_tasks) override {
    auto const batch = batch_size_ != 0 ? batch_size_ : divide_up(n_tasks, reduce_batches);
    n_results_ = divide_up(n_tasks, batch);
    return remote_fold<T, typename sent_tasks<Tasks>::task_type, Op>::describe(n_tasks, batch);
  }

  std::uint64_t n_results() const noexcept { return n_results_; }

 private:
  Op const& op_;
  std::uint64_t batch_size_;
  std::uint64_t n_results_ = 0;
};

/// How a task is held: a function by its address, any other task by reference.
template <class Task>
using as_sent = std::conditional_t<std::is_function_v<std::remove_reference_t<Task>>,
                                   std::decay_t<Task>, std::remove_reference_t<Task> const&>;

/// Tasks of several types, each held by reference or by value.
template <class... Task> class sent_separate_tasks final : public pool_tasks {
 public:
  explicit sent_separate_tasks(Task... tasks) : tasks_(static_cast<Task&&>(tasks)...) {}

  std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) override {
    std::apply(
        [&](auto const&... task) { ((begins.push_back(out.size()), send_one(out, task)), ...); },
        tasks_);
    begins.push_back(out.size());
    return sizeof...(Task);
  }
  std::uint64_t expected() const override { return sizeof...(Task); }
  job describe(std::uint64_t) override {
    return remote_separate_tasks<std::remove_cvref_t<Task>...>::describe();
  }

 private:
  template <class One> static void send_one(argument_writer& out, One const& task) {
    send_task<One>(out, task);
  }
  std::tuple<Task...> tasks_;
};

/// The result type of a task that can be sent to a pool; void beside the error message that says
/// why a task cannot.
template <class Task> struct sendable_result {
  using type = void;
};
template <class Task>
  requires(check_sendable<Task>::ok)
struct sendable_result<Task> {
  using type = typename task_result<remote_result<Task>>::type;
};

}  // namespace forkmap::detail
