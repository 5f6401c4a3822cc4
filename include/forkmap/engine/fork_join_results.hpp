// The results of a call that forks: in its shared memory, and in the journal of an earlier run.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include <forkmap/engine/shared_results.hpp>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/transfer/call_memory.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/journal.hpp>

namespace forkmap::detail {

class fork_join_results final : private own_call_memory, public shared_results {
 public:
  fork_join_results(job const& work, dispatch_plan const& plan, journal earlier)
      : own_call_memory(plan, work.n_results, work.forked.bytes, work.forked.align),
        shared_results(own_call_memory::view(), work, plan),
        resume(std::move(earlier)) {
    if (resume) restore(work);
  }

  reader record(std::uint64_t result) override {
    if (!resume || name_of(result) != 0) return shared_results::record(result);
    record_ = resume.read(result);
    auto const* const begin = reinterpret_cast<std::byte const*>(record_.data());
    return {begin, begin + record_.size()};
  }

  journal resume;  // if one is kept

 private:
  /// Takes what the journal has for done.
  void restore(job const& work) {
    for (std::uint64_t i = 0; i != work.n_results; ++i) {
      if (!resume.has(i)) continue;
      if (work.flat && slot_bytes != 0) {
        auto const bytes = resume.read(i);
        std::memcpy(slots + i * slot_bytes, bytes.data(), slot_bytes);
      }
      memory.lanes().restore(i);
      ++restored;
      if (work.race) memory.header().winner.store(i + 1, std::memory_order_relaxed);
      if (work.race) break;
    }
    memory.slots()[0].claimed.store(restored, std::memory_order_relaxed);
  }

  std::string record_;
};

}  // namespace forkmap::detail
