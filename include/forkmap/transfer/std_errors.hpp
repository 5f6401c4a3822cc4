// The standard exceptions, the more derived before its bases.
#pragma once

#include <any>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <type_traits>
#include <typeinfo>
#include <variant>

namespace forkmap::detail {

template <class... E> struct exception_list {
  static constexpr std::uint32_t size = sizeof...(E);
};

/// Source: ISO C++20, [std.exceptions] and the library clauses that define the others; for those of
/// <regex> and <future> see error_hooks.hpp.
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

/// The place in the list of e's nearest standard base; e's own if it is standard.
inline std::uint32_t standard_type_of(std::exception const& e) {
  return standard_type_of(&e, standard_exceptions{});
}

}  // namespace forkmap::detail
