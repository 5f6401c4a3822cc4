// Shared memory without a name: nothing is left behind, however the program ends.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include <forkmap/system/bound.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>
#include <forkmap/system/text_file.hpp>

namespace forkmap::detail {

/// The grain of advice about pages. Where pages are larger the kernel refuses it: it is only advice.
inline constexpr std::size_t page_bytes = 4096;
/// The grain of mappings: a multiple of every page size that Linux has by default.
inline constexpr std::size_t map_grain = std::size_t{64} << 10U;

inline constexpr std::size_t round_up(std::size_t bytes, std::size_t grain) {
  return (bytes + grain - 1) / grain * grain;
}

/// Makes the pages of [data, data + bytes) present and writable at once, before they are written:
/// a page costs a fifth to a tenth of what its own page fault would. Only advice: where the kernel
/// has none of it (before 5.14) the pages come one by one, as ever.
/// Returns: false if there is no memory for them: writing to them would be a SIGBUS.
inline bool populate_for_writing(void* data, std::size_t bytes) noexcept {
  constexpr int madv_populate_write = 23;
  auto const first = reinterpret_cast<std::uintptr_t>(data) / page_bytes * page_bytes;
  auto const last = reinterpret_cast<std::uintptr_t>(data) + bytes;
  return bound().syscall(SYS_madvise, first, last - first,
                         static_cast<long>(madv_populate_write)) == 0 ||
         (errno != EFAULT && errno != ENOMEM);
}

/// The same for pages that will be read.
inline void populate_for_reading(void const* data, std::size_t bytes) noexcept {
  constexpr int madv_populate_read = 22;
  auto const first = reinterpret_cast<std::uintptr_t>(data) / page_bytes * page_bytes;
  auto const last = reinterpret_cast<std::uintptr_t>(data) + bytes;
  bound().syscall(SYS_madvise, first, last - first, static_cast<long>(madv_populate_read));
}

/// Memory that is written or read from one end to the other is populated in pieces of this size.
inline constexpr std::size_t populate_bytes = std::size_t{256} << 10U;

/// Makes private memory present that will now be filled from one end to the other: in huge pages
/// where it is large and the system has them.
inline void prepare_to_fill(void* data, std::size_t bytes) noexcept {
  constexpr std::uintptr_t huge_page = std::uintptr_t{2} << 20U;
  if (bytes < populate_bytes) return;
  auto const begin = reinterpret_cast<std::uintptr_t>(data);
  auto const first = (begin + huge_page - 1) / huge_page * huge_page;
  auto const last = (begin + bytes) / huge_page * huge_page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  populate_for_writing(data, bytes);
}

/// One mapping, unmapped with its owner; empty after construction without one and after a move.
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
  /// Memory without a file, zero, shared with every process forked from now on.
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

 private:
  std::size_t bytes_ = 0;
  void* data_ = nullptr;
};

/// A sparse memfd: costs nothing where it is not written, vanishes with its last user.
class shared_file {
 public:
  /// Makes a file of `bytes`, all of it unallocated.
  explicit shared_file(std::uint64_t bytes) : file_(::memfd_create("forkmap", MFD_CLOEXEC)) {
    if (!file_) throw_errno("memfd_create");
    if (file_.get() <= STDERR_FILENO) {
      // A program that has closed stdout, say, must not print into this.
      file_ = descriptor(::fcntl(file_.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
      if (!file_) throw_errno("fcntl(F_DUPFD_CLOEXEC) of shared memory");
    }
    if (retry_interrupted([&] { return ::ftruncate(file_.get(), static_cast<off_t>(bytes)); }) <
        0) {
      throw_errno("ftruncate of shared memory to", std::to_string(bytes) + " bytes");
    }
  }

  /// The largest file that this process may make (RLIMIT_FSIZE counts for memfds too, and going
  /// over it is a SIGXFSZ).
  static std::uint64_t largest() noexcept {
    constexpr auto off_t_max = std::uint64_t{1} << 62U;
    rlimit limit{};
    if (::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return off_t_max;
    return std::min<std::uint64_t>(limit.rlim_cur, off_t_max);
  }

  mapping map(std::uint64_t offset, std::size_t bytes, int protection) const {
    return {file_.get(), offset, bytes, protection};
  }

  /// Where the system promises no more memory than it has (vm.overcommit_memory 2), a page of the
  /// file that it cannot give would be a SIGBUS. There this allocates the file's first bytes now.
  /// Errors: std::system_error naming fallocate.
  void reserve_if_strict(std::uint64_t bytes) const {
    static bool const strict =
        read_text_file("/proc/sys/vm/overcommit_memory").compare(0, 1, "2") == 0;
    if (!strict) return;
    if (retry_interrupted(
            [&] { return ::fallocate(file_.get(), 0, 0, static_cast<off_t>(bytes)); }) < 0) {
      throw_errno("fallocate of shared memory,", std::to_string(bytes) + " bytes");
    }
  }

  /// Frees the memory of [offset, offset + bytes): it is zero again.
  void give_back(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    ::fallocate(file_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                static_cast<off_t>(bytes));
  }

  int get() const noexcept { return file_.get(); }

 private:
  descriptor file_;
};

/// A file of that size without a name; empty where there are no descriptors left, or no file of that
/// size is allowed.
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
