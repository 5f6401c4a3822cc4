// The body of a pool's worker process, from the fork to its end.
// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>

#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/detail/os/exits.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/stdio.hpp>
#include <forkmap/detail/os/worker_output.hpp>
#include <forkmap/detail/pool/pool_view.hpp>
#include <forkmap/detail/pool/pool_worker.hpp>
#include <forkmap/detail/worker/setup.hpp>
#include <forkmap/options.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

/// Runs a pool's worker. Called in the forked child; never returns.
template <class = void>
[[noreturn]] void live_in_pool(pool_birth const& birth, std::uint32_t k, pid_t parent,
                               sigset_t mask) noexcept {
  pool_view const view(birth.layout, k, birth.file.get());
  if (!view) exit_now(1);
  auto const control = view.control();
  parent_ties const ties{
      .parent = parent,
      .end_signal = birth.end_signal,
      .mark = mark_of_worker(birth.mark, control.orders(k).process),
  };
  follow_parent(ties);
  name_worker(k);
  unblock(mask, birth.probe_signal);
  unblock(mask, birth.end_signal);
  set_signal_mask(mask);
  leave_at_exit();
  forget_inherited_output();
  print_in_lines();
  this_process.is_worker = true;
  this_process.has_grace = birth.opts.grace.is_set();
  ++this_process.depth;
  this_process.share = birth.share;
  install_crash_handler(control.own_place().backtrace, control.orders(k).process,
                        birth.probe_signal);
  scoped_options = nullptr;
  birth.threads.forget(parent);
  pool_worker(birth, control, k).run();
  end_worker();
}

}  // namespace forkmap::detail
