// The results of a call in the memory that it shares with its workers.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

#include <forkmap/plan/ledger.hpp>
#include <forkmap/transfer/call_memory.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/results.hpp>

namespace forkmap::detail {

class shared_results : public call_results {
 public:
  shared_results(call_memory const& where, job const& work, dispatch_plan const& plan)
      : memory(where), arenas(memory.file(), memory.arenas(), memory.slots(), plan.n_workers) {
    slots = memory.results();
    slot_bytes = work.forked.bytes;
  }

  reader record(std::uint64_t result) override { return arenas.record(name_of(result)); }
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
  std::uint64_t restored = 0;  // results that an earlier run has left
};

}  // namespace forkmap::detail
