// The engine that forks its workers at the call, and the key of its journal.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/engine/engine.hpp>
#include <forkmap/detail/engine/fork_join_call.hpp>
#include <forkmap/detail/engine/hazards.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/journal/digest.hpp>
#include <forkmap/detail/journal/journal.hpp>
#include <forkmap/detail/journal/journal_key.hpp>
#include <forkmap/detail/os/clock.hpp>
#include <forkmap/detail/os/program_id.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/plan/longest_first.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

// The key by which a journal recognizes its call.

/// Digests of the tasks' inputs, one for each group of tasks; empty if the inputs cannot be read.
/// Cost: each element of a lazy range is evaluated here.
inline std::string inputs_of(job const& this_job) {
  std::string all;
  if (this_job.look_at == nullptr) return all;
  auto const group = journal_key::tasks_of_input(this_job.n_tasks);
  input_digest input;
  for (std::uint64_t i = 0; i != this_job.n_tasks;) {
    try {
      this_job.look_at(this_job.tasks, i, input);
    } catch (...) {  // the task itself will report the exception
      input.sum.number(0);
    }
    if (++i % group != 0 && i != this_job.n_tasks) continue;
    auto const value = std::exchange(input.sum, {}).value();
    all.append(reinterpret_cast<char const*>(&value), sizeof value);
  }
  return all;
}

/// Whether the user allows results of other builds of the program.
inline bool is_any_program_right() noexcept {
  auto const* const value = std::getenv("FORKMAP_RESUME_ANY_PROGRAM");
  return value != nullptr && *value != '\0' && std::strcmp(value, "0") != 0;
}

inline journal_key key_of(job const& this_job, options const& opts) {
  return {.n_results = this_job.n_results,
          .result_type = this_job.result_type,
          .result_bytes = this_job.flat ? this_job.forked.bytes : 0,
          .seed = opts.seed,
          .flat = this_job.flat,
          .n_tasks = this_job.n_tasks,
          .program = program_id(reinterpret_cast<void const*>(this_job.run)),
          .inputs = inputs_of(this_job),
          .any_program = is_any_program_right()};
}

// The engine that forks its workers at the call: plan, then one fork_join_call.

/// Forks workers for each call. They inherit the caller's memory, so only results are sent.
class fork_join_engine {
 public:
  fork_join_engine(options const& opts, int n_workers) noexcept
      : opts_(opts), n_workers_(n_workers) {}

  owner<call_results> run(job const& this_job) const {
    check_nesting();
    auto const called_at = nanoseconds_now();
    journal earlier;
    auto batch_tasks = this_job.batch_tasks;
    if (!opts_.resume.empty()) {
      earlier = journal(opts_.resume, key_of(this_job, opts_));
      if (!this_job.whole_batches) batch_tasks = 1;  // the journal has single results
    }
    if (opts_.cost && batch_tasks == 0) batch_tasks = 1;
    auto plan = make_plan(this_job.n_tasks, static_cast<std::uint32_t>(n_workers_), batch_tasks);
    std::vector<std::uint32_t> order;
    if (opts_.cost && plan.n_workers < plan.n_batches) {
      order = longest_first(plan, opts_.cost, this_job.first_index);
      plan.order = order.data();
      plan.in_order = true;
    }
    return fork_join_call(this_job, opts_, plan, std::move(earlier), called_at).run();
  }

 private:
  options const& opts_;
  int n_workers_;
};

static_assert(engine<fork_join_engine>);

}  // namespace forkmap::detail
