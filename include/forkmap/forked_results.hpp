// The results of a map's tasks, one by one: of workers that are forked when it is made, or of this
// process. Not for users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include <forkmap/engine/pool_engine.hpp>
#include <forkmap/engine/serial.hpp>
#include <forkmap/engine/submitted_window.hpp>
#include <forkmap/engine/task_in_place.hpp>
#include <forkmap/options.hpp>
#include <forkmap/pooled_results.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/transfer/task_source.hpp>
#include <forkmap/transfer/typed_job.hpp>

namespace forkmap::detail {

/// The workers of one stream: a pool that is forked when this is made, and sees what is there then.
template <class = void> class stream_workers {
 public:
  stream_workers(options const& how, std::uint32_t n_workers, bool ordered)
      : engine_(new pool_engine<>(how, n_workers)), window_(*engine_.it, ordered) {}

  submitted_window<>& window() noexcept { return window_; }

 private:
  // In a forked child of the program it is left alone: its workers are the program's.
  struct removed_if_ours {
    explicit removed_if_ours(pool_engine<>* engine) noexcept : it(engine) {}
    removed_if_ours(removed_if_ours const&) = delete;
    removed_if_ours& operator=(removed_if_ours const&) = delete;
    ~removed_if_ours() { it->remove(it); }
    pool_engine<>* it;
  };
  removed_if_ours engine_;
  submitted_window<> window_;
};

template <class Tasks, class R, bool Ordered>
class forked_results final : public stream_source<stream_element<R, Ordered>>, task_maker {
 public:
  /// The tasks run here, each when it is asked for, unless `fork` says otherwise.
  forked_results(Tasks tasks, options how)
      : tasks_(std::move(tasks)), source_(tasks_), n_(source_.size()), how_(std::move(how)) {}

  std::uint64_t n_tasks() const noexcept { return n_; }
  void fork(std::uint32_t n_workers) {
    workers_.reset(new stream_workers<>(how_, n_workers, Ordered));
  }

  bool next(std::optional<stream_element<R, Ordered>>& into) override {
    if (workers_) return put_next<R, Ordered>(into, workers_->window(), *this);
    if (next_ == n_) return false;
    task_in_place::place where{this, next_};
    auto work = one_task();
    work.first_index = next_++;
    work.tasks = &where;
    work.run = [](void* at, task_loop& loop) {
      run(*static_cast<task_in_place::place const*>(at), loop);
    };
    auto const results = serial_engine(how_).run(work);
    results->failures.throw_first();
    put_element<R, Ordered>(into, static_cast<std::size_t>(where.which),
                            [&] { return take<R, true>(*results, 0); });
    return true;
  }

 private:
  owner<pool_tasks> next_task() override {
    if (next_ == n_) return nullptr;
    auto work = one_task();
    work.run = [](void* sent, task_loop& loop) { run(task_in_place::sent_place(sent), loop); };
    return owner<pool_tasks>(new task_in_place(task_in_place::place{this, next_++}, work));
  }

  /// All but what it runs.
  static job one_task() {
    job work;
    work.n_tasks = work.n_results = 1;
    work.batch_tasks = 1;
    work.forked = {sizeof(std::uint64_t), alignof(std::uint64_t)};
    work.same_process = slot_of_object<R>();
    work.flat = false;
    work.destroy = destroyer<R>();
    return work;
  }
  static void run(task_in_place::place const& where, task_loop& loop) {
    for_each_task(loop, [&](std::uint64_t i) {
      deliver<R, true>(loop, i, [&]() -> decltype(auto) {
        return static_cast<forked_results*>(where.tasks)->source_(where.which);
      });
    });
  }

  Tasks tasks_;
  called_tasks<Tasks> source_;
  std::uint64_t n_;
  options how_;
  std::uint64_t next_ = 0;
  owner<stream_workers<>> workers_{};
};

}  // namespace forkmap::detail
