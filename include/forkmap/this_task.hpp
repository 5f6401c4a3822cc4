// Information for a running task about itself: its index, worker, attempt and random numbers.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>

#include <forkmap/detail/owner.hpp>
#include <forkmap/message_handler.hpp>

namespace forkmap {
namespace detail {

/// The random number engine of one task.
struct task_random {
  std::uint64_t made_for = ~std::uint64_t{0};  // the index of the task that seeded it
  std::mt19937_64 engine{};
};

/// The task that runs on this thread. Set once for all tasks of a worker, so that it costs no time
/// per task.
struct task_frame {
  std::atomic<std::uint64_t> const* current = nullptr;  // the task's index + 1; 0: no task
  int worker = 0;
  int attempt = 0;  // of the tasks from retried_begin to retried_end
  std::uint64_t retried_begin = 0;
  std::uint64_t retried_end = 0;
  std::uint64_t seed = 0;
  std::uint64_t first_index = 0;        // of the call's tasks
  std::uint64_t outer = 0;              // outer_path() where the call was made
  message_channel* messages = nullptr;  // null: the call has no handler
  owner<task_random> random{};
};

inline thread_local constinit task_frame* active_frame = nullptr;

struct raw_backtrace;

/// The role of this process. Set in a worker right after the fork and never reset. All members are
/// in one object because every page that a new worker writes to is copied.
struct process_role {
  bool is_worker = false;
  bool has_grace = false;  // options::grace is set
  int share = 0;  // cores for a nested call; 0: all
  int depth = 0;  // nesting level: 0 in the original process, 1 in its workers, and so on
  // OpenMP threads, if the worker's share limits them; 0: set by the user or by inner_threads.
  int threads = 0;
  // For the crash report (crash/fault_handler.hpp).
  raw_backtrace* words = nullptr;  // where the report is written
  std::uint32_t number = 0;        // among the processes of its call
  int pid = 0;  // of the worker itself: a process that a task forks inherits this object
  task_frame const* frame = nullptr;  // of the worker's tasks, for threads that they start
  // For the end of its parent (worker/setup.hpp).
  int end_signal = 0;
  std::uint64_t mark = 0;
};
inline constinit process_role this_process{};

/// The frame of the task that runs on this thread or that started it; null if there is none.
inline task_frame const* frame_of_thread() noexcept {
  return active_frame != nullptr ? active_frame : this_process.frame;
}

/// The index of a frame's running task; -1 if none is running.
inline std::ptrdiff_t index_in(task_frame const& frame) noexcept {
  if (frame.current == nullptr) return -1;
  auto const at = frame.current->load(std::memory_order_relaxed);
  return at == 0 ? -1 : static_cast<std::ptrdiff_t>(at - 1 + frame.first_index);
}

inline constexpr std::uint64_t no_task = ~std::uint64_t{0};

/// A hash of two numbers, never 0: one step of splitmix64 for each.
constexpr std::uint64_t mixed(std::uint64_t a, std::uint64_t b) noexcept {
  auto const step = [](std::uint64_t x) {
    x += 0x9e37'79b9'7f4a'7c15;
    x = (x ^ (x >> 30U)) * 0xbf58'476d'1ce4'e5b9;
    x = (x ^ (x >> 27U)) * 0x94d0'49bb'1331'11eb;
    return x ^ (x >> 31U);
  };
  auto const both = step(step(a) ^ b);
  return both != 0 ? both : 1;
}

/// A hash that identifies the task that makes a call: of the task's index, of its call's seed, and
/// of the same two numbers of each enclosing call. 0 outside a task. A thread that a task started
/// in a worker counts as that task.
inline std::uint64_t outer_path() noexcept {
  auto const* const frame = frame_of_thread();
  if (frame == nullptr || frame->current == nullptr) return 0;
  auto const at = frame->current->load(std::memory_order_relaxed);
  if (at == no_task) return 0;
  return mixed(mixed(frame->outer, frame->seed), at + frame->first_index);
}

/// Makes `frame` the active frame of this thread until the end of the scope.
class active_frame_scope {
 public:
  explicit active_frame_scope(task_frame& frame) noexcept : outer_(active_frame) {
    active_frame = &frame;
  }
  active_frame_scope(active_frame_scope const&) = delete;
  active_frame_scope& operator=(active_frame_scope const&) = delete;
  ~active_frame_scope() { active_frame = outer_; }

