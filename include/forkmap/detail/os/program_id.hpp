// An identifier of the program, the same in all its runs.
// SPDX-License-Identifier: MIT
#pragma once

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>

namespace forkmap::detail {

inline std::string in_hex(unsigned char const* bytes, std::size_t n) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i != n; ++i) {
    text += digits[bytes[i] >> 4U];
    text += digits[bytes[i] & 15U];
  }
  return text;
}

/// The build id that the linker has written into a module; empty if there is none.
inline std::string build_id(dl_phdr_info const& module) {
  for (std::size_t i = 0; i != module.dlpi_phnum; ++i) {
    auto const& segment = module.dlpi_phdr[i];
    if (segment.p_type != PT_NOTE) continue;
    auto const* at = reinterpret_cast<unsigned char const*>(module.dlpi_addr + segment.p_vaddr);
    auto const* const end = at + segment.p_memsz;
    std::size_t const grain = segment.p_align == 8 ? 8 : 4;
    auto const padded = [&](std::size_t n) { return (n + grain - 1) / grain * grain; };
    while (static_cast<std::size_t>(end - at) >= sizeof(ElfW(Nhdr))) {
      ElfW(Nhdr) note;
      std::memcpy(&note, at, sizeof note);
      auto const* const name = at + sizeof note;
      auto const rest = static_cast<std::size_t>(end - name);
      auto const content = padded(note.n_namesz);
      if (content > rest || note.n_descsz > rest - content) break;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0)
        return in_hex(name + content, note.n_descsz);
      auto const next = content + padded(note.n_descsz);
      if (next > rest) break;
      at = name + next;
    }
  }
  return {};
}

/// A checksum of a file; empty if it cannot be read.
inline std::string checksum_of_file(char const* path) {
  descriptor const file(
      retry_interrupted([&] { return ::open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY); }));
  if (!file) return {};
  std::uint64_t sum = 0x2545'f491'4f6c'dd1d;
  std::string buffer(std::size_t{1} << 16U, '\0');
  for (;;) {
    auto const n =
        retry_interrupted([&] { return ::read(file.get(), buffer.data(), buffer.size()); });
    if (n < 0) return {};
    if (n == 0) break;
    for (std::size_t i = 0; i != static_cast<std::size_t>(n); ++i) {
      sum = (sum ^ static_cast<unsigned char>(buffer[i])) * 0x0000'0100'0000'01b3;  // FNV-1a
    }
  }
  return in_hex(reinterpret_cast<unsigned char const*>(&sum), sizeof sum);
}

/// Text that identifies the program and, if `code` lies in a library, that library: their build ids, or
/// checksums of their files where the linker has written no build id.
inline std::string program_id(void const* code) {
  struct search {
    std::uintptr_t code;
    std::string text{};
    bool is_first = true;
  };
  search program{.code = reinterpret_cast<std::uintptr_t>(code)};
  ::dl_iterate_phdr(
      [](dl_phdr_info* module, std::size_t, void* data) {
        auto& found = *static_cast<search*>(data);
        bool const is_program = std::exchange(found.is_first, false);
        auto const* const segments = module->dlpi_phdr;
        bool has_code = false;
        for (std::size_t i = 0; i != module->dlpi_phnum; ++i) {
          auto const offset = found.code - module->dlpi_addr - segments[i].p_vaddr;
          has_code |= segments[i].p_type == PT_LOAD && offset < segments[i].p_memsz;
        }
        if (!is_program && !has_code) return 0;
        try {
          auto const id = build_id(*module);
          found.text += found.text.empty() ? "" : " with ";
          found.text += !id.empty()
                            ? "build id " + id
                            : "checksum " + checksum_of_file(is_program ? "/proc/self/exe"
                                                                        : module->dlpi_name);
        } catch (...) {  // exceptions must not pass through the loader
        }
        return 0;
      },
      &program);
  return program.text;
}

}  // namespace forkmap::detail
