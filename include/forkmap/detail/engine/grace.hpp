// The time that workers get to end by themselves before they are killed: options::grace.
// SPDX-License-Identifier: MIT
#pragma once

#include <poll.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include <forkmap/detail/engine/call_messages.hpp>
#include <forkmap/detail/engine/call_processes.hpp>
#include <forkmap/detail/engine/worker_handle.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// Asks all workers of a call to end, and waits until they have ended or the grace is over. Delivers
/// messages meanwhile.
inline void give_grace(per_worker<worker_handle>& workers, time_limit grace,
                       call_processes& processes, call_messages& messages) {
  if (!grace.is_set()) return;
  per_worker<pollfd> ends(workers.size() + 1);  // the last one is the event of messages
  for (;;) {
    auto const time = nanoseconds_now();
    auto wake = messages.next_look(INT64_MAX, time);
    bool any = false;
    for (std::size_t k = 0; k != workers.size(); ++k) {
      auto& worker = workers[static_cast<std::uint32_t>(k)];
      auto& end = ends[static_cast<std::uint32_t>(k)];
      end = {-1, POLLIN, 0};
      if (!worker.process || worker.process.has_ended() || worker.is_grace_over(grace, time))
        continue;
      any = true;
      end.fd = worker.process.handle();
      constexpr std::int64_t look_again_ns =
          1'000'000;  // for a process without a descriptor to poll
      wake = std::min(wake, end.fd < 0 ? time + look_again_ns : worker.kill_at);
    }
    if (!any) return;
    ends[static_cast<std::uint32_t>(workers.size())] = {messages.event(), POLLIN, 0};
    processes.sleep(ends, std::max<std::int64_t>(0, wake - time));
    messages.deliver();
  }
}

}  // namespace forkmap::detail
