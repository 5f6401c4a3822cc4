// The plan of a call: its tasks divided into batches, and the first batches of each worker.
// SPDX-License-Identifier: MIT
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

/// The division of a call's tasks into batches. Pure arithmetic, the same in caller and workers.
///
/// A batch is a group of `batch_tasks` consecutive tasks that is claimed as a unit. batch_tasks is
/// 1 unless the user sets it or there are more than most_batches tasks.
struct dispatch_plan {
  std::uint64_t n_tasks = 0;
  std::uint64_t batch_tasks = 1;
  std::uint64_t n_batches = 0;
  std::uint32_t n_workers = 0;
  /// true: all workers claim batches in order, as from one queue, so a user who sorts the longest
  /// tasks to the front gets the expected schedule. Used for few batches. false: each worker has
  /// its own region, so that workers do not share pages of results, and steals from the ends of
  /// others.
  bool in_order = true;
  /// The batches in the order in which they are claimed; null: in their own order. In a worker, a
  /// pointer to memory of that worker.
  std::uint32_t const* order = nullptr;
  /// Worker k runs batch k and no other one.
  bool one_each = false;

  /// The batch at a position of the order in which they are claimed.
  std::uint64_t batch_at(std::uint64_t position) const noexcept {
    return order == nullptr ? position : order[position];
  }
  task_range tasks_of(std::uint64_t first_batch, std::uint64_t last_batch) const {
    return {first_batch * batch_tasks, std::min(last_batch * batch_tasks, n_tasks)};
  }

  /// The first region of worker k.
  task_range first_batches(std::uint32_t k) const {
    if (in_order) return {0, n_batches};
    // n_batches * k / n_workers without the product, which could overflow.
    auto const cut = [&](std::uint64_t at) {
      return n_batches / n_workers * at + n_batches % n_workers * at / n_workers;
    };
    return {cut(k), cut(k + std::uint64_t{1})};
  }
};

/// Above this many tasks an automatic batch holds several, so that the claim table is at most 128
/// KiB.
inline constexpr std::uint64_t most_batches = std::uint64_t{1} << 16U;
/// At most this many batches per worker if more than most_batches tasks are sent in chunks. Such
/// tasks often take nanoseconds, so claims of smaller batches would cost as much as the tasks.
inline constexpr std::uint64_t most_sent_batches_each = std::uint64_t{1} << 12U;
/// The most workers that a 16-bit entry can name. No machine needs more.
inline constexpr std::uint32_t most_workers = 0xfffe;
/// Up to this many batches are claimed in order.
inline constexpr std::uint64_t in_order_batches = 1024;

constexpr std::uint64_t divide_up(std::uint64_t n, std::uint64_t by) {
  return n / by + (n % by != 0 ? 1 : 0);
}

/// batch_size 0: automatic. n_workers is limited to the number of batches.
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
