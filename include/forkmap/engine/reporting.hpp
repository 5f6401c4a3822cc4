// What an engine notes of a call for last_report().
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <utility>

#include <forkmap/engine/shared_results.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/report.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/worker/budget.hpp>

namespace forkmap::detail {

class call_report {
 public:
  /// `report`: the calling thread's, usually.
  call_report(map_report& report, std::int64_t called_at) : report_(report), called_at_(called_at) {
    clear(report);
  }

  void retried() noexcept { ++report_.retries; }

  /// Worker k has been replaced so many times. After publish().
  void replaced(std::uint32_t k, int n) noexcept { report_.workers[k].replacements = n; }

  /// A process of worker k has ended.
  void ended(worker_slot& slot, process_end const& end) noexcept {
    auto& report = report_;
    report.max_rss = std::max(report.max_rss, end.max_rss);
    constexpr auto relaxed = std::memory_order_relaxed;
    // It was killed while it worked.
    if (auto const from = slot.working_from.load(relaxed); from != 0) {
      slot.busy.store(slot.busy.load(relaxed) + nanoseconds_now() - from, relaxed);
      slot.working_from.store(0, relaxed);
    }
  }

  /// `ended_with_call`: whether the workers did.
  void publish(job const& work, dispatch_plan const& plan, shared_results const& results,
               bool ended_with_call) {
    using std::chrono::nanoseconds;
    constexpr auto relaxed = std::memory_order_relaxed;
    auto& report = report_;
    report.wall = nanoseconds(nanoseconds_now() - called_at_);
    report.tasks = work.n_tasks;
    report.resumed = results.restored;
    report.failures = results.failures.size();
    report.workers.resize(plan.n_workers);
    auto const& memory = results.memory;
    // Its page is not touched otherwise. A pool's workers, which live on, note nothing there.
    bool const measured = report.wall >= worth_measuring && ended_with_call;
    for (std::uint32_t k = 0; k != plan.n_workers; ++k) {
      auto const& slot = memory.slots()[k];
      auto& worker = report.workers[k];
      auto const batches = slot.claimed.load(relaxed) - (k == 0 ? results.restored : 0);
      worker.tasks = batches * plan.batch_tasks;
      worker.busy = nanoseconds(slot.busy.load(relaxed));
      if (auto const began = slot.began.load(relaxed); began != 0)
        worker.start_up = nanoseconds(began - called_at_);
      worker.idle = std::max(nanoseconds(0), report.wall - worker.start_up - worker.busy);
      for (auto const& slow : slot.slowest) {
        if (slow.took.load(relaxed) == 0) continue;
        auto const took = nanoseconds(slow.took.load(relaxed));
        report.slowest.push_back(
            {.index = slow.task.load(relaxed), .worker = static_cast<int>(k), .took = took});
        for (auto at = report.slowest.size() - 1; at != 0; --at) {
          if (report.slowest[at - 1].took >= took) break;
          std::swap(report.slowest[at - 1], report.slowest[at]);
        }
      }
      if (measured) report.unshared += memory.unshared(k).load(relaxed);
    }
    // The last batch may be a short one.
    if (auto const mark = memory.lanes().owner_mark(plan.n_batches - 1);
        mark != 0 && mark != ledger::restored) {
      report.workers[mark - 1].tasks -= plan.n_batches * plan.batch_tasks - plan.n_tasks;
    }
  }

 private:
  map_report& report_;
  std::int64_t called_at_;
};

}  // namespace forkmap::detail
