// What can be said to the kernel of the pages of a mapping: who may write them, how they are used.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>

#include <forkmap/advice.hpp>
#include <forkmap/system/call.hpp>

namespace forkmap::detail {

inline std::size_t page_size() noexcept {
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// Whole pages: [begin, end).
struct page_range {
  std::uintptr_t begin = 0;
  std::uintptr_t end = 0;

  std::size_t bytes() const noexcept { return end - begin; }
  void* data() const noexcept { return reinterpret_cast<void*>(begin); }
};

/// The pages that have any of these bytes.
inline page_range pages_of(void const* data, std::size_t bytes) noexcept {
  auto const page = page_size();
  auto const begin = reinterpret_cast<std::uintptr_t>(data);
  if (bytes == 0) return {begin / page * page, begin / page * page};
  return {begin / page * page, (begin + bytes + page - 1) / page * page};
}

/// The pages that have nothing but these bytes.
inline page_range pages_within(void const* data, std::size_t bytes) noexcept {
  auto const page = page_size();
  auto const first = reinterpret_cast<std::uintptr_t>(data);
  auto const begin = (first + page - 1) / page * page;
  auto const end = (first + bytes) / page * page;
  return begin < end ? page_range{begin, end} : page_range{begin, begin};
}

/// Makes pages writable or read-only for this process.
/// Returns: 0, or the errno; ENOMEM where that would be one mapping too many.
inline int set_writable(page_range const& pages, bool writable) noexcept {
  if (pages.bytes() == 0) return 0;
  auto const protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  return ::mprotect(pages.data(), pages.bytes(), protection) == 0 ? 0 : errno;
}

/// Returns: whether the kernel took it: one that was built without does not.
/// Source: Linux, madvise(2).
inline bool advise_pages(page_range const& pages, advice what) noexcept {
  constexpr int all[] = {MADV_NORMAL,   MADV_SEQUENTIAL, MADV_RANDOM,
                         MADV_WILLNEED, MADV_DONTNEED,   MADV_HUGEPAGE};
  if (pages.bytes() == 0) return true;
  return retry_interrupted([&] {
           return ::madvise(pages.data(), pages.bytes(), all[static_cast<int>(what)]);
         }) == 0;
}

/// Returns when what was written to pages of a file is on the disk, or -1.
inline int write_back(page_range const& pages) noexcept {
  if (pages.bytes() == 0) return 0;
  // Not repeated after an error, which is reported once only.
  return ::msync(pages.data(), pages.bytes(), MS_SYNC);
}

}  // namespace forkmap::detail
