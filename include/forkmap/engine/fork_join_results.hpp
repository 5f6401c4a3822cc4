// The results of a call that forks: in its shared memory, and in the journal of an earlier run.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include <forkmap/plan/ledger.hpp>
#include <forkmap/transfer/call_memory.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/journal.hpp>
#include <forkmap/transfer/results.hpp>

namespace forkmap::detail {

class fork_join_results final : public call_results {
 public:
  fork_join_results(job const& work, dispatch_plan const& plan, journal earlier)
      : memory(plan, work.n_results, work.forked.bytes, work.forked.align),
        arenas(memory.file(), memory.arenas(), memory.slots(), plan.n_workers),
        resume(std::move(earlier)) {
    slots = memory.results();
    slot_bytes = work.forked.bytes;
    if (resume) restore(work);
  }

  reader record(std::uint64_t result) override {
    if (resume && name_of(result) == 0) {
      record_ = resume.read(result);
      auto const* const begin = reinterpret_cast<std::byte const*>(record_.data());
      return {begin, begin + record_.size()};
    }
    return arenas.record(name_of(result));
  }
  std::size_t record_bytes() const noexcept override { return arenas.written(); }
  void taken(std::uint64_t result) noexcept override {
    if (auto const name = name_of(result); name != 0) arenas.release(name);
  }

  /// 0 as long as there is none. For results that are records.
  std::uint64_t name_of(std::uint64_t result) const noexcept {
    return std::launder(reinterpret_cast<std::atomic<std::uint64_t> const*>(slots))[result].load(
        std::memory_order_acquire);
  }

  call_memory memory;
  arena_reader arenas;
  journal resume;              // if one is kept
  std::uint64_t restored = 0;  // results that an earlier run has left

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
