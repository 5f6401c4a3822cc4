// Static objects of this process at an address that another process has sent. The address is looked up
// in this process's own modules, so that a wrong one is recognised before it is used.
// SPDX-License-Identifier: MIT
#pragma once

#include <link.h>

#include <cstddef>
#include <cstdint>
#include <typeinfo>

namespace forkmap::detail {

/// A range of the static memory of a loaded module; empty for an address in no module.
struct static_extent {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;
  bool constant = false;  // not written after loading: constants, vtables, type_info
  bool code = false;

  bool has(std::uintptr_t address, std::size_t bytes) const noexcept {
    return begin <= address && address < end && bytes <= end - address;
  }
};

/// The range of static memory that contains an address.
/// Cost: about a microsecond, and as much again for every ten libraries.
/// Source: System V ABI, chapter 5, Program Header; PT_GNU_RELRO of the Linux Standard Base.
inline static_extent static_memory_at(std::uintptr_t address) noexcept {
  struct search {
    std::uintptr_t address;
    static_extent found;
  } query{address, {}};
  ::dl_iterate_phdr(
      [](dl_phdr_info* module, std::size_t, void* erased) {
        auto& state = *static_cast<search*>(erased);
        static_extent relocated;
        for (std::size_t i = 0; i != module->dlpi_phnum; ++i) {
          auto const& part = module->dlpi_phdr[i];
          if (part.p_type != PT_LOAD && part.p_type != PT_GNU_RELRO) continue;
          static_extent extent;
          extent.begin = module->dlpi_addr + part.p_vaddr;
          extent.end = extent.begin + part.p_memsz;
          if (!extent.has(state.address, 1)) continue;
          if (part.p_type == PT_GNU_RELRO) {
            relocated = extent;
          } else if ((part.p_flags & PF_R) != 0) {
            state.found = extent;
            state.found.constant = (part.p_flags & PF_W) == 0;
            state.found.code = (part.p_flags & PF_X) != 0;
          }
        }
        if (state.found.begin == 0) return 0;
        if (relocated.begin != 0 && !state.found.constant) {
          state.found = relocated;
          state.found.constant = true;
        }
        return 1;
      },
      &query);
  return query.found;
}

inline bool is_constant(std::uintptr_t address, std::size_t bytes) noexcept {
  auto const there = static_memory_at(address);
  return there.constant && there.has(address, bytes);
}

/// Whether a function may begin at the address.
inline bool is_code(std::uintptr_t address) noexcept { return static_memory_at(address).code; }

/// The word at an address in static memory, which need not be part of an object.
#if defined(__clang__) || defined(__GNUC__)
[[gnu::no_sanitize_address]]
#endif
inline std::uintptr_t word_at(std::uintptr_t address) noexcept {
  return *reinterpret_cast<std::uintptr_t const volatile*>(address);
}

/// Whether a text that ends with '\0' lies in constant memory at the address.
#if defined(__clang__) || defined(__GNUC__)
[[gnu::no_sanitize_address]]
#endif
inline bool is_constant_text(std::uintptr_t address) noexcept {
  auto const there = static_memory_at(address);
  if (!there.constant) return false;
  for (auto at = address; at < there.end; ++at) {
    if (*reinterpret_cast<char const volatile*>(at) == '\0') return true;
  }
  return false;
}

/// Sample classes, one for each way in which type_info describes base classes.
struct class_samples {
  struct plain {
    virtual ~plain() = default;
  };
  struct other {
    virtual ~other() = default;
  };
  struct single final : plain {};
  struct multiple final : plain, other {};
};

/// How a class's type_info describes its base classes.
enum class class_kind { none, no_base, one_base, several_bases };

/// The kind of the class whose type_info is at the address; none if there is no type_info.
/// Source: Itanium C++ ABI, 2.9.5, RTTI Layout.
inline class_kind class_kind_at(std::uintptr_t type) noexcept {
  if (type % alignof(void*) != 0 || !is_constant(type, 2 * sizeof(void*))) return class_kind::none;
  auto const kind_of = [](std::type_info const& sample) {
    return word_at(reinterpret_cast<std::uintptr_t>(&sample));
  };
  auto const kind = word_at(type);
  if (kind == kind_of(typeid(class_samples::plain))) return class_kind::no_base;
  if (kind == kind_of(typeid(class_samples::single))) return class_kind::one_base;
  if (kind == kind_of(typeid(class_samples::multiple))) return class_kind::several_bases;
  return class_kind::none;
}

/// Whether the type_info at the address is that of `base`, or of a class whose objects begin with a
/// non-virtual `base`.
inline bool begins_with(std::uintptr_t type, std::type_info const& base, int depth = 0) noexcept {
  constexpr int most_depth = 32;
  constexpr std::size_t word = sizeof(void*);
  auto const kind = class_kind_at(type);
  if (kind == class_kind::none || depth == most_depth) return false;
  if (*reinterpret_cast<std::type_info const*>(type) == base) return true;
  if (kind == class_kind::no_base) return false;
  if (kind == class_kind::one_base) {
    return is_constant(type, 3 * word) && begins_with(word_at(type + 2 * word), base, depth + 1);
  }
  if (!is_constant(type, 3 * word)) return false;
  auto const n_bases = word_at(type + 2 * word) >> 32U;  // behind 32 bits of flags
  if (n_bases > 64 || !is_constant(type, (3 + 2 * n_bases) * word)) return false;
  bool found = false;
  for (std::size_t i = 0; i != n_bases; ++i) {
    auto const flags = word_at(type + (4 + 2 * i) * word);
    constexpr std::uintptr_t is_virtual = 1;
    if ((flags & is_virtual) != 0) return false;  // vtables of such a class may look like objects
    if (flags >> 8U == 0) {
      found = found || begins_with(word_at(type + (3 + 2 * i) * word), base, depth + 1);
    }
  }
  return found;
}

/// Whether the static memory at the address holds an object of class `base`, or of a class that begins
/// with `base`. Objects that are not constructed yet do not count.
inline bool is_static_object(std::uintptr_t address, std::type_info const& base) noexcept {
  constexpr std::size_t word = sizeof(void*);
  if (address % alignof(void*) != 0 || !static_memory_at(address).has(address, word)) return false;
  auto const table = word_at(address);  // follows two words: offset to top, type_info
  if (table % alignof(void*) != 0 || table < 2 * word || !is_constant(table - 2 * word, 3 * word)) {
    return false;
  }
  return word_at(table - 2 * word) == 0 && begins_with(word_at(table - word), base);
}

}  // namespace forkmap::detail
