// Published ranges of finished tasks, and the digests that detect damage to them.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>

namespace forkmap::detail {

// Digests of results. The caller accepts published results only if their digest matches.
//
// A digest is a sum with one term for each word. So a worker can add results one by one, in any
// order. A term is the 128-bit product of (word combined with its position) and an odd constant,
// folded to 64 bits. It costs about two cycles a word. Accidental damage goes undetected with a
// probability of about 2^-64.
//
// Source of the folded product: Wang Yi, wyhash ("mum", multiply and mix).

inline std::uint64_t digest_term(std::uint64_t word, std::uint64_t position) noexcept {
  __extension__ typedef unsigned __int128 wide;
  constexpr std::uint64_t step = 0x9e37'79b9'7f4a'7c15;    // 2^64 / golden ratio
  constexpr std::uint64_t factor = 0xd6e8'feb8'6659'fd93;  // odd
  auto const product = static_cast<wide>(word ^ (position * step + factor)) * factor;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

/// The digest of n bytes that begin at word number `position` of a larger object.
inline std::uint64_t digest_of(std::byte const* bytes, std::size_t n,
                               std::uint64_t position) noexcept {
  std::uint64_t digest = 0;
  std::uint64_t word = 0;
  std::size_t at = 0;
  for (; n - at >= sizeof word; at += sizeof word) {
    std::memcpy(&word, bytes + at, sizeof word);
    digest += digest_term(word, position++);
  }
  if (at != n) {
    word = 0;
    std::memcpy(&word, bytes + at, n - at);
    digest += digest_term(word, position);
  }
  return digest;
}

/// The number of digest words of a result of `bytes` bytes.
constexpr std::uint64_t digest_words(std::size_t bytes) noexcept {
  return (bytes + sizeof(std::uint64_t) - 1) / sizeof(std::uint64_t);
}

/// The digest of results [first, first + n), adjacent at `at`, of `bytes` bytes each.
inline std::uint64_t digest_of_results(std::byte const* at, std::uint64_t first, std::uint64_t n,
                                       std::size_t bytes) noexcept {
  std::uint64_t digest = 0;
  if (bytes == sizeof(std::uint64_t)) {
    for (std::uint64_t i = 0; i != n; ++i) {
      std::uint64_t word = 0;
      std::memcpy(&word, at + i * sizeof word, sizeof word);
      digest += digest_term(word, first + i);
    }
  } else if (bytes == sizeof(std::uint32_t)) {
    for (std::uint64_t i = 0; i != n; ++i) {
      std::uint32_t word = 0;
      std::memcpy(&word, at + i * sizeof word, sizeof word);
      digest += digest_term(word, first + i);
    }
  } else {
    for (std::uint64_t i = 0; i != n; ++i)
      digest += digest_of(at + i * bytes, bytes, (first + i) * digest_words(bytes));
  }
  return digest;
}

/// The digest of result i, which has just been constructed at `at`.
template <class R>
[[gnu::always_inline]] inline std::uint64_t digest_of_result(std::byte const* at,
                                                             std::uint64_t i) noexcept {
  // Padding between members has no value that the compiler knows: force reads from memory.
  if constexpr (!std::is_arithmetic_v<R>) asm volatile("" ::"r"(at) : "memory");
  if constexpr (sizeof(R) <= sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof(R));
    return digest_term(word, i);
  } else {
    return digest_of(at, sizeof(R), i * digest_words(sizeof(R)));
  }
}

/// The digest of an empty range of a call. A worker that has not noticed the end of an earlier call
/// in the same memory, because a task has overwritten its state, publishes ranges that do not match.
constexpr std::uint64_t digest_of_call(std::uint64_t call) noexcept {
  constexpr std::uint64_t factor = 0x9e37'79b9'7f4a'7c15;  // odd: each call has another digest
  return call * factor;
}

// Ranges of finished tasks that a worker publishes, each with a digest.
//
// A worker mostly runs adjacent batches. Tasks [state.range_begin, current) are its open range;
// state.digest is the digest of their inline results and of the failures among them. The worker
// closes the range when its next batch is not adjacent, or when the range has become long:
//
//   1. It writes the entry log[n_ranges]: begin, end, digest and a seal over all three.
//   2. It stores state.n_ranges = n_ranges + 1 (release: a reader that sees it sees the entry).
//   3. If it closes the range between two claims, it stores state.current = 0 (release). Then it stores
//      state.range_begin = the new begin and state.digest = digest_of_call (relaxed); the next store of
//      state.current publishes both.
//
// If a worker crashes between 2 and 3, the range is in the log and is still open, which does no
// harm. Within a range the worker stores the digest before it stores the `current` that publishes
// the result. So after a crash the digest covers the results before `current`, or one more.
//
// Only this worker can write its log, its state and its results. A stray write by one of its tasks
// may still damage published results. Then a seal or a digest does not match (except with a
// probability of 2^-64), and the tasks of that range have failed.

/// Tasks [begin, end), all run by one worker.
struct published_range {
  std::uint64_t begin;
  std::uint64_t end;
  std::uint64_t digest;
  std::uint64_t seal;

