// Optional functions of the program, looked up by name once, and again when a library is loaded that
// was not loaded before.
//
// dlsym() waits for a thread that is inside dlopen() or dlclose(). A program that loads plugins again
// and again in one thread can delay dlsym() for long. dl_iterate_phdr() takes another lock, which is
// held only briefly, and tells whether anything has changed.
// SPDX-License-Identifier: MIT
#pragma once

#include <dlfcn.h>
#include <link.h>
#include <sys/single_threaded.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace forkmap::detail {

class program_functions {
 public:
  /// The address of a function; null if the program has no such function. `name` must live as long as
  /// the program.
  static void* find(char const* name) noexcept {
    // If `busy_` is set, another thread is in find_alone(), or was there when this process was forked.
    if (__libc_single_threaded != 0 || busy_.exchange(1, std::memory_order_acquire) != 0)
      return ::dlsym(RTLD_DEFAULT, name);
    auto* const found = find_alone(name);
    busy_.store(0, std::memory_order_release);
    return found;
  }

  /// Looks up every function again. For tests that replace dlsym().
  static void forget() noexcept { n_functions_ = 0; }

 private:
  struct function {
    char const* name;
    void* address;
    bool is_loaded;  // its module is still loaded
  };
  static constexpr int most_functions = 24;
  static constexpr int most_modules = 512;

  static void* find_alone(char const* name) noexcept {
    if (has_changed() && look_at_modules()) n_functions_ = 0;
    for (int i = 0; i != n_functions_; ++i) {
      if (std::strcmp(functions_[i].name, name) == 0) return functions_[i].address;
    }
    auto* const address = ::dlsym(RTLD_DEFAULT, name);
    if (n_functions_ != most_functions) functions_[n_functions_++] = {name, address, true};
    return address;
  }

  /// Whether a module has been loaded or unloaded since the last call.
  static bool has_changed() noexcept {
    std::uint64_t now[2] = {0, 0};
    ::dl_iterate_phdr(
        [](dl_phdr_info* module, std::size_t, void* into) {
          static_cast<std::uint64_t*>(into)[0] = module->dlpi_adds;
          static_cast<std::uint64_t*>(into)[1] = module->dlpi_subs;
          return 1;
        },
        now);
    bool const same = now[0] == loads_[0] && now[1] == loads_[1];
    loads_[0] = now[0];
    loads_[1] = now[1];
    return !same;
  }

  /// Returns: whether all functions must be looked up again: a module is loaded that never was before,
  /// or a module that contained one of the functions has been unloaded.
  static bool look_at_modules() noexcept {
    bool must_look_up = false;
    for (int i = 0; i != n_functions_; ++i)
      functions_[i].is_loaded = functions_[i].address == nullptr;
    ::dl_iterate_phdr(
        [](dl_phdr_info* module, std::size_t, void* is_new) {
          if (!is_known(hash_of(module->dlpi_name))) *static_cast<bool*>(is_new) = true;
          for (int i = 0; i != module->dlpi_phnum; ++i) {
            auto const& segment = module->dlpi_phdr[i];
            if (segment.p_type != PT_LOAD) continue;
            auto const begin = module->dlpi_addr + segment.p_vaddr;
            for (int f = 0; f != n_functions_; ++f) {
              auto const at = reinterpret_cast<std::uintptr_t>(functions_[f].address);
              if (at >= begin && at - begin < segment.p_memsz) functions_[f].is_loaded = true;
            }
          }
          return 0;
        },
        &must_look_up);
    for (int i = 0; i != n_functions_; ++i) must_look_up |= !functions_[i].is_loaded;
    return must_look_up;
  }

  static std::uint64_t hash_of(char const* text) noexcept {
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325;  // FNV-1a
    for (; text != nullptr && *text != '\0'; ++text)
      hash = (hash ^ static_cast<unsigned char>(*text)) * 0x100'0000'01b3;
    return hash;
  }

  /// Whether a module has been seen before; notes it if not. A program with more than `most_modules`
  /// modules looks up its functions again after each change.
  static bool is_known(std::uint64_t module) noexcept {
    for (int i = 0; i != n_modules_; ++i) {
      if (modules_[i] == module) return true;
    }
    if (n_modules_ != most_modules) modules_[n_modules_++] = module;
    return false;
  }

  static inline constinit std::atomic<int> busy_{0};
  static inline constinit function functions_[most_functions]{};
  static inline constinit int n_functions_ = 0;
  static inline constinit std::uint64_t modules_[most_modules]{};
  static inline constinit int n_modules_ = 0;
  static inline constinit std::uint64_t loads_[2]{};
};

/// A function of the program by its name; null if the program has no such function.
template <class Function> Function* function_of_program(char const* name) noexcept {
  return reinterpret_cast<Function*>(program_functions::find(name));
}

}  // namespace forkmap::detail
