// Names of functions that the dynamic linker does not know: static and hidden ones, and all of an
// executable that was not linked with -rdynamic.
// SPDX-License-Identifier: MIT
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <forkmap/detail/demangled.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>

namespace forkmap::detail {

/// The functions in the symbol table of an ELF file. Empty if the file has no such table (stripped),
/// cannot be read, or is malformed.
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

  /// The linker's name of the function at an address relative to where the file is loaded; null if there
  /// is none. Valid during the lifetime of this object.
  char const* name_at(std::uint64_t address) const noexcept {
    for (std::size_t i = 0; i != symbols_.size() / sizeof(Elf64_Sym); ++i) {
      auto const symbol = entry<Elf64_Sym>(symbols_, i);
      auto const type = ELF64_ST_TYPE(symbol.st_info);
      if ((type != STT_FUNC && type != STT_GNU_IFUNC) || symbol.st_shndx == SHN_UNDEF) continue;
      if (address < symbol.st_value || address - symbol.st_value >= symbol.st_size) continue;
      if (symbol.st_name < names_.size()) return names_.data() + symbol.st_name;
    }
    return nullptr;
  }

 private:
  /// Entry i of a table.
  template <class T> static T entry(std::string const& table, std::size_t i) noexcept {
    T value;
    std::memcpy(&value, table.data() + i * sizeof(T), sizeof(T));
    return value;
  }

  /// n bytes at `offset` of the file; empty if the file ends before that, or on error.
  std::string read(std::uint64_t offset, std::uint64_t n) const {
    std::string bytes;
    if (offset > file_bytes_ || n > file_bytes_ - offset) return bytes;
    bytes.resize(static_cast<std::size_t>(n));
    for (std::size_t done = 0; done != bytes.size();) {
      auto const got = retry_interrupted([&] {
        return ::pread(file_.get(), bytes.data() + done, bytes.size() - done,
                       static_cast<off_t>(offset + done));
      });
      if (got <= 0) return {};
      done += static_cast<std::size_t>(got);
    }
    return bytes;
  }

  void read_tables() {
    auto const begin = read(0, sizeof(Elf64_Ehdr));
    if (begin.empty()) return;
    auto const header = entry<Elf64_Ehdr>(begin, 0);
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_shentsize != sizeof(Elf64_Shdr)) {
      return;
    }
    auto const sections = read(header.e_shoff, std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr));
    auto const n_sections = sections.size() / sizeof(Elf64_Shdr);
    for (std::size_t i = 0; i != n_sections; ++i) {
      auto const section = entry<Elf64_Shdr>(sections, i);
      if (section.sh_type != SHT_SYMTAB || section.sh_link >= n_sections) continue;
      auto const strings = entry<Elf64_Shdr>(sections, section.sh_link);
      names_ = read(strings.sh_offset, strings.sh_size);
      if (names_.empty() || names_.back() != '\0') return names_.clear();
      symbols_ = read(section.sh_offset, section.sh_size);
      return;
    }
  }

  descriptor file_;
  std::uint64_t file_bytes_ = 0;
  std::string symbols_;  // an array of Elf64_Sym
  std::string names_;    // each terminated by '\0'
};

}  // namespace forkmap::detail
