// A worker process, from the fork to its exit.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/syscall.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <functional>

#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/memory/own_memory.hpp>
#include <forkmap/detail/messages/ring.hpp>
#include <forkmap/detail/messages/sender.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/os/exits.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/stdio.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/detail/worker/loop.hpp>
#include <forkmap/detail/worker/setup.hpp>
#include <forkmap/detail/worker/task_output.hpp>
#include <forkmap/detail/worker/task_runner.hpp>
#include <forkmap/message_handler.hpp>
#include <forkmap/options.hpp>
#include <forkmap/output.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

/// The sender of a worker whose caller sleeps until an eventfd is readable.
class fork_join_sender {
 public:
  fork_join_sender(message_handler const& handler, message_ring& ring, int event) noexcept
      : event_(event), sender_(handler, ring, wake, &event_) {}

  message_sender& sender() noexcept { return sender_; }

 private:
  static void wake(void* event) noexcept { static_cast<kept_event*>(event)->raise(); }

  kept_event event_;
  message_sender sender_;
};

/// Runs a worker. Called in the child of a fork; never returns. An exception that escapes (only
/// possible if memory runs out while a failure is published) terminates the process, which the
/// caller sees.
[[noreturn, gnu::hot]] inline void live_as_worker(worker_birth const& birth_of_caller) noexcept {
  auto birth = birth_of_caller;
  follow_parent(birth.ties);
  birth.signals->restore_in_child(birth.probe_signal, birth.ties.end_signal);
  name_worker(birth.number);
  prepare_stdio();
  leave_at_exit();
  forget_inherited_output();
  print_in_lines();
  auto const& layout = birth.memory->layout();
  auto const file = birth.memory->file().get();
  own_memory const mapped(layout, birth.number, file);
  if (mapped.arena() == nullptr) {
    note_start_error(layout, birth.number, file, errno);
    exit_now(1);
  }
  // From here on the worker needs no descriptor, so tasks may close all descriptors.
  bound().syscall(SYS_close, static_cast<long>(file));
  call_memory const memory(layout, mapped.common(), mapped.own());
  birth.memory = &memory;
  memory.populate();
  this_process.is_worker = true;
  this_process.has_grace = birth.opts.grace.is_set();
  ++this_process.depth;
  this_process.share = birth.share;
  install_crash_handler(memory.backtrace(birth.number), birth.process, birth.probe_signal);

  auto& state = memory.state(birth.number);
  constexpr auto relaxed = std::memory_order_relaxed;
  scoped_options = nullptr;  // nested calls default to this worker's share of the machine
  task_frame frame;
  frame.worker = static_cast<int>(birth.number);
  frame.seed = birth.opts.seed;
  begin_frame(frame, birth);
  active_frame = &frame;
  this_process.frame = &frame;

  auto const& opts = birth.opts;
  auto const hook = [&](std::function<void(int)> const& call) {
    if (!call) return;
    call(static_cast<int>(birth.number));
    // Again, because the hook may have changed the user.
    watch_parent(birth.ties.parent, birth.ties.end_signal);
  };
  auto arena = mapped.arena_from_here();
  owner<fork_join_sender> messages;
  owner<task_output> output;
  if (layout.has_messages()) {
    messages.reset(
        new fork_join_sender(opts.on_message, memory.messages(birth.number), birth.event));
    if (opts.on_message) frame.messages = &messages->sender();
  }
  if (opts.output.what() != output_mode::inherit) {
    output.reset(new task_output(opts.output, *birth.files, birth.number));
    output->begin_call(memory.printed(birth.number),
                       layout.has_messages() ? &messages->sender() : nullptr);
    birth.output = output.get();
  }
  worker_loop loop(birth, arena);
  auto remaining_tasks = tasks_per_worker(opts);
  bool retires = false;
  if (run_outside_tasks(loop, [&] { apply_budget(opts, birth.threads, birth.number); }) &&
      run_outside_tasks(loop, [&] { hook(opts.worker_init); })) {
    frame.current = &loop.running;
    begin_work(state.phase);
    auto const from = loop.clock.now();
    state.working_from.store(from, relaxed);
    if (state.began.load(relaxed) == 0) state.began.store(from, relaxed);
    retires = task_runner(birth, loop, remaining_tasks).run();
    frame.current = nullptr;
    state.busy.store(state.busy.load(relaxed) + loop.clock.now() - from, relaxed);
    state.working_from.store(0, relaxed);
    state.phase.store(retires ? worker_phase::retiring : worker_phase::leaving,
                      std::memory_order_release);
    run_outside_tasks(loop, [&] { hook(opts.worker_exit); });
    note_unshared_memory(birth, loop.clock.now() - from);
  }
  flush_output();
  state.phase.store(retires ? worker_phase::retired : worker_phase::finished,
                    std::memory_order_release);
  end_worker();
}

}  // namespace forkmap::detail
