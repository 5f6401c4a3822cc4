// The memory that a call's caller and workers share: a stretch of an unnamed file.
//
//   its begin       call_header
//                   worker_slot  [n_workers]
//                   ledger words [n_batches / 4]
//                   results      [n_results * result_bytes]   a flat result, or the file offset of
//                                                             the record that holds it; 0 = none
//                                                             yet
//   page boundary   last_page [n_workers]                   of those that die or live long
//   page boundary   arena of worker 0, worker 1, ...          see transfer/arena.hpp
//
// All but the arenas, which may lie elsewhere in the file, is one mapping; a small call touches one
// page of it.
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

/// Where in its stretch of the file what lies that a call shares. Pure arithmetic.
struct call_layout {
  std::size_t slots = 0, words = 0, results = 0, last_pages = 0, mapped_bytes = 0;
  arena_map arenas{};

  call_layout() = default;

  /// Errors: std::system_error ENOMEM for more than can be addressed.
  call_layout(dispatch_plan const& plan, std::uint64_t n_results, std::size_t result_bytes,
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
  }

  /// Gives the workers the rest of a file of at most `largest` bytes.
  /// Errors: std::system_error EFBIG where that is not enough.
  void place_arenas(std::uint64_t largest, std::uint32_t n_workers) {
    constexpr std::uint64_t least_arena = std::uint64_t{1} << 20U;
    arenas.first = mapped_bytes;
    arenas.stride =
        largest <= mapped_bytes ? 0 : (largest - mapped_bytes) / n_workers / map_grain * map_grain;
    if (arenas.stride < least_arena) {
      throw_system_error(
          EFBIG, "shared memory for the results of",
          std::to_string(n_workers) + " workers (is RLIMIT_FSIZE, ulimit -f, too low?)");
    }
  }
};

/// A call's memory, which somebody else has mapped.
class call_memory {
 public:
  call_memory(call_layout const& layout, std::byte* base, shared_file const& file) noexcept
      : layout_(layout), base_(base), file_(&file) {}

  /// Before any worker is there; in memory that is zero, which is right for all but these.
  void prepare(dispatch_plan const& plan) const noexcept {
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
    if (used > page_bytes) populate_for_writing(base_, used);
  }

  call_header& header() const noexcept { return *at<call_header>(0); }
  worker_slot* slots() const noexcept { return at<worker_slot>(layout_.slots); }
  ledger lanes() const noexcept { return ledger(at<std::atomic<std::uint64_t>>(layout_.words)); }
  std::byte* results() const noexcept { return base_ + layout_.results; }
  raw_backtrace& backtrace(std::uint32_t worker) const noexcept {
    return at<last_page>(layout_.last_pages)[worker].backtrace;
  }
  /// Bytes that a worker, and those before it, did not share with the caller.
  std::atomic<std::uint64_t>& unshared(std::uint32_t worker) const noexcept {
    return at<last_page>(layout_.last_pages)[worker].unshared;
  }
  arena_map const& arenas() const noexcept { return layout_.arenas; }
  shared_file const& file() const noexcept { return *file_; }

 private:
  template <class T> T* at(std::size_t offset) const noexcept {
    return std::launder(reinterpret_cast<T*>(base_ + offset));
  }

  call_layout layout_;
  std::byte* base_;
  shared_file const* file_;
};

/// The memory of one call: a file of its own, gone with it.
class own_call_memory {
 public:
  /// Errors: std::system_error naming the call that failed; EFBIG where
  ///   RLIMIT_FSIZE leaves no room.
  own_call_memory(dispatch_plan const& plan, std::uint64_t n_results, std::size_t result_bytes,
                  std::size_t result_align)
      : layout_(placed({plan, n_results, result_bytes, result_align}, plan.n_workers)),
        file_(layout_.arenas.begin(plan.n_workers)),
        map_(file_.map(0, layout_.mapped_bytes, PROT_READ | PROT_WRITE)) {
    file_.reserve_if_strict(layout_.mapped_bytes);
    view().prepare(plan);
  }

  call_memory view() const noexcept { return {layout_, map_.data(), file_}; }

 private:
  static call_layout placed(call_layout layout, std::uint32_t n_workers) {
    layout.place_arenas(
        std::min(shared_file::largest(), std::uint64_t{1} << record_name::offset_bits), n_workers);
    return layout;
  }

  call_layout layout_;
  shared_file file_;
  mapping map_;
};

}  // namespace forkmap::detail
