// Functions of optional shared libraries, looked up at their first use, so that a program need not link
// them.
// SPDX-License-Identifier: MIT
#pragma once

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

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
    if (has_all(RTLD_DEFAULT, names)) return;
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
            static_cast<std::vector<std::uintptr_t>*>(all)->push_back(module->dlpi_addr);
            return 0;
          } catch (...) {  // exceptions must not pass through the loader
            return 1;
          }
        },
        &bases_);
  }

  /// The file name of the module that contains the address, if it was loaded after this object was
  /// created; else empty.
  std::string later_module_at(std::uint64_t address) const {
    Dl_info found{};
    void* map = nullptr;
    auto const* const pointer = reinterpret_cast<void const*>(address);
    if (::dladdr1(pointer, &found, &map, RTLD_DL_LINKMAP) == 0 || map == nullptr) return {};
    auto const base = static_cast<link_map const*>(map)->l_addr;
    if (std::find(bases_.begin(), bases_.end(), base) != bases_.end()) return {};
    return found.dli_fname != nullptr ? found.dli_fname : "a library";
  }

 private:
  std::vector<std::uintptr_t> bases_{};
};

}  // namespace forkmap::detail
