// The results of a map's tasks, one by one: of workers that are forked when it is made, or of this
// process. Not for users.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <variant>

#include <forkmap/delayed.hpp>
#include <forkmap/engine/pool_engine.hpp>
#include <forkmap/engine/serial.hpp>
#include <forkmap/options.hpp>
#include <forkmap/pooled_results.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/transfer/task_source.hpp>
#include <forkmap/transfer/typed_job.hpp>

namespace forkmap::detail {

/// A range of tasks at an address: the same one in every process that is forked after this is made.
template <class Tasks> class tasks_in_place {
 public:
  using result_type = std::decay_t<typename called_tasks<Tasks>::result_type>;

  explicit tasks_in_place(Tasks tasks) : tasks_(std::move(tasks)), source_(tasks_) {}
  tasks_in_place(tasks_in_place const&) = delete;
  tasks_in_place& operator=(tasks_in_place const&) = delete;

  std::uint64_t size() const { return source_.size(); }
  result_type operator()(std::uint64_t i) { return source_(i); }

  /// Task i of the range at that address, as a task that can be sent.
  static result_type run(std::uintptr_t at, std::uint64_t i) {
    return (*reinterpret_cast<tasks_in_place*>(at))(i);
  }
  auto sendable() {
    auto const at = reinterpret_cast<std::uintptr_t>(this);
    return std::views::transform(std::views::iota(std::uint64_t{0}, size()), [at](std::uint64_t i) {
      return delayed(&tasks_in_place::run)(at, i);
    });
  }

 private:
  Tasks tasks_;
  called_tasks<Tasks> source_;
};

/// Its workers are a pool's, forked now, which see the tasks where they are.
template <class Tasks, class R, bool Ordered>
class forked_results final : public stream_source<stream_element<R, Ordered>> {
 public:
  /// Precondition: there are tasks.
  forked_results(std::unique_ptr<tasks_in_place<Tasks>> tasks, options how, std::uint32_t n_workers)
      : tasks_(std::move(tasks)),
        engine_(new pool_engine<>(std::move(how), n_workers)),
        results_(*engine_, tasks_->sendable()) {}

  bool next(std::optional<stream_element<R, Ordered>>& into) override {
    return results_.next(into);
  }

 private:
  using sendable = decltype(std::declval<tasks_in_place<Tasks>&>().sendable());

  std::unique_ptr<tasks_in_place<Tasks>> tasks_;
  // In a forked child of the program it is left alone: its workers are the program's.
  struct remove_if_ours {
    void operator()(pool_engine<>* it) const { it->remove(it); }
  };
  std::unique_ptr<pool_engine<>, remove_if_ours> engine_;
  pooled_results<sendable, R, Ordered> results_;
};

/// Runs each task here, when it is asked for.
template <class Tasks, class R, bool Ordered>
class serial_stream final : public stream_source<stream_element<R, Ordered>> {
 public:
  serial_stream(std::unique_ptr<tasks_in_place<Tasks>> tasks, options how)
      : tasks_(std::move(tasks)), how_(std::move(how)) {}

  bool next(std::optional<stream_element<R, Ordered>>& into) override {
    if (i_ == tasks_->size()) return false;
    one_task one{*tasks_, i_};
    auto work = map_job<R>(one, true);
    work.first_index = i_;
    auto const results = serial_engine(how_).run(work);
    results->failures.throw_first();
    auto const index = static_cast<std::size_t>(i_++);
    if constexpr (std::is_void_v<R>) {
      if constexpr (Ordered)
        into.emplace();
      else
        into.emplace(index, std::monostate{});
    } else if constexpr (Ordered) {
      into.emplace(take<R>(*results, 0));
    } else {
      into.emplace(indexed<R>{index, take<R>(*results, 0)});
    }
    return true;
  }

 private:
  struct one_task {
    tasks_in_place<Tasks>& all;
    std::uint64_t which;
    std::uint64_t size() const { return 1; }
    R operator()(std::uint64_t) { return all(which); }
  };

  std::unique_ptr<tasks_in_place<Tasks>> tasks_;
  options how_;
  std::uint64_t i_ = 0;
};

/// For a range that has no tasks.
template <class Element> class no_results final : public stream_source<Element> {
 public:
  bool next(std::optional<Element>&) override { return false; }
};

}  // namespace forkmap::detail
