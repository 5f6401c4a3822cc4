// A check that fails each call of a system function in turn.
// SPDX-License-Identifier: MIT
#pragma once

#include <string>
#include <system_error>

#include "injection.hpp"
#include "support/catch.hpp"

namespace fault {

/// Runs `action` again and again, failing its first call of f, then its second, and so on. Each run
/// must throw a system_error with that code whose message contains `text`.
/// Returns: the number of calls of f that `action` makes.
template <class Action>
int fail_each(function f, int code, std::string const& text, Action action) {
  for (int nth = 1;; ++nth) {
    arm(f, nth, code);
    std::string message;
    std::error_code thrown_code;
    try {
      action();
    } catch (std::system_error const& e) {
      message = e.what();
      thrown_code = e.code();
    }
    if (!disarm()) return nth - 1;
    INFO(name_of(f) << ", call " << nth);
    REQUIRE(thrown_code == std::error_code(code, std::system_category()));
    REQUIRE(message.find(text) != std::string::npos);
    REQUIRE(message.find("forkmap: ") != std::string::npos);
  }
}

}  // namespace fault
