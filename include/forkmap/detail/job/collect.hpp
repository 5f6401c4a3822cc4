// Results of a call: writing one, reading one in the caller's process, and collecting all of them.
// SPDX-License-Identifier: MIT
#pragma once

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/failure/thrown.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/memory/prefault.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/serialize/codec.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/stream.hpp>

namespace forkmap::detail {

// One result: the process that runs the task writes it, the caller takes it.

/// The results and the failures of a finished call.
class call_results {
 public:
  call_results() = default;
  call_results(call_results const&) = delete;
  call_results& operator=(call_results const&) = delete;
  virtual ~call_results() = default;

  failure_list failures{};
  std::byte* slots = nullptr;  // if the tasks ran in the caller's process
  std::size_t slot_bytes = 0;
  bool same_process = false;
  std::uint64_t winner = 0;  // of a race: the task that succeeded, plus 1

  /// The address of inline result i. If the tasks ran in the caller's process, the result there may
  /// be moved from. Otherwise it is a copy, valid until the next call of this function or of
  /// blob().
  /// Errors: worker_died if the result differs from what a worker has published.
  std::byte* inline_result(std::uint64_t i) {
    if (same_process) return slots + i * slot_bytes;
    if (i < copied_.begin || i >= copied_.end) copied_ = copy_results(i);
    return copied_.data + (i - copied_.begin) * slot_bytes;
  }
  /// As inline_result(), for results [i, end). If they are copies, `end` is set to the copies' end.
  std::byte* inline_results(std::uint64_t i, std::uint64_t& end) {
    auto* const first = inline_result(i);
    if (!same_process) end = copied_.end;
    return first;
  }

  /// The bytes of a result that is a blob. Valid until the next call.
  /// Errors: worker_died as for inline_result().
  reader blob(std::uint64_t result) { return read_blob(result); }
  /// Why task `task`'s result could not be taken, if it differs from what a worker has published;
  /// else null.
  task_failure const* loss_of(std::uint64_t task) const noexcept {
    return has_lost_ && lost_.index == task ? &lost_ : nullptr;
  }
  /// The size of all blobs.
  virtual std::size_t blob_bytes() const noexcept { return 0; }
  /// Takes what task `task` has printed, if that was kept.
  virtual std::string output_of(std::uint64_t) { return {}; }
  /// Called when a result that is not inline has been taken.
  virtual void taken(std::uint64_t result) noexcept = 0;

 protected:
  /// Copies of results [begin, end), contiguous.
  struct copied_results {
    std::byte* data = nullptr;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
  };
  /// Copies result i, and adjacent ones, to private memory of the caller and checks them.
  virtual copied_results copy_results(std::uint64_t i) = 0;
  virtual reader read_blob(std::uint64_t result) = 0;
  void forget_copies() noexcept { copied_ = {}; }
  [[noreturn]] void throw_lost(task_failure lost) {
    lost_ = std::move(lost);
    has_lost_ = true;
    std::rethrow_exception(lost_.exception());
  }

