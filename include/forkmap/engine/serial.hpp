// The engine without workers: n_jobs = 1, in the caller's own process and thread.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <new>
#include <string>
#include <utility>

#include <forkmap/engine/engine.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/report.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/this_task.hpp>
#include <forkmap/transfer/results.hpp>

namespace forkmap::detail {

/// Results made in place, in memory of the caller's own; those not taken are destroyed.
class serial_results final : public call_results {
 public:
  explicit serial_results(job const& work)
      : align_(static_cast<std::align_val_t>(work.same_process.align)), destroy_(work.destroy) {
    same_process = true;
    slot_bytes = work.same_process.bytes;
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(work.n_results, slot_bytes, &bytes)) throw std::bad_alloc();
    if (destroy_ != nullptr) {
      alive_.resize(work.n_results);
      n_ = work.n_results;
    }
    if (bytes != 0) slots = static_cast<std::byte*>(::operator new(bytes, align_));
  }
  ~serial_results() override {
    for (std::uint64_t i = 0; i != n_; ++i) {
      if (alive_[i] != 0) destroy_(slots + i * slot_bytes, i);
    }
    if (slots != nullptr) ::operator delete(slots, align_);
  }

  reader record(std::uint64_t) override { std::terminate(); }  // never: everything is in place
  void made(std::uint64_t i) noexcept {
    if (destroy_ != nullptr) alive_[i] = 1;
  }
  void taken(std::uint64_t i) noexcept override {
    if (destroy_ == nullptr) return;
    destroy_(slots + i * slot_bytes, i);
    alive_[i] = 0;
  }

 private:
  std::align_val_t align_;
  void (*destroy_)(std::byte*, std::uint64_t);
  std::string alive_;    // whether there is result i: not 0
  std::uint64_t n_ = 0;  // 0 where there is nothing to destroy
};

/// Tasks that run in the caller's process, one after the other.
class serial_loop final : public task_loop {
 public:
  serial_loop(serial_results& into, job const& work)
      : into_(into), stop_at_failure_(work.stop_at_failure), first_index_(work.first_index) {
    current = &running_;
    results = into.slots;
    result_bytes = into.slot_bytes;
    same_process = true;
  }

  bool failed(std::uint64_t index) override {
    task_failure failure;
    failure.index = index + first_index_;
    failure.pid = ::getpid();
    failure.what = describe_current_exception();
    into_.failures.add(std::move(failure));
    return !stop_at_failure_;
  }
  writer& begin_record() override { std::terminate(); }  // never: same_process
  void made(std::uint64_t result) override { into_.made(result); }
  void won(std::uint64_t task) override {
    if (into_.winner == 0) into_.winner = task + 1;
  }

 private:
  serial_results& into_;
  bool stop_at_failure_;
  std::uint64_t first_index_;
  void watch(std::uint64_t) override {}  // never: not watched
  std::atomic<std::uint64_t> running_{no_task};
};

/// Runs every task here, in order.
template <class = void> class serial_engine {
 public:
  explicit serial_engine(options const& how) noexcept : how_(how) {}

  owner<call_results> run(job const& work) const {
    auto const began = std::chrono::steady_clock::now();
    auto* const results = new serial_results(work);
    owner<call_results> owned(results);
    serial_loop loop(*results, work);
    task_frame frame;
    frame.current = loop.current;
    frame.seed = how_.seed;
    frame.first_index = work.first_index;
    active_frame_scope const scope(frame);

    auto const plan = make_plan(work.n_tasks, 1, work.batch_tasks);
    // Batches matter only where they have one result each, or where a stop is looked for.
    auto const step =
        work.whole_batches || how_.stop.stop_possible() ? plan.batch_tasks : plan.n_tasks;
    for (std::uint64_t at = 0; at < plan.n_tasks; at = loop.end) {
      if (how_.stop.stop_requested()) {
        for (; at != plan.n_tasks; ++at) {
          results->failures.add(
              cancelled_task(at + work.first_index, failure::never_started, ::getpid()));
          if (work.stop_at_failure) break;
        }
        break;
      }
      loop.begin = at;
      loop.end = at + std::min(step, plan.n_tasks - at);
      work.run(work.tasks, loop);
      if (work.stop_at_failure && !results->failures.empty()) break;
      if (results->winner != 0) break;
    }
    results->failures.sort();
    auto const wall = std::chrono::steady_clock::now() - began;
    auto& report = report_of_this_thread;
    clear(report);  // of what tasks have mapped
    report.wall = wall;
    report.tasks = work.n_tasks;
    report.failures = results->failures.size();
    report.workers.resize(1);
    report.workers[0].tasks = static_cast<std::size_t>(loop.end);
    report.workers[0].busy = wall;
    return owned;
  }

 private:
  options const& how_;
};

static_assert(engine<serial_engine<>>);

}  // namespace forkmap::detail
