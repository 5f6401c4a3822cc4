// Values that hold an address of static data or code: error codes, std::type_index, pointers to
// functions, std::source_location. The address is sent, for some types with a name. The reading
// process checks it against its own modules before it reads anything there.
// SPDX-License-Identifier: MIT
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <typeindex>
#include <typeinfo>
#include <utility>

#include <forkmap/detail/demangled.hpp>
#include <forkmap/detail/os/static_memory.hpp>
#include <forkmap/detail/serialize/sent_code.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// A pointer to a function or to a member function.
template <class T>
concept function_pointer = (std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>) ||
                           std::is_member_function_pointer_v<T>;

/// std::source_location, named without its header.
template <class T>
concept source_location_like = std::is_class_v<T> && std::is_trivially_copyable_v<T> &&
                               sizeof(T) == sizeof(void*) && requires(T const& place) {
                                 { place.file_name() } -> std::same_as<char const*>;
                                 { place.function_name() } -> std::same_as<char const*>;
                                 { place.line() } -> std::unsigned_integral;
                               };

template <class T>
concept known_by_address = error_code_like<T> || function_pointer<T> || source_location_like<T> ||
                           std::same_as<T, std::type_index>;

[[noreturn]] inline void refuse_address(std::string const& subject) {
  throw std::runtime_error("forkmap: a value holds " + subject +
                           " of a library that this process has not loaded at the same address as "
                           "the sending process; load the library before the call");
}

/// Whether the n words of a pointer to a function, or to a member function, are valid in this
/// process: null, an address of code, or an offset in a vtable (virtual member functions).
inline bool is_known_function(std::uintptr_t const* words, std::size_t n) noexcept {
  if (words[0] == 0) return true;
  if (n > 1) {
#if defined(__aarch64__) || defined(__arm__)
    bool const is_virtual = (words[1] & 1U) != 0;
#else
    bool const is_virtual = (words[0] & 1U) != 0;
#endif
    if (is_virtual) return true;
  }
  return is_code(words[0]);
}

/// Whether there is a type_info of any kind at that address, with a name that can be read.
inline bool is_type_info(std::uintptr_t type) noexcept {
  if (type % alignof(void*) != 0 || !is_constant(type, 2 * sizeof(void*))) return false;
  enum enumeration {};
  for (auto const* sample : {&typeid(int), &typeid(int*), &typeid(int[1]), &typeid(int()),
                             &typeid(enumeration), &typeid(int class_samples::*)}) {
    if (word_at(type) == word_at(reinterpret_cast<std::uintptr_t>(sample))) {
      return is_constant_text(word_at(type + sizeof(void*)));
    }
  }
  return class_kind_at(type) != class_kind::none && is_constant_text(word_at(type + sizeof(void*)));
}

/// Appends a value that holds an address.
template <known_by_address T> void save_address(writer& out, T const& value) {
  if constexpr (error_code_like<T>) {
    take_apart(value).save(out);
  } else {
    out.write(std::addressof(value), sizeof value);
    if constexpr (std::same_as<T, std::type_index>) {
      auto const* const name = value.name();
      out.write(name, std::strlen(name) + 1);
    }
  }
}

/// Reads a value that save_address() wrote.
/// Errors: std::runtime_error if this process does not have the function, type or source location.
template <known_by_address T> T load_address(reader& in) {
  if constexpr (error_code_like<T>) {
    using category = std::remove_cvref_t<decltype(std::declval<T const&>().category())>;
    auto const code = sent_code::load(in);
    return T(code.value, category_of<category>(code));
  } else {
    std::array<std::uintptr_t, sizeof(T) / sizeof(std::uintptr_t)> words{};
    static_assert(sizeof words == sizeof(T));
    in.read(words.data(), sizeof words);
    if constexpr (function_pointer<T>) {
      if (!is_known_function(words.data(), words.size())) refuse_address("a pointer to a function");
    } else if constexpr (std::same_as<T, std::type_index>) {
      std::string name;
      while (auto const next = std::to_integer<char>(*in.take(1))) name += next;
      auto const* const type = reinterpret_cast<std::type_info const*>(words[0]);
      if (!is_type_info(words[0]) || type->name() != name) {
        refuse_address("the std::type_index of " + demangled(name.c_str()));
      }
    } else if (words[0] != 0) {
      constexpr std::size_t word = sizeof(void*);
      if (words[0] % alignof(void*) != 0 ||
          !static_memory_at(words[0]).has(words[0], 3 * word) ||  // not constant with g++
          !is_constant_text(word_at(words[0])) || !is_constant_text(word_at(words[0] + word))) {
        refuse_address("a std::source_location");
      }
    }
    return std::bit_cast<T>(words);
  }
}

}  // namespace forkmap::detail
