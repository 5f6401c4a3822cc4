// What a running task can ask about itself.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>

#include <forkmap/system/owner.hpp>

namespace forkmap {
namespace detail {

/// The random numbers of one task: known by the task that they were made for.
struct task_random {
  std::uint64_t made_for = ~std::uint64_t{0};
  std::mt19937_64 engine{};
};

/// What is running on this thread: set once for all tasks of a worker, so that a task costs
/// nothing.
struct task_frame {
  std::atomic<std::uint64_t> const* current = nullptr;  // the task's index
  int worker = 0;
  int attempt = 0;  // of the tasks from retried_begin to retried_end
  std::uint64_t retried_begin = 0;
  std::uint64_t retried_end = 0;
  std::uint64_t seed = 0;
  std::uint64_t first_index = 0;  // of the call's tasks
  owner<task_random> random{};
};

inline thread_local constinit task_frame* active_frame = nullptr;

struct raw_backtrace;

/// What this process is. Set in a worker right after fork, never unset; all of it side by side, for
/// each page that a new worker writes costs a copy of it.
struct process_role {
  bool is_worker = false;
  int share = 0;  // of the machine's cores, for a map inside a worker; 0 = all of them
  // For its last words (worker/fault_handler.hpp).
  raw_backtrace* words = nullptr;  // where they go
  std::uint32_t number = 0;        // among the processes of its call
  int pid = 0;  // the process that it is of: one that a task has forked inherits all of this
};
inline constinit process_role this_process{};

inline constexpr std::uint64_t no_task = ~std::uint64_t{0};

/// Makes a frame the running one for as long as it lives.
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

/// The running task's place in its range; -1 outside a task.
inline std::ptrdiff_t index() noexcept {
  auto const* frame = detail::active_frame;
  if (frame == nullptr || frame->current == nullptr) return -1;
  auto const at = frame->current->load(std::memory_order_relaxed);
  return at == detail::no_task ? -1 : static_cast<std::ptrdiff_t>(at + frame->first_index);
}

/// Which worker runs it: 0 to n_jobs - 1; -1 outside a task and outside a worker.
inline int worker() noexcept {
  auto const* frame = detail::active_frame;
  return frame == nullptr ? -1 : frame->worker;
}

/// 0 for the first attempt at this task.
inline int attempt() noexcept {
  auto const* frame = detail::active_frame;
  if (frame == nullptr || frame->attempt == 0) return 0;
  auto const at = static_cast<std::uint64_t>(index()) - frame->first_index;
  return at >= frame->retried_begin && at < frame->retried_end ? frame->attempt : 0;
}

/// Whether this process is a forked worker: false with n_jobs = 1, which runs in the caller's own.
inline bool in_worker() noexcept { return detail::this_process.is_worker; }

/// Random numbers of this task's own: the same for the same (options::seed, index()), whatever the
/// schedule and n_jobs. Outside a task, a stream of the thread's own with a fixed seed.
/// Cost: about 5 microseconds at a task's first call (seeding 2.5 kB of state).
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
    // seed_seq, not seed ^ index: neighbouring tasks must not have related states.
    std::seed_seq sequence{
        static_cast<std::uint32_t>(frame->seed), static_cast<std::uint32_t>(frame->seed >> 32U),
        static_cast<std::uint32_t>(task), static_cast<std::uint32_t>(task >> 32U)};
    frame->random->engine.seed(sequence);
    frame->random->made_for = task;
  }
  return frame->random->engine;
}

}  // namespace this_task
}  // namespace forkmap
