// The results of a call on disk, from which a new run resumes a call that was killed.
//
// Workers append entries, each with one write. With O_APPEND, Linux does not interleave the writes
// of several processes. A worker that is killed during a write, or a full disk, leaves a torn
// entry: a reader skips it by searching for the next marker. A power cut may lose the entries
// written last.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/journal/journal_file.hpp>
#include <forkmap/detail/journal/journal_key.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/descriptor.hpp>

namespace forkmap::detail {

class journal {
 public:
  /// No journal: it has no results, and none can be added.
  journal() = default;
  /// Opens or creates the file, locks it for this process and its workers, and finds its entries.
  /// Errors: std::invalid_argument if the file is not a journal, or is the journal of another call;
  ///   the file is not changed then. std::system_error naming what failed: EWOULDBLOCK if another
  ///   program holds the lock for longer than `patience`. The wait is needed because the workers of
  ///   a killed caller take a moment to exit.
  journal(std::filesystem::path file, journal_key const& key,
          std::chrono::milliseconds patience = std::chrono::seconds(5))
      : path_(std::move(file)),
        offsets_(static_cast<std::size_t>(key.n_results)),
        sizes_(static_cast<std::size_t>(key.n_results)) {
    open();
    lock_ = journal_lock(file_.get(), path_.native(), patience);
    auto const end = file_bytes();
    if (!has_header(key, end)) {
      write_header(key);
      return;
    }
    read_entries(end);
  }

  explicit operator bool() const noexcept { return bool(file_); }

  /// Whether the journal has result i.
  bool has(std::uint64_t i) const noexcept { return offsets_[static_cast<std::size_t>(i)] != 0; }

  /// The bytes of result i.
  /// Precondition: has(i).
  std::string read(std::uint64_t i) const {
    auto const at = static_cast<std::size_t>(i);
    std::string bytes(static_cast<std::size_t>(sizes_[at]), '\0');
    if (read_at(offsets_[at], bytes.data(), bytes.size()) != bytes.size()) {
      throw_system_error(EIO, "read of the journal (options::resume)", path_.native());
    }
    return bytes;
  }

  /// Appends result i. Several workers may call this at the same time. Allocates no memory.
  /// Errors: std::system_error naming the file; EFBIG above 2 GiB less a page, the largest write.
  void append(std::uint64_t i, std::byte const* bytes, std::size_t n) const {
    auto crc = checksum_of(id_);
    crc.process_bytes(bytes, n);
    journal_entry header{.marker = journal_entry::right_marker,
                         .index = i,
                         .size = n,
                         .payload_crc = crc.checksum(),
                         .crc = 0};
    header.crc = header.right_crc(id_);
    constexpr std::size_t largest_write = 0x7ffff000;
    if (n > largest_write - sizeof header) fail(EFBIG);
    // A task may have closed this descriptor and opened another file with the same number.
    auto const reopened = is_still_open() ? descriptor() : opened_again();
    auto const fd = reopened ? reopened.get() : file_.get();
    // A partial write is a torn entry. Other workers may have appended entries after it already, so
    // the whole entry is written again.
    constexpr int most_tries = 3;
    for (int tries = 0; tries != most_tries; ++tries) {
      std::array<iovec, 2> parts{{{&header, sizeof header}, {const_cast<std::byte*>(bytes), n}}};
      auto const written =
          retry_interrupted([&] { return ::writev(fd, parts.data(), parts.size()); });
      if (written < 0) fail(errno);
      if (static_cast<std::size_t>(written) == sizeof header + n) return;
    }
    fail(ENOSPC);
  }

 private:
  [[noreturn]] void fail(int code) const {
    throw_system_error(code, "write of the journal (options::resume)", path_.native());
  }

  bool is_still_open() const noexcept { return is_journal(file_.get()); }
  bool is_journal(int fd) const noexcept {
    struct stat now{};
    return ::fstat(fd, &now) == 0 && now.st_dev == device_ && now.st_ino == inode_;
  }
  descriptor opened_again() const {
    descriptor again(retry_interrupted(
        [&] { return ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC | O_NONBLOCK); }));
    if (!again || !is_journal(again.get())) fail(EBADF);
    return again;
  }

  void open() {
    // O_NONBLOCK: open() must not wait for the other end of a FIFO.
    constexpr int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK;
    file_ = descriptor(retry_interrupted([&] { return ::open(path_.c_str(), flags, 0666); }));
    if (!file_) throw_errno("open of the journal (options::resume)", path_.native());
    struct stat status{};
    if (::fstat(file_.get(), &status) != 0) throw_errno("fstat", path_.native());
    if (!S_ISREG(status.st_mode)) refuse("is not a regular file");
    device_ = status.st_dev;
    inode_ = status.st_ino;
  }

  [[noreturn]] void refuse(std::string const& why) const {
    throw std::invalid_argument("forkmap: options::resume: " + path_.native() + ' ' + why);
  }

  std::uint64_t file_bytes() const {
    struct stat status{};
    if (::fstat(file_.get(), &status) != 0) throw_errno("fstat", path_.native());
    return static_cast<std::uint64_t>(status.st_size);
  }

