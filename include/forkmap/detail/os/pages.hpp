// Pages of memory: size, write protection, advice.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <forkmap/advice.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>

namespace forkmap::detail {

// The size of a page of memory, which differs between machines.

/// The smallest page size of 64-bit machines: every mapping begins at a multiple of it.
inline constexpr std::size_t page_bytes = 4096;

/// This machine's page size: 4 KiB on x86-64; 4, 16 or 64 KiB on AArch64, depending on the kernel.
inline std::size_t page_size() noexcept {
#if defined(__x86_64__)
  return page_bytes;
#else
  return static_cast<std::size_t>(bound().sysconf(_SC_PAGESIZE));
#endif
}

// Protection of and advice for the pages of a mapping.

/// Whole pages: [begin, end).
struct page_range {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;

  std::size_t bytes() const noexcept { return end - begin; }
  void* data() const noexcept { return reinterpret_cast<void*>(begin); }
};

/// The pages that contain any of these bytes.
inline page_range pages_of(void const* data, std::size_t bytes) noexcept {
  auto const page = page_size();
  auto const begin = reinterpret_cast<std::uintptr_t>(data);
  if (bytes == 0) return {begin / page * page, begin / page * page};
  return {begin / page * page, (begin + bytes + page - 1) / page * page};
}

/// The pages that lie entirely within these bytes.
inline page_range pages_within(void const* data, std::size_t bytes) noexcept {
  auto const page = page_size();
  auto const first = reinterpret_cast<std::uintptr_t>(data);
  auto const begin = (first + page - 1) / page * page;
  auto const end = (first + bytes) / page * page;
  return begin < end ? page_range{begin, end} : page_range{begin, begin};
}

/// Makes pages writable or read-only for this process.
/// Returns: 0, or an errno value; ENOMEM if the process would have too many mappings.
inline int set_writable(page_range const& pages, bool writable) noexcept {
  if (pages.bytes() == 0) return 0;
  auto const protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  return ::mprotect(pages.data(), pages.bytes(), protection) == 0 ? 0 : errno;
}

/// Advises the kernel on the use of pages.
/// Returns: whether the kernel accepted the advice; one built without support for it does not.
/// Source: Linux, madvise(2).
inline bool advise_pages(page_range const& pages, advice kind) noexcept {
  constexpr int all[] = {MADV_NORMAL,   MADV_SEQUENTIAL, MADV_RANDOM,
                         MADV_WILLNEED, MADV_DONTNEED,   MADV_HUGEPAGE};
  if (pages.bytes() == 0) return true;
  return retry_interrupted([&] {
           return ::madvise(pages.data(), pages.bytes(), all[static_cast<int>(kind)]);
         }) == 0;
}

/// Writes changed pages of a file to the disk, and waits for it.
/// Returns: 0; -1 on error, and errno is set.
inline int write_back(page_range const& pages) noexcept {
  if (pages.bytes() == 0) return 0;
  // Not repeated after an error: the kernel reports an error only once.
  return ::msync(pages.data(), pages.bytes(), MS_SYNC);
}

}  // namespace forkmap::detail
