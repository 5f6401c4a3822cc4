// The output of sliding_window_mean: headings, elapsed times, arrays.
// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <cstdio>
#include <span>
#include <string>

using seconds = std::chrono::duration<double>;

inline void print_heading(std::string const& text) {
  std::printf("\n%s\n%s\n", text.c_str(), std::string(text.size(), '=').c_str());
}

class stopwatch {
 public:
  seconds elapsed() const { return std::chrono::steady_clock::now() - begin_; }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// `ideal_is` describes the ideal in words.
inline void print_elapsed(seconds elapsed, seconds ideal, char const* ideal_is) {
  std::printf("\nElapsed time computing the average of couple of slices %.2f s", elapsed.count());
  if (ideal.count() > 0) {
    std::printf(",\n%.2f x the ideal of %.2f s, %s", elapsed / ideal, ideal.count(), ideal_is);
  }
  std::printf("\n");
}

/// Prints an array as NumPy does: six columns, and blanks instead of trailing zeros.
inline void print_array(std::span<double const> values) {
  std::string line = " [";
  for (std::size_t i = 0; i != values.size(); ++i) {
    if (i != 0 && i % 6 == 0) {
      std::printf("%s\n", line.substr(0, line.find_last_not_of(' ') + 1).c_str());
      line = " ";
    }
    char number[32];
    std::snprintf(number, sizeof number, "%.8f", values[i]);
    std::string text = number;
    auto const digits = text.find_last_not_of('0') + 1;
    line += text.replace(digits, text.size() - digits, text.size() - digits, ' ');
    if (i + 1 != values.size() && i % 6 != 5) line += ' ';
  }
  std::printf("%s]\n", line.c_str());
}
