// The engine without workers: n_jobs = 1, in the caller's own process and thread.
// SPDX-License-Identifier: MIT
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

#include <forkmap/detail/engine/engine.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/os/own_process_run.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/plan/claim_table.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/worker/setup.hpp>
#include <forkmap/message_handler.hpp>
#include <forkmap/options.hpp>
#include <forkmap/report.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

/// Results constructed in the caller's own memory. Results that are not taken are destroyed.
class serial_results final : public call_results {
 public:
  explicit serial_results(job const& this_job)
      : align_(static_cast<std::align_val_t>(this_job.same_process.align)),
        destroy_(this_job.destroy) {
    same_process = true;
    slot_bytes = this_job.same_process.bytes;
    std::size_t bytes = 0;
    if (__builtin_mul_overflow(this_job.n_results, slot_bytes, &bytes)) throw std::bad_alloc();
    if (destroy_ != nullptr) {
      alive_.resize(this_job.n_results);
      n_ = this_job.n_results;
    }
    if (bytes != 0) slots = static_cast<std::byte*>(::operator new(bytes, align_));
  }
  ~serial_results() override {
    for (std::uint64_t i = 0; i != n_; ++i) {
      if (alive_[i] != 0) destroy_(slots + i * slot_bytes, i);
    }
    if (slots != nullptr) ::operator delete(slots, align_);
  }

  void made(std::uint64_t i) noexcept {
    if (destroy_ != nullptr) alive_[i] = 1;
  }
  void taken(std::uint64_t i) noexcept override {
    if (destroy_ == nullptr) return;
    destroy_(slots + i * slot_bytes, i);
    alive_[i] = 0;
  }

 private:
  // Never called: results are in their slots.
  reader read_blob(std::uint64_t) override { std::terminate(); }
  copied_results copy_results(std::uint64_t) override { std::terminate(); }

  std::align_val_t align_;
  void (*destroy_)(std::byte*, std::uint64_t);
  std::string alive_;    // not 0 at i: result i is constructed and not taken
  std::uint64_t n_ = 0;  // 0 if results need no destruction
};

/// The channel of tasks in the caller's process: send() calls the handler.
class serial_channel final : public message_channel {
 public:
  using message_channel::message_channel;

  writer* begin() override { return nullptr; }
  void end(std::size_t) override {}    // never called
  void abandon() noexcept override {}  // never called
  void handle(std::size_t task, void const* message) override {
    try {
      call_here(task, message);
    } catch (...) {
      error_ = std::current_exception();
      throw;  // ends the task, too
    }
  }

  /// Whether the handler has thrown, which ends the call.
  bool has_failed() const noexcept { return error_ != nullptr; }
  void rethrow_error() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_{};
};

/// The loop of tasks that run in the caller's process, one after the other.
class serial_loop final : public task_loop {
 public:
  serial_loop(serial_results& into, job const& this_job, options const& opts)
      : messages(opts.on_message),
        into_(into),
        most_failures_(this_job.stop_at_failure          ? 1
                       : limits_failures(this_job, opts) ? opts.max_failures
                                                         : 0),
        first_index_(this_job.first_index) {
    current = &running;
    watched = true;
    results = into.slots;
    result_bytes = into.slot_bytes;
    same_process = true;
  }

  bool failed(std::uint64_t index) override {
    process.end_if_forked();
    if (messages.has_failed()) return false;
    task_failure failure;
    failure.index = index + first_index_;
    failure.pid = ::getpid();
    failure.what = describe_current_exception();
    into_.failures.add(std::move(failure));
    last_failed = index;
    return !has_too_many_failures();
  }
  writer& begin_blob() override { std::terminate(); }  // never called: same_process is set
  void made(std::uint64_t result) override { into_.made(result); }
  void won(std::uint64_t task) override {
    if (into_.winner == 0) into_.winner = task + 1;
  }

  bool has_too_many_failures() const noexcept {
    return most_failures_ != 0 && into_.failures.size() >= static_cast<std::size_t>(most_failures_);
  }
  std::uint64_t last_failed = 0;
  own_process_run const process{};
  serial_channel messages;

 private:
  serial_results& into_;
  int most_failures_;  // 0: any number
  std::uint64_t first_index_;
  void watch(std::uint64_t i) override {
    process.end_if_forked();
    messages.rethrow_error();  // a task has caught it
    running.store(as_current(i), std::memory_order_relaxed);
  }
};

/// In a worker, makes a frame that of threads that tasks start, so that these are not taken for threads
/// of the worker's own task. In the caller's process, threads of tasks have no frame: other threads may
/// make calls, too.
class own_threads_scope {
 public:
  explicit own_threads_scope(task_frame const& frame) noexcept : outer_(this_process.frame) {
    if (this_process.is_worker) this_process.frame = &frame;
  }
  own_threads_scope(own_threads_scope const&) = delete;
  own_threads_scope& operator=(own_threads_scope const&) = delete;
  ~own_threads_scope() {
    if (this_process.is_worker) this_process.frame = outer_;
  }

 private:
  task_frame const* outer_;
};

/// Runs all tasks in the calling thread, in order.
class serial_engine {
 public:
  explicit serial_engine(options const& opts) noexcept : opts_(opts) {}

  owner<call_results> run(job const& this_job) const {
    auto const began = std::chrono::steady_clock::now();
    auto* const results = new serial_results(this_job);
    owner<call_results> owned(results);
    serial_loop loop(*results, this_job, opts_);
    task_frame frame;
    frame.current = &loop.running;
    frame.seed = opts_.seed;
    frame.first_index = this_job.first_index;
    frame.outer = this_job.outer;
    if (opts_.on_message) frame.messages = &loop.messages;
    active_frame_scope const scope(frame);
    own_threads_scope const threads(frame);

    auto const plan = make_plan(this_job.n_tasks, 1, this_job.batch_tasks);
    // Batches matter only if each has one result, or if a stop can be requested between them.
    auto const step =
        this_job.whole_batches || opts_.stop.stop_possible() ? plan.batch_tasks : plan.n_tasks;
    for (std::uint64_t at = 0; at < plan.n_tasks; at = loop.end) {
      if (opts_.stop.stop_requested()) {
        for (; at != plan.n_tasks; ++at) {
          results->failures.add(
              cancelled_task(at + this_job.first_index, failure::never_started, ::getpid()));
          if (this_job.stop_at_failure) break;
        }
        break;
      }
      loop.begin = at;
      loop.end = at + std::min(step, plan.n_tasks - at);
      this_job.run(this_job.tasks, loop);
      loop.process.end_if_forked();
      loop.messages.rethrow_error();
      if (loop.has_too_many_failures()) {
        for (auto i = loop.last_failed + 1; !this_job.stop_at_failure && i < plan.n_tasks; ++i) {
          results->failures.add(cancelled_task(i + this_job.first_index, failure::never_started,
                                               ::getpid(), ended_call::by_failures));
        }
        break;
      }
      if (results->winner != 0) break;
    }
    results->failures.sort();
    auto const wall = std::chrono::steady_clock::now() - began;
    auto& report = report_of_this_thread();
    clear(report);  // tasks may have made calls that wrote it
    report.wall = wall;
    report.tasks = this_job.n_tasks;
    report.failures = results->failures.size();
    report.workers.resize(1);
    report.workers[0].tasks = static_cast<std::size_t>(loop.end);
    report.workers[0].busy = wall;
    return owned;
  }

 private:
  options const& opts_;
};

static_assert(engine<serial_engine>);

}  // namespace forkmap::detail
