// How many batches a worker takes at a time: one while tasks are long, a word of the ledger when
// they are short.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include <forkmap/plan/ledger.hpp>

namespace forkmap::detail {

/// Follows how long tasks take without reading the clock for each: reading it costs as much as ten
/// empty tasks. The clock is due after as many claims as fit into about 20 microseconds.
class pace {
 public:
  using duration = std::chrono::nanoseconds;

  std::uint64_t most_batches() const noexcept { return most_; }

  /// Notes a claim that has been run.
  /// Returns: whether the clock is due.
  bool claim_done() noexcept { return --claims_left_ == 0; }

  /// The claims between two readings.
  std::int64_t claims() const noexcept { return claims_; }

  /// Takes the time that the claims since the last reading needed.
  void reading(duration elapsed) noexcept {
    auto const per_claim = std::max<std::int64_t>(1, elapsed.count() / claims_);
    most_ = per_claim < short_claim.count() ? ledger::lanes : 1;
    claims_ = std::clamp<std::int64_t>(between_readings.count() / per_claim, 1, 2 * claims_);
    claims_left_ = claims_;
  }

 private:
  static constexpr duration short_claim{5'000};
  static constexpr duration between_readings{20'000};

  std::uint64_t most_ = 1;  // nothing is known of the first task
  std::int64_t claims_ = 1;
  std::int64_t claims_left_ = 1;
};

}  // namespace forkmap::detail
