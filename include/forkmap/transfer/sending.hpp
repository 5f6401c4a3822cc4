// How far the tasks of a call have been sent, for workers that run the first of them meanwhile.
//
//   1. The caller writes a chunk of tasks, adds 1 to `chunks`, then looks at `awaited`, the first
//      chunk that anybody wants to be woken for. If that is there now, it takes it back and wakes all.
//   2. A worker that comes to a task of a later chunk lowers `awaited` to what it wants, for a moment
//      some chunks more than it needs, looks at `chunks` again, and sleeps while it has not changed;
//      who is woken too early begins anew.
//   All of it seq_cst, so that one of the two sees the other. Only where two workers come to sleep
//   at once the caller may take back what both need and wake the one: the other one looks by itself
//   after a while. A worker that is killed in its sleep costs one system call.
//
// Workers that have no core beside the caller's sleep at first: they would take it, and all would wait
// for tasks. Whoever sees first that the tasks have been coming for long, wants_all(), wakes them.
#pragma once

#include <atomic>
#include <cstdint>

#include <forkmap/system/clock.hpp>
#include <forkmap/system/futex.hpp>

namespace forkmap::detail {

/// Who is told while the tasks of a call are written.
class chunk_listener {
 public:
  /// A chunk of tasks has been written.
  /// Returns: whether the others are wanted.
  virtual bool chunk_done() noexcept = 0;

 protected:
  ~chunk_listener() = default;
};

class sending {
 public:
  /// Tasks of a chunk: few enough for a cache, many enough to make waking cheap.
  static constexpr std::uint64_t chunk = 4096;

  /// Nothing is sent. Before any worker comes.
  void begin() noexcept {
    chunks_.store(0);
    awaited_.store(nothing);
    all_wanted_from_.store(nanoseconds_now() + at_once_ns);
  }
  /// One chunk more is sent.
  void advance() noexcept {
    auto const n = chunks_.fetch_add(1) + 1;
    if (n <= awaited_.load()) return;
    awaited_.store(nothing);
    wake_all(chunks_);
  }
  /// All is sent.
  void end() noexcept {
    chunks_.store(all);
    all_wanted_from_.store(never);
    if (awaited_.load() != nothing) wake_all(chunks_);
  }

  /// Whether all workers should come now. True once.
  bool wants_all() noexcept {
    auto from = all_wanted_from_.load(std::memory_order_relaxed);
    return from != never && from < nanoseconds_now() &&
           all_wanted_from_.compare_exchange_strong(from, never);
  }

  /// Waits until task i is sent. Who has caught up with the caller leaves the core to it for a moment,
  /// so that both have more to do at a time. `wake_others` is called where wants_all() is seen here.
  template <class Wake> [[gnu::noinline]] void wait_for(std::uint64_t i, Wake const& wake_others) {
    if (wants_all()) wake_others();
    constexpr std::uint32_t chunks_ahead = 16;
    constexpr std::int64_t a_moment_ns = 200'000;
    constexpr std::int64_t a_while_ns = 10'000'000;
    auto const needed = static_cast<std::uint32_t>(i / chunk);
    if (needed < chunks_.load()) return;
    auto const begin = nanoseconds_now();
    for (auto time = begin;; time = nanoseconds_now()) {
      auto const rest = begin + a_moment_ns - time;
      auto const wanted = rest > 0 ? needed + chunks_ahead : needed;
      auto awaited = awaited_.load();
      while (wanted < awaited && !awaited_.compare_exchange_weak(awaited, wanted)) {
      }
      auto const seen = chunks_.load();
      if (wanted < seen) return;
      if (wants_all()) wake_others();
      wait_while_equal(chunks_, seen, rest > 0 ? rest : a_while_ns);
    }
  }

 private:
  static constexpr std::uint32_t all = ~std::uint32_t{0};
  static constexpr std::uint32_t nothing = ~std::uint32_t{0};
  static constexpr std::int64_t at_once_ns = 5'000'000;
  static constexpr std::int64_t never = INT64_MAX;

  std::atomic<std::uint32_t> chunks_;  // a futex
  std::atomic<std::uint32_t> awaited_;
  std::atomic<std::int64_t> all_wanted_from_;  // nanoseconds_now()
};

}  // namespace forkmap::detail
