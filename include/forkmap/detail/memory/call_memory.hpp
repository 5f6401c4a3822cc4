// The memory that a call's caller and workers share: parts of one unnamed file.
//
//   the common part      call_header
//                        claim_hint   [n_workers]
//                        claim table  [n_batches / 4]
//   each worker's own    worker_state
//                        last_page       used only by workers that crash or run long
//                        message_ring    only if the call has a handler of messages
//                        published_range [log_capacity]
//                        results         [n_results * result_bytes]   inline results, or names of
//                        blobs
//   each worker's arena  see memory/arena.hpp
//
// All workers can write the common part. The caller relies on nothing in it without a check against
// a worker's own part. A worker's own part and its arena are mapped only in that worker and in the
// caller. The file is sparse: each own part has room for all results, but takes memory only for
// those written.
//
// The caller maps the first bytes of each own part and copies the rest as needed (copy_own).
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>

#include <forkmap/detail/crash/backtrace.hpp>
#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/messages/ring.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/published.hpp>

namespace forkmap::detail {

struct alignas(128) call_header {
  std::atomic<std::uint32_t> cancelled;   // not 0: workers claim no more tasks
  std::atomic<std::uint32_t> n_failures;  // counted only if options::max_failures is set
  std::atomic<std::uint64_t> winner;      // of a race: the first task that succeeded, plus 1

  void cancel() noexcept { cancelled.store(1, std::memory_order_release); }
  bool is_cancelled() const noexcept { return cancelled.load(std::memory_order_acquire) != 0; }
};

/// Shared state that few workers write.
struct last_page {
  raw_backtrace backtrace;
  std::atomic<std::uint64_t> unshared;
  std::atomic<std::uint64_t> printed[2];  // see worker/task_output.hpp
};

/// The layout of the shared file. Pure arithmetic.
struct call_layout {
  // Offsets in the common part.
  std::size_t hints = 0, words = 0, common_bytes = 0;
  // Offsets in an own part.
  std::size_t messages = 0, log = 0, results = 0, own_bytes = 0;
  std::uint64_t log_capacity = 0;
  // Offsets in the file.
  std::uint64_t common_at = 0, own_first = 0, own_stride = 0;
  arena_map arenas{};

  static constexpr std::size_t last_page_at = sizeof(worker_state);
  /// The bytes of each own part that the caller maps.
  std::size_t head_bytes = map_grain;

  call_layout() = default;

  /// Errors: std::system_error ENOMEM if the results exceed the address space.
  call_layout(dispatch_plan const& plan, std::uint64_t n_results, std::size_t result_bytes,
              std::size_t result_align, bool has_ring)
      : hints(sizeof(call_header)),
        words(hints + plan.n_workers * sizeof(claim_hint)),
        common_bytes(words + claim_table::words_for(plan.n_batches) * sizeof(std::uint64_t)),
        messages(has_ring ? round_up(last_page_at + sizeof(last_page), alignof(message_ring)) : 0),
        log(has_ring ? messages + sizeof(message_ring)
                     : round_up(last_page_at + sizeof(last_page), sizeof(published_range))),
        log_capacity(range_log_capacity(plan, n_results, result_bytes)) {
    if (has_ring) head_bytes = round_up(log, map_grain);
    results = round_up(log + log_capacity * sizeof(published_range),
                       std::max<std::size_t>(result_align, 64));
    std::size_t all_results = 0;
    if (__builtin_mul_overflow(n_results, result_bytes, &all_results) ||
        __builtin_add_overflow(all_results, results + map_grain, &own_bytes)) {
      throw_system_error(ENOMEM, "shared memory for", std::to_string(n_results) + " results");
    }
    own_bytes -= map_grain;
  }

  std::uint64_t own(std::uint32_t k) const noexcept { return own_first + k * own_stride; }
  bool has_messages() const noexcept { return messages != 0; }

  /// Lays out the parts in one file of at most `largest` bytes.
  /// Errors: std::system_error EFBIG if `largest` is too small.
  void place(std::uint64_t largest, std::uint32_t n_workers) {
    own_first = round_up(common_bytes, map_grain);
    own_stride = round_up(own_bytes, map_grain);
    arenas.stride = 0;
    if (__builtin_mul_overflow(own_stride, std::uint64_t{n_workers}, &arenas.first) ||
        __builtin_add_overflow(arenas.first, own_first, &arenas.first)) {
      arenas.first = ~std::uint64_t{0};
    }
    constexpr std::uint64_t least_arena = std::uint64_t{1} << 20U;
    if (largest > arenas.first)
      arenas.stride = (largest - arenas.first) / n_workers / map_grain * map_grain;
    if (arenas.stride < least_arena) {
      throw_system_error(
          EFBIG, "shared memory for the results of",
          std::to_string(n_workers) + " workers (is RLIMIT_FSIZE, ulimit -f, too low?)");
    }
  }
};

/// A view of a call's memory in the caller or in one worker. It does not own the mappings.
class call_memory {
 public:
  /// The caller's view. `heads`: the mapped begins of all own parts.
  call_memory(call_layout const& layout, std::byte* common, std::byte* const* heads,
              shared_file const& file) noexcept
      : layout_(layout), common_(common), heads_(heads), file_(&file) {}
  /// A worker's view. `own`: its own part.
  call_memory(call_layout const& layout, std::byte* common, std::byte* own) noexcept
      : layout_(layout), common_(common), own_(own) {}

