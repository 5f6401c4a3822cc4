// Names of functions that the dynamic linker does not know: static and hidden ones, and all of an
// executable that was not linked with -rdynamic.
#pragma once

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>

namespace forkmap::detail {

/// A C++ name as people write it; others as they are.
inline std::string demangled(char const* name) {
  int status = 0;
  char* const text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string demangled = status == 0 ? text : name;
  std::free(text);
  return demangled;
}

/// The functions that an ELF file lists. Empty for files that have none (stripped), that cannot be
/// read, or that are not what they say.
/// Cost: reads the file's symbols, some megabytes for large programs.
/// Source: System V ABI, chapter 4, Object Files.
class elf_symbols {
 public:
  explicit elf_symbols(std::string const& file)
      : file_(retry_interrupted([&] { return ::open(file.c_str(), O_RDONLY | O_CLOEXEC); })) {
    struct stat status{};
    if (!file_ || ::fstat(file_.get(), &status) != 0 || !S_ISREG(status.st_mode)) return;
    file_bytes_ = static_cast<std::uint64_t>(status.st_size);
    read_tables();
    file_.reset();
  }

  /// The name, as the linker knows it, of the function at an address relative to where the file is
  /// loaded; null if there is none. Valid for as long as this lives.
  char const* name_at(std::uint64_t address) const noexcept {
    for (auto const& each : functions_) {
      if (address < each.st_value || address - each.st_value >= each.st_size) continue;
      if (each.st_name < names_.size()) return names_.data() + each.st_name;
    }
    return nullptr;
  }

 private:
  /// n objects at `offset` of the file; none if they are not all in it.
  template <class T> std::vector<T> read(std::uint64_t offset, std::uint64_t n) const {
    if (offset > file_bytes_ || n > (file_bytes_ - offset) / sizeof(T)) return {};
    std::vector<T> all(static_cast<std::size_t>(n));
    auto* const bytes = reinterpret_cast<char*>(all.data());
    for (std::size_t done = 0; done != all.size() * sizeof(T);) {
      auto const got = retry_interrupted([&] {
        return ::pread(file_.get(), bytes + done, all.size() * sizeof(T) - done,
                       static_cast<off_t>(offset + done));
      });
      if (got <= 0) return {};
      done += static_cast<std::size_t>(got);
    }
    return all;
  }

  void read_tables() {
    auto const headers = read<Elf64_Ehdr>(0, 1);
    if (headers.empty() || std::memcmp(headers[0].e_ident, ELFMAG, SELFMAG) != 0 ||
        headers[0].e_ident[EI_CLASS] != ELFCLASS64 ||
        headers[0].e_shentsize != sizeof(Elf64_Shdr)) {
      return;
    }
    auto const sections = read<Elf64_Shdr>(headers[0].e_shoff, headers[0].e_shnum);
    for (auto const& section : sections) {
      if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
      auto const& strings = sections[section.sh_link];
      names_ = read<char>(strings.sh_offset, strings.sh_size);
      if (names_.empty() || names_.back() != '\0') return names_.clear();
      for (auto const& each :
           read<Elf64_Sym>(section.sh_offset, section.sh_size / sizeof(Elf64_Sym))) {
        auto const type = ELF64_ST_TYPE(each.st_info);
        if ((type == STT_FUNC || type == STT_GNU_IFUNC) && each.st_shndx != SHN_UNDEF)
          functions_.push_back(each);
      }
      return;
    }
  }

  descriptor file_;
  std::uint64_t file_bytes_ = 0;
  std::vector<Elf64_Sym> functions_{};
  std::vector<char> names_{};
};

}  // namespace forkmap::detail
