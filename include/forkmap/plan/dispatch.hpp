// Who runs what: tasks, cut into batches, and where each worker begins.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace forkmap::detail {

/// Tasks [begin, end).
struct task_range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

/// How the tasks of a call are dealt out. Pure arithmetic; the same in caller and workers.
///
/// A batch is what is claimed as one: `batch_tasks` consecutive tasks (one, unless the user or an
/// enormous count says otherwise).
struct dispatch_plan {
  std::uint64_t n_tasks = 0;
  std::uint64_t batch_tasks = 1;
  std::uint64_t n_batches = 0;
  std::uint32_t n_workers = 0;
  /// Few tasks are claimed in their order by all workers, as from one queue: whoever sorts the
  /// longest to the front gets the schedule that he expects. Many are cut into one stretch per
  /// worker, so that workers share no page of results, and stolen from each other's ends.
  bool in_order = true;

  task_range tasks_of(std::uint64_t first_batch, std::uint64_t last_batch) const {
    return {first_batch * batch_tasks, std::min(last_batch * batch_tasks, n_tasks)};
  }

  /// The batches that worker k begins with.
  task_range first_batches(std::uint32_t k) const {
    if (in_order) return {0, n_batches};
    // n_batches * k / n_workers without the product, which could overflow.
    auto const cut = [&](std::uint64_t at) {
      return n_batches / n_workers * at + n_batches % n_workers * at / n_workers;
    };
    return {cut(k), cut(k + std::uint64_t{1})};
  }
};

/// Above this many tasks automatic batches hold several, so that the ledger stays at 128 KiB.
inline constexpr std::uint64_t most_batches = std::uint64_t{1} << 16U;
/// Of more tasks than that which are sent in chunks, as one sends those of nanoseconds, each worker
/// has this many batches: claims of smaller ones would cost as much as the tasks.
inline constexpr std::uint64_t most_sent_batches_each = std::uint64_t{1} << 12U;
/// More workers than this have no mark in the ledger, and no machine has use for them.
inline constexpr std::uint32_t most_workers = 0xfffe;
/// Up to this many batches are claimed in order.
inline constexpr std::uint64_t in_order_batches = 1024;

constexpr std::uint64_t divide_up(std::uint64_t n, std::uint64_t by) {
  return n / by + (n % by != 0 ? 1 : 0);
}

/// batch_size 0 means automatic. n_workers is cut to the number of batches.
constexpr dispatch_plan make_plan(std::uint64_t n_tasks, std::uint32_t n_workers,
                                  std::uint64_t batch_size, bool in_chunks = false) {
  dispatch_plan plan;
  plan.n_tasks = n_tasks;
  auto most = most_batches;
  if (in_chunks && n_tasks > most_batches)
    most = std::min(most, std::max<std::uint64_t>(n_workers, 1) * most_sent_batches_each);
  plan.batch_tasks =
      batch_size != 0 ? batch_size : std::max<std::uint64_t>(divide_up(n_tasks, most), 1);
  plan.n_batches = divide_up(n_tasks, plan.batch_tasks);
  plan.n_workers = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      std::min(n_workers, most_workers), std::max<std::uint64_t>(plan.n_batches, 1)));
  plan.in_order = plan.n_batches <= in_order_batches;
  return plan;
}

}  // namespace forkmap::detail
