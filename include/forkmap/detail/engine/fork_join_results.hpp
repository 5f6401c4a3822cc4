// The results of a call that forks, in its shared memory and in the journal of an earlier run.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include <forkmap/detail/engine/shared_results.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/journal/journal.hpp>
#include <forkmap/detail/memory/call_memory.hpp>
#include <forkmap/detail/plan/claim_table.hpp>

namespace forkmap::detail {

class fork_join_results final : private own_call_memory, public shared_results {
 public:
  fork_join_results(job const& this_job, dispatch_plan const& plan, journal earlier,
                    bool has_messages)
      : own_call_memory(plan, this_job.n_results, this_job.forked.bytes, this_job.forked.align,
                        has_messages),
        shared_results(own_call_memory::view(), this_job, plan, 0),
        resume(std::move(earlier)) {
    if (resume) restore(this_job, plan);
  }

  journal resume;  // false if no journal is kept

 protected:
  reader read_blob(std::uint64_t result) override {
    if (!resume || worker_of(result) != published_ranges::restored)
      return shared_results::read_blob(result);
    blob_ = resume.read(result);
    auto const* const begin = reinterpret_cast<std::byte const*>(blob_.data());
    return {begin, begin + blob_.size()};
  }
  copied_results copy_results(std::uint64_t i) override {
    if (!resume || worker_of(i) != published_ranges::restored)
      return shared_results::copy_results(i);
    auto* const copy = room_for_copies(1);
    auto const bytes = resume.read(i);
    std::memcpy(copy, bytes.data(), std::min(bytes.size(), slot_bytes));
    return {copy, i, i + 1};
  }

 private:
  /// Marks the results in the journal as done.
  void restore(job const& this_job, dispatch_plan const& plan) {
    for (std::uint64_t i = 0; i != this_job.n_results; ++i) {
      if (!resume.has(i)) continue;
      memory.lanes().restore(i);
      auto const tasks = plan.tasks_of(i, i + 1);  // each batch has one result
      ranges.add_restored(tasks.begin, tasks.end);
      ++restored;
      if (this_job.race) memory.header().winner.store(i + 1, std::memory_order_relaxed);
      if (this_job.race) break;
    }
    memory.hints()[0].claimed.store(restored, std::memory_order_relaxed);
  }

  std::string blob_;
};

}  // namespace forkmap::detail
