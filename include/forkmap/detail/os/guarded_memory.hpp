// Address space that surrounds shared memory with inaccessible pages: a task that writes past the end of
// its own array crashes, and does not overwrite what the caller reads.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include <forkmap/detail/os/shared_memory.hpp>

namespace forkmap::detail {

/// The width of a guard: at least one page, for every page size that Linux has by default.
inline constexpr std::size_t guard_bytes = map_grain;

/// Replaces what is mapped there by inaccessible address space, so that nothing else is mapped there.
inline void reserve_addresses(std::byte* at, std::size_t bytes) noexcept {
  ::mmap(at, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/// A range of address space without memory, unmapped by its owner.
class address_range {
 public:
  address_range() = default;
  /// Reserves `bytes` of address space. Empty if the system refuses, and errno is set.
  explicit address_range(std::size_t bytes) noexcept : bytes_(bytes) {
    auto* const at =
        ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at != MAP_FAILED) base_ = static_cast<std::byte*>(at);
  }
  address_range(address_range&& other) noexcept
      : bytes_(std::exchange(other.bytes_, 0)), base_(std::exchange(other.base_, nullptr)) {}
  address_range& operator=(address_range&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(base_, other.base_);
    return *this;
  }
  ~address_range() {
    if (base_ != nullptr) ::munmap(base_, bytes_);
  }

  explicit operator bool() const noexcept { return base_ != nullptr; }
  std::byte* data() const noexcept { return base_; }
  std::size_t size() const noexcept { return bytes_; }

  /// Maps `bytes` of a file at `at`, which must lie in this range.
  /// Returns: whether the system did; else errno is set.
  bool put(std::byte* at, std::size_t bytes, int fd, std::uint64_t offset,
           int protection) const noexcept {
    return bytes == 0 || ::mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED, fd,
                                static_cast<off_t>(offset)) != MAP_FAILED;
  }
  /// Maps the shared memory at `from` a second time, at `at`, with more of the same file behind it.
  /// Needs no descriptor of the file. Where the mapping can only be moved (valgrind, qemu), nothing is
  /// left at `from`.
  /// Source: Linux, mremap(2): an old size of 0 makes a second mapping of the same pages.
  /// Returns: whether the system did; else errno is set.
  bool put_copy(std::byte* at, std::size_t bytes, std::byte* from,
                std::size_t from_bytes) const noexcept {
    constexpr int here = MREMAP_MAYMOVE | MREMAP_FIXED;
    if (::mremap(from, 0, bytes, here, at) != MAP_FAILED) return true;
    return ::mremap(from, from_bytes, bytes, here, at) != MAP_FAILED;
  }

  /// Excludes this range from all processes that this one forks.
  void keep_from_children() const noexcept {
    if (base_ != nullptr) ::madvise(base_, bytes_, MADV_DONTFORK);
  }

 private:
  std::size_t bytes_ = 0;
  std::byte* base_ = nullptr;
};

}  // namespace forkmap::detail
