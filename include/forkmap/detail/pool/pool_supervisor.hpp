// A pool's supervisor: a thread of the caller that handles exited workers, time limits and
// submitted calls while the threads that made calls sleep.
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/os/background_thread.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/event.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/os/oom.hpp>
#include <forkmap/detail/pool/call_slot.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_control.hpp>
#include <forkmap/detail/pool/pool_processes.hpp>
#include <forkmap/detail/pool/pool_watch.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// The supervisor of a pool. Its functions must be called with its mutex held unless they say
/// otherwise.
template <class = void> class pool_supervisor {
 public:
  /// Handles submitted calls: `look` is called on the supervisor's thread, without the mutex.
  struct duty {
    void (*look)(void* owner) noexcept;
    void* owner;
  };

  /// Errors: std::system_error naming the operation that failed; nothing is left behind.
  pool_supervisor(options const& opts, std::uint32_t n_workers, duty further)
      : opts_(opts),
        further_(further),
        processes_(opts, n_workers),
        calls_(most_calls),
        thread_([this] { watch(); }) {}
  pool_supervisor(pool_supervisor const&) = delete;
  pool_supervisor& operator=(pool_supervisor const&) = delete;
  ~pool_supervisor() { stop(); }

  /// Ends all calls, has the workers leave, and ends the thread. To be called without the mutex,
  /// like the destructor.
  void stop() {
    if (!thread_.is_running()) return;
    {
      std::lock_guard const lock(mutex);
      fail_all(nullptr);
      processes_.close();
    }
    poke();
    thread_.join();
  }

  pool_layout const& layout() const noexcept { return processes_.layout(); }
  pool_control control() const noexcept { return processes_.control(); }
  shared_file const& file() const noexcept { return processes_.file(); }

  /// Opens a call for workers and adds it to the supervised calls, and wakes up to `wanted`
  /// workers: step 1 of pool_channel.hpp. `waiter`: what waits for the call.
  /// Errors: std::system_error if missing workers cannot be forked. If the pool is broken, the
  ///   exception that broke it.
  void open(pool_call& call, waits_for_call waiter, std::uint64_t wanted) {
    if (broken_) std::rethrow_exception(broken_);
    processes_.start_missing();
    for (std::uint32_t k = 0; k != processes_.size(); ++k) processes_.worker(k).idle_deaths = 0;
    control().call(call.place).number.store(call.number);
    calls_[call.place] = &call;
    control().open_calls().fetch_or(std::uint64_t{1} << call.place);
    // A worker whose task has closed all descriptors cannot wake the thread: it must look at calls
    // for which no other thread waits.
    bool const must_look = waiter == waits_for_call::the_supervisor;
    if (call.limits.exist() || (must_look && std::exchange(sleeps_until_event_, false))) poke();
    call.woken = std::min(call.plan.n_batches, wanted);
    control().wake(call.woken);
  }

  /// The number of the next call. May be called without the mutex.
  std::uint64_t next_number() noexcept { return n_calls_.fetch_add(1) + 1; }

  /// Has workers look again at a call that has not ended: a task may have overwritten its bit, or
  /// the memory that wakes workers.
  void offer_again(pool_call& call) {
    if (calls_[call.place] != &call || call.is_ended) return;
    bool const served = control().is_served(call.place);
    if (served) end_pretenders(call, processes_, nanoseconds_now());
    if (served && call.cancelled()) return;
    for (std::uint32_t k = 0; k != processes_.size(); ++k) call.ranges.take_over(k);
    // A worker that cancels a call stores `abandoned` when it leaves; that store may be lost.
    if (call.ranges.contradict() || (!served && call.cancelled())) {
      end(call);
      control().raise_event(call.place);
      return;
    }
    if (call.all_claimed()) return;
    if (!served && is_neglected(call, calls_, processes_, opts_, nanoseconds_now())) {
      end(call);
      return;
    }
    control().open_calls().fetch_or(std::uint64_t{1} << call.place);
    control().rouse();
  }

  /// Wakes up to that many idle workers. May be called without the mutex.
  void wake(std::uint64_t wanted) const noexcept { control().wake(wanted); }

  /// Ends a call: no more workers come to it, and those that serve it are killed.
  void end(pool_call& call) {
    call.is_ended = true;
    call.cancel();
    control().close(call.place);
    for (std::uint32_t k = 0; k != processes_.size(); ++k) processes_.end(k, call.place);
  }

  /// Step 5 of pool_channel.hpp: whether the call is over. The order of the checks matters:
  /// meanwhile a worker may come, claim the remaining batches, and run them.
  bool is_over(pool_call& call) {
    bool const abandoned = control().bell(call.place).abandoned.load() == call.number;
    if (abandoned) end_tasks_of(call, processes_);
    if (control().is_served(call.place)) return false;  // its last worker raises the event
    if (!abandoned && !call.is_ended && !call.all_claimed()) return false;
    control().close(call.place);  // a worker that is seen in the call after this came before it
    return !control().is_served(call.place);
  }

  /// Removes a call that is over: its memory is no longer used.
  void forget(pool_call const& call) noexcept {
    calls_[call.place] = nullptr;
    control().call(call.place).number.store(0);
  }

  /// Wakes all threads that wait for calls.
  void raise_events() const noexcept {
    for (auto const* call : calls_) {
      if (call != nullptr) control().raise_event(call->place);
    }
  }

  /// Wakes the thread, which then checks everything. May be called without the mutex.
  void poke() const noexcept { processes_.poke(); }

  std::mutex mutex;

 private:
  void watch() {
    try {
      watch_until_closed();
    } catch (...) {
      // The supervisor cannot go on (no memory, for example), and workers must not without it.
      {
        std::lock_guard const lock(mutex);
        break_pool(std::current_exception());
      }
      further_.look(further_.owner);  // submitted calls must learn of the failure
    }
  }

  void watch_until_closed() {
    pool_events events;
    for (;;) {
      auto const sleep_ns = prepare_sleep(events);
      if (sleep_ns < 0) return;
      bool const any_event = events.sleep(sleep_ns);
      drain_event(processes_.event());
      {
        std::lock_guard const lock(mutex);
        if (control().header().closing.load() != 0) return;
        if (events.server_has_ended(processes_)) break_pool(fork_server::exception_when_killed());
        processes_.look_after_workers();
        bool any_ended = false;
        for (std::uint32_t k = 0; k != processes_.size(); ++k) {
          if (!events.has_ended(processes_, k)) continue;
          handle_end_of(k);
          any_ended = true;
        }
        check_limits(nanoseconds_now());
        if (any_ended) raise_events();
        for (auto* call : calls_) {
          if (!any_event && call != nullptr) offer_again(*call);
        }
      }
      further_.look(further_.owner);
    }
  }

  /// Returns: how long to sleep at most, in nanoseconds; less than 0 if the pool is closing.
  std::int64_t prepare_sleep(pool_events& events) {
    std::lock_guard const lock(mutex);
    if (control().header().closing.load() != 0) return -1;
    events.follow(processes_, broken_ != nullptr);
    auto const time = nanoseconds_now();
    auto const wake = next_look(calls_, processes_, time);
    sleeps_until_event_ = wake == INT64_MAX;
    return sleeps_until_event_ ? wake : std::max<std::int64_t>(0, wake - time);
  }

  /// Fails all calls and abandons the workers: the pool cannot be used any more.
  void break_pool(std::exception_ptr why) {
    if (!broken_) broken_ = std::move(why);
    fail_all(broken_);
    processes_.abandon();
  }

  void check_limits(std::int64_t time) {
    for (auto* call : calls_) {
      if (call == nullptr || !call->limits.exist() || call->is_ended) continue;
      if (auto const ended = call->limits.reached(time); ended != ended_call::by_nothing) {
        if (!call->cancelled()) call->ended = ended;
        end(*call);
        control().raise_event(call->place);
      } else if (call->limits.task.is_set() && !call->cancelled()) {
        end_timed_out_tasks(*call, processes_, time);
      }
    }
  }

  /// Handles the end of worker k: notes the failure that it causes, if any, and starts the
  /// replacement.
  void handle_end_of(std::uint32_t k) {
    auto& state = control().place(k);
    auto& worker = processes_.worker(k);
    auto ended = processes_.collect(k);
    auto const end = ended.end;
    auto const phase = state.phase.load();
    retire_messages(calls_, k);
    // A worker's state may hold anything: a task may have overwritten it.
    auto serving = state.serving.load() & ~pool_worker_state::killed;
    if ((serving & ~pool_worker_state::leaving) > most_calls) serving = 0;
    auto const c = serving & ~pool_worker_state::leaving;
    auto* const last_call = c != 0 ? calls_[c - 1] : nullptr;
    auto* const call = c == serving ? last_call : nullptr;
    bool continues_call = false;
    if (call != nullptr) {
      continues_call = settle(*call, k, std::move(ended), phase, processes_, opts_, oom_);
    } else if (phase != worker_phase::retired && end.exit_status != status_of_damaged) {
      constexpr std::int64_t soon_ns = 1'000'000'000;
      if (phase != worker_phase::late && nanoseconds_now() - worker.born > soon_ns)
        worker.idle_deaths = 0;
      if (is_last_idle_death(worker.idle_deaths, end, phase, opts_)) {
        // No task caused the end, and a replacement would end the same way. The next call tries again.
        state.serving.store(0);
        return fail_all(
            idle_failure(std::move(ended), phase, opts_, std::move(worker.stuck)).exception());
      }
    }
    if (!continues_call) {
      processes_.inherit_nothing(k);
      // The replacement may come to any open call in which this worker has left blobs.
      for (auto* open : calls_) {
        if (open != nullptr && !open->this_job.flat) open->outcomes.keep_blobs(k);
      }
      // A worker that cancelled the call may have ended before it stored `abandoned`.
      if (last_call != nullptr && last_call->cancelled()) {
        control().bell(last_call->place).abandoned.store(last_call->number);
      }
    }
    try {
      processes_.start(k);
    } catch (...) {
      processes_.inherit_nothing(k);
      fail_all(std::current_exception());  // the next call tries again
    }
    // A caller may have skipped waking another worker because this one seemed awake; wake one now.
    if (control().open_calls().load() != 0) control().wake(1);
    // The worker may have died in unpark(), after it marked another worker as awake and before it
    // woke that one, which would sleep for ever.
    if (phase != worker_phase::retired) control().rouse();
  }

  void fail_all(std::exception_ptr const& why) {
    for (auto* call : calls_) {
      if (call == nullptr) continue;
      call->broken = why;
      end(*call);
      control().raise_event(call->place);
    }
  }

  options const& opts_;
  duty further_;
  pool_processes<> processes_;
  oom_counter oom_;
  std::vector<pool_call*> calls_;  // by call slot
  std::atomic<std::uint64_t> n_calls_{0};
  std::exception_ptr broken_;
  bool sleeps_until_event_ = false;  // the thread sleeps without a time limit
  background_thread thread_;
};

}  // namespace forkmap::detail
