// Makes a std::regex_error that a task throws arrive as remote<std::regex_error>, in any file of the
// program that includes this one. forkmap.hpp does so if <regex> has been included before it.
#pragma once

#include <cstdint>
#include <exception>
#include <regex>

#include <forkmap/error.hpp>
#include <forkmap/transfer/error_hooks.hpp>
#include <forkmap/transfer/thrown.hpp>

namespace forkmap::detail {

[[gnu::weak]] bool note_regex_error(std::exception const& e, thrown& into) {
  auto const* error = dynamic_cast<std::regex_error const*>(&e);
  if (error == nullptr) return false;
  into.code = static_cast<std::int32_t>(error->code());
  return true;
}

[[noreturn, gnu::weak]] void throw_regex_error(thrown const& t, task_context const& context) {
  auto const code = static_cast<std::regex_constants::error_type>(t.code);
  throw remote<std::regex_error>(std::regex_error(code), context);
}

}  // namespace forkmap::detail
