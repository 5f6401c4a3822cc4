// A task's result, from where it is made to where the caller takes it.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <forkmap/transfer/codec.hpp>
#include <forkmap/transfer/failures.hpp>
#include <forkmap/transfer/job.hpp>

namespace forkmap::detail {

/// What a finished call left: every result, or the failures.
class call_results {
 public:
  call_results() = default;
  call_results(call_results const&) = delete;
  call_results& operator=(call_results const&) = delete;
  virtual ~call_results() = default;

  failure_list failures{};
  std::byte* slots = nullptr;
  std::size_t slot_bytes = 0;
  bool slots_present = false;  // reading them takes no page fault
  bool same_process = false;
  std::uint64_t winner = 0;  // of a race: the task that succeeded, plus 1

  /// The bytes of a result that is not flat. Valid until the next call.
  virtual reader record(std::uint64_t result) = 0;
  /// The bytes of all records.
  virtual std::size_t record_bytes() const noexcept { return 0; }
  /// That result, which is not flat, has been taken.
  virtual void taken(std::uint64_t result) noexcept = 0;
};

template <class R> consteval slot_shape slot_of_object() {
  if constexpr (std::is_void_v<R>)
    return {0, 1};
  else
    return {sizeof(R), alignof(R)};
}

template <class R> consteval slot_shape slot_of_forked() {
  if constexpr (std::is_void_v<R> || flat_result<R>)
    return slot_of_object<R>();
  else
    return {sizeof(std::uint64_t), alignof(std::uint64_t)};
}

/// Runs `call` and puts its result where the engine wants it. AsRecord: as a record, though it is
/// flat or void.
template <class R, bool AsRecord = false, class Call>
void deliver(task_loop& loop, std::uint64_t result, Call&& call) {
  constexpr bool in_slot = !AsRecord && flat_result<R>;
  [[maybe_unused]] void* const slot = loop.results + result * loop.result_bytes;
  if constexpr (std::is_void_v<R>) {
    std::forward<Call>(call)();
    if constexpr (AsRecord) {
      if (!loop.same_process) loop.begin_record();
      loop.made(result);
    }
  } else if (in_slot || loop.same_process) {
    ::new (slot) R(std::forward<Call>(call)());
    if constexpr (!in_slot) loop.made(result);
  } else if constexpr (!in_slot) {
    decltype(auto) value = std::forward<Call>(call)();
    encode<R>(loop.begin_record(), value);
    loop.made(result);
  }
}

/// Destroys a result that was made in the caller's own process.
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

/// Takes result i out of a call in which task i succeeded. Each can be taken once.
template <class R, bool AsRecord = false> R take(call_results& results, std::uint64_t i) {
  if constexpr (!std::is_void_v<R>) {
    constexpr bool in_slot = !AsRecord && flat_result<R>;
    if (in_slot || results.same_process) {
      auto& made = *std::launder(reinterpret_cast<R*>(results.slots + i * results.slot_bytes));
      R value(std::move(made));
      if constexpr (!in_slot) results.taken(i);
      return value;
    } else if constexpr (!in_slot) {
      auto in = results.record(i);
      R value = decode<R>(in);
      results.taken(i);
      return value;
    }
  }
}

}  // namespace forkmap::detail
