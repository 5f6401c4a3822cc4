// The failures of one worker, in its arena: a list that the caller reads when the worker has ended.
//
//   1. The record is written: [name of the one before][index][the exception taken apart].
//   2. slot.arena_next moves behind it, so that a replacement never writes over it.
//   3. slot.failures names it (release): only now does it exist.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include <forkmap/plan/ledger.hpp>
#include <forkmap/this_task.hpp>
#include <forkmap/transfer/arena.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/thrown.hpp>

namespace forkmap::detail {

/// Ends the record being written and keeps it from being written over. Returns its name.
inline std::uint64_t publishable_record(arena_writer& arena, worker_slot& slot) {
  auto const name = arena.end_record();
  slot.arena_next.store(arena.next(), std::memory_order_release);
  return name;
}

/// Records the exception being handled as task `index`'s.
inline void log_current_exception(arena_writer& arena, worker_slot& slot, std::uint64_t index) {
  auto const what = describe_current_exception();
  arena.begin_record();
  arena.put(slot.failures.load(std::memory_order_relaxed));
  arena.put(index);
  arena.put(static_cast<std::int64_t>(::getpid()));
  arena.put(this_task::attempt());
  what.save(arena);
  slot.failures.store(publishable_record(arena, slot), std::memory_order_release);
}

/// Adds what the worker in that slot, and its predecessors there, have recorded.
/// `first_index`: of the call's tasks, where they are part of a larger range.
inline void read_failures(arena_reader& arenas, worker_slot const& slot, std::uint64_t first_index,
                          failure_list& into) {
  for (auto at = slot.failures.load(std::memory_order_acquire); at != 0;) {
    auto in = arenas.record(at);
    at = in.get<std::uint64_t>();
    task_failure failure;
    failure.index = in.get<std::uint64_t>();
    if (failure.index != outside_tasks) failure.index += first_index;
    failure.pid = static_cast<pid_t>(in.get<std::int64_t>());
    failure.attempt = in.get<int>();
    failure.what = thrown::load(in);
    into.add(std::move(failure));
  }
}

/// Whether the last failure recorded there is that task's: it had ended before its worker did.
inline bool has_failed(arena_reader& arenas, worker_slot const& slot, std::uint64_t index) {
  auto const at = slot.failures.load(std::memory_order_acquire);
  if (at == 0) return false;
  auto in = arenas.record(at);
  in.get<std::uint64_t>();
  return in.get<std::uint64_t>() == index;
}

}  // namespace forkmap::detail
