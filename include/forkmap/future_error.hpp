// Makes a std::future_error that a task throws arrive as remote<std::future_error>, in any file of
// the program that includes this one. forkmap.hpp does so if <future> has been included before it.
#pragma once

#include <exception>
#include <future>

#include <forkmap/error.hpp>
#include <forkmap/transfer/error_hooks.hpp>
#include <forkmap/transfer/thrown.hpp>

namespace forkmap::detail {

[[gnu::weak]] bool note_future_error(std::exception const& e, thrown& into) {
  auto const* error = dynamic_cast<std::future_error const*>(&e);
  if (error == nullptr) return false;
  into.code = error->code().value();  // its category is always the same
  return true;
}

[[noreturn, gnu::weak]] void throw_future_error(thrown const& t, task_context const& context) {
  throw remote<std::future_error>(std::future_error(static_cast<std::future_errc>(t.code)),
                                  context);
}

}  // namespace forkmap::detail
