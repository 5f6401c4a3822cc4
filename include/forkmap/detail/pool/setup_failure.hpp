// Failure of a worker in a task of pool::everywhere.
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <utility>

#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/engine/worker_handle.hpp>
#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// The failure of a call whose worker has ended in a task of pool::everywhere.
inline task_failure failure_in_setup(ended_process worker, pool_worker_handle& handle,
                                     options const& opts) {
  auto failure = failure_of_worker(worker);
  auto const pid = " (pid " + std::to_string(worker.pid) + ")";
  if (handle.killed_at != 0 && opts.timeout.is_set()) {
    failure.reason = forkmap::failure::timed_out;
    failure.what.message = "forkmap: a task of pool::everywhere ran longer than the limit of " +
                           text_of(opts.timeout.value()) + ", and its worker" + pid + " was killed";
    failure.frames = std::move(handle.stuck.frames);
    failure.text_of_frames = text_of_task_frames;
    failure.what.trace = std::move(handle.stuck.text);
  } else {
    failure.what.message =
        "forkmap: a task of pool::everywhere killed its worker" + pid + ": " + text_of(worker.end);
    add_crash_report(failure, std::move(worker.report));
  }
  return failure;
}

}  // namespace forkmap::detail
