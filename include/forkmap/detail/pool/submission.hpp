// Submitted tasks in the queue of their pool, and their ends.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <exception>
#include <memory>
#include <utility>

#include <forkmap/detail/failure/failures.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/call_slot.hpp>
#include <forkmap/detail/pool/submitted_call.hpp>

namespace forkmap::detail {

/// A task that was submitted and is not done.
struct submission {
  std::shared_ptr<submitted_call> submitted;
  owner<pool_call> call;  // null: waits for a call slot
  std::int64_t called_at;
  bool is_ended = false;  // by what the handler of messages has thrown
};

/// Copies a submitted call's result out of shared memory, to free its call slot. `calls`: the
/// pool_calls of its pool.
template <class Calls> void collect_result(Calls& calls, submission& done) noexcept {
  auto& submitted = *done.submitted;
  try {
    calls.collect(*done.call);
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
  if (submitted.inbox) {
    try {
      submitted.inbox->inbox.detach();
    } catch (...) {
      submitted.inbox->inbox.close();
      submitted.error = std::current_exception();
    }
  }
  done.call.reset();
  submitted.tasks.reset();
  submitted.set_done();
}

/// Gives a failure to a submitted call that is not run, or not to its end.
inline void finish(submission& unfinished, ended_call ended) {
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

}  // namespace forkmap::detail
