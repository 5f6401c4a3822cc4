// Running a job: the border between a call's types and the engines.
//
// With forkmap::compiled, the code behind this border is instantiated once, in detail/forkmap.cpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/options.hpp>

#ifndef FORKMAP_COMPILED
#include <utility>

#include <forkmap/detail/engine/fork_join.hpp>
#include <forkmap/detail/engine/serial.hpp>
#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/this_task.hpp>
#endif

namespace forkmap::detail {

// The same declarations in all files of a program, whether they use forkmap::compiled or not.

/// Runs a job as the options say.
template <class = void> owner<call_results> run(job this_job, options const& opts);
/// Runs a job in this process.
template <class = void> owner<call_results> run_here(job const& this_job, options const& opts);

#ifdef FORKMAP_COMPILED
extern template owner<call_results> run<>(job this_job, options const& opts);
extern template owner<call_results> run_here<>(job const& this_job, options const& opts);
#else

template <class> owner<call_results> run(job this_job, options const& opts) {
  auto const n_jobs = workers_for(opts.n_jobs);
  if (this_job.batch_tasks == 0) this_job.batch_tasks = opts.batch_size;
  this_job.outer = outer_path();
  if (runs_here(opts)) return serial_engine(opts).run(this_job);
  return fork_join_engine(opts, n_jobs).run(this_job);
}
template <class> owner<call_results> run_here(job const& this_job, options const& opts) {
  return serial_engine(opts).run(this_job);
}

#endif

}  // namespace forkmap::detail
