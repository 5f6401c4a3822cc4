// Shared memory without a name: nothing is left behind, however the program ends.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <forkmap/detail/made_once.hpp>
#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>
#include <forkmap/detail/os/file.hpp>
#include <forkmap/detail/os/pages.hpp>

namespace forkmap::detail {

/// The alignment of mappings: a multiple of every page size that Linux has by default.
inline constexpr std::size_t map_grain = std::size_t{64} << 10U;

inline constexpr std::size_t round_up(std::size_t bytes, std::size_t grain) {
  return (bytes + grain - 1) / grain * grain;
}

/// Prefaults the pages of [data, data + bytes) for writing, at a fifth to a tenth of the cost of a page
/// fault each. Only advice: where the kernel does not support it (before 5.14), the pages are faulted in
/// one by one as usual.
/// Returns: false if there is no memory for the pages: writing to them would raise SIGBUS.
inline bool populate_for_writing(void* data, std::size_t bytes) noexcept {
  constexpr int madv_populate_write = 23;
  auto const first = reinterpret_cast<std::uintptr_t>(data) / page_size() * page_size();
  auto const last = reinterpret_cast<std::uintptr_t>(data) + bytes;
  return bound().syscall(SYS_madvise, first, last - first,
                         static_cast<long>(madv_populate_write)) == 0 ||
         (errno != EFAULT && errno != ENOMEM);
}

/// Prefaults the pages of [data, data + bytes) for reading.
inline void populate_for_reading(void const* data, std::size_t bytes) noexcept {
  constexpr int madv_populate_read = 22;
  auto const first = reinterpret_cast<std::uintptr_t>(data) / page_size() * page_size();
  auto const last = reinterpret_cast<std::uintptr_t>(data) + bytes;
  bound().syscall(SYS_madvise, first, last - first, static_cast<long>(madv_populate_read));
}

/// The size of the pieces in which memory that is written or read in order is prefaulted.
inline constexpr std::size_t populate_bytes = std::size_t{256} << 10U;

/// Prefaults private memory that is about to be filled in order: in huge pages if it is large and the
/// system has them.
inline void prefault_to_fill(void* data, std::size_t bytes) noexcept {
  constexpr std::uintptr_t huge_page = std::uintptr_t{2} << 20U;
  if (bytes < populate_bytes) return;
  auto const begin = reinterpret_cast<std::uintptr_t>(data);
  auto const first = (begin + huge_page - 1) / huge_page * huge_page;
  auto const last = (begin + bytes) / huge_page * huge_page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  populate_for_writing(data, bytes);
}

/// One mapping, unmapped by its owner; empty after default construction and after a move.
class mapping {
 public:
  mapping() = default;
  mapping(int fd, std::uint64_t offset, std::size_t bytes, int protection)
      : bytes_(bytes),
        data_(::mmap(nullptr, bytes, protection, MAP_SHARED, fd, static_cast<off_t>(offset))) {
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      throw_errno("mmap of shared memory,", std::to_string(bytes) + " bytes");
    }
  }
  /// Memory without a file, filled with zeros, shared with every process forked from now on.
  static mapping anonymous(std::size_t bytes) {
    auto* const data =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) throw_errno("mmap", std::to_string(bytes) + " bytes of shared memory");
    mapping result;
    result.bytes_ = bytes;
    result.data_ = data;
    return result;
  }
  mapping(mapping&& other) noexcept
      : bytes_(std::exchange(other.bytes_, 0)), data_(std::exchange(other.data_, nullptr)) {}
  mapping& operator=(mapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
    return *this;
  }
  ~mapping() {
    if (data_ != nullptr) ::munmap(data_, bytes_);
  }

  std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }
  std::size_t size() const noexcept { return bytes_; }

  /// Excludes the mapping from all processes that this one forks from now on.
  void keep_from_children() const noexcept {
    if (data_ != nullptr) ::madvise(data_, bytes_, MADV_DONTFORK);
  }

 private:
  std::size_t bytes_ = 0;
  void* data_ = nullptr;
};

