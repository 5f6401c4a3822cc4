// The limits of a pool's calls, and of tasks in them: when the next one is to be looked at. And which
// workers are ended: for a task that is over its limit, or because nobody wants their call any more.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <forkmap/engine/pool_call_run.hpp>
#include <forkmap/engine/pool_processes.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/worker/pool_channel.hpp>

namespace forkmap::detail {

/// Returns: on the steady clock, in nanoseconds; INT64_MAX if there are no limits.
template <class Lazy>
std::int64_t next_limit(std::vector<pool_call_run*> const& calls,
                        pool_processes<Lazy> const& processes, std::int64_t time) noexcept {
  auto next = INT64_MAX;
  for (auto const* call : calls) {
    if (call == nullptr || !call->limits.exist() || call->is_ended) continue;
    next = std::min(next, call->limits.next_look(time));
    if (!call->limits.task.is_set() || call->cancelled()) continue;
    for (std::uint32_t k = 0; k != processes.size(); ++k) {
      next = std::min(next, processes.serves(k, call->place)
                                ? call->limits.task.due(call->memory.slots()[k], time)
                                : call->limits.task.limit_from(time));
    }
  }
  return next;
}

/// Ends workers in whose tasks of that call the limit has been reached.
template <class Lazy>
void end_stuck_tasks(pool_call_run& call, pool_processes<Lazy>& processes, std::int64_t time) {
  for (std::uint32_t k = 0; k != processes.size(); ++k) {
    if (!processes.serves(k, call.place)) continue;
    if (!call.limits.task.gives_up(call.memory.slots()[k], time)) continue;
    processes.life(k).stuck = processes.locate(k);
    processes.kill(k);
  }
}

/// Ends what still runs of a call that a worker has cancelled. Who has come for nothing leaves by
/// itself, and may have something to print.
template <class Lazy> void end_tasks_of(pool_call_run& call, pool_processes<Lazy>& processes) {
  processes.control().close(call.place);
  bool const all_claimed = call.all_claimed();
  for (std::uint32_t k = 0; k != processes.size(); ++k) {
    bool const runs = call.memory.slots()[k].current.load() != nothing_running;
    if (runs || !all_claimed) processes.end(k, call.place);
  }
}

}  // namespace forkmap::detail
