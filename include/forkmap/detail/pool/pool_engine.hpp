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
#include <utility>

#include <forkmap/detail/engine/engine.hpp>
#include <forkmap/detail/engine/hazards.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/delivering_wait.hpp>
#include <forkmap/detail/pool/pool_calls.hpp>
#include <forkmap/detail/pool/pool_interface.hpp>
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
        messages_(has_messages(opts_) ? std::make_shared<submitted_messages>(opts_.on_message)
                                      : nullptr),
        calls_(opts_, n_workers,
               {[](void* self) noexcept { static_cast<pool_engine*>(self)->handle_submitted(); },
                this}) {}
  pool_engine(pool_engine const&) = delete;
  pool_engine& operator=(pool_engine const&) = delete;

  /// Cancels calls that have not ended.
  ~pool_engine() override {
    handle_submitted();
    {
      std::lock_guard const lock(submissions_);
      closing_ = true;  // calls that end from now on keep no result
    }
    calls_.stop();
    for (auto& unfinished : submitted_) finish(unfinished, ended_call::by_end_of_pool);
  }

  options const& opts() const noexcept override { return opts_; }
  bool is_ours() const noexcept override { return owner_ == ::getpid(); }
  void check_owner() const override { check_pool_owner(owner_); }

  std::size_t window() const noexcept override {
    static_assert(usual_window == most_calls, "forkmap: every task of a usual window has a slot");
    constexpr std::size_t usual = usual_window;
    return opts_.pre_dispatch != 0 ? opts_.pre_dispatch
                                   : std::max<std::size_t>(usual, 2 * calls_.n_workers());
  }
  std::size_t least_window() const noexcept override {
    return opts_.pre_dispatch != 0 ? opts_.pre_dispatch : 2 * calls_.n_workers();
  }

  owner<call_results> run(pool_tasks& tasks) override {
    check_owner();
    auto const called_at = nanoseconds_now();
    calls_.wake_early(tasks.expected());
    owner<message_inbox> inbox(messages_ ? new message_inbox(opts_.on_message) : nullptr);
    auto call = calls_.launch(calls_.take_place(), tasks, report_of_this_thread(), called_at,
                              waits_for_call::nobody, calls_.at_once(), inbox.get());
    if (call == nullptr) {
      clear(report_of_this_thread());
      return nullptr;
    }
    if (messages_)
      wait_and_deliver(calls_, *call, *messages_);
    else
      calls_.wait_for(*call);
    calls_.collect(*call);
    return call;
  }

  void submit(std::shared_ptr<submitted_call> submitted, std::int64_t called_at) override {
    check_owner();
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
    for (;;) {
      std::shared_ptr<submitted_call> last;
      {
        std::lock_guard const lock(submissions_);
        if (!submitted_.empty()) last = submitted_.back().submitted;
      }
      if (last == nullptr) break;
      last->wait_until_done();
    }
    while (messages_ && messages_->deliver()) {
    }
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
      if (at->call != nullptr) return calls_.end(*at->call, why);
      finish(*at, why);
      submitted_.erase(at);
      return;
    }
  }

 private:
  struct submission {
    std::shared_ptr<submitted_call> submitted;
    owner<pool_call> call;  // null: waits for a call slot
    std::int64_t called_at;
    bool is_ended = false;  // by what the handler of messages has thrown
  };

  /// On the supervisor's thread: collects submitted calls that are over, and starts others.
  void handle_submitted() noexcept {
    std::lock_guard const lock(submissions_);
    if (closing_) return;
    if (messages_ && messages_->has_any()) {
      messages_->notify();
      calls_.wake_threads();
    }
    for (auto at = submitted_.begin(); at != submitted_.end();) {
      if (at->call == nullptr) break;  // those behind it wait, too
      if (at->submitted->inbox && at->submitted->inbox->error() &&
          !std::exchange(at->is_ended, true)) {
        calls_.end(*at->call, ended_call::by_cancel);
      }
      if (!calls_.is_over(*at->call)) {
        ++at;
        continue;
      }
      collect_result(*at);
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
      auto const c = calls_.find_place();
      if (c == most_calls) return;
      auto& submitted = *at->submitted;
      try {
        at->call = calls_.launch(c, *submitted.tasks, submitted.report, at->called_at,
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

  /// Copies a submitted call's result out of shared memory, to free its call slot.
  void collect_result(submission& done) noexcept {
    auto& submitted = *done.submitted;
    try {
      calls_.collect(*done.call);
      if (done.call->failures.empty()) {
        auto blob = done.call->blob(0);
        auto const size = blob.left();
        submitted.bytes.assign(reinterpret_cast<char const*>(blob.take(size)), size);
      } else {
        submitted.failures = std::move(done.call->failures);
      }
    } catch (...) {
      if (auto const* const lost = done.call->loss_of(submitted.index()); lost != nullptr)
        submitted.failures.add(*lost);
      else
        submitted.error = std::current_exception();
    }
    if (submitted.inbox) submitted.inbox->inbox.detach();
    done.call.reset();
    submitted.tasks.reset();
    submitted.set_done();
  }

  /// Gives a failure to a submitted call that is not run, or not to its end.
  static void finish(submission& unfinished, ended_call ended) {
    auto& submitted = *unfinished.submitted;
    bool const begun = unfinished.call != nullptr;
    if (submitted.inbox) submitted.inbox->inbox.detach();
    submitted.failures.add(cancelled_task(
        submitted.index(), begun ? failure::cancelled : failure::never_started, 0, ended));
    if (begun) {
      unfinished.call->release = nullptr;
      unfinished.call.reset();
    }
    submitted.set_done();
  }

  options opts_;
  pid_t owner_;
  std::atomic<std::size_t> n_submissions_{0};
  std::mutex submissions_;
  std::shared_ptr<submitted_messages> messages_;  // null: no handler of messages
  std::list<submission> submitted_{};             // not done, in the order of their submission
  bool closing_ = false;
  pool_calls<> calls_;  // last: its thread uses all of these
};

}  // namespace forkmap::detail
