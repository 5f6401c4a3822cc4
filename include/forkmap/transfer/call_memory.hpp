// The memory that a call's caller and workers share: one unnamed file.
//
//   offset 0        call_header
//                   worker_slot  [n_workers]
//                   ledger words [n_batches / 4]
//                   results      [n_results * result_bytes]   a flat result, or the file offset of
//                                                             the record that holds it; 0 = none
//                                                             yet
//   page boundary   last_page [n_workers]                   of those that die or live long
//   page boundary   arena of worker 0, worker 1, ...          see transfer/arena.hpp
//
// All but the arenas is one mapping, made before the fork, so that a small call touches one page.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>

#include <forkmap/plan/ledger.hpp>
#include <forkmap/system/backtrace.hpp>
#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/arena.hpp>

namespace forkmap::detail {

struct alignas(128) call_header {
  std::atomic<bool> cancelled;        // workers take nothing more
  std::atomic<std::uint64_t> winner;  // of a race: the first task that succeeded, plus 1
};

/// What few workers have to say, away from what all of them write.
struct last_page {
  raw_backtrace backtrace;
  std::atomic<std::uint64_t> unshared;
};

class call_memory {
 public:
  /// Errors: std::system_error naming the call that failed; EFBIG where
  ///   RLIMIT_FSIZE leaves no room.
  call_memory(dispatch_plan const& plan, std::uint64_t n_results, std::size_t result_bytes,
              std::size_t result_align)
      : layout_(plan, n_results, result_bytes, result_align),
        file_(layout_.file_bytes),
        map_(file_.map(0, layout_.mapped_bytes, PROT_READ | PROT_WRITE)) {
    file_.reserve_if_strict(layout_.mapped_bytes);
    // Fresh pages of the file are zero, which is right for all but these.
    for (std::uint32_t k = 0; k != plan.n_workers; ++k) {
      auto const region = plan.first_batches(k);
      auto& slot = slots()[k];
      slot.current.store(nothing_running, std::memory_order_relaxed);
      slot.cursor.store(region.begin, std::memory_order_relaxed);
      slot.region_end.store(region.end, std::memory_order_relaxed);
      slot.arena_next.store(layout_.arenas.begin(k), std::memory_order_relaxed);
    }
  }

  /// In a worker: makes what all workers use present at once, if that is more than the one page of a
  /// small call. Its own results and batches follow as it comes to them.
  void populate() const noexcept {
    auto const used = std::min(layout_.results, layout_.words + page_bytes);
    if (used > page_bytes) populate_for_writing(map_.data(), used);
  }

  call_header& header() const noexcept { return *at<call_header>(0); }
  worker_slot* slots() const noexcept { return at<worker_slot>(layout_.slots); }
  ledger lanes() const noexcept { return ledger(at<std::atomic<std::uint64_t>>(layout_.words)); }
  std::byte* results() const noexcept { return map_.data() + layout_.results; }
  raw_backtrace& backtrace(std::uint32_t worker) const noexcept {
    return at<last_page>(layout_.last_pages)[worker].backtrace;
  }
  /// Bytes that a worker, and those before it, did not share with the caller.
  std::atomic<std::uint64_t>& unshared(std::uint32_t worker) const noexcept {
    return at<last_page>(layout_.last_pages)[worker].unshared;
  }
  arena_map const& arenas() const noexcept { return layout_.arenas; }
  shared_file const& file() const noexcept { return file_; }

 private:
  struct layout {
    std::size_t slots, words, results, last_pages, mapped_bytes;
    std::uint64_t file_bytes;
    arena_map arenas;
    static constexpr std::uint64_t least_arena = std::uint64_t{1} << 20U;

    layout(dispatch_plan const& plan, std::uint64_t n_results, std::size_t result_bytes,
           std::size_t result_align)
        : slots(sizeof(call_header)),
          words(slots + plan.n_workers * sizeof(worker_slot)),
          results(round_up(words + ledger::words_for(plan.n_batches) * sizeof(std::uint64_t),
                           std::max<std::size_t>(result_align, 64))) {
      std::size_t all_results = 0;
      if (__builtin_mul_overflow(n_results, result_bytes, &all_results) ||
          __builtin_add_overflow(all_results, results + map_grain - 1, &last_pages) ||
          __builtin_add_overflow(last_pages, plan.n_workers * sizeof(last_page) + map_grain,
                                 &mapped_bytes)) {
        throw_system_error(ENOMEM, "shared memory for", std::to_string(n_results) + " results");
      }
      last_pages = last_pages / map_grain * map_grain;
      mapped_bytes = (mapped_bytes - 1) / map_grain * map_grain;
      auto const largest =
          std::min(shared_file::largest(), std::uint64_t{1} << record_name::offset_bits);
      arenas.first = mapped_bytes;
      arenas.stride = largest <= mapped_bytes
                          ? 0
                          : (largest - mapped_bytes) / plan.n_workers / map_grain * map_grain;
      if (arenas.stride < least_arena) {
        throw_system_error(
            EFBIG, "shared memory for the results of",
            std::to_string(plan.n_workers) + " workers (is RLIMIT_FSIZE, ulimit -f, too low?)");
      }
      file_bytes = arenas.begin(plan.n_workers);
    }
  };

  template <class T> T* at(std::size_t offset) const noexcept {
    return std::launder(reinterpret_cast<T*>(map_.data() + offset));
  }

  layout layout_;
  shared_file file_;
  mapping map_;
};

}  // namespace forkmap::detail
