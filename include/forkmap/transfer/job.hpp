// What an engine needs to know of a call, and what tasks need to know of their engine: the border
// below which nothing is a template, so that a map call instantiates little.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <forkmap/transfer/bytes.hpp>

namespace forkmap::detail {

/// What a run of tasks sees of the engine that it runs on.
class task_loop {
 public:
  std::uint64_t begin = 0;  // the tasks to run
  std::uint64_t end = 0;
  std::atomic<std::uint64_t>* current = nullptr;  // says which one is running
  std::byte* results = nullptr;
  std::size_t result_bytes = 0;  // from one result slot to the next
  /// The caller runs in this process: results are made in their slots, whatever their type.
  bool same_process = false;

  /// Whether somebody wants to know of each task more than its number.
  bool watched = false;

  /// Task i begins, and the one before it has ended.
  void starts(std::uint64_t i) {
    if (watched) [[unlikely]]
      watch(i);
    else
      current->store(i, std::memory_order_release);  // commits i - 1, too
  }

  /// Records the exception being handled as task `index`'s.
  /// Returns: whether the tasks behind it shall run.
  virtual bool failed(std::uint64_t index) = 0;

  /// Where the bytes of a result go that has no flat form and must leave this process.
  virtual writer& begin_record() = 0;
  /// That result is complete: its bytes are written, or its object is made in its slot. Not called
  /// for flat results, which `current` commits.
  virtual void made(std::uint64_t result) = 0;
  /// That task is the one that succeeded, of a call that needs no other.
  virtual void won(std::uint64_t task) = 0;

 protected:
  /// What starts() does instead where tasks are watched.
  virtual void watch(std::uint64_t i) = 0;

  task_loop() = default;
  ~task_loop() = default;
  task_loop(task_loop const&) = default;
  task_loop& operator=(task_loop const&) = default;
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
  slot_shape forked;        // in shared memory: the flat result, or a record's 8-byte name
  slot_shape same_process;  // in the caller's: the result itself
  bool flat = true;         // results are objects in their slots; else their slots name records
  bool stop_at_failure = true;
  bool whole_batches = false;  // one result for a batch: after a death it runs again from its start
  bool race = false;           // the first task that succeeds ends the call
  std::uint64_t first_index = 0;  // of its tasks, where they are part of a larger range
  char const* result_type = "";   // mangled: what a journal knows the results by

  void* tasks = nullptr;
  void (*run)(void* tasks, task_loop& loop) = nullptr;
  /// Destroys result i, made in that slot by the same process; null if there is nothing to do.
  void (*destroy)(std::byte* slot, std::uint64_t i) = nullptr;
};

}  // namespace forkmap::detail
