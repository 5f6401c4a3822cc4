// What runs a call. A new way of running (threads, another cluster) is one new header with a model
// of this, and its name where parallel.hpp chooses.
//
// Engines, and the larger classes that they are made of, are templates without a parameter that
// matters: of a template's functions the compiler makes only those that a program calls, where it
// would look at every function of a class in every file that includes forkmap.
#pragma once

#include <concepts>

#include <forkmap/system/owner.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/results.hpp>

namespace forkmap::detail {

/// Runs a job to its end: when run() returns or throws, nothing of it is running any more. Failed
/// tasks are in the results, sorted; what run() throws is a failure of the engine itself.
template <class E>
concept engine = requires(E const& e, job const& work) {
  { e.run(work) } -> std::same_as<owner<call_results>>;
};

}  // namespace forkmap::detail
