// The caller's side of a pool while callers sleep: a thread that sees to the ends of workers, to time
// limits, and to submitted calls.
#pragma once

#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include <forkmap/engine/after_death.hpp>
#include <forkmap/engine/pool_call_run.hpp>
#include <forkmap/engine/pool_limits.hpp>
#include <forkmap/engine/pool_processes.hpp>
#include <forkmap/options.hpp>
#include <forkmap/system/background_thread.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/system/futex.hpp>
#include <forkmap/system/oom.hpp>
#include <forkmap/worker/death.hpp>
#include <forkmap/worker/pool_channel.hpp>

namespace forkmap::detail {

/// Its functions are called with its mutex held, but for what says otherwise.
template <class = void> class pool_supervisor {
 public:
  /// Looks after submitted calls, on the thread and without the mutex.
  struct duty {
    void (*look)(void* owner) noexcept;
    void* owner;
  };

  /// Errors: std::system_error naming what the system refused; nothing is left then.
  pool_supervisor(options const& how, std::uint32_t n_workers, duty further)
      : how_(how),
        further_(further),
        processes_(how, n_workers),
        calls_(most_calls),
        thread_([this] { watch(); }) {}
  pool_supervisor(pool_supervisor const&) = delete;
  pool_supervisor& operator=(pool_supervisor const&) = delete;
  ~pool_supervisor() { stop(); }

  /// Ends the thread, and whatever workers do. Without the mutex, as the destructor.
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

  /// Makes a call known to workers and to the thread, and wakes up to so many workers: step 1 of
  /// pool_channel.hpp.
  /// Errors: std::system_error if workers that are missing cannot be forked; what has broken the
  ///   pool, if it is.
  void open(pool_call_run& call, std::uint64_t wanted) {
    if (broken_) std::rethrow_exception(broken_);
    processes_.start_missing();
    call.number = ++n_calls_;
    control().call(call.place).number.store(call.number);
    calls_[call.place] = &call;
    control().header().open_calls.fetch_or(std::uint64_t{1} << call.place);
    if (call.limits.exist()) poke();
    call.woken = std::min(call.plan.n_batches, wanted);
    processes_.wake(call.woken);
  }

  /// Wakes up to that many idle workers. Without the mutex, too.
  void wake(std::uint64_t wanted) const noexcept { processes_.wake(wanted); }

  /// Nobody comes to the call any more; those that serve it are ended.
  void end(pool_call_run& call) {
    call.is_ended = true;
    call.cancel();
    control().close(call.place);
    for (std::uint32_t k = 0; k != processes_.size(); ++k) processes_.end(k, call.place);
  }

  /// Step 5: whether the call is over. In this order: a worker may come, claim what there is, and
  /// run it while this looks.
  bool is_over(pool_call_run& call) {
    bool const given_up = control().call(call.place).given_up.load() == call.number;
    if (given_up) end_tasks_of(call, processes_);
    if (control().is_served(call.place)) return false;  // soon told
    if (!given_up && !call.is_ended && !call.all_claimed()) return false;
    control().close(call.place);  // whoever serves the call from here on was there before
    return !control().is_served(call.place);
  }

  /// The call's memory is no longer used.
  void forget(pool_call_run const& call) noexcept { calls_[call.place] = nullptr; }

  /// Has the thread look at everything. Without the mutex, too.
  void poke() const noexcept { processes_.poke(); }

  std::mutex mutex;

 private:
  void watch() {
    try {
      watch_until_closed();
    } catch (...) {
      // No memory: workers that nobody watches over must not go on.
      {
        std::lock_guard const lock(mutex);
        break_pool(std::current_exception());
      }
      further_.look(further_.owner);  // what waits for the thread must know
    }
  }

  void watch_until_closed() {
    std::vector<pollfd> events;
    for (;;) {
      auto const rest = prepare_sleep(events);
      if (rest < 0) return;
      timespec const patience{.tv_sec = rest / 1'000'000'000, .tv_nsec = rest % 1'000'000'000};
      ::ppoll(events.data(), events.size(), rest == INT64_MAX ? nullptr : &patience, nullptr);
      std::uint64_t count = 0;
      static_cast<void>(!::read(processes_.event(), &count, sizeof count));
      {
        std::lock_guard const lock(mutex);
        if (control().header().closing.load()) return;
        if (events[1].revents != 0) break_pool(template_process::exception_when_gone());
        bool any_ended = false;
        for (std::uint32_t k = 0; k != processes_.size(); ++k) {
          if (events[2 + k].revents == 0 || !processes_.life(k).process) continue;
          see_to_end_of(k);
          any_ended = true;
        }
        see_to_limits(nanoseconds_now());
        for (auto* call : calls_) {
          if (any_ended && call != nullptr) control().raise_event(call->place);
        }
      }
      further_.look(further_.owner);
    }
  }

  /// Returns: how long to sleep at most, in nanoseconds; less than 0 if the pool is closing.
  std::int64_t prepare_sleep(std::vector<pollfd>& events) {
    std::lock_guard const lock(mutex);
    if (control().header().closing.load()) return -1;
    events.assign({{processes_.event(), POLLIN, 0},
                   {broken_ ? -1 : processes_.template_handle(), POLLIN, 0}});
    for (std::uint32_t k = 0; k != processes_.size(); ++k) {
      events.push_back({processes_.life(k).process.handle(), POLLIN, 0});
    }
    auto const time = nanoseconds_now();
    auto const wake = next_limit(calls_, processes_, time);
    return wake == INT64_MAX ? wake : std::max<std::int64_t>(0, wake - time);
  }

  /// Nothing runs in this pool any more.
  void break_pool(std::exception_ptr why) {
    if (!broken_) broken_ = std::move(why);
    fail_all(broken_);
    processes_.abandon();
  }

  void see_to_limits(std::int64_t time) {
    for (auto* call : calls_) {
      if (call == nullptr || !call->limits.exist() || call->is_ended) continue;
      if (auto const ended = call->limits.reached(time); ended != ended_call::by_nothing) {
        if (!call->cancelled()) call->ended = ended;
        end(*call);
        control().raise_event(call->place);
      } else if (call->limits.task.is_set() && !call->cancelled()) {
        end_stuck_tasks(*call, processes_, time);
      }
    }
  }

  /// Worker k has ended: who pays for it, and who goes on.
  void see_to_end_of(std::uint32_t k) {
    auto& place = control().place(k);
    auto& it = processes_.life(k);
    auto gone = processes_.collect(k);
    auto const end = gone.end;
    auto const phase = place.phase.load();
    auto const serving = place.serving.load() & ~pool_place::doomed;
    auto const c = serving & ~pool_place::leaving;
    auto* const last_call = c != 0 ? calls_[c - 1] : nullptr;
    auto* const call = c == serving ? last_call : nullptr;
    place.left_over = {};
    place.again = {};
    bool goes_on_with_call = false;
    if (call != nullptr) {
      goes_on_with_call = settle(*call, k, std::move(gone), phase);
    } else if (phase != worker_phase::retired) {
      constexpr std::int64_t soon_ns = 1'000'000'000;
      if (nanoseconds_now() - it.born > soon_ns) it.idle_deaths = 0;
      if (is_last_idle_death(it.idle_deaths, end)) {
        auto const failure = death_outside_tasks(std::move(gone), phase);
        broken_ = std::make_exception_ptr(worker_died(failure.context(), failure.what.message));
        place.serving.store(0);
        return fail_all(broken_);
      }
    }
    if (!goes_on_with_call) {
      place.serving.store(0);
      // Who has cancelled a call may not have come to say so.
      if (last_call != nullptr && last_call->cancelled()) {
        control().call(last_call->place).given_up.store(last_call->number);
      }
    }
    try {
      processes_.start(k);
    } catch (...) {
      place.serving.store(0);
      fail_all(std::current_exception());  // the next call tries again
    }
    // Somebody may have counted on this one, which looked awake, and its replacement takes its time.
    if (control().header().open_calls.load() != 0) processes_.wake(1);
    // It may have marked one as awake, and not come to wake it: that one would sleep for ever.
    if (phase != worker_phase::retired) processes_.rouse();
  }

  void fail_all(std::exception_ptr const& why) {
    for (auto* call : calls_) {
      if (call == nullptr) continue;
      call->broken = why;
      end(*call);
      control().raise_event(call->place);
    }
  }

  /// What the death of worker k means for the call that it served.
  /// Returns: whether its replacement goes on with what it has left.
  bool settle(pool_call_run& call, std::uint32_t k, ended_process gone, worker_phase phase) {
    auto& place = control().place(k);
    auto& it = processes_.life(k);
    auto& slot = call.memory.slots()[k];
    if (std::exchange(it.call, call.number) != call.number) it.again = {};
    call.report.ended(slot, gone.end);
    auto const last = call.fate.last_moment_of(k);
    auto left_over = last.left_over;
    if (last.was_running || last.ended || phase == worker_phase::retired) {
      it.idle_deaths = 0;
    } else if (!call.cancelled() && is_last_idle_death(it.idle_deaths, gone.end)) {
      // Nothing to blame, and nothing to be gained by another try.
      call.failures.add(death_outside_tasks(std::move(gone), phase));
      call.cancel();
      return false;
    }
    bool const again = last.was_running && !call.cancelled() &&
                       try_again(it.again, last, call.work, call.plan, how_);
    if (again) {
      call.report.retried();
      left_over.begin = it.again.tasks.begin;
    }
    // A call that is ended kills its workers: that is no failure of theirs, unless they had died by
    // themselves.
    bool const own_death =
        !call.cancelled() || last.given_up || (gone.end.known && gone.end.signal != SIGKILL);
    if (last.was_running && !again && own_death) {
      bool const oom = is_out_of_memory(last, gone.end, oom_);
      call.failures.add(failure_after({last, std::move(gone), std::move(it.stuck), it.again, oom},
                                      call.work, how_));
      if (call.work.stop_at_failure) call.cancel();
    }
    // A task that has its failure, or is tried again, is not the one that runs any more. What the
    // end of the call has killed is: fates::note_unfinished finds it so.
    if (!last.was_running || again || own_death) {
      // Release: who counts results (committed_tasks) sees those of the dead worker.
      slot.current.store(waiting_for_replacement(left_over), std::memory_order_release);
    }
    if (call.cancelled() || left_over.begin >= left_over.end) return false;
    place.left_over = left_over;
    place.again = it.again;
    return true;
  }

  options const& how_;
  duty further_;
  pool_processes<> processes_;
  oom_counter oom_;
  std::vector<pool_call_run*> calls_;  // by their places
  std::uint64_t n_calls_ = 0;
  std::exception_ptr broken_;
  background_thread thread_;
};

}  // namespace forkmap::detail
