// The calls of a pool in their call slots: send the tasks -> open the call -> sleep until it is
// over -> collect the results.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>

#include <forkmap/detail/engine/call_limits.hpp>
#include <forkmap/detail/engine/published_ranges.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/cpu.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/pool/call_slot.hpp>
#include <forkmap/detail/pool/chunk_sender.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_supervisor.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/pool/setups.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/options.hpp>
#include <forkmap/report.hpp>

namespace forkmap::detail {

template <class = void> class pool_calls {
 public:
  pool_calls(options const& opts, std::uint32_t n_workers, pool_supervisor<>::duty further)
      : opts_(opts),
        beside_caller_(static_cast<std::uint64_t>(std::max(2, usable_cpus()) - 1)),
        supervisor_(opts, n_workers, further),
        setups_(supervisor_.layout(), supervisor_.file()) {}

  std::uint32_t n_workers() const noexcept { return supervisor_.layout().n_workers; }
  pool_control control() const noexcept { return supervisor_.control(); }
  /// The tasks that every worker runs.
  setup_list& setups() noexcept { return setups_; }

  /// Wakes a worker early for a call of few tasks: they are sent while the worker wakes up.
  void wake_early(std::uint64_t n_tasks) const noexcept {
    constexpr std::uint64_t few = 64;
    if (n_tasks != 0 && n_tasks <= few) supervisor_.wake(1);
  }

  /// Takes the free call slot of the lowest number, the most likely one to have prefaulted memory.
  /// Waits until a slot is free.
  std::uint32_t take_place() {
    for (;;) {
      auto const seen = given_back_.load();
      if (auto const c = find_place(); c != most_calls) return c;
      wait_while_equal(given_back_, seen);
    }
  }
  /// Takes the free call slot of the lowest number.
  /// Returns: its number; most_calls if none is free.
  std::uint32_t find_place() {
    std::lock_guard const lock(supervisor_.mutex);
    for (std::uint32_t c = 0; c != most_calls; ++c) {
      // A worker that came too late for the slot's last call does nothing, or serves the new one.
      if (slots_[c].taken) continue;
      slots_[c].taken = true;
      return c;
    }
    slot_is_wanted_ = true;
    return most_calls;
  }

  /// Sends the tasks and opens their call in call slot c, which was taken for it, with `wanted`
  /// workers awake. `waiter`: what will wait for the call. `inbox`: for its messages, or null.
  /// Returns: null if there are no tasks.
  owner<pool_call> launch(std::uint32_t c, pool_tasks& tasks, map_report& report,
                          std::int64_t called_at, waits_for_call waiter, std::uint64_t wanted,
                          message_inbox* inbox) {
    owner<pool_call> call;
    auto& slot = slots_[c];
    auto& shared = supervisor_.control().call(c);
    try {
      slot.begin(supervisor_.layout(), supervisor_.file(), c, opts_);
      // With time limits, no chunks: a task that waits for its arguments could time out.
      auto n_tasks = call_limits(opts_, called_at).exist() ? 0 : tasks.task_count();
      bool const meanwhile = n_tasks > sending::chunk;
      if (!meanwhile) n_tasks = slot.send(tasks);
      if (n_tasks != 0) {
        call = slot.prepare(tasks, n_tasks, meanwhile, shared, supervisor_.next_number(), opts_,
                            report, called_at);
        call->inbox = inbox;
        if (inbox != nullptr) inbox->attach(call->memory, n_workers());
        supervisor_.control().bell(c).waiting.store(waiter);
        supervisor_.control().sent(c).begin();
        open(*call, waiter, meanwhile ? beside_caller_ : wanted);
        if (meanwhile) send_meanwhile(tasks, *call);
      }
    } catch (...) {
      if (call != nullptr) slot.clear(*call);
      give_back(c);
      throw;
    }
    if (call == nullptr) {
      give_back(c);
      return nullptr;
    }
    call->owner = this;
    call->release = [](void* engine, pool_call& ended) noexcept {
      auto& self = *static_cast<pool_calls*>(engine);
      self.slots_[ended.place].clear(ended);
      self.give_back(ended.place);
    };
    return call;
  }

  /// How many workers a call wakes at once: one, which may do all the work before a second one is
  /// awake; or all that have work, if the last call took long enough.
  std::uint64_t at_once() const noexcept {
    return calls_are_long_.load(std::memory_order_relaxed) != 0 ? most_workers : 1;
  }

  /// Waits until the call is over. Precondition: at least one worker is awake for it.
  void wait_for(pool_call& call) {
    bool awake = true;
    auto& bell = supervisor_.control().bell(call.place);
    for (;;) {
      auto const seen = bell.event.load();
      {
        std::lock_guard const lock(supervisor_.mutex);
        if (supervisor_.is_over(call)) return supervisor_.forget(call);
      }
      // An event need not mean the end: the other workers may still have to be woken.
      if (awake && is_over_soon(call, seen)) continue;
      awake = false;
      sleep(bell, seen);
      // A task may have overwritten the memory that wakes this thread.
      if (bell.event.load() == seen) look_again(call);
    }
  }

  /// Collects the failures of a call that is over, and publishes its report.
  void collect(pool_call& call) {
    if (call.broken) std::rethrow_exception(call.broken);
    std::int64_t busy_ns = 0;
    for (std::uint32_t k = 0; k != call.plan.n_workers; ++k) {
      busy_ns += std::clamp<std::int64_t>(call.memory.state(k).busy.load(std::memory_order_relaxed),
                                          0, patience_ns + 1);
    }
    if (call.plan.n_batches > 1)
      calls_are_long_.store(busy_ns > patience_ns ? 1 : 0, std::memory_order_relaxed);
    call.outcomes.collect(call.ended, opts_);
    call.add_outputs_to_failures();
    call.results_are_many = call.blob_bytes() > most_kept_bytes;
    call.report.publish(call.this_job, call.plan, call, false);
  }

  /// Whether the call is over. If it is, neither workers nor the supervisor refer to it any more.
  bool is_over(pool_call& call) {
    std::lock_guard const lock(supervisor_.mutex);
    if (!supervisor_.is_over(call)) return false;
    supervisor_.forget(call);
    return true;
  }

  /// Ends a call and kills the workers that serve it. `why`: the reason that its failures give.
  void end(pool_call& call, ended_call why) {
    {
      std::lock_guard const lock(supervisor_.mutex);
      call.ended = why;
      supervisor_.end(call);
    }
    supervisor_.poke();  // the call may be over already
  }

  // For threads that wait for a call: see wait_for().

  call_bell& bell_of(pool_call const& call) const noexcept {
    return supervisor_.control().bell(call.place);
  }
  /// Sleeps until the call's event is no longer `seen`, or for that long.
  static void sleep(call_bell& bell, std::uint32_t seen,
                    std::int64_t nanoseconds = look_again_ns) noexcept {
    bell.waiting.store(waits_for_call::a_thread);
    wait_while_equal(bell.event, seen, nanoseconds);
    bell.waiting.store(waits_for_call::nobody);
  }

  /// Wakes workers again for a call that has not ended.
  void look_again(pool_call& call) {
    std::lock_guard const lock(supervisor_.mutex);
    supervisor_.offer_again(call);
  }

  /// Spins for a moment: the one worker that was woken finishes a small call within it. Wakes the
  /// other workers, if they were not woken, when that worker turns out to have more to do.
  bool is_over_soon(pool_call const& call, std::uint32_t seen) const noexcept {
    constexpr std::int64_t alone_ns = 3'000;
    auto const& event = supervisor_.control().bell(call.place).event;
    bool alone = call.plan.n_batches > call.woken;
    std::int64_t served_from = 0;
    bool const over = spin_until(patience_ns, [&] {
      if (event.load() != seen) return true;
      if (!alone) return false;
      if (served_from == 0) {
        if (supervisor_.control().is_served(call.place)) served_from = nanoseconds_now();
      } else if (nanoseconds_now() - served_from > alone_ns) {
        supervisor_.wake(call.plan.n_batches);
        alone = false;
      }
      return false;
    });
    if (!over && alone) supervisor_.wake(call.plan.n_batches);
    return over;
  }

  /// Wakes all threads that wait for calls.
  void wake_threads() {
    std::lock_guard const lock(supervisor_.mutex);
    supervisor_.raise_events();
  }

  /// Ends the workers and the supervisor's thread.
  void stop() { supervisor_.stop(); }

 private:
  void open(pool_call& call, waits_for_call waiter, std::uint64_t wanted) {
    std::lock_guard const lock(supervisor_.mutex);
    supervisor_.open(call, waiter, wanted);
  }
  void end(pool_call& call) {
    std::lock_guard const lock(supervisor_.mutex);
    supervisor_.end(call);
  }

  void send_meanwhile(pool_tasks& tasks, pool_call& call) {
    chunk_sender sender(supervisor_, call);
    try {
      slots_[call.place].send_meanwhile(tasks, call.plan.n_tasks, sender);
      // Workers that wait for tasks that are never sent are killed with the others.
      if (call.cancelled()) return;
      sender.all_sent();
      tasks.look_ahead();
      take_meanwhile(tasks, call);
    } catch (...) {
      end(call);
      wait_for(call);
      throw;
    }
  }

  /// Takes results while workers compute the others, as long as enough of them are published each
  /// time.
  void take_meanwhile(pool_tasks& tasks, pool_call& call) {
    constexpr std::uint64_t worth_it = 64 << 10U;  // bytes
    constexpr std::int64_t a_moment_ns = 50'000;
    if (!call.this_job.flat || call.slot_bytes == 0) return;
    auto& bell = supervisor_.control().bell(call.place);
    ranges_so_far published(call.memory, call.plan, call.call_number);
    for (std::uint64_t taken = 0; taken != call.plan.n_tasks;) {
      auto const seen = bell.event.load();
      auto const before = taken;
      known_range range;
      while (!call.cancelled() && published.next(taken, range)) {
        auto* const copies = call.copy_range(range);
        if (copies == nullptr || !tasks.take_ahead(copies, range.end - range.begin)) return;
        taken = range.end;
      }
      if ((taken - before) * call.slot_bytes < worth_it || call.cancelled()) return;
      sleep(bell, seen, a_moment_ns);
    }
  }

  void give_back(std::uint32_t c) noexcept {
    {
      std::lock_guard const lock(supervisor_.mutex);
      slots_[c].taken = false;
      if (!std::exchange(slot_is_wanted_, false)) return;
    }
    supervisor_.poke();  // a submitted call may wait for the slot
    given_back_.fetch_add(1);
    wake_all(given_back_);
  }

  // About the time that it takes to sleep and to be woken.
  static constexpr std::int64_t patience_ns = 20'000;
  static constexpr std::int64_t look_again_ns = 200'000'000;

  options const& opts_;
  std::uint64_t beside_caller_;  // cores that are free while the caller uses one
  call_slot<> slots_[most_calls];
  bool slot_is_wanted_ = false;  // guarded by the supervisor's mutex
  std::atomic<std::uint32_t> given_back_{0};
  std::atomic<std::uint32_t> calls_are_long_{0};
  pool_supervisor<> supervisor_;  // after all that its thread uses
  setup_list setups_;
};

}  // namespace forkmap::detail
