// Support for std::future_error in tasks.
//
// In a program that includes this header in at least one file, a std::future_error that a task
// throws is thrown by the call as remote<std::future_error>; otherwise as its base class.
// forkmap.hpp includes this header if <future> was included before it.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <exception>
#include <future>

#include <forkmap/detail/failure/thrown.hpp>
#include <forkmap/error.hpp>

namespace forkmap::detail {

[[gnu::weak]] bool note_future_error(std::exception const& e, thrown& into) {
  auto const* error = dynamic_cast<std::future_error const*>(&e);
  if (error == nullptr) return false;
  into.code.value = error->code().value();  // the category is always std::future_category()
  return true;
}

[[noreturn, gnu::weak]] void throw_future_error(thrown const& t, task_context const& context) {
  throw remote<std::future_error>(std::future_error(static_cast<std::future_errc>(t.code.value)),
                                  context);
}

}  // namespace forkmap::detail