  /// `call`: the call's number. It tells its ranges from those of earlier calls in the same memory.
  std::uint64_t right_seal(std::uint64_t call) const noexcept {
    return digest_term(begin, 1) + digest_term(end, 2) + digest_term(digest, 3) +
           digest_term(call, 4);
  }
};
static_assert(sizeof(published_range) == 32);

/// The term of a failed task in its range's digest. With it the caller notices a lost failure.
inline std::uint64_t digest_of_failure(std::uint64_t task) noexcept {
  return digest_term(task, 0xfa11'ed00'0000'0000U);
}

/// A range of inline results is closed at this size: the caller copies one range at a time, and a
/// wrong digest loses the whole range.
inline constexpr std::size_t range_bytes = std::size_t{64} << 10U;
inline constexpr std::uint64_t range_tasks = 4096;

/// The most ranges that one worker can publish before it is replaced.
constexpr std::uint64_t range_log_capacity(dispatch_plan const& plan, std::uint64_t n_results,
                                           std::size_t result_bytes) noexcept {
  if (plan.order != nullptr) return plan.n_batches + 2;  // each batch is a range of its own
  constexpr std::uint64_t claims_elsewhere = 1024;
  auto const bytes = static_cast<long double>(n_results) * static_cast<long double>(result_bytes);
  auto const long_ones = plan.n_tasks / range_tasks +
                         static_cast<std::uint64_t>(
                             std::min(bytes / range_bytes, static_cast<long double>(plan.n_tasks)));
  return std::min(plan.n_batches, claims_elsewhere + long_ones) + 2;
}

/// The worker's side.
class published_range_writer {
 public:
  /// `result_bytes`: the size of an inline result, one for each `tasks_per_result` tasks; 0 if the
  /// results are blobs.
  published_range_writer(worker_state& state, published_range* log, std::uint64_t capacity,
                         std::uint64_t call, std::size_t result_bytes,
                         std::uint64_t tasks_per_result) noexcept
      : digest(digest_of_call(call)),
        state_(state),
        log_(log),
        capacity_(capacity),
        call_(call),
        empty_(digest_of_call(call)),
        most_tasks_(result_bytes == 0
                        ? range_tasks * 4
                        : std::clamp<std::uint64_t>(range_bytes / result_bytes, 1, range_tasks)),
        // A task may have overwritten the number before the worker came to this call again.
        n_(std::min(state.n_ranges.load(std::memory_order_relaxed), capacity)) {
    if (result_bytes != 0 && tasks_per_result > 1) {
      std::uint64_t most = 0;
      most_tasks_ =
          __builtin_mul_overflow(most_tasks_, tasks_per_result, &most) ? ~std::uint64_t{0} : most;
    }
  }

  std::uint64_t digest;  // of the open range

  /// Adds the term of one result or failure.
  void add(std::uint64_t term) noexcept {
    digest += term;
    state_.digest.store(digest, std::memory_order_release);  // after the result
  }

  /// Whether the log has no room for a range after the open one.
  bool is_full() const noexcept { return n_ + 1 >= capacity_; }
  /// The number of tasks at which a range is closed.
  std::uint64_t most_tasks() const noexcept { return most_tasks_; }
  /// The first task of the open range.
  std::uint64_t begin() const noexcept { return begin_; }
  std::atomic<std::uint64_t>& shared_digest() const noexcept { return state_.digest; }

  /// The next claim begins at task `begin`. Called before state.current holds that task.
  void moves_to(std::uint64_t begin) noexcept {
    if (begin == end_ && end_ - begin_ < most_tasks_) return;
    close();
    state_.current.store(nothing_running, std::memory_order_release);
    state_.range_begin.store(begin, std::memory_order_relaxed);
    state_.digest.store(empty_, std::memory_order_relaxed);
    begin_ = end_ = begin;
  }
  /// Takes over the range that the caller has opened for the remaining tasks of a predecessor.
  void resumes_at(std::uint64_t begin) noexcept { begin_ = end_ = begin; }
  /// Tasks up to `end` are done.
  void extends_to(std::uint64_t end) noexcept { end_ = end; }

  /// Closes the open range.
  void close() noexcept {
    publish(end_);
    begin_ = end_ = nowhere;
    digest = empty_;
  }
  /// Closes the open range before its task i, and opens a new one that begins with task i.
  void close_before(std::uint64_t i) noexcept {
    publish(i);
    state_.range_begin.store(i, std::memory_order_relaxed);
    digest = empty_;
    state_.digest.store(empty_, std::memory_order_relaxed);
    begin_ = i;
  }

 private:
  void publish(std::uint64_t end) noexcept {
    if (begin_ == end || n_ == capacity_) return;
    published_range done{.begin = begin_, .end = end, .digest = digest, .seal = 0};
    done.seal = done.right_seal(call_);
    log_[n_] = done;
    state_.n_ranges.store(++n_, std::memory_order_release);
  }

  worker_state& state_;
  published_range* log_;
  std::uint64_t capacity_;
  std::uint64_t call_;
  std::uint64_t empty_;
  std::uint64_t most_tasks_;
  std::uint64_t n_;
  static constexpr std::uint64_t nowhere = ~std::uint64_t{0};

  std::uint64_t begin_ = nowhere;
  std::uint64_t end_ = nowhere;
};

}  // namespace forkmap::detail
