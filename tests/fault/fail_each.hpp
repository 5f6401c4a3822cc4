// Each call of a function fails in turn, until there are no more.
#pragma once

#include <string>
#include <system_error>

#include "injection.hpp"
#include "support/catch.hpp"

namespace fault {

/// Lets each call of f that `action` makes fail in turn. What is thrown must be a system_error with
/// that code that names what failed.
/// Returns: how many calls there were.
template <class Action>
int fail_each(function f, int code, std::string const& text, Action action) {
  for (int nth = 1;; ++nth) {
    arm(f, nth, code);
    std::string what;
    std::error_code got;
    try {
      action();
    } catch (std::system_error const& e) {
      what = e.what();
      got = e.code();
    }
    if (!disarm()) return nth - 1;
    INFO(name_of(f) << ", call " << nth);
    REQUIRE(got == std::error_code(code, std::system_category()));
    REQUIRE(what.find(text) != std::string::npos);
    REQUIRE(what.find("forkmap: ") != std::string::npos);
  }
}

}  // namespace fault
