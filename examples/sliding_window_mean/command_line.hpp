// The command line of sliding_window_mean.
// SPDX-License-Identifier: MIT
#pragma once

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

struct settings {
  std::size_t size = 10'000'000;
  std::size_t window = 500'000;
  std::size_t step = 100'000;
  int n_jobs = 2;
  std::chrono::milliseconds sleep{10};
};

inline constexpr char help[] =
    "usage: sliding_window_mean [option value]...\n"
    "\n"
    "The mean of every window of an array: one after another, in worker processes, and in worker\n"
    "processes that share the array and the results through files mapped into memory.\n"
    "\n"
    "  --size N       elements of the array                            (10000000)\n"
    "  --window N     elements of a window                             (500000)\n"
    "  --step N       elements from one window to the next             (100000)\n"
    "  --n-jobs N     workers; -1: one for each core, -2: all but one  (2)\n"
    "  --sleep-ms N   how long each mean pretends to take              (10)\n"
    "  --help         prints this\n";

/// An error of the command line; the message says what to change.
struct usage_error : std::runtime_error {
  using runtime_error::runtime_error;
};

template <class Number>
Number parse_number(std::string const& option, std::string_view text, Number least, Number most) {
  Number number{};
  auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size() || number < least || number > most) {
    throw usage_error(option + " '" + std::string(text) + "': give a whole number from " +
                      std::to_string(least) + " to " + std::to_string(most));
  }
  return number;
}

inline settings parse_command_line(std::span<char const* const> arguments) {
  constexpr auto most_elements = std::numeric_limits<std::size_t>::max() / sizeof(double);
  settings given;
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    std::string const option = arguments[i];
    if (option == "--help" || option == "-h") {
      std::fputs(help, stdout);
      std::exit(0);
    }
    auto const value = [&]<class Number>(Number least, Number most) {
      if (i + 1 == arguments.size()) throw usage_error(option + ": a number must follow");
      return parse_number(option, arguments[i + 1], least, most);
    };
    if (option == "--size") {
      given.size = value(std::size_t{2}, most_elements);
    } else if (option == "--window") {
      given.window = value(std::size_t{1}, most_elements);
    } else if (option == "--step") {
      given.step = value(std::size_t{1}, most_elements);
    } else if (option == "--n-jobs") {
      given.n_jobs = value(-1000, 1000);
      if (given.n_jobs == 0) {
        throw usage_error("--n-jobs must not be 0; give 1 or more, or -1 for one worker per core");
      }
    } else if (option == "--sleep-ms") {
      given.sleep = std::chrono::milliseconds(value(0, 60'000));
    } else {
      throw usage_error("unknown option '" + option + "'; --help lists all options");
    }
  }
  if (given.window >= given.size) {
    throw usage_error("--window " + std::to_string(given.window) +
                      ": the window does not fit; give less than --size, which is " +
                      std::to_string(given.size));
  }
  return given;
}
