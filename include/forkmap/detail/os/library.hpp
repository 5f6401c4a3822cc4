// Functions of optional shared libraries, looked up at their first use, so that a program need not link
// them.
// SPDX-License-Identifier: MIT
#pragma once

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/os/pages.hpp>

namespace forkmap::detail {

/// A library was not found on this machine, or is too old.
class missing_library : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The source of one library's functions: the program itself, or the shared library. All functions come
/// from the same source, because objects of one version of a library do not work with another.
class function_source {
 public:
  /// Errors: missing_library naming the library and Debian's package of it.
  function_source(char const* library, char const* package,
                  std::initializer_list<char const*> names) {
    if (has_all(RTLD_DEFAULT, names) && are_of_one_module(names)) return;
    // Never closed: its functions may be used until the program ends.
    handle_ = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr && has_all(handle_, names)) return;
    auto const* const why = handle_ == nullptr ? " was not found" : " is too old";
    throw missing_library(std::string(library) + why + " (Debian package: " + package + ')');
  }

  template <class Function> Function* find(char const* name) const {
    return reinterpret_cast<Function*>(::dlsym(handle_, name));
  }

 private:
  /// Whether one module has all functions: a function of the program may only have a library's name.
  static bool are_of_one_module(std::initializer_list<char const*> names) {
    void const* base = nullptr;
    for (auto const* const name : names) {
      Dl_info found{};
      if (::dladdr(::dlsym(RTLD_DEFAULT, name), &found) == 0) return false;
      if (base != nullptr && base != found.dli_fbase) return false;
      base = found.dli_fbase;
    }
    return true;
  }
  static bool has_all(void* handle, std::initializer_list<char const*> names) {
    for (auto const* const name : names) {
      if (::dlsym(handle, name) == nullptr) return false;
    }
    return true;
  }

  void* handle_ = RTLD_DEFAULT;
};

// The program and the libraries that a process has loaded.

/// The modules that are loaded when this object is created. A process forked then has no others.
class loaded_modules {
 public:
  loaded_modules() {
    ::dl_iterate_phdr(
        [](dl_phdr_info* module, std::size_t, void* all) {
          try {
            auto lowest = ~ElfW(Addr){0};
            for (int i = 0; i != module->dlpi_phnum; ++i) {
              auto const& part = module->dlpi_phdr[i];
              if (part.p_type == PT_LOAD) lowest = std::min(lowest, part.p_vaddr);
            }
            static_cast<std::vector<std::uintptr_t>*>(all)->push_back((module->dlpi_addr + lowest) /
                                                                      page_size() * page_size());
            return 0;
          } catch (...) {  // exceptions must not pass through the loader
            return 1;
          }
        },
        &begins_);
  }

  /// The file name of the module that contains the address, if it was loaded after this object was
  /// created; else empty. Does not ask the loader, whose lock another thread may hold while it waits
  /// for a call.
  /// Cost: reads /proc/self/maps.
  std::string later_module_at(std::uint64_t address) const {
    auto* const maps = std::fopen("/proc/self/maps", "re");
    if (maps == nullptr) return {};
    std::string file;
    std::uintptr_t first = 0;  // of the file's mappings
    bool is_there = false;
    bool is_code = false;
    char line[4096 + 256];
    while (std::fgets(line, sizeof line, maps) != nullptr) {
      unsigned long begin = 0;
      unsigned long end = 0;
      char rights[8]{};
      int at_path = 0;
      if (std::sscanf(line, "%lx-%lx %7s %*s %*s %*s %n", &begin, &end, rights, &at_path) != 3)
        continue;
      std::string path(line + at_path);
      if (!path.empty() && path.back() == '\n') path.pop_back();
      if (path != file) {
        if (is_there) break;
        file = std::move(path);
        first = begin;
        is_code = false;
      }
      is_there = is_there || (begin <= address && address < end);
      is_code = is_code || rights[2] == 'x';
    }
    std::fclose(maps);
    bool const is_later = is_there && is_code && file.starts_with('/') &&
                          std::find(begins_.begin(), begins_.end(), first) == begins_.end();
    return is_later ? file : std::string();
  }

 private:
  std::vector<std::uintptr_t> begins_{};
};

}  // namespace forkmap::detail