 private:
  task_frame* outer_;
};

}  // namespace detail

namespace this_task {

/// The index of the running task in its range; for a task of pool::submit, its number in the pool.
///
/// Returns: -1 outside a task.
inline std::ptrdiff_t index() noexcept {
  auto const* frame = detail::active_frame;
  return frame == nullptr ? -1 : detail::index_in(*frame);
}

/// The number of the worker that runs the task: 0 to n_jobs - 1.
///
/// Returns: -1 outside a task and outside a worker.
inline int worker() noexcept {
  auto const* frame = detail::active_frame;
  return frame == nullptr ? -1 : frame->worker;
}

/// The number of this attempt: 0 for the first one, more if options::retries allowed another.
inline int attempt() noexcept {
  auto const* frame = detail::active_frame;
  if (frame == nullptr || frame->attempt == 0) return 0;
  auto const at = static_cast<std::uint64_t>(index()) - frame->first_index;
  return at >= frame->retried_begin && at < frame->retried_end ? frame->attempt : 0;
}

/// Whether this process is a forked worker. False if n_jobs = 1 runs in the caller's process.
inline bool in_worker() noexcept { return detail::this_process.is_worker; }

/// Sends a message from the running task to the handler options::on_message of its call, while the
/// task runs. A thread that a task started may send, too.
///
/// The handler gets the messages of a task in order, on the thread that waits for the call, before
/// the task's result or failure. What a task has sent arrives even if its worker then crashes. A task
/// that is retried sends its messages again; a task whose result is in a journal sends none. If the
/// caller does not wait, or its handler is slow, send() waits as soon as 128 KiB of the worker's
/// messages are not handled yet; that counts as run time of the task. With n_jobs = 1, send() calls the
/// handler itself, and threads that a task starts send nothing.
/// Outside a task, and in a call without a handler, it does nothing.
/// Errors: std::logic_error naming both types if the handler takes another type; in a process that a
///   task has forked.
/// Cost: without a handler, a branch. With one, about 0.2 microseconds for a small message.
/// Forking: a nested call has its own on_message; its tasks do not send to the outer call's handler.
/// Example: `forkmap::this_task::send(finding{line, "unused variable"});`
template <class M> void send(M const& message);

/// The random number engine of the running task.
///
/// The numbers depend only on options::seed and index(), and in a nested call also on the seeds and
/// indices of all enclosing calls: not on the schedule, n_jobs or the attempt. Two calls from the
/// same place with the same seed draw the same numbers; give them different seeds if they should
/// differ.
/// Returns: a reference that is valid until the task returns. Outside a task, an engine of this
///   thread with a fixed seed.
/// Cost: about 5 microseconds at the first call in a task, to seed 2.5 kB of state.
/// Example: `double const x = std::normal_distribution<>()(forkmap::this_task::rng());`
inline std::mt19937_64& rng() {
  auto* frame = detail::active_frame;
  auto const at = index();
  if (frame == nullptr || at < 0) {
    thread_local std::mt19937_64 outside;
    return outside;
  }
  if (!frame->random) frame->random.reset(new detail::task_random);
  auto const task = static_cast<std::uint64_t>(at);
  if (frame->random->made_for != task) {
    // std::seed_seq instead of seed ^ index, so that neighbouring tasks have unrelated states.
    std::array<std::uint32_t, 6> words{};
    auto const put = [&](std::size_t i, std::uint64_t number) {
      words[i] = static_cast<std::uint32_t>(number);
      words[i + 1] = static_cast<std::uint32_t>(number >> 32U);
    };
    put(0, frame->seed);
    put(2, task);
    put(4, frame->outer);
    std::seed_seq sequence(words.begin(), frame->outer == 0 ? words.begin() + 4 : words.end());
    frame->random->engine.seed(sequence);
    frame->random->made_for = task;
  }
  return frame->random->engine;
}

}  // namespace this_task
}  // namespace forkmap
