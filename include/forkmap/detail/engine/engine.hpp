// The concept of an engine, which runs calls. To add an engine (threads, a cluster), add one header
// with a model of the concept, and one line in run.hpp, which chooses the engine.
// SPDX-License-Identifier: MIT
#pragma once

#include <concepts>

#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

/// run() runs a call to its end: when it returns or throws, no task of the call is running. Failed
/// tasks are in the results, sorted. run() throws only if the engine itself fails.
/// Call: job, for an engine that reads the caller's tasks in place; pool_tasks, for an engine to
/// which tasks are sent, and whose run() returns null for a call without tasks.
template <class E, class Call = job const>
concept engine = requires(E& e, Call& call) {
  { e.run(call) } -> std::same_as<owner<call_results>>;
};

}  // namespace forkmap::detail
