// SPDX-License-Identifier: MIT
#include <cstdint>
#include <limits>
#include <stdexcept>

#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/worker/task_runner.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

TEST_CASE("plan: n_jobs means the same as in joblib", "[plan]") {
  STATIC_REQUIRE(resolve_n_jobs(3, 8) == 3);
  STATIC_REQUIRE(resolve_n_jobs(-1, 8) == 8);
  STATIC_REQUIRE(resolve_n_jobs(-2, 8) == 7);
  STATIC_REQUIRE(resolve_n_jobs(-8, 8) == 1);
  STATIC_REQUIRE(resolve_n_jobs(-9, 8) == 1);
  STATIC_REQUIRE(resolve_n_jobs(std::numeric_limits<int>::min(), 8) == 1);
  REQUIRE_THROWS_AS(resolve_n_jobs(0, 8), std::invalid_argument);
}

TEST_CASE("plan: batches cover every task once", "[plan]") {
  for (std::uint64_t const n :
       {1ULL, 5ULL, 1024ULL, 1025ULL, 262144ULL, 262145ULL, 100'000'007ULL}) {
    for (std::uint64_t const size : {0ULL, 1ULL, 3ULL, 1000ULL, ~0ULL}) {
      auto const plan = make_plan(n, 7, size);
      REQUIRE(plan.n_batches >= 1);
      REQUIRE(plan.tasks_of(0, plan.n_batches).end == n);
      auto const last = plan.tasks_of(plan.n_batches - 1, plan.n_batches);
      REQUIRE(last.begin < n);
      REQUIRE(last.end == n);
      REQUIRE(plan.n_workers <= plan.n_batches);
      if (size != 0)
        REQUIRE(plan.batch_tasks == size);
      else
        REQUIRE(plan.n_batches <= most_batches);
    }
  }
}

TEST_CASE("plan: no more workers than an entry of the claim table can name", "[plan]") {
  REQUIRE(make_plan(1'000'000, 70'000, 1).n_workers == most_workers);
}

TEST_CASE("plan: the first regions of the workers cover all batches without overlap", "[plan]") {
  for (std::uint32_t const workers : {1U, 2U, 3U, 64U, 65534U}) {
    auto const plan = make_plan(200'000, workers, 0);
    REQUIRE(!plan.in_order);
    std::uint64_t next = 0;
    for (std::uint32_t k = 0; k != plan.n_workers; ++k) {
      auto const region = plan.first_batches(k);
      REQUIRE(region.begin == next);
      REQUIRE(region.end >= region.begin);
      next = region.end;
    }
    REQUIRE(next == plan.n_batches);
  }
}

TEST_CASE(
    "plan: batches are as small as the claim table allows, except for many tasks sent in chunks",
    "[plan]") {
  REQUIRE(make_plan(most_batches, 2, 0).batch_tasks == 1);
  REQUIRE(make_plan(1'000'000, 2, 0).batch_tasks == 16);
  REQUIRE(make_plan(most_batches, 2, 0, true).batch_tasks == 1);
  REQUIRE(make_plan(1'000'000, 1, 0, true).n_batches <= most_sent_batches_each);
  REQUIRE(make_plan(1'000'000, 2, 0, true).batch_tasks == 123);
  REQUIRE(make_plan(1'000'000, 64, 0, true).batch_tasks == 16);
  REQUIRE(make_plan(1'000'000, 2, 5, true).batch_tasks == 5);
}

TEST_CASE("plan: few tasks are claimed in order", "[plan]") {
  auto const plan = make_plan(1024, 4, 0);
  REQUIRE(plan.in_order);
  REQUIRE(plan.first_batches(3).begin == 0);
  REQUIRE(plan.first_batches(3).end == 1024);
}

TEST_CASE("plan: only short tasks are claimed several batches at a time", "[plan]") {
  using namespace std::chrono_literals;
  pace speed;
  REQUIRE(speed.most_batches() == 1);
  REQUIRE(speed.claim_done());
  speed.reading(100ns);
  REQUIRE(speed.most_batches() == claim_table::entries_per_word);
  int claims = 0;
  while (!speed.claim_done()) ++claims;
  REQUIRE(claims + 1 == 2);  // the number of batches doubles; it does not jump to the maximum
  speed.reading(2ms);
  REQUIRE(speed.most_batches() == 1);
  REQUIRE(speed.claim_done());
}
