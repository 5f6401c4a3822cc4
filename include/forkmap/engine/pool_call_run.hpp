// One call of a pool, as its caller keeps it while workers serve it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <utility>

#include <forkmap/engine/call_limits.hpp>
#include <forkmap/engine/fates.hpp>
#include <forkmap/engine/reporting.hpp>
#include <forkmap/engine/shared_results.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/report.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/worker/pool_channel.hpp>

namespace forkmap::detail {

/// So much of a worker's memory for results is kept for the next call at most.
inline constexpr std::size_t most_kept_bytes = std::size_t{256} << 20U;

/// A call that is under way, and its results when it is over.
class pool_call_run final : public shared_results {
 public:
  pool_call_run(std::uint32_t c, job const& what, dispatch_plan const& how_dealt,
                call_memory const& where, options const& how, map_report& into,
                std::int64_t called_at)
      : shared_results(where, what, how_dealt),
        place(c),
        work(what),
        plan(how_dealt),
        fate(work, plan, *this),
        limits(how, called_at),
        report(into, called_at) {
    slots_present = true;  // their place is made so before the call
  }
  ~pool_call_run() override {
    if (release != nullptr) release(owner, *this);
  }

  // Gives its place back, when its results have been taken.
  void (*release)(void* owner, pool_call_run& call) noexcept = nullptr;
  void* owner = nullptr;

  std::uint32_t place;
  std::uint64_t number = 0;  // among the pool's
  std::uint64_t woken = 0;   // workers that were to be awake for it when it was made
  job work;
  dispatch_plan plan;
  fates fate;
  call_limits limits;
  call_report report;
  ended_call ended = ended_call::by_nothing;  // else, what ended it before its tasks had
  bool is_ended = false;              // nobody comes any more, and those that came are killed
  bool results_are_many = false;      // more than is kept
  std::exception_ptr broken{};        // what keeps the pool from going on with it

  /// What the next call may use again stays.
  void taken(std::uint64_t result) noexcept override {
    if (results_are_many) shared_results::taken(result);
  }

  bool cancelled() const noexcept {
    return memory.header().cancelled.load(std::memory_order_acquire);
  }
  void cancel() noexcept { memory.header().cancelled.store(true, std::memory_order_release); }

  /// Whether every batch has been claimed: exactly.
  bool all_claimed() const noexcept {
    if (fate.all_claimed()) return true;
    for (std::uint64_t batch = 0; batch != plan.n_batches; ++batch) {
      if (memory.lanes().owner_mark(batch) == 0) return false;
    }
    return true;
  }
};

}  // namespace forkmap::detail
