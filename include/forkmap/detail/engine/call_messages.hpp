// The messages of a call that forks its workers, as its caller handles them between its other waits.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <forkmap/detail/engine/kept_output.hpp>
#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/messages/ring.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/os/output_files.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/plan/last_task.hpp>
#include <forkmap/options.hpp>
#include <forkmap/output.hpp>

namespace forkmap::detail {

/// Does nothing if the call has no handler and does not keep the output of tasks.
class call_messages {
 public:
  /// Errors: std::system_error naming eventfd or memfd_create.
  call_messages(options const& opts, call_memory const& memory, std::uint32_t n_workers)
      : mode_(opts.output), memory_(memory), files_(files_for(opts.output, n_workers)) {
    if (!has_messages(opts)) return;
    event_ = make_event("the messages of a call");
    move_up(event_);
    inbox_.reset(new message_inbox(opts.on_message));
    inbox_->attach(memory, n_workers);
  }

  /// An eventfd that workers raise; -1: none.
  int event() const noexcept { return event_.get(); }

  /// Delivers the messages that are there.
  /// Errors: what the handler throws; std::runtime_error if messages were damaged.
  void deliver() {
    if (inbox_) inbox_->deliver();
  }
  /// Delivers the last messages. Precondition: all workers have ended.
  /// Returns: what the tasks have printed, if that is kept.
  task_outputs deliver_last() {
    if (!inbox_) return {};
    inbox_->detach();
    inbox_->deliver_all();
    return inbox_->take_outputs();
  }
  /// Keeps the messages of a worker that has ended.
  void retire(std::uint32_t k) {
    if (inbox_) inbox_->retire(k);
  }
  /// Keeps or prints what the worker's last task has printed.
  void retire_output(std::uint32_t k, last_task const& last, std::uint64_t first_index) {
    if (!last.was_running && !last.ended) return;
    detail::retire_output(files_, mode_, k, memory_, last.task + first_index, inbox_.get());
  }
  output_files const& files() const noexcept { return files_; }

  /// When the caller, which is about to sleep, must look again: `wake`, or earlier.
  std::int64_t next_look(std::int64_t wake, std::int64_t now) {
    if (!inbox_) return wake;
    drain_event(event_.get());
    files_.trim();
    if (!inbox_->may_sleep()) return 0;
    return wake < now + ring_look_again_ns ? wake : now + ring_look_again_ns;
  }

 private:
  output_mode const& mode_;
  call_memory memory_;
  output_files files_;
  descriptor event_{};
  owner<message_inbox> inbox_{};
};

}  // namespace forkmap::detail