  /// Returns: the number of bytes read; fewer than n at the end of the file.
  std::size_t read_at(std::uint64_t offset, void* to, std::size_t n) const {
    std::size_t done = 0;
    while (done != n) {
      auto const got = retry_interrupted([&] {
        return ::pread(file_.get(), static_cast<char*>(to) + done, n - done,
                       static_cast<off_t>(offset + done));
      });
      if (got < 0) throw_errno("read of the journal (options::resume)", path_.native());
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

  /// Returns: false for a file that is empty, or whose header was written in part.
  /// Errors: std::invalid_argument if the file is not this call's journal.
  bool has_header(journal_key const& key, std::uint64_t end) {
    journal_header header{};
    auto const& magic = journal_header::right_magic;
    auto const got = read_at(0, &header, sizeof header);
    auto const version_at = magic.size() - 1;
    if (std::memcmp(header.magic.data(), magic.data(), std::min(got, version_at)) != 0)
      refuse("is not a journal, and was not changed: give another path");
    if (got > version_at && header.magic[version_at] != magic[version_at])
      refuse("is a journal of another version of forkmap: delete it, or give another path");
    if (got < sizeof header) return false;
    auto const expected = key.bytes();
    constexpr std::size_t longest_key = std::size_t{1} << 20U;
    if (header.key_bytes > longest_key) refuse("is damaged at its start: delete it");
    std::string key_in_file(header.key_bytes, '\0');
    key_in_file.resize(read_at(sizeof header, key_in_file.data(), key_in_file.size()));
    if (key_in_file.size() < header.key_bytes) {
      if (header.key_bytes == expected.size() &&
          expected.compare(0, key_in_file.size(), key_in_file) == 0)
        return false;
      refuse("is damaged at its start: delete it");
    }
    if (header.right_crc(key_in_file) != header.crc) refuse("is damaged at its start: delete it");
    if (!key.fits(key_in_file))
      refuse("is the journal of another call: " + key.difference(key_in_file));
    id_ = header.id;
    first_entry_ = std::min<std::uint64_t>(end, sizeof header + key_in_file.size());
    return true;
  }

  void write_header(journal_key const& key) {
    for (std::size_t done = 0; done != id_.size();) {
      auto const got =
          retry_interrupted([&] { return ::getrandom(id_.data() + done, id_.size() - done, 0); });
      if (got < 0) throw_errno("getrandom");
      done += static_cast<std::size_t>(got);
    }
    auto const key_bytes = key.bytes();
    journal_header header{.magic = journal_header::right_magic,
                          .id = id_,
                          .key_bytes = static_cast<std::uint32_t>(key_bytes.size()),
                          .crc = 0};
    header.crc = header.right_crc(key_bytes);
    std::string all(sizeof header, '\0');
    std::memcpy(all.data(), &header, sizeof header);
    all += key_bytes;
    // The lock is held, so that a partial header can be removed.
    if (::ftruncate(file_.get(), 0) != 0) throw_errno("ftruncate", path_.native());
    auto const written =
        retry_interrupted([&] { return ::write(file_.get(), all.data(), all.size()); });
    if (written < 0) fail(errno);
    if (static_cast<std::size_t>(written) != all.size()) fail(ENOSPC);
  }

  /// Finds the last complete entry of each result.
  /// Cost: reads the file once, and torn entries again to find the entries after them.
  void read_entries(std::uint64_t end) {
    // Without a limit, a forged file could make each entry a reason to read the whole file.
    constexpr std::uint64_t most_rereads = 64;
    auto bytes_left = end * most_rereads;
    for (auto at = first_entry_; at < end;) {
      journal_entry header{};
      bool const whole = read_at(at, &header, sizeof header) == sizeof header && is_ours(header) &&
                         header.size <= end - at - sizeof header;
      if (whole && header.size > bytes_left) refuse("has too many damaged entries: delete it");
      if (whole) bytes_left -= header.size;
      if (whole && payload_crc(at + sizeof header, header.size) == header.payload_crc) {
        offsets_[static_cast<std::size_t>(header.index)] = at + sizeof header;
        sizes_[static_cast<std::size_t>(header.index)] = header.size;
        at += sizeof header + header.size;
      } else {
        at = next_marker(at + 1, end);
      }
    }
  }

  bool is_ours(journal_entry const& header) const {
    return header.marker == journal_entry::right_marker && header.index < offsets_.size() &&
           header.right_crc(id_) == header.crc;
  }

  std::uint32_t payload_crc(std::uint64_t offset, std::uint64_t size) {
    auto crc = checksum_of(id_);
    buffer_.resize(buffer_bytes);
    while (size != 0) {
      auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(size, buffer_bytes));
      // The file has been truncated: the entry counts as torn.
      if (read_at(offset, buffer_.data(), n) != n) break;
      crc.process_bytes(buffer_.data(), n);
      offset += n;
      size -= n;
    }
    return crc.checksum();
  }

  /// The position of the first marker at or after `at`; `end` if there is none.
  std::uint64_t next_marker(std::uint64_t at, std::uint64_t end) {
    auto const& marker = journal_entry::right_marker;
    buffer_.resize(buffer_bytes);
    while (at < end) {
      auto const n = read_at(at, buffer_.data(), buffer_bytes);
      if (n < sizeof marker) return end;
      auto const* const found = ::memmem(buffer_.data(), n, &marker, sizeof marker);
      if (found != nullptr) {
        return at + static_cast<std::uint64_t>(static_cast<char const*>(found) - buffer_.data());
      }
      at += n - (sizeof marker - 1);
    }
    return end;
  }

  static constexpr std::size_t buffer_bytes = std::size_t{1} << 16U;

  std::filesystem::path path_;
  descriptor file_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  journal_lock lock_;  // released before the file is closed
  journal_id id_{};
  std::uint64_t first_entry_ = 0;
  std::vector<std::uint64_t> offsets_;  // of each result's bytes; 0: no entry
  std::vector<std::uint64_t> sizes_;
  std::string buffer_;
};

}  // namespace forkmap::detail
