// The failures of one worker: a linked list of blobs in its arena, read by the caller after its
// end.
//
//   1. The worker writes a blob: [name of the previous failure's blob][task][pid][attempt]
//      [serialized exception].
//   2. It moves state.arena_next past the blob, so that a replacement never overwrites it.
//   3. It stores the blob's name in state.failures (release), which publishes the failure.
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/failure/thrown.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/arena_reader.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

/// Ends the open blob and keeps a replacement from overwriting it.
/// Returns: the blob's name.
inline std::uint64_t publishable_blob(arena_writer& arena, worker_state& state, blob_owner whose) {
  auto const name = arena.end_blob(whose);
  state.arena_next.store(arena.next(), std::memory_order_release);
  return name;
}

/// Publishes a task's exception as a failure of the call with number `call`.
/// Errors: as arena_writer.
inline void log_thrown(arena_writer& arena, worker_state& state, std::uint64_t call,
                       std::uint64_t index, thrown const& exception) {
  arena.begin_blob();
  arena.put(state.failures.load(std::memory_order_relaxed));
  arena.put(index);
  arena.put(static_cast<std::int64_t>(::getpid()));
  arena.put(this_task::attempt());
  exception.save(arena);
  auto const name =
      publishable_blob(arena, state, {.call = call, .number = 0, .kind = blob_owner::failure});
  state.failures.store(name, std::memory_order_release);
}

/// Publishes the exception being handled as the failure of task `index`. If there is not enough
/// memory for its text, only the first 1000 bytes of the message are published.
/// Errors: as arena_writer, if there is not enough memory for those either.
inline void log_current_exception(arena_writer& arena, worker_state& state, std::uint64_t call,
                                  std::uint64_t index) {
  constexpr std::size_t least = 1000;
  auto exception = describe_current_exception();
  try {
    return log_thrown(arena, state, call, index, exception);
  } catch (std::exception const&) {
    if (exception.message.size() + exception.trace.size() <= least) throw;
  }
  exception.trace.clear();
  exception.message.resize(std::min(exception.message.size(), least));
  exception.message += "... (no shared memory for the rest)";
  log_thrown(arena, state, call, index, exception);
}

/// One failure, and the name of the blob of the previous one.
struct logged_failure {
  task_failure failure;
  std::uint64_t before = 0;
};

/// Errors: damaged_results if the blob does not exist or is damaged.
inline logged_failure read_failure(arena_reader& arenas, std::uint32_t k, std::uint64_t name,
                                   std::uint64_t call) {
  auto in = arenas.blob(k, name, {.call = call, .number = 0, .kind = blob_owner::failure}, 0);
  logged_failure logged;
  try {
    logged.before = in.get<std::uint64_t>();
    logged.failure.index = in.get<std::uint64_t>();
    logged.failure.pid = static_cast<pid_t>(in.get<std::int64_t>());
    logged.failure.attempt = in.get<int>();
    logged.failure.what = thrown::load(in);
  } catch (out_of_bytes const&) {
    arena_reader::throw_damaged();
  }
  return logged;
}

/// Adds the failures of worker k and its predecessors. A damaged failure and all failures before it
/// are left out; the digests of their tasks' ranges then do not match.
inline void read_failures(arena_reader& arenas, worker_state const& state, std::uint32_t k,
                          std::uint64_t call, job const& this_job, failure_list& into) {
  auto at = state.failures.load(std::memory_order_acquire);
  while (at != 0) {
    try {
      auto logged = read_failure(arenas, k, at, call);
      // Offsets must decrease from one failure to the previous one. Otherwise the list is damaged.
      if (blob_name::unpack(logged.before).offset >= blob_name::unpack(at).offset &&
          logged.before != 0) {
        return;
      }
      bool const of_task = logged.failure.index < this_job.n_tasks;
      if (of_task) logged.failure.index += this_job.first_index;
      if (of_task || logged.failure.index == outside_tasks) into.add(std::move(logged.failure));
      at = logged.before;
    } catch (damaged_results const&) {
      return;
    }
  }
}

/// Whether worker k's last failure is that of task `index`. Then the task had ended before its
/// worker.
inline bool has_failed(arena_reader& arenas, worker_state const& state, std::uint32_t k,
                       std::uint64_t call, std::uint64_t index) {
  auto const at = state.failures.load(std::memory_order_acquire);
  if (at == 0) return false;
  try {
    return read_failure(arenas, k, at, call).failure.index == index;
  } catch (damaged_results const&) {
    return false;
  }
}

}  // namespace forkmap::detail
