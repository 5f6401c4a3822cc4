// The calls of a pool in their places: send the tasks -> open the call -> sleep until it is over ->
// collect.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/engine/pool_call_run.hpp>
#include <forkmap/engine/pool_supervisor.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/report.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/worker/failure_log.hpp>
#include <forkmap/worker/pool_channel.hpp>

namespace forkmap::detail {

/// Tasks that a pool is to run.
class pool_tasks {
 public:
  virtual ~pool_tasks() = default;
  /// Writes each task, and where it begins; last of all where the last one ends. None of that where
  /// each takes task_bytes().
  /// Returns: how many there are.
  virtual std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) = 0;
  virtual std::uint64_t task_bytes() const { return 0; }
  /// How many there will be, if that is known before they are sent; else 0.
  virtual std::uint64_t expected() const { return 0; }
  /// What the call is, of that many tasks. Its `tasks` pointer is for workers to set.
  virtual job describe(std::uint64_t n_tasks) = 0;

  std::uint64_t first_index = 0;  // where they are part of a larger range

 protected:
  pool_tasks() = default;
  pool_tasks(pool_tasks const&) = default;
  pool_tasks& operator=(pool_tasks const&) = default;
};

class pool_calls {
 public:
  pool_calls(options const& how, std::uint32_t n_workers, pool_supervisor::duty further)
      : how_(how), supervisor_(how, n_workers, further) {}

  std::uint32_t n_workers() const noexcept { return supervisor_.layout().n_workers; }

