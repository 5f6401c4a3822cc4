// Functions of shared libraries that a program need not have: found when they are first wanted, so
// that nothing has to be linked.
#pragma once

#include <dlfcn.h>

#include <initializer_list>
#include <stdexcept>
#include <string>

namespace forkmap::detail {

/// A library is not on this machine, or its header was not when the program was compiled.
class missing_library : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where the functions of one library are: in the program itself, or in the shared library. All in
/// one place, because an object that one version of a library made is not for another.
class function_source {
 public:
  /// Errors: missing_library naming the library and Debian's package of it.
  function_source(char const* library, char const* package,
                  std::initializer_list<char const*> names) {
    if (has_all(RTLD_DEFAULT, names)) return;
    // Never closed: who has its functions may outlive everything.
    handle_ = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr && has_all(handle_, names)) return;
    auto const* const why = handle_ == nullptr ? " is not here" : " is too old";
    throw missing_library(std::string(library) + why + "; Debian's package " + package + " has it");
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

}  // namespace forkmap::detail
