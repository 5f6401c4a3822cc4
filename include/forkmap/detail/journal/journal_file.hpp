// The file of a journal: its format, and the lock that reserves it for one call.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include <boost/crc.hpp>

#include <forkmap/detail/os/bound.hpp>
#include <forkmap/detail/os/call.hpp>

namespace forkmap::detail {

// The format of a journal. The key is that of journal_key.hpp.
//
//   header  magic[8] | id[16] | n key bytes u32 | crc u32 of all before, and of the key | key
//   entry   marker u64 | index u64 | size u64 | crc u32 of the payload | crc u32 of all before
//           | payload
//
// Numbers are in native byte order: a journal belongs to one program on one machine. `id` is
// random, and part of both checksums of an entry, so that bytes in a payload (of another journal,
// say) are not mistaken for an entry of this one. Checksums are zlib's CRC-32, computed by
// Boost.CRC at about 0.4 GB/s.

using journal_id = std::array<unsigned char, 16>;

struct journal_header {
  static constexpr std::array<char, 8> right_magic{'f', 'o', 'r', 'k', 'm', 'a', 'p', '2'};

  std::array<char, 8> magic;  // the last character is the format's version
  journal_id id;
  std::uint32_t key_bytes, crc;

  std::uint32_t right_crc(std::string const& key) const {
    boost::crc_32_type all;
    all.process_bytes(this, offsetof(journal_header, crc));
    all.process_bytes(key.data(), key.size());
    return all.checksum();
  }
};
static_assert(sizeof(journal_header) == 32);

/// A checksum that starts with the journal's id, so that it is valid in that journal only.
inline boost::crc_32_type checksum_of(journal_id const& id) {
  boost::crc_32_type crc;
  crc.process_bytes(id.data(), id.size());
  return crc;
}

struct journal_entry {
  static constexpr std::uint64_t right_marker = 0x6c61'6e72'756f'6a0a;  // "\njournal"

  std::uint64_t marker, index, size;
  std::uint32_t payload_crc, crc;

  std::uint32_t right_crc(journal_id const& id) const {
    auto all = checksum_of(id);
    all.process_bytes(this, offsetof(journal_entry, crc));
    return all.checksum();
  }
};
static_assert(sizeof(journal_entry) == 32);

// The lock that reserves a journal for one call and its workers.

/// An exclusive flock(). The lock belongs to the open file description, which all processes share
/// that are forked while it is open. Workers share it on purpose: no other call can begin before
/// the last worker of a killed caller has exited. Other processes (a pool, a child of another
/// thread) share it, too. So the process that took the lock releases it for all processes, instead
/// of leaving that to the last close of the file.
class journal_lock {
 public:
  journal_lock() = default;
  /// Errors: std::system_error naming the file; EWOULDBLOCK if the file is still locked after
  ///   `patience`.
  journal_lock(int file, std::string const& path, std::chrono::milliseconds patience)
      : file_(file), owner_(::getpid()) {
    auto const until = std::chrono::steady_clock::now() + patience;
    while (retry_interrupted([&] { return ::flock(file, LOCK_EX | LOCK_NB); }) != 0) {
      if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() >= until) {
        file_ = -1;
        throw_errno("lock of the journal (is another program using it?)", path);
      }
      timespec const pause{.tv_sec = 0, .tv_nsec = 5'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }
  journal_lock(journal_lock&& other) noexcept
      : file_(std::exchange(other.file_, -1)), owner_(other.owner_) {}
  journal_lock& operator=(journal_lock&& other) noexcept {
    std::swap(file_, other.file_);
    std::swap(owner_, other.owner_);
    return *this;
  }
  /// Releases the lock; to be called before the file is closed. No effect in a forked child.
  ~journal_lock() {
    if (file_ < 0 || owner_ != ::getpid()) return;
    bound().syscall(SYS_flock, static_cast<long>(file_), static_cast<long>(LOCK_UN));
  }

 private:
  int file_ = -1;
  pid_t owner_ = 0;
};

}  // namespace forkmap::detail
