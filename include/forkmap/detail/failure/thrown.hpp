// Exceptions <-> bytes, and the standard exceptions that keep their type.
// SPDX-License-Identifier: MIT
#pragma once

#include <cxxabi.h>

#include <any>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>

#include <forkmap/detail/demangled.hpp>
#include <forkmap/detail/failure/own_errors.hpp>
#include <forkmap/detail/serialize/sent_code.hpp>
#include <forkmap/error.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

// The standard exceptions, derived classes before their bases.

template <class... E> struct exception_list {
  static constexpr std::uint32_t size = sizeof...(E);
};

/// Source: ISO C++20, [std.exceptions] and the library clauses that define the others; for those of
/// <regex> and <future> see the hooks below.
using standard_exceptions =
    exception_list<std::filesystem::filesystem_error, std::ios_base::failure, std::system_error,
                   std::underflow_error, std::overflow_error, std::range_error, std::runtime_error,
                   std::out_of_range, std::length_error, std::domain_error, std::invalid_argument,
                   std::logic_error, std::bad_array_new_length, std::bad_alloc,
                   std::bad_optional_access, std::bad_variant_access, std::bad_any_cast,
                   std::bad_cast, std::bad_typeid, std::bad_weak_ptr, std::bad_function_call,
                   std::bad_exception, std::exception>;

inline constexpr std::uint32_t n_standard_exceptions = standard_exceptions::size;

template <class... E>
std::uint32_t standard_type_of(std::exception const* e, exception_list<E...>) {
  std::uint32_t type = 0;
  (void)((dynamic_cast<E const*>(e) != nullptr || (++type, false)) || ...);
  return type;
}

/// The index in the list of e's type, or of its nearest standard base if it is not standard.
inline std::uint32_t standard_type_of(std::exception const& e) {
  return standard_type_of(&e, standard_exceptions{});
}

}  // namespace forkmap::detail

// The standard exceptions of <regex> and <future>. These headers cost each file that includes them a
// tenth of a second or two, so only files that name these exceptions include them.

namespace forkmap {
class task_context;
}  // namespace forkmap

namespace forkmap::detail {

struct thrown;

/// Which of these exceptions a task threw.
enum class hooked_error : unsigned { none, regex_error, future_error };

// Defined in forkmap/regex_error.hpp and forkmap/future_error.hpp. They are weak symbols: null in a
// program in which no file includes these headers, else one function in the whole program. So their
// callers are the same in files with and without the headers, as the one-definition rule requires, and
// one file with a header serves the whole program. Not inline: a file that includes the header defines
// them without calling them.

/// Notes what the exception holds if it is a std::regex_error.
/// Returns: whether it is one.
[[gnu::weak]] bool note_regex_error(std::exception const& e, thrown& into);
[[noreturn, gnu::weak]] void throw_regex_error(thrown const& t, task_context const& context);

/// Notes what the exception holds if it is a std::future_error.
/// Returns: whether it is one.
[[gnu::weak]] bool note_future_error(std::exception const& e, thrown& into);
[[noreturn, gnu::weak]] void throw_future_error(thrown const& t, task_context const& context);

// Exceptions <-> bytes: every standard exception keeps its type, its text and its other data.

/// The parts of an exception that can be sent.
struct thrown {
  std::uint32_t type = 0;  // index in standard_exceptions; their number for any other type
  std::string message{};
  std::string type_name{};
  std::string trace{};
  hooked_error hooked = hooked_error::none;  // if set, more derived than `type`
  own_parts own{};                           // likewise
  sent_code code{};     // of std::system_error and its derived classes; a hooked error's value
  std::string path1{};  // of std::filesystem::filesystem_error and of forkmap's array errors
  std::string path2{};

