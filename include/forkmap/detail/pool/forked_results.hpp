// A stream of a map's results, computed by workers that are forked for it, or by this process.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/detail/engine/run.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/job/typed_job.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/ended_calls.hpp>
#include <forkmap/detail/pool/make_pool.hpp>
#include <forkmap/detail/pool/pool_interface.hpp>
#include <forkmap/detail/pool/pooled_results.hpp>
#include <forkmap/detail/pool/remote_tasks.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/pool/sent_tasks.hpp>
#include <forkmap/detail/pool/stream_tasks.hpp>
#include <forkmap/options.hpp>
#include <forkmap/stream.hpp>

namespace forkmap::detail {

// One task of a range that workers use in place, since they were forked after it was made.

class task_in_place final : public pool_tasks {
 public:
  /// `this_job`: its `run` gets the location of the task from sent_place().
  task_in_place(task_location location, job const& this_job)
      : location_(location), job_(this_job) {}

  std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) override {
    begins.push_back(out.size());
    std::memcpy(out.take(sizeof location_), &location_, sizeof location_);
    begins.push_back(out.size());
    return 1;
  }
  std::uint64_t expected() const override { return 1; }
  job describe(std::uint64_t) override { return job_; }

  /// In a worker: the location of the task, from the pointer that job::run gets there.
  static task_location sent_place(void const* erased) {
    auto const& tasks = *static_cast<remote_tasks const*>(erased);
    task_location location;
    std::memcpy(&location, tasks.arguments->at(tasks.begin_of(0)), sizeof location);
    return location;
  }

 private:
  task_location location_;
  job job_;
};

// A stream of results, computed by workers that are forked when it is made, or by this process.

/// The workers of one stream, or of one window of it: a pool that is forked when this object is
/// made. Its workers see everything that exists then.
template <class = void> class stream_workers {
 public:
  stream_workers(options const& opts, std::uint32_t n_workers, std::shared_ptr<ended_calls> ended,
                 std::size_t first, std::int64_t called_at)
      : engine_(make_pool(opts, n_workers)),
        window_(*engine_.pool, std::move(ended), first, called_at) {}

  submitted_window<>& window() noexcept { return window_; }

 private:
  // Does nothing in a forked child of the program: the workers belong to the program.
  struct removed_if_ours {
    explicit removed_if_ours(pool_interface* engine) noexcept : pool(engine) {}
    removed_if_ours(removed_if_ours const&) = delete;
    removed_if_ours& operator=(removed_if_ours const&) = delete;
    ~removed_if_ours() { pool_interface::remove(pool); }
    pool_interface* pool;
  };
  removed_if_ours engine_;
  submitted_window<> window_;
};

template <class Tasks, class R, stream_kind Kind>
class forked_results final : public stream_source<element_of_kind<R, Kind>>, task_maker {
  static constexpr auto way = way_to_stream<Tasks, R>();
  using source = stream_tasks<Tasks, R>;

 public:
  /// Tasks run in this process, each when its result is asked for, unless fork() is called.
  forked_results(Tasks tasks, options opts)
      : tasks_(std::move(tasks)), source_(tasks_), opts_(std::move(opts)), failures_(opts_) {}

  /// Forks at most n_workers workers, and none if there are no tasks.
  void fork(std::uint32_t n_workers) {
    most_workers_ = n_workers;
    read(at_first());
    fork_for_those_read();
  }

  next_element next(std::optional<element_of_kind<R, Kind>>& into, time_limit limit) override {
    auto const until = time_after(limit);
    while (workers_) {
      auto const next = put_next<R, Kind>(into, workers_->window(), *this, until);
      if (next != next_element::is_none) {
        if (next == next_element::is_there) note(*into);
        if (ended_->has_descriptor()) look_ahead();
        return next;
      }
      if (way != streamed::in_windows) return next;
      fork_next_window();
    }
    if (!has_next()) {
      throw_what_ended_it();
      return next_element::is_none;
    }
    run_here(into);
    note(*into);
    return next_element::is_there;
  }
  void close() noexcept override {
    workers_.reset();
    read_no_more();
    update_descriptor();
  }
  int descriptor() override {
    auto const fd = ended_->event_descriptor();
    look_ahead();
    return fd;
  }

 private:
  /// How many tasks are read before workers are forked: enough to know how many workers are needed.
  std::size_t at_first() const noexcept {
    constexpr std::size_t usual = usual_window;
    auto const asked = opts_.pre_dispatch;
    std::size_t const workers = most_workers_;
    if (way == streamed::in_windows) return asked != 0 ? asked : std::max(usual, 2 * workers);
    return asked != 0 && !std::ranges::sized_range<Tasks> ? std::min(asked, workers) : workers;
  }

