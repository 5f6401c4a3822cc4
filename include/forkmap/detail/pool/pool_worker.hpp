// The main loop of a pool's worker: it looks for calls, serves them, and sleeps in between.
// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <utility>

#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/messages/sender.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/os/exits.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/stdio.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/call_search.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_control.hpp>
#include <forkmap/detail/pool/pool_view.hpp>
#include <forkmap/detail/pool/remote_tasks.hpp>
#include <forkmap/detail/pool/setups.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/detail/worker/loop.hpp>
#include <forkmap/detail/worker/setup.hpp>
#include <forkmap/detail/worker/task_output.hpp>
#include <forkmap/detail/worker/task_runner.hpp>
#include <forkmap/options.hpp>
#include <forkmap/output.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

template <class = void> class pool_worker {
 public:
  pool_worker(pool_birth const& birth, pool_control control, std::uint32_t k)
      : birth_(birth),
        control_(control),
        k_(k),
        state_(control.own_place()),
        tasks_left_(tasks_per_worker(birth.opts)),
        search_(control),
        setups_(birth.layout, birth.file),
        supervisor_event_(birth.supervisor_event) {
    ::fstat(birth.file.get(), &file_status_);
    frame_.worker = static_cast<int>(k);
    frame_.seed = birth.opts.seed;
    active_frame = &frame_;
    this_process.frame = &frame_;
    cache_of_call = &cache_;
  }

  void run() {
    try {
      apply_budget(birth_.opts, birth_.threads, k_);
      if (birth_.opts.worker_init) {
        birth_.opts.worker_init(static_cast<int>(k_));
        // worker_init may have changed the user, which clears the parent-death signal.
        watch_parent(::getppid(), birth_.end_signal);
      }
    } catch (...) {
      not_initialised_ = std::current_exception();  // then every call that it serves fails
    }
    if (birth_.opts.output.what() != output_mode::inherit)
      output_.reset(new task_output(birth_.opts.output, birth_.files, k_));
    begin_work(state_.phase);
    auto const& orders = control_.orders(k_);
    if (auto const inherited = orders.inherits.load(); inherited != 0) {
      remaining_ = orders.remaining;
      again_ = orders.again;
      serve(inherited - 1);
    }
    while (tasks_left_ != 0 && !closing()) {
      if (!serve_any()) wait();
    }
    bool const retires = !closing();
    state_.phase.store(retires ? worker_phase::retiring : worker_phase::leaving);
    call_worker_exit(birth_.opts, k_);
    flush_output();
    state_.phase.store(retires ? worker_phase::retired : worker_phase::finished);
  }

 private:
  bool closing() const noexcept { return control_.header().closing.load() != 0; }

  /// Serves the oldest open call.
  /// Returns: false if no call is open.
  bool serve_any() {
    auto const c = search_.oldest();
    if (c == most_calls) return false;
    state_.serving.store(c + 1);
    auto const still_open = control_.open_calls().load();
    if ((still_open & ~(std::uint64_t{1} << c)) != 0) control_.unpark_one();
    if ((still_open >> c & 1U) != 0 && control_.call(c).number.load() != 0)
      serve(c);
    else
      leave(c, false, 0);
    return true;
  }

  /// Maps the memory of the call that is not mapped yet.
  /// Returns: null if that is impossible because a task has closed the pool's descriptors.
  call_extent* extent_of(std::uint32_t c, call_control const& call) {
    auto& mapped = extents_[c];
    if (mapped == nullptr || !mapped->has(call.layout)) {
      if (!has_descriptors()) return nullptr;
      mapped.reset(new call_extent(birth_.file.get(), birth_.layout.arguments(c), k_, call.layout,
                                   birth_.opts.max_nbytes, cache_));
      // Without this memory the worker cannot even report an error.
      if (mapped->memory.arena() == nullptr) exit_now(1);
    }
    auto const next = mapped->arena_begin(call.layout, k_, call.number.load());
    if (!mapped->rewind(next)) {
      if (!has_descriptors()) return nullptr;
      if (!mapped->map_arena(birth_.file.get(), call.layout, k_, next)) exit_now(1);
    }
    return mapped.get();
  }

  /// Steps 3 and 4 of pool_channel.hpp. `serving` has been stored already.
  void serve(std::uint32_t c) {
    auto const& call = control_.call(c);
    auto* const extent = extent_of(c, call);
    if (extent == nullptr) {
      tasks_left_ = 0;  // this worker retires; its replacement has descriptors
      return leave(c, false, 0);
    }
    auto& mapped = *extent;
    auto error = not_initialised_;
    try {
      mapped.common_present.follow(mapped.memory.common(), mapped.common_bytes, call.common_made);
      mapped.own_present.follow(mapped.memory.own(), mapped.own_bytes, call.own_made);
      // The descriptors were checked when this worker left its last call.
      if (mapped.table.size() < call.table_bytes) {
        mapped.table = birth_.file.map(
            birth_.layout.table(c), round_up(static_cast<std::size_t>(call.table_bytes), map_grain),
            PROT_READ);
      }
      mapped.arguments.begin_call(call.argument_bytes);
    } catch (...) {
      error = std::current_exception();
    }
    call_memory const memory(call.layout, mapped.memory.common(), mapped.memory.own());
    auto const sent = control_.sent(c);
    remote_tasks tasks{&mapped.arguments,
                       reinterpret_cast<std::uint64_t const*>(mapped.table.data()),
                       call.plan.n_tasks,
                       call.plan.batch_tasks,
                       call.argument_bytes,
                       call.task_bytes,
                       call.in_chunks,
                       &sent,
                       [](void const* control) noexcept {
                         static_cast<pool_control const*>(control)->unpark_all();
                       },
                       &control_};

    auto const number = call.number.load(std::memory_order_relaxed);
    auto plan = call.plan;
    plan.order =
        call.order_at == 0
            ? nullptr
            : reinterpret_cast<std::uint32_t const*>(mapped.table.data() + call.order_at - 1);
    auto this_job = call.this_job;
    this_job.tasks = &tasks;
    worker_birth const birth{.this_job = this_job,
                             .opts = birth_.opts,
                             .plan = plan,
                             .memory = &memory,
                             .resume = nullptr,
                             .threads = birth_.threads,
                             .signals = nullptr,
                             .number = k_,
                             .process = control_.orders(k_).process,
                             .share = birth_.share,
                             .probe_signal = birth_.probe_signal,
                             .output = output_.get(),
                             .remaining = std::exchange(remaining_, {}),
                             .again = std::exchange(again_, {}),
                             .call = number,
                             .present = &mapped.own_present,
                             .common_present = &mapped.common_present};
    begin_frame(frame_, birth);
    auto const wake = [](void* worker, std::uint32_t slot) noexcept {
      static_cast<pool_worker*>(worker)->raise_event(slot);
    };
    auto* const messages =
        mapped.sender(birth_.opts.on_message, memory, k_, number, {wake, this, c});
    if (birth_.opts.on_message) frame_.messages = messages;
    if (output_) output_->begin_call(memory.printed(k_), messages);

    auto& state = memory.state(k_);
    constexpr auto relaxed = std::memory_order_relaxed;
    worker_loop loop(birth, mapped.arena);
    loop.clock = child_clock::of_old_child();  // wait() reads that clock, too
    if (error) run_outside_tasks(loop, [&] { std::rethrow_exception(error); });
    frame_.current = &loop.running;
    auto const from = loop.clock.now();
    state.working_from.store(from, relaxed);
    if (state.began.load(relaxed) == 0) state.began.store(from, relaxed);
    run_outside_tasks(loop, [&] {
      state_.in_setup.store(1);
      setups_.catch_up(control_.header(), birth_.opts.max_nbytes, cache_);
    });
    state_.in_setup.store(0);
    task_runner(birth, loop, tasks_left_).run();
    cache_.end_call();
    frame_.current = nullptr;
    state.busy.store(state.busy.load(relaxed) + loop.clock.now() - from, relaxed);
    state.working_from.store(0, relaxed);
    flush_output();
    if (tasks_left_ == 0) {
      // The replacement runs the remaining tasks of the batch, if any: this worker stays in the
      // call until it is collected.
      return;
    }
    if (call.plan.one_each)
      search_.leave_out(c, number);
    else
      control_.close(c);
    leave(c, loop.cancelled(), loop.has_cancelled() ? number : 0);
  }

  /// Step 4 of pool_channel.hpp. `abandoned`: the call's number if this worker has cancelled the
  /// call, else 0.
  void leave(std::uint32_t c, bool cancelled, std::uint64_t abandoned) {
    auto serving = c + 1;
    if (!state_.serving.compare_exchange_strong(serving, serving | pool_worker_state::leaving)) {
      if (serving == ((c + 1) | pool_worker_state::killed)) wait_to_be_killed();
      exit_now(status_of_damaged);  // a replacement starts with the right value of `serving`
    }
    auto& last = control_.bell(c).abandoned;
    for (auto seen = last.load(); seen < abandoned;) {
      if (last.compare_exchange_weak(seen, abandoned)) break;
    }
    if (cancelled || !control_.is_served(c)) raise_event(c);
    state_.serving.store(0);
    if (!has_descriptors()) tasks_left_ = 0;  // this worker retires
  }

  /// Whether the pool's file is still open: a task may have closed it.
  bool has_descriptors() const noexcept { return is_still(birth_.file.get(), file_status_); }

  void raise_event(std::uint32_t c) {
    if (control_.raise_event(c) != waits_for_call::the_supervisor) return;
    supervisor_event_.raise();
  }

  /// Waits until there may be work. Spins for a moment first: the next call often comes at once.
  void wait() {
    constexpr std::int64_t patience_ns = 50'000;
    auto const wanted = [&] { return search_.has_any() || closing(); };
    // A task may have overwritten these two: restore them.
    if (state_.phase.load() != worker_phase::working) state_.phase.store(worker_phase::working);
    if (state_.serving.load() != 0) state_.serving.store(0);
    if (spin_until(patience_ns, wanted)) return;
    auto& bell = control_.worker(k_);
    auto const seen = bell.work.load();
    bell.parked.store(1);
    if (!wanted()) wait_while_equal(bell.work, seen);
    bell.parked.store(0);
  }

  pool_birth const& birth_;
  pool_control control_;
  std::uint32_t k_;
  pool_worker_state& state_;
  std::uint64_t tasks_left_;
  call_search search_;
  worker_setups setups_;
  task_range remaining_{};  // tasks of the call that this worker continues
  retry again_{};
  struct stat file_status_{};  // of the pool's file, when this worker was forked
  kept_event supervisor_event_;
  task_frame frame_;
  std::exception_ptr not_initialised_;
  call_cache cache_;
  owner<task_output> output_;
  owner<call_extent> extents_[most_calls];
};

}  // namespace forkmap::detail
