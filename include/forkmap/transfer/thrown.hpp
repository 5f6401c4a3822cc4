// Exceptions <-> bytes: every standard one keeps its type, its text and what else it holds.
#pragma once

#include <cxxabi.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <ios>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <typeinfo>

#include <forkmap/error.hpp>
#include <forkmap/system/symbols.hpp>
#include <forkmap/transfer/bytes.hpp>
#include <forkmap/transfer/error_hooks.hpp>
#include <forkmap/transfer/std_errors.hpp>

namespace forkmap::detail {

/// An exception taken apart.
struct thrown {
  std::uint32_t type = 0;  // its place in standard_exceptions; their number for any other type
  std::string message{};
  std::string type_name{};
  std::string trace{};
  hooked_error hooked = hooked_error::none;  // more derived than that type
  std::int32_t code = 0;                     // of a std::system_error, its kind and a hooked error
  std::string category{};
  std::uintptr_t category_address = 0;
  std::uintptr_t category_vtable = 0;
  std::string path1{};  // of a std::filesystem::filesystem_error
  std::string path2{};

  void save(writer& out) const {
    for (auto const number : {std::uint64_t{type}, static_cast<std::uint64_t>(hooked),
                              std::uint64_t{static_cast<std::uint32_t>(code)},
                              std::uint64_t{category_address}, std::uint64_t{category_vtable}}) {
      out.put_count(number);
    }
    for (auto const* text : {&message, &type_name, &trace, &category, &path1, &path2}) {
      out.put_count(text->size());
      out.write(text->data(), text->size());
    }
  }
  static thrown load(reader& in) {
    thrown t;
    t.type = static_cast<std::uint32_t>(in.get_count());
    t.hooked = static_cast<hooked_error>(in.get_count());
    t.code = static_cast<std::int32_t>(in.get_count());
    t.category_address = static_cast<std::uintptr_t>(in.get_count());
    t.category_vtable = static_cast<std::uintptr_t>(in.get_count());
    for (auto* text : {&t.message, &t.type_name, &t.trace, &t.category, &t.path1, &t.path2}) {
      auto const size = static_cast<std::size_t>(in.get_count());
      text->assign(reinterpret_cast<char const*>(in.take(size)), size);
    }
    return t;
  }
};

inline void note_code(thrown& t, std::error_code const& code) {
  t.code = code.value();
  t.category = code.category().name();
  auto const* category = &code.category();
  t.category_address = reinterpret_cast<std::uintptr_t>(category);
  std::memcpy(&t.category_vtable, static_cast<void const*>(category), sizeof t.category_vtable);
}

/// A category of the program's own, made in a worker only: its name and numbers, without its texts.
class foreign_category final : public std::error_category {
 public:
  char const* name() const noexcept override { return "forkmap.unknown"; }
  std::string message(int value) const override {
    return "error " + std::to_string(value) + " of a category that this process does not have";
  }
};

/// The caller's own object for the category: known by name, or by lying at the same address with
/// the same type, since workers are copies of the caller. Otherwise a stand-in.
inline std::error_category const& category_of(thrown const& t) {
  for (auto const* known :
       {&std::generic_category(), &std::system_category(), &std::iostream_category()}) {
    if (t.category == known->name()) return *known;
  }
  // The object may be a local static that only the worker has made, or lie in a library that only
  // the worker has loaded: look without touching.
  std::uintptr_t vtable = 0;
  iovec local{&vtable, sizeof vtable};
  iovec remote{reinterpret_cast<void*>(t.category_address), sizeof vtable};
  if (::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0) == sizeof vtable &&
      vtable == t.category_vtable) {
    return *reinterpret_cast<std::error_category const*>(t.category_address);
  }
  static foreign_category const foreign;
  return foreign;
}

/// The chain of std::nested_exception below `e`, a line each.
inline std::string nested_chain(std::exception const& e) {
  auto const* nested = dynamic_cast<std::nested_exception const*>(&e);
  if (nested == nullptr || nested->nested_ptr() == nullptr) return {};
  try {
    nested->rethrow_nested();
  } catch (std::exception const& inner) {
    return "caused by " + demangled(typeid(inner).name()) + ": " + inner.what() + '\n' +
           nested_chain(inner);
  } catch (...) {
    return "caused by " + demangled(abi::__cxa_current_exception_type()->name()) + '\n';
  }
}

