// One call of a pool, as its caller keeps it while workers serve it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <forkmap/engine/call_limits.hpp>
#include <forkmap/engine/fates.hpp>
#include <forkmap/engine/reporting.hpp>
#include <forkmap/engine/shared_results.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/report.hpp>
#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/arena.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/shared_arguments.hpp>
#include <forkmap/worker/pool_channel.hpp>

namespace forkmap::detail {

/// How much of a stretch of memory is kept for the next call: a little always, and much if it was
/// used twice in a row.
class kept_bytes {
 public:
  /// Notes what a call has used.
  /// Returns: how much is kept.
  std::size_t after(std::size_t used) noexcept {
    auto const twice = std::min({used, std::exchange(last_, used), most});
    return std::max(twice, little);
  }

 private:
  static constexpr std::size_t little = arena_writer::kept_bytes;
  static constexpr std::size_t most = std::size_t{256} << 20U;

  std::size_t last_ = 0;
};

/// A place for calls: the caller's side of its memory, kept from one call to the next.
struct call_place {
  mapping front{};
  std::size_t present = 0;       // bytes of `front` that cannot fault
  std::uint64_t used = 0;        // bytes of it that may not be zero
  std::uint64_t call_bytes = 0;  // of the last call
  std::unique_ptr<argument_writer> arguments{};
  std::vector<std::uint64_t> begins{};  // of the tasks
  kept_bytes kept_front{}, kept_arguments{};
  std::vector<kept_bytes> kept_arenas{};
  bool taken = false;
};

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
        report(into, called_at) {}
  ~pool_call_run() override {
    if (release != nullptr) release(owner, *this);
  }

  // Gives its place back, when its results have been taken.
  void (*release)(void* owner, pool_call_run& call) noexcept = nullptr;
  void* owner = nullptr;

  std::uint32_t place;
  std::uint64_t number = 0;  // among the pool's
  job work;
  dispatch_plan plan;
  fates fate;
  call_limits limits;
  call_report report;
  std::optional<ended_call> ended{};  // what ended it, if not its tasks
  std::exception_ptr broken{};        // what keeps the pool from going on with it

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
