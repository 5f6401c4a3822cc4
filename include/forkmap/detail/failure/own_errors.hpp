// forkmap's own exceptions that leave a task: they keep their type and data through nested calls.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>

#include <forkmap/error.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

enum class own_error : unsigned {
  none,
  task_error,
  worker_died,
  task_timeout,
  task_cancelled,
  deadline_exceeded,
  format_error,
  dtype_error
};

/// The type of such an exception, and what it holds besides its text and a path.
struct own_parts {
  own_error kind = own_error::none;
  int signal = 0;
  int exit_status = -1;
  std::size_t max_rss = 0;

  void save(writer& out) const {
    out.put_count(static_cast<std::uint64_t>(kind));
    if (kind != own_error::worker_died) return;
    out.put_count(static_cast<std::uint32_t>(signal));
    out.put_count(static_cast<std::uint32_t>(exit_status));
    out.put_count(max_rss);
  }
  static own_parts load(reader& in) {
    own_parts parts;
    parts.kind = static_cast<own_error>(in.get_count());
    if (parts.kind != own_error::worker_died) return parts;
    parts.signal = static_cast<int>(in.get_count());
    parts.exit_status = static_cast<int>(in.get_count());
    parts.max_rss = static_cast<std::size_t>(in.get_count());
    return parts;
  }
};

/// `path`: set if the exception has one.
inline own_parts own_parts_of(std::exception const& e, std::string& path) {
  own_parts parts;
  auto const is = [&]<class E>(E const* error, own_error kind) {
    if (error != nullptr) parts.kind = kind;
    return error;
  };
  if (auto const* died = is(dynamic_cast<worker_died const*>(&e), own_error::worker_died)) {
    parts.signal = died->signal();
    parts.exit_status = died->exit_status();
    parts.max_rss = died->max_rss();
  }
  is(dynamic_cast<task_error const*>(&e), own_error::task_error);
  is(dynamic_cast<task_timeout const*>(&e), own_error::task_timeout);
  is(dynamic_cast<task_cancelled const*>(&e), own_error::task_cancelled);
  is(dynamic_cast<deadline_exceeded const*>(&e), own_error::deadline_exceeded);
  if (auto const* format = is(dynamic_cast<format_error const*>(&e), own_error::format_error)) {
    path = format->path().native();
  }
  if (auto const* dtype = is(dynamic_cast<dtype_error const*>(&e), own_error::dtype_error)) {
    path = dtype->path().native();
  }
  return parts;
}

/// Which task of a nested call threw the exception, and that call's trace; empty if `inner` is null,
/// for an exception of no call.
inline std::string inner_trace(task_context const* inner) {
  if (inner == nullptr) return {};
  auto const& trace = inner->trace();
  return (inner->index() == task_details::no_index ? "in worker_init or worker_exit"
                                                   : "in task " + std::to_string(inner->index())) +
         " of a nested call (pid " + std::to_string(inner->worker_pid()) + ")\n" + trace +
         (trace.empty() || trace.back() == '\n' ? "" : "\n");
}

/// Throws the exception again, with the context of the task that it left. Returns if it was none of
/// forkmap's.
inline void throw_own(own_parts const& parts, std::string const& message, std::string const& path,
                      task_context const& context) {
  switch (parts.kind) {
    case own_error::none:
      return;
    case own_error::task_error:
      throw forkmap::task_error(context, message);
    case own_error::worker_died:
      throw forkmap::worker_died(context, message);
    case own_error::task_timeout:
      throw forkmap::task_timeout(context, message);
    case own_error::task_cancelled:
      throw forkmap::task_cancelled(context, message);
    case own_error::deadline_exceeded:
      throw forkmap::deadline_exceeded(context, message);
    case own_error::format_error:
      throw remote<forkmap::format_error>(forkmap::format_error(message, path), context);
    case own_error::dtype_error:
      throw remote<forkmap::dtype_error>(forkmap::dtype_error(message, path), context);
  }
}

}  // namespace forkmap::detail
