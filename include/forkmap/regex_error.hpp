// Support for std::regex_error in tasks.
//
// In a program that includes this header in at least one file, a std::regex_error that a task
// throws is thrown by the call as remote<std::regex_error>; otherwise as its base class.
// forkmap.hpp includes this header if <regex> was included before it.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <cstdint>
#include <exception>
#include <regex>
#include <stdexcept>

#include <forkmap/detail/failure/thrown.hpp>
#include <forkmap/error.hpp>

namespace forkmap::detail {

[[gnu::weak]] bool note_regex_error(std::exception const& e, thrown& into) {
  auto const* error = dynamic_cast<std::regex_error const*>(&e);
  if (error == nullptr) return false;
  into.code.value = static_cast<std::int32_t>(error->code());
  return true;
}

[[noreturn, gnu::weak]] void throw_regex_error(thrown const& t, task_context const& context) {
  constexpr int most_codes = 17;  // no standard library defines more
  if (t.code.value < 0 || t.code.value > most_codes) {
    throw remote<std::runtime_error>(std::runtime_error(t.message), context);
  }
  auto const code = static_cast<std::regex_constants::error_type>(t.code.value);
  throw remote<std::regex_error>(std::regex_error(code), context);
}

}  // namespace forkmap::detail
