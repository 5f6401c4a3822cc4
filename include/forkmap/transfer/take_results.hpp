// All results of a call that is over, into what the caller gets.
#pragma once

#include <unistd.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include <forkmap/indexed.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/prepared_heap.hpp>
#include <forkmap/transfer/results.hpp>
#include <forkmap/transfer/thrown.hpp>

namespace forkmap::detail {

/// Room for so many results, its pages present.
template <class R> std::vector<R> room_for(std::uint64_t n) {
  std::vector<R> room;
  room.reserve(static_cast<std::size_t>(n));
  if constexpr (!std::same_as<R, bool>) {
    prepare_to_fill(room.data(), static_cast<std::size_t>(n) * sizeof(R));
  }
  return room;
}

/// All results of a call without failures, in input order. `all`: empty, with room for them.
template <class R>
std::vector<R> take_all(call_results& results, std::uint64_t n, std::vector<R> all) {
  if constexpr (flat_result<R> && !std::same_as<R, bool>) {
    auto const bytes = static_cast<std::size_t>(n) * sizeof(R);
    if (bytes >= populate_bytes && !results.slots_present) {
      populate_for_reading(results.slots, bytes);
    }
    auto* const first = std::launder(reinterpret_cast<R*>(results.slots));
    if constexpr (std::is_copy_constructible_v<R> && std::is_copy_assignable_v<R>) {
      // Copied as const: of others R may have a template that takes anything.
      R const* const from = first;
      all.assign(from, from + n);
    } else {
      for (auto* each = first; each != first + n; ++each) all.push_back(std::move(*each));
    }
  } else {
    prepared_heap const heap(results.record_bytes(), n);
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

/// Every task's fate, in input order.
template <class R> std::vector<outcome<R>> take_outcomes(call_results& results, std::uint64_t n) {
  std::vector<outcome<R>> all;
  all.reserve(static_cast<std::size_t>(n));
  prepared_heap const heap(results.record_bytes(), n);
  auto failure = results.failures.begin();
  for (std::uint64_t i = 0; i != n; ++i) {
    if (failure != results.failures.end() && failure->index == i) {
      all.emplace_back(failure->outcome());
      // A task has one fate; a second record could only be an engine's mistake.
      while (failure != results.failures.end() && failure->index == i) ++failure;
    } else if constexpr (std::is_void_v<R>) {
      all.emplace_back(std::in_place);
    } else if constexpr (flat_result<R>) {
      all.emplace_back(std::in_place, take<R>(results, i));
    } else {
      try {
        all.emplace_back(std::in_place, take<R>(results, i));
      } catch (...) {  // of reading it here; the others are not lost for that
        task_failure unreadable;
        unreadable.index = i;
        unreadable.pid = ::getpid();
        unreadable.what = describe_current_exception();
        all.emplace_back(unreadable.outcome());
      }
    }
  }
  return all;
}

}  // namespace forkmap::detail
