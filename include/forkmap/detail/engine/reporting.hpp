// The report of a call for last_report().
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <forkmap/detail/engine/shared_results.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/worker/setup.hpp>
#include <forkmap/report.hpp>

namespace forkmap::detail {

class call_report {
 public:
  /// `report`: usually that of the calling thread.
  call_report(map_report& report, std::int64_t called_at) : report_(report), called_at_(called_at) {
    clear(report);
  }

  void retried() noexcept { ++report_.retries; }

  /// Sets how often worker k was replaced. Call after publish().
  void replaced(std::uint32_t k, int n) noexcept { report_.workers[k].replacements = n; }

  /// A process of worker k has ended.
  void ended(worker_state& state, process_end const& end) noexcept {
    auto& report = report_;
    report.max_rss = std::max(report.max_rss, end.max_rss);
    constexpr auto relaxed = std::memory_order_relaxed;
    // The worker was killed or crashed while it was working.
    if (auto const from = state.working_from.load(relaxed); from != 0) {
      auto const now = nanoseconds_now();
      auto const busy =
          within_call(state.busy.load(relaxed)) + now - std::clamp(from, called_at_, now);
      state.busy.store(busy, relaxed);
      state.working_from.store(0, relaxed);
    }
  }

  /// `ended_with_call`: whether the workers end with the call.
  void publish(job const& this_job, dispatch_plan const& plan, shared_results const& results,
               bool ended_with_call) {
    using std::chrono::nanoseconds;
    constexpr auto relaxed = std::memory_order_relaxed;
    auto& report = report_;
    report.wall = nanoseconds(nanoseconds_now() - called_at_);
    report.tasks = this_job.n_tasks;
    report.resumed = results.restored;
    report.failures = results.failures.size();
    report.workers.resize(plan.n_workers);
    auto const& memory = results.memory;
    // A pool's workers do not end with the call and do not measure their memory.
    bool const measured = report.wall >= worth_measuring && ended_with_call;
    for (std::uint32_t k = 0; k != plan.n_workers; ++k) {
      auto const& state = memory.state(k);
      auto& worker = report.workers[k];
      auto const batches =
          memory.hints()[k].claimed.load(relaxed) - (k == 0 ? results.restored : 0);
      worker.tasks = static_cast<std::size_t>(std::min(batches, plan.n_batches) * plan.batch_tasks);
      worker.busy = nanoseconds(within_call(state.busy.load(relaxed)));
      if (auto const began = state.began.load(relaxed); began != 0)
        worker.start_up = nanoseconds(within_call(std::max(began, called_at_) - called_at_));
      worker.idle = std::max(nanoseconds(0), report.wall - worker.start_up - worker.busy);
      for (auto const& slow : state.slowest) {
        if (slow.took.load(relaxed) <= 0 || slow.task.load(relaxed) >= plan.n_tasks) continue;
        auto const took = nanoseconds(within_call(slow.took.load(relaxed)));
        report.slowest.push_back(
            {.index = slow.task.load(relaxed), .worker = static_cast<int>(k), .took = took});
        for (auto at = report.slowest.size() - 1; at != 0; --at) {
          if (report.slowest[at - 1].took >= took) break;
          std::swap(report.slowest[at - 1], report.slowest[at]);
        }
      }
      if (measured) report.unshared += memory.unshared(k).load(relaxed);
    }
    // The last batch may be shorter.
    auto const owner = memory.lanes().owner_entry(plan.n_batches - 1);
    if (owner != 0 && owner <= plan.n_workers) {
      auto& tasks = report.workers[owner - 1].tasks;
      tasks -= std::min<std::size_t>(
          tasks, static_cast<std::size_t>(plan.n_batches * plan.batch_tasks - plan.n_tasks));
    }
  }

 private:
  /// Limits a time to the duration of this call: a task may have overwritten it.
  std::int64_t within_call(std::int64_t time) const noexcept {
    return std::clamp<std::int64_t>(time, 0,
                                    std::max<std::int64_t>(0, nanoseconds_now() - called_at_));
  }

  map_report& report_;
  std::int64_t called_at_;
};

}  // namespace forkmap::detail