 private:
  copied_results copied_{};
  task_failure lost_{};
  bool has_lost_ = false;
};

template <class R> consteval slot_shape slot_of_object() {
  if constexpr (std::is_void_v<R>)
    return {0, 1};
  else
    return {sizeof(R), alignof(R)};
}

template <class R> consteval slot_shape slot_of_forked() {
  if constexpr (std::is_void_v<R> || inline_result_type<R>)
    return slot_of_object<R>();
  else
    return {sizeof(std::uint64_t), alignof(std::uint64_t)};
}

/// Runs `call` and stores its result: in its slot if it is inline or the tasks run in the caller's
/// process, else as a blob. AsBlob: inline and void results are stored like all others.
template <class R, bool AsBlob = false, class Call>
void deliver(task_loop& loop, std::uint64_t result, Call&& call) {
  constexpr bool in_slot = !AsBlob && inline_result_type<R>;
  [[maybe_unused]] void* const slot = loop.results + result * loop.result_bytes;
  if constexpr (std::is_void_v<R>) {
    std::forward<Call>(call)();
    if constexpr (AsBlob) {
      if (!loop.same_process) loop.begin_blob();
      loop.made(result);
    }
  } else if (in_slot || loop.same_process) {
    ::new (slot) R(std::forward<Call>(call)());
    if constexpr (!in_slot) {
      loop.made(result);
    } else if (loop.range != nullptr) {
      loop.range->add(digest_of_result<R>(static_cast<std::byte const*>(slot), result));
    }
  } else if constexpr (!in_slot) {
    decltype(auto) value = std::forward<Call>(call)();
    encode<R>(loop.begin_blob(), value);
    loop.made(result);
  }
}

/// Destroys a result that was constructed in the caller's process.
template <class R> void destroy_result(std::byte* slot, std::uint64_t) {
  std::destroy_at(std::launder(reinterpret_cast<R*>(slot)));
}

template <class R> constexpr auto destroyer() -> void (*)(std::byte*, std::uint64_t) {
  if constexpr (std::is_void_v<R>)
    return nullptr;
  else if constexpr (std::is_trivially_destructible_v<R>)
    return nullptr;
  else
    return &destroy_result<R>;
}

/// Takes result i of a call in which task i succeeded. Each result can be taken once.
template <class R, bool AsBlob = false> R take(call_results& results, std::uint64_t i) {
  if constexpr (!std::is_void_v<R>) {
    constexpr bool in_slot = !AsBlob && inline_result_type<R>;
    if (in_slot || results.same_process) {
      auto& stored = *std::launder(reinterpret_cast<R*>(results.inline_result(i)));
      R value(std::move(stored));
      if constexpr (!in_slot) results.taken(i);
      return value;
    } else if constexpr (!in_slot) {
      auto in = results.blob(i);
      R value = decode<R>(in);
      results.taken(i);
      return value;
    }
  }
}

// All results of a finished call, as the caller gets them.

/// An empty vector with capacity for n results, its pages prefaulted.
template <class R> std::vector<R> room_for(std::uint64_t n) {
  std::vector<R> room;
  room.reserve(static_cast<std::size_t>(n));
  if constexpr (!std::same_as<R, bool>) {
    prefault_to_fill(room.data(), static_cast<std::size_t>(n) * sizeof(R));
  }
  return room;
}

/// Appends n contiguous results.
template <class R> void append_results(std::vector<R>& all, R* from, std::uint64_t n) {
  if constexpr (std::is_copy_constructible_v<R> && std::is_copy_assignable_v<R>) {
    // Copied from const: a constructor template of R may match a non-const R better.
    R const* const first = from;
    all.insert(all.end(), first, first + n);
  } else {
    for (std::uint64_t i = 0; i != n; ++i) all.push_back(std::move(from[i]));
  }
}

/// All results of a call without failures, in input order. `all` holds the results that are already
/// taken, and has capacity for the others.
template <class R>
std::vector<R> collect_all(call_results& results, std::uint64_t n, std::vector<R> all) {
  if constexpr (inline_result_type<R>) {
    for (std::uint64_t i = all.size(); i != n;) {
      auto end = n;
      auto* const from = std::launder(reinterpret_cast<R*>(results.inline_results(i, end)));
      append_results(all, from, std::min(end, n) - i);
      i = std::min(end, n);
    }
  } else {
    prefaulted_heap const heap(results.blob_bytes(), n);
    for (std::uint64_t i = 0; i != n; ++i) all.push_back(take<R>(results, i));
  }
  return all;
}

/// The result of a race.
template <class R> indexed<R> take_winner(call_results& results) {
  if (results.winner == 0) results.failures.throw_of_race();
  auto const i = results.winner - 1;
  if constexpr (std::is_void_v<R>) {
    return {static_cast<std::size_t>(i), {}};
  } else {
    return {static_cast<std::size_t>(i), take<R>(results, i)};
  }
}

/// The exception that is being handled, as the failure of a task whose result cannot be read.
inline task_failure unreadable_result(std::uint64_t index) {
  task_failure unreadable;
  unreadable.index = index;
  unreadable.pid = ::getpid();
  unreadable.what = describe_current_exception();
  return unreadable;
}

/// Gives an outcome the output of its task.
template <class R> void set_output(outcome<R>& of, std::string output) {
  if (!output.empty()) of.output_ = std::make_shared<std::string const>(std::move(output));
}

/// The outcome of every task, in input order.
template <class R> std::vector<outcome<R>> take_outcomes(call_results& results, std::uint64_t n) {
  std::vector<outcome<R>> all;
  all.reserve(static_cast<std::size_t>(n));
  prefaulted_heap const heap(results.blob_bytes(), n);
  auto failure = results.failures.begin();
  for (std::uint64_t i = 0; i != n; ++i) {
    if (failure != results.failures.end() && failure->index == i) {
      all.emplace_back(failure->outcome());
      // A task has at most one failure; only a bug in an engine could log a second one.
      while (failure != results.failures.end() && failure->index == i) ++failure;
    } else if constexpr (std::is_void_v<R>) {
      all.emplace_back(std::in_place);
    } else {
      try {
        all.emplace_back(std::in_place, take<R>(results, i));
      } catch (...) {  // reading this result failed; the other results can still be read
        auto const* const lost = results.loss_of(i);
        all.emplace_back(lost != nullptr ? lost->outcome() : unreadable_result(i).outcome());
      }
    }
    if (all.back().has_value()) set_output(all.back(), results.output_of(i));
  }
  return all;
}

/// The result of a stream's task `index`, or with Outcomes its outcome. `take` returns the result.
template <class R, bool Outcomes, class Take>
auto take_streamed(failure_list const& failures, std::uint64_t index, Take take,
                   std::string output = {}) {
  if constexpr (!Outcomes) {
    failures.throw_first();
    return take();
  } else {
    failures.throw_outside_tasks();
    if (!failures.empty()) return outcome<R>(failures.begin()->outcome());
    try {
      outcome<R> succeeded(std::in_place, [&] {
        if constexpr (std::is_void_v<R>)
          return std::monostate{};
        else
          return take();
      }());
      set_output(succeeded, std::move(output));
      return succeeded;
    } catch (...) {
      return outcome<R>(unreadable_result(index).outcome());
    }
  }
}

}  // namespace forkmap::detail
