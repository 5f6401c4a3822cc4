// How long something may take.
#pragma once

#include <chrono>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace forkmap {

/// A duration, or no limit at all, which is what it is by default. Converts from every chrono
/// duration: `{.timeout = 1.5s}`. Durations that nanoseconds cannot hold (292 years) are no limit.
/// Errors: std::invalid_argument for NaN.
class time_limit {
 public:
  constexpr time_limit() = default;
  template <class Rep, class Period>
  constexpr time_limit(std::chrono::duration<Rep, Period> limit) : nanoseconds_(count(limit)) {}

  constexpr bool is_set() const noexcept { return nanoseconds_ != none; }
  /// Precondition: is_set().
  constexpr std::chrono::nanoseconds value() const noexcept {
    return std::chrono::nanoseconds(nanoseconds_);
  }

 private:
  static constexpr std::int64_t none = INT64_MAX;

  template <class Rep, class Period>
  static constexpr std::int64_t count(std::chrono::duration<Rep, Period> limit) {
    auto const seconds = std::chrono::duration<double>(limit).count();
    if (seconds != seconds) throw std::invalid_argument("forkmap: a time limit is not a number");
    constexpr double longest = 9.2e9;
    if (seconds > longest) return none;
    if (seconds < -longest) return -(none - 1);
    if constexpr (std::is_floating_point_v<Rep>) {
      return static_cast<std::int64_t>(seconds * 1e9);
    } else {
      return std::chrono::duration_cast<std::chrono::nanoseconds>(limit).count();
    }
  }

  std::int64_t nanoseconds_ = none;
};

namespace detail {

/// "1.5 s", "20 ms".
inline std::string text_of(std::chrono::nanoseconds time) {
  auto const count = time.count();
  bool const small = count < 1'000'000'000;
  // In thousandths of the unit, rounded, without the zeros at the end.
  auto const thousandths = small ? count / 1'000 : count / 1'000'000;
  auto text = std::to_string(thousandths / 1000);
  if (auto const rest = thousandths % 1000; rest > 0) {
    auto digits = std::to_string(1000 + rest).substr(1);
    digits.resize(digits.find_last_not_of('0') + 1);
    text += '.' + digits;
  }
  return text + (small ? " ms" : " s");
}

}  // namespace detail
}  // namespace forkmap
