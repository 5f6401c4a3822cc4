// A pool's engine: it runs calls that a thread waits for, and submitted calls in their order.
//
// The larger classes of a pool are templates with an unused parameter, so that the compiler makes them
// only in files that make a pool, not in every file that includes forkmap.hpp. Without that, a file with
// one call of parallel takes 5 % longer to compile.
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <utility>

#include <forkmap/detail/engine/engine.hpp>
#include <forkmap/detail/engine/hazards.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/delivering_wait.hpp>
#include <forkmap/detail/pool/pool_calls.hpp>
#include <forkmap/detail/pool/pool_interface.hpp>
#include <forkmap/detail/pool/setups.hpp>
#include <forkmap/detail/pool/submission.hpp>
#include <forkmap/detail/pool/submitted_call.hpp>
#include <forkmap/detail/pool/submitted_messages.hpp>
#include <forkmap/options.hpp>
#include <forkmap/report.hpp>

namespace forkmap::detail {

template <class = void> class pool_engine final : public pool_interface {
 public:
  pool_engine(options opts, std::uint32_t n_workers)
      : opts_((check_nesting(), std::move(opts))),
        owner_(::getpid()),
        n_workers_(n_workers),
        messages_(has_messages(opts_) ? std::make_shared<submitted_messages>(opts_.on_message)
                                      : nullptr),
        calls_(new_calls()) {}
  pool_engine(pool_engine const&) = delete;
  pool_engine& operator=(pool_engine const&) = delete;

  /// Cancels calls that have not ended.
  ~pool_engine() override {
    handle_submitted();
    {
      std::lock_guard const lock(submissions_);
      closing_ = true;  // calls that end from now on keep no result
    }
    if (calls_) calls_->stop();
    for (auto& unfinished : submitted_) finish(unfinished, ended_call::by_end_of_pool);
  }

  options const& opts() const noexcept override { return opts_; }
  bool is_ours() const noexcept override { return owner_ == ::getpid(); }
  void check_owner() const override { check_pool_owner(owner_); }

  std::size_t window() const noexcept override {
    static_assert(usual_window == most_calls, "forkmap: every task of a usual window has a slot");
    constexpr std::size_t usual = usual_window;
    return opts_.pre_dispatch != 0 ? opts_.pre_dispatch
                                   : std::max<std::size_t>(usual, 2 * n_workers_);
  }
  std::size_t least_window() const noexcept override {
    return opts_.pre_dispatch != 0 ? opts_.pre_dispatch : 2 * n_workers_;
  }

  owner<call_results> run(pool_tasks& tasks) override { return run(tasks, 0); }

  void everywhere(owner<pool_tasks> task) override {
    check_owner();
    std::lock_guard const one_at_a_time(everywhere_);
    std::uint32_t i = 0;
    {
      std::shared_lock const lock(reforking_);
      i = usable_calls().setups().add(*task, usable_calls().control(), opts_.max_nbytes);
    }
    try {
      one_for_each_worker all(n_workers_);
      auto const ended = run(all, most_workers);
      ended->failures.throw_first();
    } catch (...) {
      usable_calls().setups().drop(i);
      throw;
    }
    everywhere_tasks_.push_back(std::move(task));
  }

  void refork() override {
    check_owner();
    std::lock_guard const one_at_a_time(everywhere_);
    wait_for_submitted();  // without the lock: handlers of messages may make calls
    // Calls of other threads have ended when this has the lock, and wait to begin.
    std::unique_lock const lock(reforking_);
    wait_for_submitted();
    {
      std::lock_guard const submissions(submissions_);
      is_without_workers_ = true;
    }
    calls_.reset();
    calls_.reset(new_calls());
    for (auto const& task : everywhere_tasks_)
      calls_->setups().add(*task, calls_->control(), opts_.max_nbytes);
    std::lock_guard const submissions(submissions_);
    is_without_workers_ = false;
  }

  void submit(std::shared_ptr<submitted_call> submitted, std::int64_t called_at) override {
    check_owner();
    std::shared_lock const no_refork(reforking_);
    static_cast<void>(usable_calls());
    if (messages_) {
      submitted->messages = messages_;
      submitted->inbox = messages_->add();
    }
    std::lock_guard const lock(submissions_);
    submitted_.push_back({std::move(submitted), nullptr, called_at});
    start_submitted();
  }

  void wait() override {
    check_owner();
    wait_for_submitted();
  }
  submitted_messages* messages() const noexcept override { return messages_.get(); }

  std::size_t next_submission() override {
    check_owner();
    return n_submissions_.fetch_add(1, std::memory_order_relaxed);
  }

  void cancel(submitted_call const& submitted, ended_call why) override {
    check_owner();
    std::lock_guard const lock(submissions_);
    for (auto at = submitted_.begin(); at != submitted_.end(); ++at) {
      if (at->submitted.get() != &submitted) continue;
      if (at->call != nullptr) return calls_->end(*at->call, why);
      finish(*at, why);
      submitted_.erase(at);
      return;
    }
  }

 private:
  pool_calls<>* new_calls() {
    return new pool_calls<>(
        opts_, n_workers_,
        {[](void* self) noexcept { static_cast<pool_engine*>(self)->handle_submitted(); }, this});
  }
  /// Errors: std::runtime_error if refork() has failed.
  pool_calls<>& usable_calls() const {
    if (calls_) return *calls_;
    throw std::runtime_error(
        "forkmap: this pool has no workers, because refork() has failed: call it again, or make a "
        "new pool");
  }

  /// Takes a call slot. If none is free, submitted tasks have all, and may wait for their messages to be
  /// handled.
  std::uint32_t place_for_call(pool_calls<>& calls) const {
    if (!messages_) return calls.take_place();
    for (;;) {
      auto const seen = messages_->changes();
      messages_->deliver();
      if (auto const c = calls.find_place(); c != most_calls) return c;
      messages_->sleep(seen, INT64_MAX);
    }
  }

  /// Runs tasks with `awake` workers woken at once; 0: as many as usual.
  owner<call_results> run(pool_tasks& tasks, std::uint64_t awake) {
    check_owner();
    std::shared_lock const no_refork(reforking_);
    auto& calls = usable_calls();
    auto const called_at = nanoseconds_now();
    calls.wake_early(tasks.expected());
    owner<message_inbox> inbox(messages_ ? new message_inbox(opts_.on_message) : nullptr);
    auto call =
        calls.launch(place_for_call(calls), tasks, report_of_this_thread(), called_at,
                     waits_for_call::nobody, awake != 0 ? awake : calls.at_once(), inbox.get());
    if (call == nullptr) {
      clear(report_of_this_thread());
      return nullptr;
    }
    if (messages_)
      wait_and_deliver(calls, *call, *messages_);
    else
      calls.wait_for(*call);
    calls.collect(*call);
    return call;
  }

  void wait_for_submitted() {
    for (;;) {
      std::shared_ptr<submitted_call> last;
      {
        std::lock_guard const lock(submissions_);
        if (!submitted_.empty()) last = submitted_.back().submitted;
      }
      if (last == nullptr) break;
      last->wait_until_done();
    }
    if (messages_) messages_->deliver_all();
  }
  /// On the supervisor's thread: collects submitted calls that are over, and starts others.
  void handle_submitted() noexcept {
    std::lock_guard const lock(submissions_);
    if (closing_ || is_without_workers_) return;
    if (messages_ && messages_->has_any()) {
      messages_->notify();
      calls_->wake_threads();
    }
    for (auto at = submitted_.begin(); at != submitted_.end();) {
      if (at->call == nullptr) break;  // those behind it wait, too
      if (at->submitted->inbox && at->submitted->inbox->error() &&
          !std::exchange(at->is_ended, true)) {
        calls_->end(*at->call, ended_call::by_cancel);
      }
      if (!calls_->is_over(*at->call)) {
        ++at;
        continue;
      }
      collect_result(*calls_, *at);
      at = submitted_.erase(at);
    }
    start_submitted();
  }

  /// Starts waiting submissions, as long as call slots are free.
  void start_submitted() noexcept {
    for (auto at = submitted_.begin(); at != submitted_.end();) {
      if (at->call != nullptr) {
        ++at;
        continue;
      }
      auto const c = calls_->find_place();
      if (c == most_calls) return;
      auto& submitted = *at->submitted;
      try {
        at->call = calls_->launch(c, *submitted.tasks, submitted.report, at->called_at,
                                  waits_for_call::the_supervisor, most_workers,
                                  submitted.inbox ? &submitted.inbox->inbox : nullptr);
        ++at;
      } catch (...) {
        submitted.error = std::current_exception();
        if (submitted.inbox) submitted.inbox->inbox.close();
        submitted.set_done();
        at = submitted_.erase(at);
      }
    }
  }

  options opts_;
  pid_t owner_;
  std::uint32_t n_workers_;
  std::atomic<std::size_t> n_submissions_{0};
  std::mutex submissions_;
  std::shared_ptr<submitted_messages> messages_;  // null: no handler of messages
  std::list<submission> submitted_{};             // not done, in the order of their submission
  bool closing_ = false;
  bool is_without_workers_ = false;  // during refork(), and after one that has failed
  std::shared_mutex reforking_;      // shared: by calls
  std::mutex everywhere_;
  std::list<owner<pool_tasks>> everywhere_tasks_{};
  owner<pool_calls<>> calls_;  // last: its thread uses all of these; null: refork() has failed
};

}  // namespace forkmap::detail