  /// Initializes the claim hints; all else begins as zero. Preconditions: the memory is zero, and
  /// no worker has started.
  void prepare(dispatch_plan const& plan) const noexcept {
    for (std::uint32_t k = 0; k != plan.n_workers; ++k) {
      auto const region = plan.first_batches(k);
      hints()[k].cursor.store(region.begin, std::memory_order_relaxed);
      hints()[k].region_end.store(region.end, std::memory_order_relaxed);
    }
  }

  /// In a worker: prefaults the common part, if it has more than the one page of a small call, but
  /// only the first page of the claim table. The worker's results and the rest of the table follow
  /// later.
  void populate() const noexcept {
    auto const used = std::min(layout_.common_bytes, layout_.words + page_size());
    if (used > page_size()) populate_for_writing(common_, used);
  }

  call_header& header() const noexcept { return *at<call_header>(common_, 0); }
  claim_hint* hints() const noexcept { return at<claim_hint>(common_, layout_.hints); }
  claim_table lanes() const noexcept {
    return claim_table(at<std::atomic<std::uint64_t>>(common_, layout_.words));
  }

  // Members of worker k's own part. In a worker, k must be its own number.
  worker_state& state(std::uint32_t k) const noexcept { return *at<worker_state>(own(k), 0); }
  raw_backtrace& backtrace(std::uint32_t k) const noexcept {
    return at<last_page>(own(k), call_layout::last_page_at)->backtrace;
  }
  /// The bytes that worker k and its predecessors did not share with the caller.
  std::atomic<std::uint64_t>& unshared(std::uint32_t k) const noexcept {
    return at<last_page>(own(k), call_layout::last_page_at)->unshared;
  }
  /// The ends of what was printed to stdout and stderr of the running task's output.
  std::atomic<std::uint64_t>* printed(std::uint32_t k) const noexcept {
    return at<last_page>(own(k), call_layout::last_page_at)->printed;
  }
  published_range* log(std::uint32_t k) const noexcept {
    return at<published_range>(own(k), layout_.log);
  }
  /// Precondition: the layout has messages.
  message_ring& messages(std::uint32_t k) const noexcept {
    return *at<message_ring>(own(k), layout_.messages);
  }
  std::byte* results(std::uint32_t k) const noexcept { return own(k) + layout_.results; }

  /// In the caller: copies [offset, offset + bytes) of worker k's own part.
  /// Errors: std::system_error naming pread.
  void copy_own(std::uint32_t k, std::size_t offset, void* to, std::size_t bytes) const {
    if (offset + bytes <= layout_.head_bytes)
      std::memcpy(to, heads_[k] + offset, bytes);
    else
      file_->read(layout_.own(k) + offset, to, bytes);
  }

  call_layout const& layout() const noexcept { return layout_; }
  shared_file const& file() const noexcept { return *file_; }

 private:
  std::byte* own(std::uint32_t k) const noexcept { return heads_ != nullptr ? heads_[k] : own_; }
  template <class T> static T* at(std::byte* base, std::size_t offset) noexcept {
    return std::launder(reinterpret_cast<T*>(base + offset));
  }

  call_layout layout_;
  std::byte* common_;
  std::byte* const* heads_ = nullptr;
  std::byte* own_ = nullptr;
  shared_file const* file_ = nullptr;
};

/// The memory of one call, in a file that is freed with it. Workers map the parts that they need.
class own_call_memory {
 public:
  /// Errors: std::system_error naming the call that failed; EFBIG if RLIMIT_FSIZE is too low.
  own_call_memory(dispatch_plan const& plan, std::uint64_t n_results, std::size_t result_bytes,
                  std::size_t result_align, bool has_ring)
      : layout_(placed({plan, n_results, result_bytes, result_align, has_ring}, plan.n_workers)),
        file_(layout_.arenas.begin(plan.n_workers)),
        heads_(plan.n_workers),
        more_(plan.n_workers) {
    file_.reserve_if_strict(layout_.own_first);
    // A small call needs only one mapping.
    bool const side_by_side = layout_.own_stride == layout_.head_bytes;
    auto const first_bytes = static_cast<std::size_t>(layout_.own_first) +
                             (side_by_side ? plan.n_workers * layout_.head_bytes : 0);
    map_ = file_.map(0, first_bytes, PROT_READ | PROT_WRITE);
    map_.keep_from_children();
    for (std::uint32_t k = 0; k != plan.n_workers; ++k) {
      if (side_by_side) {
        heads_[k] = map_.data() + layout_.own(k);
      } else {
        more_[k] = file_.map(layout_.own(k), layout_.head_bytes, PROT_READ | PROT_WRITE);
        more_[k].keep_from_children();
        heads_[k] = more_[k].data();
      }
    }
    view().prepare(plan);
  }

  call_memory view() const noexcept { return {layout_, map_.data(), heads_.begin(), file_}; }

 private:
  static call_layout placed(call_layout layout, std::uint32_t n_workers) {
    layout.place(std::min(shared_file::largest(), std::uint64_t{1} << blob_name::offset_bits),
                 n_workers);
    return layout;
  }

  call_layout layout_;
  shared_file file_;
  mapping map_{};
  per_worker<std::byte*> heads_;
  per_worker<mapping> more_;
};

}  // namespace forkmap::detail