  void save(writer& out) const {
    out.put_count(type);
    out.put_count(static_cast<std::uint64_t>(hooked));
    for (auto const* text : {&message, &type_name, &trace, &path1, &path2}) {
      out.put_count(text->size());
      out.write(text->data(), text->size());
    }
    own.save(out);
    code.save(out);
  }
  static thrown load(reader& in) {
    thrown t;
    t.type = static_cast<std::uint32_t>(in.get_count());
    t.hooked = static_cast<hooked_error>(in.get_count());
    for (auto* text : {&t.message, &t.type_name, &t.trace, &t.path1, &t.path2}) {
      auto const size = static_cast<std::size_t>(in.get_count());
      text->assign(reinterpret_cast<char const*>(in.take(size)), size);
    }
    t.own = own_parts::load(in);
    t.code = sent_code::load(in);
    return t;
  }
};

/// The exceptions nested in `e`, outermost first, one per line; of a long chain only the first lines.
inline std::string nested_chain(std::exception const& e) {
  constexpr int most_lines = 64;
  auto const below = [](auto const& exception) {
    auto const* nested = dynamic_cast<std::nested_exception const*>(&exception);
    return nested != nullptr ? nested->nested_ptr() : nullptr;
  };
  std::string chain;
  auto next = below(e);
  for (int line = 0; next != nullptr; ++line) {
    if (line == most_lines) return chain + "caused by more exceptions, not shown\n";
    try {
      std::rethrow_exception(std::exchange(next, nullptr));
    } catch (std::exception const& inner) {
      chain += "caused by " + demangled(typeid(inner).name()) + ": ";
      chain += inner.what() != nullptr ? inner.what() : "";
      chain += '\n';
      next = below(inner);
    } catch (...) {
      chain += "caused by " + demangled(abi::__cxa_current_exception_type()->name()) + '\n';
    }
  }
  return chain;
}

inline void note_standard(thrown& t, std::exception const& e) {
  t.type = standard_type_of(e);
  t.message = e.what() != nullptr ? e.what() : "";
  // An exception of a nested call is reported as the nested call reports it: by the type that its task
  // threw.
  auto const* const inner = dynamic_cast<task_context const*>(&e);
  t.type_name = inner != nullptr && !inner->type_name().empty() ? inner->type_name()
                                                                : demangled(typeid(e).name());
  t.trace = inner_trace(inner) + nested_chain(e);
  t.own = own_parts_of(e, t.path1);
  if (auto const* fs = dynamic_cast<std::filesystem::filesystem_error const*>(&e)) {
    t.path1 = fs->path1().native();
    t.path2 = fs->path2().native();
  }
  if (auto const* system = dynamic_cast<std::system_error const*>(&e)) {
    t.code = take_apart(system->code());
  }
  if (note_regex_error != nullptr && note_regex_error(e, t)) {
    t.hooked = hooked_error::regex_error;
  } else if (note_future_error != nullptr && note_future_error(e, t)) {
    t.hooked = hooked_error::future_error;
  }
}

/// For an exception with several standard bases, which `catch (std::exception const&)` does not catch:
/// notes it as the first of the list's first N types that catches it, or throws it again.
template <std::size_t N, class... E> void note_one_of_bases(thrown& t, exception_list<E...> all) {
  if constexpr (N == 0) {
    throw;  // only once: a foreign exception cannot be rethrown twice
  } else {
    try {
      note_one_of_bases<N - 1>(t, all);
    } catch (std::tuple_element_t<N - 1, std::tuple<E...>> const& e) {
      note_standard(t, e);
    }
  }
}

inline thrown take_apart_current_exception() {
  thrown t;
  t.type = n_standard_exceptions;
  auto const* type = abi::__cxa_current_exception_type();
  t.type_name = type == nullptr ? "unknown" : demangled(type->name());
  try {
    throw;
#if defined(__GLIBCXX__)  // libc++ does not have abi::__forced_unwind
  } catch (abi::__forced_unwind&) {
    throw;  // the thread is being cancelled: this must be rethrown
#endif
  } catch (std::exception const& e) {
    note_standard(t, e);
  } catch (std::string const& text) {
    t.message = text;
  } catch (char const* text) {
    t.message = text == nullptr ? "" : text;
  } catch (...) {
    t.message = "threw " + t.type_name;
    try {
      note_one_of_bases<n_standard_exceptions>(t, standard_exceptions{});
    } catch (...) {  // no standard base
    }
  }
  return t;
}

/// Takes the exception being handled apart. If there is no memory for that, the result is a
/// std::bad_alloc.
/// Precondition: called in a catch block.
inline thrown describe_current_exception() {
  try {
    return take_apart_current_exception();
  } catch (std::bad_alloc const& e) {
    thrown t;
    t.type = standard_type_of(e);
    t.message = t.type_name = "std::bad_alloc";  // short enough to need no memory
    return t;
  }
}

/// Throws remote<E> if E is an exception of <regex> or <future> and the program has its hook. Not a
/// template: where a template sees the hook's definition, compilers warn of the comparison with null.
inline void throw_hooked(thrown const& t, task_context const& context) {
  if (t.hooked == hooked_error::regex_error && throw_regex_error != nullptr) {
    throw_regex_error(t, context);
  }
  if (t.hooked == hooked_error::future_error && throw_future_error != nullptr) {
    throw_future_error(t, context);
  }
}

inline std::error_code code_of(thrown const& t) {
  return {t.code.value, category_of<std::error_category>(t.code)};
}

/// Throws remote<E> with the data of `t`.
template <class E> [[noreturn]] void throw_as(thrown const& t, task_context const& context) {
  if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
    throw remote<E>(E(t.message, t.path1, t.path2, code_of(t)), context);
  } else if constexpr (std::is_same_v<E, std::ios_base::failure>) {
    throw remote<E>(E(t.message, code_of(t)), context);
  } else if constexpr (std::is_same_v<E, std::system_error>) {
    throw remote<E>(E(code_of(t), t.message), context);
  } else if constexpr (std::is_constructible_v<E, std::string const&>) {
    throw remote<E>(E(t.message), context);
  } else {
    throw remote<E>(E(), context);
  }
}

template <class... E>
[[noreturn]] void throw_again(thrown const& t, task_context const& context, exception_list<E...>) {
  throw_hooked(t, context);
  throw_own(t.own, t.message, t.path1, context);
  using throw_function = void (*)(thrown const&, task_context const&);
  static constexpr throw_function throwers[] = {&throw_as<E>...};
  if (t.type < n_standard_exceptions) throwers[t.type](t, context);
  throw task_error(context, t.message);
}

/// The exception that the call throws for a task that threw. A template, so that only programs that call
/// a map pay for building so many types of exceptions.
template <class Thrown> std::exception_ptr rebuild(Thrown const& t, task_context const& context) {
  try {
    throw_again(t, context, standard_exceptions{});
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace forkmap::detail
