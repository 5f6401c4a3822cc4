// A worker's whole life, from the fork to _exit.
#pragma once

#include <sys/prctl.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>

#include <forkmap/options.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/stdio.hpp>
#include <forkmap/this_task.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/worker/birth.hpp>
#include <forkmap/worker/budget.hpp>
#include <forkmap/worker/fault_handler.hpp>
#include <forkmap/worker/loop.hpp>

namespace forkmap::detail {

/// Runs what a worker does before its first task or after its last; what that throws is a failure
/// of the call, outside any task.
template <class Step> bool run_outside_tasks(worker_loop& loop, Step const& step) {
  try {
    step();
    return true;
  } catch (...) {
    loop.failed(outside_tasks);
    loop.cancel();
    return false;
  }
}

/// Lives as a worker. Called in the child of a fork; never returns, and nothing leaves it: what
/// escapes (it would have to come from a lack of memory while recording a failure) is a death,
/// which the caller sees.
[[noreturn, gnu::hot]] inline void live_as_worker(worker_birth const& birth) noexcept {
  follow_parent(birth.caller);
  birth.signals->restore_in_child(birth.probe_signal);
  prepare_stdio();
  leave_at_exit();
  forget_inherited_output();
  print_in_lines();
  birth.memory.populate();
  this_process.is_worker = true;
  this_process.share = birth.share;
  give_last_words(birth.memory.backtrace(birth.number), birth.process, birth.probe_signal);

  auto& slot = birth.memory.slots()[birth.number];
  constexpr auto relaxed = std::memory_order_relaxed;
  scoped_options = nullptr;  // the defaults for nested calls are this worker's share of the machine
  task_frame frame;
  frame.worker = static_cast<int>(birth.number);
  frame.seed = birth.how.seed;
  frame.attempt = birth.again.attempt;
  frame.retried_begin = birth.again.tasks.begin;
  frame.retried_end = birth.again.tasks.end;
  active_frame = &frame;

  auto const& how = birth.how;
  auto const hook = [&](std::function<void(int)> const& call) {
    if (call) call(static_cast<int>(birth.number));
  };
  arena_writer arena(birth.memory.file().get(), slot.arena_next.load(relaxed),
                     birth.memory.arenas().begin(birth.number + 1));
  worker_loop loop(birth, arena);
  auto left = tasks_per_worker(how);
  bool retires = false;
  if (run_outside_tasks(loop,
                        [&] { apply_budget(how, birth.threads, birth.share, birth.number); }) &&
      run_outside_tasks(loop, [&] { hook(how.worker_init); })) {
    frame.current = loop.current;
    slot.phase.store(worker_phase::working, std::memory_order_release);
    auto const from = loop.clock.now();
    slot.working_from.store(from, relaxed);
    if (slot.began.load(relaxed) == 0) slot.began.store(from, relaxed);
    retires = task_runner(birth, loop, left).run();
    frame.current = nullptr;
    slot.busy.store(slot.busy.load(relaxed) + loop.clock.now() - from, relaxed);
    slot.working_from.store(0, relaxed);
    slot.phase.store(retires ? worker_phase::retiring : worker_phase::leaving,
                     std::memory_order_release);
    run_outside_tasks(loop, [&] { hook(how.worker_exit); });
    note_unshared_memory(birth, loop.clock.now() - from);
  }
  flush_output();
  slot.phase.store(retires ? worker_phase::retired : worker_phase::finished,
                   std::memory_order_release);
  exit_now(0);
}

}  // namespace forkmap::detail
