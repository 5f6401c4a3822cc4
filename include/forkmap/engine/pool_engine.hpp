// A pool's engine: calls that somebody waits for, and submitted ones, which run in their turn.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <utility>

#include <forkmap/engine/pool_calls.hpp>
#include <forkmap/engine/submitted_call.hpp>
#include <forkmap/options.hpp>
#include <forkmap/report.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/system/owner.hpp>

namespace forkmap::detail {

template <class = void> class pool_engine {
 public:
  pool_engine(options how, std::uint32_t n_workers)
      : how_(std::move(how)),
        owner_(::getpid()),
        calls_(how_, n_workers,
               {[](void* self) noexcept { static_cast<pool_engine*>(self)->see_to_submitted(); },
                this}) {}
  pool_engine(pool_engine const&) = delete;
  pool_engine& operator=(pool_engine const&) = delete;

  /// What has not ended is cancelled.
  ~pool_engine() {
    see_to_submitted();
    {
      std::lock_guard const lock(submissions_);
      closing_ = true;  // what is ended now has no result to be kept
    }
    calls_.stop();
    for (auto& each : submitted_) finish(each, ended_call::by_end_of_pool);
  }

  /// Deletes it where it is ours. A pointer, so that ~pool() need not be a template for it.
  void (*const remove)(pool_engine*) = [](pool_engine* it) {
    if (it->is_ours()) delete it;
  };

  options const& how() const noexcept { return how_; }

  /// Whether this process made it: others must leave it alone.
  bool is_ours() const noexcept { return owner_ == ::getpid(); }

  /// Errors: std::logic_error if it did not.
  void check_owner() const { check_pool_owner(owner_); }

  /// How many tasks of a stream are dispatched and not yet consumed: options::pre_dispatch.
  std::size_t window() const noexcept {
    constexpr std::size_t usual = most_calls;
    return how_.pre_dispatch != 0 ? how_.pre_dispatch
                                  : std::max<std::size_t>(usual, 2 * calls_.n_workers());
  }

  /// How many of them keep its workers busy, where nobody has asked for more.
  std::size_t least_window() const noexcept {
    return how_.pre_dispatch != 0 ? how_.pre_dispatch : 2 * calls_.n_workers();
  }

  /// Runs the tasks to their end. As every engine's run(); null if there are none.
  owner<call_results> run(pool_tasks& tasks) {
    check_owner();
    auto const called_at = nanoseconds_now();
    calls_.wake_early(tasks.expected());
    auto call = calls_.launch(calls_.take_place(), tasks, report_of_this_thread, called_at,
                              waits_for_call::nobody, calls_.at_once());
    if (call == nullptr) {
      clear(report_of_this_thread);
      return nullptr;
    }
    calls_.wait_for(*call);
    calls_.collect(*call);
    return call;
  }

  /// Has the task run some time soon. `called_at`: what its deadline counts from.
  void submit(std::shared_ptr<submitted_call> what, std::int64_t called_at) {
    check_owner();
    std::lock_guard const lock(submissions_);
    submitted_.push_back({std::move(what), nullptr, called_at});
    start_submitted();
  }

  /// Ends a submitted call.
  void cancel(submitted_call const& what) {
    check_owner();
    std::lock_guard const lock(submissions_);
    for (auto each = submitted_.begin(); each != submitted_.end(); ++each) {
      if (each->what.get() != &what) continue;
      if (each->call != nullptr) return calls_.end(*each->call, ended_call::by_cancel);
      finish(*each, ended_call::by_cancel);
      submitted_.erase(each);
      return;
    }
  }

 private:
  struct submission {
    std::shared_ptr<submitted_call> what;
    owner<pool_call_run> call;  // null: it waits for a place
    std::int64_t called_at;
  };

  /// On the supervisor's thread: collects submitted calls that are over, and starts others.
  void see_to_submitted() noexcept {
    std::lock_guard const lock(submissions_);
    if (closing_) return;
    for (auto each = submitted_.begin(); each != submitted_.end();) {
      if (each->call == nullptr) break;  // those behind it wait, too
      if (!calls_.is_over(*each->call)) {
        ++each;
        continue;
      }
      keep_result(*each);
      each = submitted_.erase(each);
    }
    start_submitted();
  }

  /// Starts what waits for a place, as far as there are places.
  void start_submitted() noexcept {
    for (auto each = submitted_.begin(); each != submitted_.end();) {
      if (each->call != nullptr) {
        ++each;
        continue;
      }
      auto const c = calls_.find_place();
      if (c == most_calls) return;
      try {
        each->call = calls_.launch(c, *each->what->tasks, each->what->report, each->called_at,
                                   waits_for_call::the_supervisor, most_workers);
        ++each;
      } catch (...) {
        each->what->error = std::current_exception();
        each->what->set_done();
        each = submitted_.erase(each);
      }
    }
  }

  /// Takes a submitted call's result out of shared memory: its place is wanted.
  void keep_result(submission& it) noexcept {
    try {
      calls_.collect(*it.call);
      if (it.call->failures.empty()) {
        auto record = it.call->record(0);
        auto const size = record.left();
        it.what->bytes.assign(reinterpret_cast<char const*>(record.take(size)), size);
      } else {
        it.what->failures = std::move(it.call->failures);
      }
    } catch (...) {
      it.what->error = std::current_exception();
    }
    it.call.reset();
    it.what->tasks.reset();
    it.what->set_done();
  }

  /// Ends a submitted call that is not run, or not to its end.
  static void finish(submission& it, ended_call ended) {
    bool const begun = it.call != nullptr;
    it.what->failures.add(cancelled_task(
        it.what->index(), begun ? failure::cancelled : failure::never_started, 0, ended));
    if (begun) {
      it.call->release = nullptr;
      it.call.reset();
    }
    it.what->set_done();
  }

  options how_;
  pid_t owner_;
  std::mutex submissions_;
  std::list<submission> submitted_{};  // not done, in their order
  bool closing_ = false;
  pool_calls<> calls_;  // last: its thread uses all of these
};

}  // namespace forkmap::detail