  /// Wakes workers for a call of so few tasks that it is sent while they come to themselves.
  /// Returns: how many slept.
  int wake_early(std::uint64_t n_tasks) const noexcept {
    constexpr std::uint64_t few = 64;
    return n_tasks <= few ? supervisor_.wake(std::min<std::uint64_t>(n_tasks, n_workers())) : 0;
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
      // A worker that came too late for the last call may still be looking at the place.
      if (places_[c].taken || supervisor_.control().is_served(c)) continue;
      places_[c].taken = true;
      return c;
    }
    return most_calls;
  }

  /// Sends the tasks and opens their call in a place that was taken for it.
  /// Returns: null if there are no tasks.
  std::unique_ptr<pool_call_run> launch(std::uint32_t c, pool_tasks& tasks, map_report& report,
                                        std::int64_t called_at, waits_for_call who, int& woken) {
    std::unique_ptr<pool_call_run> call;
    try {
      call = prepare(c, tasks, report, called_at);
      if (call != nullptr) {
        supervisor_.control().call(c).waiting.store(who);
        std::lock_guard const lock(supervisor_.mutex);
        woken = supervisor_.open(*call);
      }
    } catch (...) {
      if (call != nullptr) clear(places_[c], *call);
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
      self.clear(self.places_[ended.place], ended);
      self.give_back(ended.place);
    };
    return call;
  }

  /// Sleeps until the call is over.
  void wait_for(pool_call_run& call, bool soon) {
    constexpr std::int64_t patience_ns = 20'000;
    auto& shared = supervisor_.control().call(call.place);
    for (bool ended = false;;) {
      auto const seen = shared.event.load();
      {
        std::lock_guard const lock(supervisor_.mutex);
        if (call.cancelled() && !ended) {
          supervisor_.end(call);
          ended = true;
        }
        if (supervisor_.is_over(call)) return supervisor_.forget(call);
      }
      if (std::exchange(soon, false) &&
          spin_until(patience_ns, [&] { return shared.event.load() != seen; })) {
        continue;
      }
      shared.waiting.store(waits_for_call::a_thread);
      wait_while_equal(shared.event, seen);
      shared.waiting.store(waits_for_call::nobody);
    }
  }

  /// After the end of a call: its failures, and the report.
  static void collect(pool_call_run& call) {
    if (call.broken) std::rethrow_exception(call.broken);
    for (std::uint32_t k = 0; k != call.plan.n_workers; ++k) {
      read_failures(call.arenas, call.memory.slots()[k], call.work.first_index, call.failures);
    }
    call.winner = call.memory.header().winner.load(std::memory_order_acquire);
    if (call.ended) call.fate.note_unfinished(*call.ended);
    call.failures.sort();
    call.report.publish(call.work, call.plan, call);
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
  void give_back(std::uint32_t c) noexcept {
    {
      std::lock_guard const lock(supervisor_.mutex);
      places_[c].taken = false;
    }
    given_back_.fetch_add(1);
    wake_all(given_back_);
  }

  /// Writes all that workers need to know of the call.
  std::unique_ptr<pool_call_run> prepare(std::uint32_t c, pool_tasks& tasks, map_report& report,
                                         std::int64_t called_at) {
    auto const& layout = supervisor_.layout();
    auto& place = places_[c];
    if (place.arguments == nullptr) {
      place.arguments = std::make_unique<argument_writer>(
          supervisor_.file().get(), layout.arguments(c), layout.arguments_bytes());
      place.kept_arenas.resize(layout.n_workers);
    }
    place.begins.clear();
    place.arguments->begin_call(how_.max_nbytes);
    auto const n_tasks = tasks.send(*place.arguments, place.begins);
    if (n_tasks == 0) return nullptr;

    auto work = tasks.describe(n_tasks);
    work.first_index = tasks.first_index;
    if (work.batch_tasks == 0) work.batch_tasks = how_.batch_size;
    auto plan = make_plan(n_tasks, layout.n_workers, work.batch_tasks);
    plan.n_workers = layout.n_workers;  // any of them may come
    call_layout where(plan, work.n_results, work.forked.bytes, work.forked.align);
    where.arenas = layout.arenas(c);
    auto const table = round_up(where.mapped_bytes, sizeof(std::uint64_t));
    auto const table_bytes = place.begins.size() * sizeof(std::uint64_t);
    place.call_bytes = table + table_bytes;
    map_front(c, place.call_bytes);
    // Zeros where the call counts on them.
    auto const names = work.flat ? 0 : work.n_results * work.forked.bytes;
    std::memset(place.front.data(), 0, std::min<std::uint64_t>(place.used, where.results + names));
    place.used = std::max(place.used, place.call_bytes);
    if (table_bytes != 0) std::memcpy(place.front.data() + table, place.begins.data(), table_bytes);

    call_memory const memory(where, place.front.data(), supervisor_.file());
    memory.prepare(plan);
    auto& shared = supervisor_.control().call(c);
    shared.work = work;
    shared.plan = plan;
    shared.layout = where;
    shared.front_bytes = place.call_bytes;
    shared.table = table;
    shared.task_bytes = place.begins.empty() ? tasks.task_bytes() : 0;
    shared.argument_bytes = place.arguments->size();
    return std::make_unique<pool_call_run>(c, work, plan, memory, how_, report, called_at);
  }

  /// Maps the call's stretch and makes it present.
  void map_front(std::uint32_t c, std::uint64_t bytes) {
    auto const& layout = supervisor_.layout();
    auto& place = places_[c];
    if (bytes > layout.stretch_bytes()) {
      throw_system_error(ENOMEM, "shared memory of a pool for a call,",
                         std::to_string(bytes) + " bytes");
    }
    if (place.front.size() < bytes) {
      place.front = supervisor_.file().map(layout.stretch(c), round_up(bytes, map_grain),
                                           PROT_READ | PROT_WRITE);
      place.present = 0;
    }
    if (place.present >= bytes) return;
    if (!populate_for_writing(place.front.data(), static_cast<std::size_t>(bytes))) {
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for a call,",
                  std::to_string(bytes) + " bytes");
    }
    place.present = static_cast<std::size_t>(bytes);
  }

  /// Gives memory back that the next call will probably not need.
  void clear(call_place& place, pool_call_run const& call) noexcept {
    auto const arenas = supervisor_.control().call(call.place).layout.arenas;
    for (std::uint32_t k = 0; k != call.plan.n_workers; ++k) {
      auto const begin = arenas.begin(k);
      auto const used = static_cast<std::size_t>(
          call.memory.slots()[k].arena_next.load(std::memory_order_relaxed) - begin);
      auto const kept = place.kept_arenas[k].after(used);
      if (kept < used) supervisor_.file().give_back(begin + kept, used - kept);
    }
    auto const kept =
        round_up(place.kept_front.after(static_cast<std::size_t>(place.call_bytes)), map_grain);
    if (kept < place.present) {
      ::madvise(place.front.data() + kept, place.front.size() - kept, MADV_REMOVE);
      place.present = kept;
      place.used = std::min<std::uint64_t>(place.used, kept);
    }
    place.arguments->trim(
        place.kept_arguments.after(static_cast<std::size_t>(place.arguments->size())));
  }

  options const& how_;
  call_place places_[most_calls];
  std::atomic<std::uint32_t> given_back_{0};
  pool_supervisor supervisor_;  // last: its thread uses all of these
};

}  // namespace forkmap::detail