inline void note_standard(thrown& t, std::exception const& e) {
  t.type = standard_type_of(e);
  t.message = e.what() != nullptr ? e.what() : "";
  t.type_name = demangled(typeid(e).name());
  t.trace = nested_chain(e);
  if (auto const* fs = dynamic_cast<std::filesystem::filesystem_error const*>(&e)) {
    t.path1 = fs->path1().native();
    t.path2 = fs->path2().native();
  }
  if (auto const* system = dynamic_cast<std::system_error const*>(&e)) note_code(t, system->code());
  if (note_regex_error != nullptr && note_regex_error(e, t)) {
    t.hooked = hooked_error::regex_error;
  } else if (note_future_error != nullptr && note_future_error(e, t)) {
    t.hooked = hooked_error::future_error;
  }
}

/// For an exception with several standard bases, which no `catch (std::exception const&)` catches:
/// notes it as the first of the first N in the list that it is caught as, or throws it again.
template <std::size_t N, class... E> void note_one_of_bases(thrown& t, exception_list<E...> all) {
  if constexpr (N == 0) {
    throw;  // once only: a foreign exception would not survive the next time
  } else {
    try {
      note_one_of_bases<N - 1>(t, all);
    } catch (std::tuple_element_t<N - 1, std::tuple<E...>> const& e) {
      note_standard(t, e);
    }
  }
}

/// Takes the exception being handled apart.
/// Precondition: called in a catch block.
inline thrown describe_current_exception() {
  thrown t;
  t.type = n_standard_exceptions;
  auto const* type = abi::__cxa_current_exception_type();
  t.type_name = type == nullptr ? "unknown" : demangled(type->name());
  try {
    throw;
#if defined(__GLIBCXX__)  // libc++ has no type for it
  } catch (abi::__forced_unwind&) {
    throw;  // a thread being cancelled: not an exception that may be kept
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
    } catch (...) {  // it has none
    }
  }
  return t;
}

/// Throws remote<E> where E is an exception of <regex> or <future> and the program has its hook. No
/// template, which might see the hook defined: compilers warn of a comparison with null then.
inline void throw_hooked(thrown const& t, task_context const& context) {
  if (t.hooked == hooked_error::regex_error && throw_regex_error != nullptr) {
    throw_regex_error(t, context);
  }
  if (t.hooked == hooked_error::future_error && throw_future_error != nullptr) {
    throw_future_error(t, context);
  }
}

/// Throws remote<E> for the E that `t` names.
template <class E> [[noreturn]] void throw_as(thrown const& t, task_context const& context) {
  if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
    throw remote<E>(E(t.message, t.path1, t.path2, {t.code, category_of(t)}), context);
  } else if constexpr (std::is_same_v<E, std::ios_base::failure>) {
    throw remote<E>(E(t.message, std::error_code(t.code, category_of(t))), context);
  } else if constexpr (std::is_same_v<E, std::system_error>) {
    throw remote<E>(E(std::error_code(t.code, category_of(t)), t.message), context);
  } else if constexpr (std::is_constructible_v<E, std::string const&>) {
    throw remote<E>(E(t.message), context);
  } else {
    throw remote<E>(E(), context);
  }
}

template <class... E>
[[noreturn]] void throw_again(thrown const& t, task_context const& context, exception_list<E...>) {
  throw_hooked(t, context);
  using throw_function = void (*)(thrown const&, task_context const&);
  static constexpr throw_function throwers[] = {&throw_as<E>...};
  if (t.type < n_standard_exceptions) throwers[t.type](t, context);
  throw task_error(context, t.message);
}

/// What the call throws for a task that threw. A template, so that a program pays for building so
/// many types of exceptions only where it calls a map.
template <class Thrown> std::exception_ptr rebuild(Thrown const& t, task_context const& context) {
  try {
    throw_again(t, context, standard_exceptions{});
  } catch (...) {
    return std::current_exception();
  }
}

}  // namespace forkmap::detail
