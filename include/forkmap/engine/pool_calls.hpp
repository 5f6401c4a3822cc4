// The calls of a pool in their places: send the tasks -> open the call -> sleep until it is over ->
// collect.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <utility>

#include <forkmap/cpu.hpp>
#include <forkmap/engine/call_limits.hpp>
#include <forkmap/engine/call_place.hpp>
#include <forkmap/engine/pool_call_run.hpp>
#include <forkmap/engine/pool_supervisor.hpp>
#include <forkmap/engine/pool_tasks.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/committed.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/report.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/system/futex.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/transfer/sending.hpp>
#include <forkmap/worker/failure_log.hpp>
#include <forkmap/worker/pool_channel.hpp>

namespace forkmap::detail {

template <class = void> class pool_calls {
 public:
  pool_calls(options const& how, std::uint32_t n_workers, pool_supervisor<>::duty further)
      : how_(how),
        beside_caller_(static_cast<std::uint64_t>(std::max(2, cpu_count()) - 1)),
        supervisor_(how, n_workers, further) {}

  std::uint32_t n_workers() const noexcept { return supervisor_.layout().n_workers; }

  /// Wakes a worker for a call of so few tasks that it is sent while that one comes to itself.
  void wake_early(std::uint64_t n_tasks) const noexcept {
    constexpr std::uint64_t few = 64;
    if (n_tasks != 0 && n_tasks <= few) supervisor_.wake(1);
  }

  /// A free place of the lowest number: what is warm. Waits for one.
  std::uint32_t take_place() {
    for (;;) {
      auto const seen = given_back_.load();
      if (auto const c = find_place(); c != most_calls) return c;
      wait_while_equal(given_back_, seen);
    }
  }
  /// Returns: most_calls if none is free.
  std::uint32_t find_place() {
    std::lock_guard const lock(supervisor_.mutex);
    for (std::uint32_t c = 0; c != most_calls; ++c) {
      // A worker that came too late for the last call touches nothing, or finds this one.
      if (places_[c].taken) continue;
      places_[c].taken = true;
      return c;
    }
    place_is_wanted_ = true;
    return most_calls;
  }

  /// Sends the tasks and opens their call in a place that was taken for it, with so many workers
  /// awake.
  /// Returns: null if there are no tasks.
  owner<pool_call_run> launch(std::uint32_t c, pool_tasks& tasks, map_report& report,
                              std::int64_t called_at, waits_for_call who, std::uint64_t wanted) {
    owner<pool_call_run> call;
    auto& place = places_[c];
    auto& shared = supervisor_.control().call(c);
    try {
      place.begin(supervisor_.layout(), supervisor_.file(), c, how_);
      // Where somebody looks at the clock, a task that waits for its arguments would be late.
      auto n_tasks = call_limits(how_, called_at).exist() ? 0 : tasks.task_count();
      bool const meanwhile = n_tasks > sending::chunk;
      if (!meanwhile) n_tasks = place.send(tasks);
      if (n_tasks != 0) {
        call = place.prepare(tasks, n_tasks, meanwhile, shared, how_, report, called_at);
        shared.waiting.store(who);
        shared.sent.begin();
        open(*call, meanwhile ? beside_caller_ : wanted);
        if (meanwhile) send_meanwhile(tasks, *call);
      }
    } catch (...) {
      if (call != nullptr) place.clear(*call);
      give_back(c);
      throw;
    }
    if (call == nullptr) {
      give_back(c);
      return nullptr;
    }
    call->owner = this;
    call->release = [](void* engine, pool_call_run& ended) noexcept {
      auto& self = *static_cast<pool_calls*>(engine);
      self.places_[ended.place].clear(ended);
      self.give_back(ended.place);
    };
    return call;
  }

  /// So many workers a call wakes at once: one, which may do all of it before a second one is awake;
  /// or all that it has work for, where the last call was long enough.
  std::uint64_t at_once() const noexcept {
    return calls_are_long_.load(std::memory_order_relaxed) ? most_workers : 1;
  }

  /// Waits until the call is over, for which at least one worker is awake.
  void wait_for(pool_call_run& call) {
    bool awake = true;
    auto& shared = supervisor_.control().call(call.place);
    for (;;) {
      auto const seen = shared.event.load();
      {
        std::lock_guard const lock(supervisor_.mutex);
        if (supervisor_.is_over(call)) return supervisor_.forget(call);
      }
      // An event need not be the end: then the others may be still to be woken.
      if (awake && is_over_soon(call, seen)) continue;
      awake = false;
      sleep(shared, seen);
    }
  }

  /// After the end of a call: its failures, and the report.
  void collect(pool_call_run& call) {
    if (call.broken) std::rethrow_exception(call.broken);
    std::int64_t busy_ns = 0;
    for (std::uint32_t k = 0; k != call.plan.n_workers; ++k) {
      busy_ns += call.memory.slots()[k].busy.load(std::memory_order_relaxed);
      read_failures(call.arenas, call.memory.slots()[k], call.work.first_index, call.failures);
    }
    if (call.plan.n_batches > 1) {
      calls_are_long_.store(busy_ns > patience_ns, std::memory_order_relaxed);
    }
    call.results_are_many = call.record_bytes() > most_kept_bytes;
    call.winner = call.memory.header().winner.load(std::memory_order_acquire);
    if (call.ended != ended_call::by_nothing) call.fate.note_unfinished(call.ended);
    call.failures.sort();
    call.report.publish(call.work, call.plan, call, false);
  }

  /// Whether the call is over; its workers and the supervisor know no more of it then.
  bool is_over(pool_call_run& call) {
    std::lock_guard const lock(supervisor_.mutex);
    if (!supervisor_.is_over(call)) return false;
    supervisor_.forget(call);
    return true;
  }

  /// Ends what runs of a call: `why` its tasks have not ended.
  void end(pool_call_run& call, ended_call why) {
    {
      std::lock_guard const lock(supervisor_.mutex);
      call.ended = why;
      supervisor_.end(call);
    }
    supervisor_.poke();  // it may be over already
  }

  /// Ends the workers and the thread.
  void stop() { supervisor_.stop(); }

 private:
  /// Until the call's event is another one than was seen.
  static void sleep(pool_call& shared, std::uint32_t seen,
                    std::int64_t nanoseconds = INT64_MAX) noexcept {
    shared.waiting.store(waits_for_call::a_thread);
    wait_while_equal(shared.event, seen, nanoseconds);
    shared.waiting.store(waits_for_call::nobody);
  }

  void open(pool_call_run& call, std::uint64_t wanted) {
    std::lock_guard const lock(supervisor_.mutex);
    supervisor_.open(call, wanted);
  }
  void end(pool_call_run& call) {
    std::lock_guard const lock(supervisor_.mutex);
    supervisor_.end(call);
  }

  /// Tells the workers of a call of its tasks, and wakes those that sleep at first.
  class sender final : public chunk_listener {
   public:
    sender(pool_supervisor<> const& supervisor, pool_call_run& call) noexcept
        : supervisor_(supervisor), call_(call) {}

    bool chunk_done() noexcept override {
      progress().advance();
      if (progress().wants_all()) wake_all_workers();
      return !call_.cancelled();
    }
    void all_sent() noexcept {
      progress().end();
      wake_all_workers();
    }

   private:
    sending& progress() const noexcept { return supervisor_.control().call(call_.place).sent; }
    void wake_all_workers() noexcept {
      call_.woken = call_.plan.n_batches;
      supervisor_.wake(call_.woken);
    }

    pool_supervisor<> const& supervisor_;
    pool_call_run& call_;
  };

  void send_meanwhile(pool_tasks& tasks, pool_call_run& call) {
    sender told(supervisor_, call);
    try {
      places_[call.place].send_meanwhile(tasks, call.plan.n_tasks, told);
    } catch (...) {
      end(call);
      wait_for(call);
      throw;
    }
    // Workers that wait for what is never sent are killed with the others.
    if (call.cancelled()) return;
    told.all_sent();
    tasks.look_ahead();
    take_meanwhile(tasks, call);
  }

  /// Takes results while workers make the others, as long as they are made as fast as that.
  void take_meanwhile(pool_tasks& tasks, pool_call_run& call) {
    constexpr std::uint64_t worth_it = 64 << 10U;  // bytes
    constexpr std::int64_t a_moment_ns = 50'000;
    if (!call.work.flat) return;
    auto& shared = supervisor_.control().call(call.place);
    committed_tasks there(call.plan, call.memory.lanes(), call.memory.slots());
    for (std::uint64_t taken = 0; taken != call.plan.n_tasks;) {
      auto const seen = shared.event.load();
      auto const n = there.count();
      if ((n - taken) * call.slot_bytes < worth_it || call.cancelled()) return;
      if (!tasks.take_ahead(call.slots, n)) return;
      taken = n;
      sleep(shared, seen, a_moment_ns);
    }
  }

  /// Waits awake for a moment: a small call is over within it, by the one worker that was woken.
  /// Wakes the others, where they were not, when that one is seen to have more to do.
  bool is_over_soon(pool_call_run const& call, std::uint32_t seen) const noexcept {
    constexpr std::int64_t alone_ns = 3'000;
    auto const& event = supervisor_.control().call(call.place).event;
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

  void give_back(std::uint32_t c) noexcept {
    {
      std::lock_guard const lock(supervisor_.mutex);
      places_[c].taken = false;
      if (!std::exchange(place_is_wanted_, false)) return;
    }
    supervisor_.poke();  // by a submitted call, perhaps
    given_back_.fetch_add(1);
    wake_all(given_back_);
  }

  // What it takes to sleep and to be woken.
  static constexpr std::int64_t patience_ns = 20'000;

  options const& how_;
  std::uint64_t beside_caller_;  // cores, while that uses one
  call_place<> places_[most_calls];
  bool place_is_wanted_ = false;  // with the supervisor's mutex
  std::atomic<std::uint32_t> given_back_{0};
  std::atomic<bool> calls_are_long_{false};
  pool_supervisor<> supervisor_;  // last: its thread uses all of these
};

}  // namespace forkmap::detail
