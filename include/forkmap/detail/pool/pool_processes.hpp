// The processes of a pool: the fork server and the workers.
// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <forkmap/detail/crash/current_backtrace.hpp>
#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/detail/engine/hazards.hpp>
#include <forkmap/detail/engine/kept_output.hpp>
#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/engine/worker_handle.hpp>
#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/os/exits.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/os/library.hpp>
#include <forkmap/detail/os/output_files.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/fork_server.hpp>
#include <forkmap/detail/pool/live_in_pool.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_control.hpp>
#include <forkmap/detail/pool/pool_memory.hpp>
#include <forkmap/detail/pool/pool_view.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

template <class = void> class pool_processes {
 public:
  /// Forks the fork server and the workers.
  /// Errors: std::system_error naming the operation that failed; nothing is left behind.
  pool_processes(options const& opts, std::uint32_t n_workers)
      : memory_(n_workers),
        control_(memory_.control()),
        event_(make_event("a pool")),
        files_(files_for(opts.output, n_workers)),
        has_deadline_(opts.deadline.is_set()),
        has_init_(opts.worker_init != nullptr),
        grace_(opts.grace),
        start_limit_(opts),
        end_signal_(signal_of_end()),
        probe_signal_(opts.timeout.is_set() ? unused_signal(end_signal_) : 0),
        mark_(new_mark()),
        threads_(opts.inner_threads, share_of(n_workers), this_process.threads),
        workers_(n_workers) {
    move_up(event_);
    pool_birth const birth{.opts = opts,
                           .layout = memory_.layout(),
                           .file = memory_.file(),
                           .threads = threads_,
                           .supervisor_event = event_.get(),
                           .share = share_of(n_workers),
                           .probe_signal = probe_signal_,
                           .end_signal = end_signal_,
                           .mark = mark_,
                           .files = files_};
    fork_between_hooks(opts, [&] {
      warn_of_hazards();
      prepare_fork();
      auto const live = [&](std::uint32_t k, pid_t parent, sigset_t const& mask) {
        live_in_pool(birth, k, parent, mask);
      };
      server_.reset(new fork_server(n_workers, live, mark_));
    });
    start_missing();
  }
  pool_processes(pool_processes const&) = delete;
  pool_processes& operator=(pool_processes const&) = delete;

  /// Has idle workers leave, and waits for all workers. If calls have a deadline, workers that are
  /// still starting (worker_init) are killed; if tasks have a time limit, it limits that start too.
  ~pool_processes() {
    close();
    auto const closed_at = nanoseconds_now();
    for (std::uint32_t k = 0; k != size(); ++k) {
      if (!workers_[k].process) continue;
      wait_for_end(k, closed_at);
      workers_[k].refused ? workers_[k].process.forget() : static_cast<void>(collect(k));
    }
  }

  output_files const& outputs() const noexcept { return files_; }
  pool_layout const& layout() const noexcept { return memory_.layout(); }
  pool_control control() const noexcept { return control_; }
  shared_file const& file() const noexcept { return memory_.file(); }
  std::uint32_t size() const noexcept { return layout().n_workers; }
  pool_worker_handle& worker(std::uint32_t k) noexcept { return workers_[k]; }
  child_process const& process(std::uint32_t k) const noexcept { return workers_[k].process; }
  int event() const noexcept { return event_.get(); }  // readable after poke(), here or in a worker
  /// Wakes the supervisor, which then checks everything.
  void poke() const noexcept { raise_event(event_.get()); }
  /// Readable when the fork server has ended; -1: ask server_has_ended().
  int server_handle() const noexcept { return server_->handle(); }
  bool server_has_ended() const noexcept { return server_->has_ended(); }

  /// Whether worker k has no pidfd to poll, and has ended.
  bool has_ended(std::uint32_t k) noexcept {
    auto const& process = workers_[k].process;
    return process && process.handle() < 0 && server_->has_ended(process);
  }
  /// Kills workers whose grace is over, and frees memory of output that is not kept.
  /// Errors: std::system_error EPERM if a worker could not be killed: its task goes on.
  void look_after_workers() {
    files_.trim();
    for (std::uint32_t k = 0; k != size(); ++k) {
      auto const& worker = workers_[k];
      if (worker.process && worker.must_be_killed(nanoseconds_now())) kill(k);
      if (!worker.refused) continue;
      throw_system_error(EPERM, "kill of a pool's worker, which is left running,",
                         "pid " + std::to_string(worker.process.pid()));
    }
  }

  bool serves(std::uint32_t k, std::uint32_t call) const noexcept {
    return workers_[k].process && control_.place(k).serving.load() == call + 1;
  }

  /// Kills worker k if it serves that call (step 4 of pool_channel.hpp), or if a task has
  /// overwritten what it serves.
  void end(std::uint32_t k, std::uint32_t call) {
    if (!workers_[k].process) return;
    auto serving = call + 1;
    bool const serves_it = control_.place(k).serving.compare_exchange_strong(
        serving, serving | pool_worker_state::killed);
    if (serves_it || !pool_worker_state::is_possible(serving)) end_soon(k);
  }
  /// Kills worker k, after options::grace if that is set.
  void end_soon(std::uint32_t k) noexcept {
    workers_[k].is_grace_over(grace_, nanoseconds_now()) ? kill(k) : poke();
  }

  /// Forks missing workers.
  void start_missing() {
    for (std::uint32_t k = 0; k != size(); ++k) {
      if (workers_[k].process) continue;
      poke();  // the supervisor must watch the new worker, too
      start(k);
    }
  }

  /// Has the replacement of worker k continue that call with its predecessor's remaining tasks.
  void inherit(std::uint32_t k, std::uint32_t call, task_range remaining, retry const& again) {
    auto& orders = control_.orders(k);
    orders.remaining = remaining;
    orders.again = again;
    orders.inherits.store(call + 1);
    control_.place(k).serving.store(call + 1);
  }
  /// Has the replacement of worker k look for calls.
  void inherit_nothing(std::uint32_t k) {
    control_.orders(k).inherits.store(0);
    control_.place(k).serving.store(0);
  }

  /// Forks worker k.
  void start(std::uint32_t k) {
    auto& state = control_.place(k);
    control_.orders(k).process = workers_[k].number = ++n_started_;
    state.phase.store(worker_phase::starting);
    state.in_setup.store(0);
    control_.worker(k).parked.store(0);
    workers_[k].pulse = {};
    workers_[k].born = nanoseconds_now();
    workers_[k].left = 0;
    workers_[k].killed_at = workers_[k].kill_at = 0;
    workers_[k].process = server_->start(k);
  }

  /// Collects a worker that has ended.
  ended_process collect(std::uint32_t k) {
    auto& worker = workers_[k];
    auto const pid = worker.process.pid();
    auto const phase = control_.place(k).phase.load();
    bool const by_itself = phase == worker_phase::finished || phase == worker_phase::retired;
    auto const end = server_->collect(
        worker.process, by_itself ? no_mark : mark_of_worker(mark_, worker.number), &worker.left);
    threads_.forget(pid);
    auto report = crash_report::of(worker.number, end, control_.place(k).backtrace);
    note_later_module(report, modules_);
    return {pid, end, std::move(report)};
  }

  /// The backtrace of a running worker that has timed out.
  current_backtrace locate(std::uint32_t k) {
    return detail::locate(workers_[k].process, workers_[k].number, control_.place(k).backtrace,
                          probe_signal_);
  }
  /// Kills worker k. The fork server does it if the program has dropped the privileges to do so.
  void kill(std::uint32_t k) noexcept {
    auto& worker = workers_[k];
    worker.killed_at = nanoseconds_now();
    auto const mark = mark_of_worker(mark_, worker.number);
    if (kill_tree(worker.process, mark) || server_->kill(worker.process)) return;
    worker.refused = true;
    poke();  // look_after_workers() reports it
  }

  /// Has workers leave as soon as they serve no call.
  void close() {
    control_.header().closing.store(1);
    control_.rouse();
  }

  /// Kills and forgets all workers of a broken pool: they are not collected any more.
  void abandon() noexcept {
    constexpr std::int64_t patience_ns = 5'000'000'000;  // for all: the kernel may hold some
    // The end of the fork server ends workers, even those that this program may not kill.
    bool const server_ended = server_->has_ended();
    for (std::uint32_t k = 0; k != size(); ++k) {
      if (workers_[k].process) kill(k);
      if (server_ended) workers_[k].refused = false;
    }
    auto const end_of_patience = nanoseconds_now() + patience_ns;
    for (std::uint32_t k = 0; k != size(); ++k) {
      auto& process = workers_[k].process;
      // A worker that still runs may come to a call.
      auto const rest = std::max<std::int64_t>(0, end_of_patience - nanoseconds_now());
      if (process && !workers_[k].refused)
        server_->ends_within(process, static_cast<int>(rest / 1'000'000));
      process.forget();
      workers_[k].refused = false;
      inherit_nothing(k);
    }
  }

 private:
  /// How many of the machine's cores each worker gets.
  static int share_of(std::uint32_t n_workers) {
    return std::max(1, workers_for(-1) / static_cast<int>(n_workers));
  }

  /// Waits until worker k of a closed pool has ended. A worker that the kernel does not end after
  /// a kill is left behind.
  void wait_for_end(std::uint32_t k, std::int64_t closed_at) {
    constexpr std::int64_t look_again_ms = 200;
    constexpr std::int64_t killed_ns = 5'000'000'000;
    auto& worker = workers_[k];
    auto& phase = control_.place(k).phase;
    worker.process.send(SIGCONT);  // a stopped worker would never leave
    if (has_deadline_ && phase.load() == worker_phase::starting) kill(k);
    while (!worker.refused) {
      auto const before = nanoseconds_now();
      auto const until_due_ms =
          std::max<std::int64_t>(0, start_limit_.due(phase, worker.born) - before) / 1'000'000 + 1;
      if (server_->ends_within(worker.process,
                               static_cast<int>(std::min(look_again_ms, until_due_ms))) ||
          server_->has_ended()) {
        return;
      }
      auto const now = nanoseconds_now();
      if (worker.killed_at != 0) {
        if (now - worker.killed_at > killed_ns) return;
        continue;
      }
      control_.rouse();  // a task may have overwritten the memory that wakes workers
      if (now - closed_at > longest_end(phase, has_init_) || worker.must_be_killed(now) ||
          !pool_worker_state::is_possible(control_.place(k).serving.load()) ||
          start_limit_.has_timed_out(phase, worker.born, now)) {
        kill(k);
      }
    }
  }

  pool_memory memory_;
  pool_control control_;
  descriptor event_;
  output_files files_;
  bool has_deadline_;
  bool has_init_;  // the start of a worker may take long
  time_limit grace_;
  start_limit start_limit_;
  int end_signal_;
  int probe_signal_;
  process_mark mark_;
  loaded_modules modules_;  // those that workers have loaded
  thread_limits threads_;
  per_worker<pool_worker_handle> workers_;
  std::uint32_t n_started_ = 0;
  owner<fork_server> server_;
};

}  // namespace forkmap::detail
