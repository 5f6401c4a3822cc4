// A job, which is a call with its types erased, and task_loop, which is the engine as running tasks
// use it. Engines see nothing else of a call. They are not templates, so that a map call
// instantiates little.
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

class input_digest;  // journal/digest.hpp

/// The part of an engine that running tasks use.
class task_loop {
 public:
  std::uint64_t begin = 0;  // the tasks to run
  std::uint64_t end = 0;
  std::atomic<std::uint64_t>* current = nullptr;  // the running task, for the caller
  // The running task, for this process and its children.
  std::atomic<std::uint64_t> running{nothing_running};
  std::byte* results = nullptr;
  std::size_t result_bytes = 0;  // from one result slot to the next
  /// Whether the tasks run in the caller's process. Results of any type are then made in slots.
  bool same_process = false;
  /// Publishes ranges of finished tasks; null in the caller's process.
  published_range_writer* range = nullptr;

  /// Whether watch() is called for each task: for options::timeout and for a journal.
  bool watched = false;

  /// Task i begins; the task before it has ended.
  void starts(std::uint64_t i) {
    if (watched) [[unlikely]]
      watch(i);
    else
      begins(i);
  }
  void begins(std::uint64_t i) noexcept {
    running.store(as_current(i), std::memory_order_relaxed);
    current->store(as_current(i), std::memory_order_release);  // publishes result i - 1, too
  }

  /// Logs the current exception as the failure of task `index`.
  /// Returns: whether the tasks after it are to run.
  virtual bool failed(std::uint64_t index) = 0;

  /// Begins a blob, for a result that is not inline and is sent to another process.
  /// Returns: the writer for its bytes.
  virtual writer& begin_blob() = 0;
  /// Publishes a result whose blob is written, or whose object is constructed in its slot. Not
  /// called for inline results, which the next store to `current` publishes.
  virtual void made(std::uint64_t result) = 0;
  /// Called in a race when task `task` has succeeded.
  virtual void won(std::uint64_t task) = 0;

 protected:
  /// Replaces begins(i) where tasks are watched.
  virtual void watch(std::uint64_t i) = 0;

  task_loop() = default;
  ~task_loop() = default;
  task_loop(task_loop const&) = delete;
  task_loop& operator=(task_loop const&) = delete;
};

/// The size and alignment of a result slot.
struct slot_shape {
  std::size_t bytes = 0;
  std::size_t align = 1;
};

/// A call, its types erased.
struct job {
  std::uint64_t n_tasks = 0;
  std::uint64_t batch_tasks = 0;  // tasks claimed at a time; 0 = automatic
  std::uint64_t n_results = 0;
  slot_shape forked;        // in shared memory: the inline result, or the 8-byte name of a blob
  slot_shape same_process;  // in the caller's process: the result itself
  bool flat = true;         // results are inline; else their slots hold names of blobs
  bool stop_at_failure = true;
  bool whole_batches = false;  // one result per batch: a retry runs the batch from its first task
  bool one_each = false;       // see dispatch_plan::one_each
  bool race = false;           // the first task that succeeds ends the call
  std::uint64_t first_index = 0;  // of the tasks, where they are part of a larger range
  std::uint64_t outer = 0;        // outer_path() where the call was made
  /// Adds task i's inputs to a journal's digest; null if no input can be hashed.
  void (*look_at)(void* tasks, std::uint64_t i, input_digest& into) = nullptr;
  char const* result_type = "";  // mangled; part of a journal's key

  void* tasks = nullptr;
  void (*run)(void* tasks, task_loop& loop) = nullptr;
  /// Destroys result i, constructed in `slot` by the same process; null if that is a no-op.
  void (*destroy)(std::byte* slot, std::uint64_t i) = nullptr;
};

}  // namespace forkmap::detail