/// A sparse memfd: uses no memory where it is not written, and is freed with its last user.
class shared_file {
 public:
  /// Creates a file of `bytes`, all of it unallocated.
  explicit shared_file(std::uint64_t bytes)
      : file_(::memfd_create("forkmap", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {
    if (!file_) throw_errno("memfd_create");
    if (file_.get() <= STDERR_FILENO) {
      // The program may have closed stdout, say, and must not print into this file.
      file_ = descriptor(::fcntl(file_.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
      if (!file_) throw_errno("fcntl(F_DUPFD_CLOEXEC) of shared memory");
    }
    if (retry_interrupted([&] { return ::ftruncate(file_.get(), static_cast<off_t>(bytes)); }) <
        0) {
      throw_errno("ftruncate of shared memory to", std::to_string(bytes) + " bytes");
    }
    // A task that uses this descriptor number by mistake must not truncate the file: the caller would
    // crash with SIGBUS. If the system refuses the seals, the file stays without them.
    ::fcntl(file_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  }

  /// The largest file that this process may create. RLIMIT_FSIZE counts for memfds too, and exceeding it
  /// raises SIGXFSZ.
  static std::uint64_t largest() noexcept {
    constexpr auto off_t_max = std::uint64_t{1} << 62U;
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return off_t_max;
    return std::min<std::uint64_t>(limit.rlim_cur, off_t_max);
  }

  mapping map(std::uint64_t offset, std::size_t bytes, int protection) const {
    return {file_.get(), offset, bytes, protection};
  }

  /// If the system does not overcommit memory (vm.overcommit_memory 2), allocates the first `bytes` of
  /// the file now: writing a page that the system cannot provide would raise SIGBUS.
  /// Errors: std::system_error naming fallocate.
  void reserve_if_strict(std::uint64_t bytes) const {
    static constinit std::atomic<bool const*> strict = nullptr;
    if (!made_once(strict, [] {
          return read_text_file("/proc/sys/vm/overcommit_memory").compare(0, 1, "2") == 0;
        })) {
      return;
    }
    if (retry_interrupted(
            [&] { return ::fallocate(file_.get(), 0, 0, static_cast<off_t>(bytes)); }) < 0) {
      throw_errno("fallocate of shared memory,", std::to_string(bytes) + " bytes");
    }
  }

  /// Frees the memory of [offset, offset + bytes), which then reads as zeros.
  void give_back(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                static_cast<off_t>(bytes));
  }

  /// The end of the written part of [begin, end), in whole pages, so that it may be too large.
  /// Returns: end if the system does not tell.
  std::uint64_t end_of_data(std::uint64_t begin, std::uint64_t end) const noexcept {
    auto last = begin;
    for (auto at = begin; at < end;) {
      auto const data = ::lseek(file_.get(), static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno != ENXIO) return end;
      if (data < 0 || static_cast<std::uint64_t>(data) >= end) break;
      auto const hole = ::lseek(file_.get(), data, SEEK_HOLE);
      if (hole <= data) break;
      last = at = std::min(end, static_cast<std::uint64_t>(hole));
    }
    return last;
  }

  /// Whether something has been written to each page of [begin, end).
  /// Returns: true if the system does not tell.
  bool is_written(std::uint64_t begin, std::uint64_t end) const noexcept {
    auto const hole = ::lseek(file_.get(), static_cast<off_t>(begin), SEEK_HOLE);
    return hole < 0 ? errno != ENXIO : static_cast<std::uint64_t>(hole) >= end;
  }

  int get() const noexcept { return file_.get(); }
  /// See descriptor.hpp.
  void move_up() noexcept { detail::move_up(file_); }

  /// Copies [offset, offset + bytes) to `to`; parts that were never written are zeros.
  /// Errors: std::system_error naming pread.
  void read(std::uint64_t offset, void* to, std::size_t bytes) const {
    for (std::size_t done = 0; done != bytes;) {
      auto const got = retry_interrupted([&] {
        return ::pread(file_.get(), static_cast<char*>(to) + done, bytes - done,
                       static_cast<off_t>(offset + done));
      });
      if (got <= 0) {
        if (got == 0) errno = EIO;
        throw_errno("pread of shared memory,", std::to_string(bytes) + " bytes");
      }
      done += static_cast<std::size_t>(got);
    }
  }

 private:
  descriptor file_;
};

/// A file of `bytes` without a name; empty if no descriptor is free, or no file of that size is allowed.
inline descriptor unnamed_memory(std::size_t bytes) noexcept {
  if (bytes > shared_file::largest()) return {};
  descriptor file(::memfd_create("forkmap-array", MFD_CLOEXEC));
  if (!file || file.get() <= STDERR_FILENO ||
      retry_interrupted([&] { return ::ftruncate(file.get(), static_cast<off_t>(bytes)); }) < 0) {
    return {};
  }
  return file;
}

}  // namespace forkmap::detail
