// The standard exceptions of <regex> and <future>, headers that cost every file a tenth of a second
// or two: only files that name these exceptions shall wait for them.
#pragma once

#include <exception>

namespace forkmap {
class task_context;
}  // namespace forkmap

namespace forkmap::detail {

struct thrown;

/// Which of them a task threw.
enum class hooked_error : unsigned { none, regex_error, future_error };

// Defined in forkmap/regex_error.hpp and forkmap/future_error.hpp. Weak symbols: null in a program
// none of whose files includes these, and one function wherever any does. So the functions that call
// them are the same in files with and without, as the one definition rule wants them, and one such
// file serves the whole program. Not inline: a file need not call them to define them.

/// Notes what the exception holds if it is a std::regex_error. Returns whether it is.
[[gnu::weak]] bool note_regex_error(std::exception const& e, thrown& into);
[[noreturn, gnu::weak]] void throw_regex_error(thrown const& t, task_context const& context);

/// Notes what the exception holds if it is a std::future_error. Returns whether it is.
[[gnu::weak]] bool note_future_error(std::exception const& e, thrown& into);
[[noreturn, gnu::weak]] void throw_future_error(thrown const& t, task_context const& context);

}  // namespace forkmap::detail
