// The engine that forks its workers at the call: plan, then one fork_join_call.
#pragma once

#include <cstdint>
#include <utility>

#include <forkmap/engine/engine.hpp>
#include <forkmap/engine/fork_join_call.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/journal.hpp>
#include <forkmap/transfer/results.hpp>

namespace forkmap::detail {

/// Forks workers for each call: they see all that the caller sees, and only results travel.
template <class = void> class fork_join_engine {
 public:
  fork_join_engine(options const& how, int n_workers) noexcept : how_(how), n_workers_(n_workers) {}

  owner<call_results> run(job const& work) const {
    auto const called_at = nanoseconds_now();
    journal earlier;
    auto batch_tasks = work.batch_tasks;
    if (!how_.resume.empty()) {
      earlier = journal(how_.resume, journal_key{.n_results = work.n_results,
                                                 .result_type = work.result_type,
                                                 .result_bytes = work.flat ? work.forked.bytes : 0,
                                                 .seed = how_.seed,
                                                 .flat = work.flat});
      if (!work.whole_batches) batch_tasks = 1;  // each is there or not
    }
    auto const plan = make_plan(work.n_tasks, static_cast<std::uint32_t>(n_workers_), batch_tasks);
    return fork_join_call(work, how_, plan, std::move(earlier), called_at).run();
  }

 private:
  options const& how_;
  int n_workers_;
};

static_assert(engine<fork_join_engine<>>);

}  // namespace forkmap::detail