  /// Reads up to n tasks. Notes the end of the range, or the exception that it throws.
  void read(std::size_t n) {
    ready_.clear();
    at_ = 0;
    try {
      while (ready_.size() != n && !at_end_) {
        task_location location{};
        if (source_.next(location))
          ready_.push_back(location);
        else
          at_end_ = true;
      }
    } catch (...) {
      ended_by_ = std::current_exception();
      at_end_ = true;
    }
  }
  void read_no_more() noexcept {
    at_ = ready_.size();
    at_end_ = true;
  }
  /// Ends the stream if the element is the last failure that it may have.
  void note(element_of_kind<R, Kind> const& element) noexcept {
    if (!failures_.template is_last<Kind>(element)) return;
    read_no_more();
    if (workers_) workers_->window().stop(ended_call::by_failures);
  }
  bool has_next() {
    if (at_ == ready_.size() && !at_end_) read(1);
    return at_ != ready_.size();
  }
  void throw_what_ended_it() {
    if (ended_by_) std::rethrow_exception(std::exchange(ended_by_, nullptr));
  }

  void fork_next_window() {
    workers_.reset();
    source_.forget();
    read(at_first());
    fork_for_those_read();
  }

  /// Has the next element computed before it is asked for.
  void look_ahead() {
    while (workers_) {
      if (workers_->window().look_ahead(*this)) return;
      if (way != streamed::in_windows) break;
      try {
        fork_next_window();
      } catch (...) {  // next() throws it after the element that has just been taken
        ready_.clear();
        at_ = 0;
        at_end_ = true;
        ended_by_ = std::current_exception();
      }
    }
    update_descriptor();
  }
  /// The stream has no workers now: tasks run when they are asked for, or it is at its end.
  void update_descriptor() noexcept {
    ended_->update(0, [] { return true; });
  }

  void fork_for_those_read() {
    if (ready_.empty()) return;
    auto const n = std::min<std::size_t>(ready_.size(), most_workers_);
    workers_.reset(new stream_workers<>(opts_, static_cast<std::uint32_t>(n), ended_,
                                        static_cast<std::size_t>(n_begun_), called_at_));
  }

  owner<pool_tasks> next_task() override {
    if constexpr (way == streamed::in_windows) {
      if (at_ == ready_.size()) return nullptr;  // the next window follows
    } else if (!has_next()) {
      throw_what_ended_it();
      return nullptr;
    }
    auto const location = ready_[at_++];
    ++n_begun_;
    if constexpr (way == streamed::sent) {
      return owner<pool_tasks>(new sent_separate_tasks<typename source::task>(source_.take()));
    } else {
      auto this_job = one_task();
      this_job.run = [](void* sent, task_loop& loop) {
        run(task_in_place::sent_place(sent), loop);
      };
      return owner<pool_tasks>(new task_in_place(location, this_job));
    }
  }

  void run_here(std::optional<element_of_kind<R, Kind>>& into) {
    auto location = ready_[at_++];
    auto const index = n_begun_++;
    auto this_job = one_task();
    this_job.first_index = index;
    this_job.tasks = &location;
    this_job.run = [](void* at, task_loop& loop) {
      run(*static_cast<task_location const*>(at), loop);
    };
    auto const results = detail::run_here(this_job, opts_);
    source_.forget();
    put_element<R, Kind>(into, static_cast<std::size_t>(index), [&] {
      return take_streamed<R, Kind.outcomes>(results->failures, index,
                                             [&] { return take<R, true>(*results, 0); });
    });
  }

  /// A job of one task, without `run`.
  static job one_task() {
    job this_job;
    this_job.n_tasks = this_job.n_results = 1;
    this_job.outer = outer_path();
    this_job.batch_tasks = 1;
    this_job.forked = {sizeof(std::uint64_t), alignof(std::uint64_t)};
    this_job.same_process = slot_of_object<R>();
    this_job.flat = false;
    this_job.destroy = destroyer<R>();
    return this_job;
  }
  static void run(task_location const& location, task_loop& loop) {
    for_each_task(loop, [&](std::uint64_t i) {
      deliver<R, true>(loop, i, [&]() -> decltype(auto) { return source::run(location); });
    });
  }

  Tasks tasks_;
  source source_;
  options opts_;
  stream_failures failures_;
  std::int64_t called_at_ = nanoseconds_now();
  std::uint32_t most_workers_ = 0;
  std::vector<task_location> ready_{};  // tasks read; those from at_ on have not begun
  std::size_t at_ = 0;
  bool at_end_ = false;
  std::exception_ptr ended_by_{};  // the exception that the range has thrown
  std::uint64_t n_begun_ = 0;
  std::shared_ptr<ended_calls> ended_ = std::make_shared<ended_calls>(Kind.ordered);
  owner<stream_workers<>> workers_{};
};

}  // namespace forkmap::detail
