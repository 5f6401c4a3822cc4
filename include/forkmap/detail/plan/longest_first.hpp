// The order in which batches begin if the costs of tasks are known: options::cost.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/detail/plan/dispatch.hpp>

namespace forkmap::detail {

/// The batches in the order of falling costs; those of equal cost in their own order. The cost of a batch
/// is the sum of those of its tasks. `first_index`: of the first task in its range.
/// Errors: std::invalid_argument if a cost is NaN; what `cost` throws.
/// Cost: one call of `cost` for each task.
/// Source: Graham, Bounds on Multiprocessing Timing Anomalies, 1969 (longest processing time first).
inline std::vector<std::uint32_t> longest_first(dispatch_plan const& plan,
                                                std::function<double(std::size_t)> const& cost,
                                                std::uint64_t first_index) {
  std::vector<double> costs(static_cast<std::size_t>(plan.n_batches));
  for (std::uint64_t i = 0; i != plan.n_tasks; ++i) {
    auto const index = static_cast<std::size_t>(first_index + i);
    auto const of_task = cost(index);
    if (of_task != of_task) {
      throw std::invalid_argument("forkmap: options::cost of task " + std::to_string(index) +
                                  " is NaN");
    }
    costs[static_cast<std::size_t>(i / plan.batch_tasks)] += of_task;
  }
  std::vector<std::uint32_t> order(costs.size());
  std::iota(order.begin(), order.end(), std::uint32_t{0});
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return costs[a] != costs[b] ? costs[a] > costs[b] : a < b;
  });
  return order;
}

}  // namespace forkmap::detail
