// The program and the libraries that a process has loaded.
#pragma once

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace forkmap::detail {

/// Those at the moment when this was made: a process forked then has no others.
class loaded_modules {
 public:
  loaded_modules() {
    ::dl_iterate_phdr(
        [](dl_phdr_info* module, std::size_t, void* all) {
          try {
            static_cast<std::vector<std::uintptr_t>*>(all)->push_back(module->dlpi_addr);
            return 0;
          } catch (...) {  // nothing may be thrown through the loader
            return 1;
          }
        },
        &bases_);
  }

  /// Where the file is that has code at that address now and was not loaded then; empty if there is
  /// none.
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
