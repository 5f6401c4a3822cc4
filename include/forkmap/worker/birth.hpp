// What a worker is born with: all of it the caller's memory, inherited.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/thread_limits.hpp>
#include <forkmap/transfer/call_memory.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/journal.hpp>
#include <forkmap/worker/page_feeder.hpp>

namespace forkmap::detail {

/// Further attempts at the tasks of a range: which one this is.
struct retry {
  task_range tasks{};
  int attempt = 0;

  int attempt_at(std::uint64_t task) const noexcept {
    return task >= tasks.begin && task < tasks.end ? attempt : 0;
  }
};

struct worker_birth {
  job const& work;
  options const& how;
  dispatch_plan const& plan;
  call_memory const& memory;
  journal const* resume;          // null: none is kept
  thread_limits const& threads;   // of libraries that have threads of their own
  sigint_blocked const* signals;  // made before the fork
  pid_t caller;
  std::uint32_t number;   // of its place, from 0
  std::uint32_t process;  // among the processes of its call, from 1
  int share;              // of the machine's cores
  int probe_signal;       // asks a worker where it is; 0: none
  task_range left_over;   // of a predecessor's batch, to be run first
  retry again;
  present_blocks* present = nullptr;  // of the call's memory, where earlier calls have used it
};

}  // namespace forkmap::detail
