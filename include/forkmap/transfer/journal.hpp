// The results of a call on disk, for a run that takes up where a killed one has ended.
//
// Workers append records, each by one write, which Linux does not mix with those of others
// (O_APPEND). One that was killed while it wrote, or a full disk, leaves a torn record: whoever reads
// goes on behind it, looking for the next marker. A power cut may lose what was written last.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
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

#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>
#include <forkmap/transfer/journal_format.hpp>

namespace forkmap::detail {

class journal {
 public:
  /// None: no result is there, and nothing can be added.
  journal() = default;
  /// Opens or makes the file, takes it for this process and its workers alone, and looks through it.
  /// Errors: std::invalid_argument if it is another call's or no journal (it is not changed then);
  ///   std::system_error naming what failed, EWOULDBLOCK if another program still has it after
  ///   `patience`: the workers of one that was killed take a moment to end.
  journal(std::filesystem::path file, journal_key const& key,
          std::chrono::milliseconds patience = std::chrono::seconds(5))
      : path_(std::move(file)),
        offsets_(static_cast<std::size_t>(key.n_results)),
        sizes_(static_cast<std::size_t>(key.n_results)) {
    open();
    lock(patience);
    auto const end = file_bytes();
    if (!has_header(key, end)) {
      write_header(key);
      return;
    }
    read_records(end);
  }

  explicit operator bool() const noexcept { return bool(file_); }

  /// Whether there is a result i.
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

  /// Adds result i. For workers, several at once; allocates nothing.
  /// Errors: std::system_error naming the file; EFBIG above 2 GiB less a page, the largest write.
  void append(std::uint64_t i, std::byte const* bytes, std::size_t n) const {
    auto crc = checksum_of(id_);
    crc.process_bytes(bytes, n);
    journal_record header{.marker = journal_record::right_marker,
                          .index = i,
                          .size = n,
                          .payload_crc = crc.checksum(),
                          .crc = 0};
    header.crc = header.right_crc(id_);
    constexpr std::size_t largest_write = 0x7ffff000;
    if (n > largest_write - sizeof header) fail(EFBIG);
    // What was written in part is a torn record: the others may have written behind it already, so
    // it is written again as a whole.
    constexpr int most_tries = 3;
    for (int tries = 0; tries != most_tries; ++tries) {
      std::array<iovec, 2> parts{{{&header, sizeof header}, {const_cast<std::byte*>(bytes), n}}};
      auto const written =
          retry_interrupted([&] { return ::writev(file_.get(), parts.data(), parts.size()); });
      if (written < 0) fail(errno);
      if (static_cast<std::size_t>(written) == sizeof header + n) return;
    }
    fail(ENOSPC);
  }

 private:
  [[noreturn]] void fail(int code) const {
    throw_system_error(code, "write of the journal (options::resume)", path_.native());
  }

  void open() {
    // Not to wait for the other end of a FIFO.
    constexpr int flags = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK;
    file_ = descriptor(retry_interrupted([&] { return ::open(path_.c_str(), flags, 0666); }));
    if (!file_) throw_errno("open of the journal (options::resume)", path_.native());
    struct stat status{};
    if (::fstat(file_.get(), &status) != 0) throw_errno("fstat", path_.native());
    if (!S_ISREG(status.st_mode)) refuse("is not a regular file");
  }

  [[noreturn]] void refuse(std::string const& why) const {
    throw std::invalid_argument("forkmap: options::resume: " + path_.native() + ' ' + why);
  }

  void lock(std::chrono::milliseconds patience) const {
    auto const until = std::chrono::steady_clock::now() + patience;
    for (;;) {
      if (retry_interrupted([&] { return ::flock(file_.get(), LOCK_EX | LOCK_NB); }) == 0) return;
      if (errno != EWOULDBLOCK || std::chrono::steady_clock::now() >= until) {
        throw_errno("lock of the journal (is another program using it?)", path_.native());
      }
      timespec const pause{.tv_sec = 0, .tv_nsec = 5'000'000};
      ::nanosleep(&pause, nullptr);
    }
  }

  std::uint64_t file_bytes() const {
    struct stat status{};
    if (::fstat(file_.get(), &status) != 0) throw_errno("fstat", path_.native());
    return static_cast<std::uint64_t>(status.st_size);
  }

  /// Returns: the bytes that there are, up to n.
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

  /// Returns: false for a file that is empty, or that was left while its header was written.
  /// Errors: std::invalid_argument for what is not this call's journal.
  bool has_header(journal_key const& key, std::uint64_t end) {
    journal_header header{};
    auto const& magic = journal_header::right_magic;
    auto const got = read_at(0, &header, sizeof header);
    auto const version_at = magic.size() - 1;
    if (std::memcmp(header.magic.data(), magic.data(), std::min(got, version_at)) != 0)
      refuse("is no journal, and stays as it is: give another path");
    if (got > version_at && header.magic[version_at] != magic[version_at])
      refuse("is a journal of another version of forkmap: delete it, or give another path");
    if (got < sizeof header) return false;
    auto const expected = key.bytes();
    constexpr std::size_t longest_key = std::size_t{1} << 20U;
    if (header.key_bytes > longest_key) refuse("is damaged at its begin: delete it");
    std::string found(header.key_bytes, '\0');
    found.resize(read_at(sizeof header, found.data(), found.size()));
    if (found.size() < header.key_bytes) {
      if (header.key_bytes == expected.size() && expected.compare(0, found.size(), found) == 0)
        return false;
      refuse("is damaged at its begin: delete it");
    }
    if (header.right_crc(found) != header.crc) refuse("is damaged at its begin: delete it");
    if (found != expected) {
      refuse("is the journal of another call: " + key.difference(found) +
             ". Delete it, or give another path");
    }
    id_ = header.id;
    first_record_ = std::min<std::uint64_t>(end, sizeof header + found.size());
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
    // Nobody else has it, so that a part of a header can be taken away.
    if (::ftruncate(file_.get(), 0) != 0) throw_errno("ftruncate", path_.native());
    auto const written =
        retry_interrupted([&] { return ::write(file_.get(), all.data(), all.size()); });
    if (written < 0) fail(errno);
    if (static_cast<std::size_t>(written) != all.size()) fail(ENOSPC);
  }

  /// Notes where the results are: the last complete record of each.
  /// Cost: reads the file once, and torn records again in search of what is behind them.
  void read_records(std::uint64_t end) {
    // A file made to be slow could have us read it all again for each record.
    constexpr std::uint64_t most_rereads = 64;
    auto left = end * most_rereads;
    for (auto at = first_record_; at < end;) {
      journal_record header{};
      bool const whole = read_at(at, &header, sizeof header) == sizeof header && is_ours(header) &&
                         header.size <= end - at - sizeof header;
      if (whole && header.size > left) refuse("is damaged all over: delete it");
      if (whole) left -= header.size;
      if (whole && payload_crc(at + sizeof header, header.size) == header.payload_crc) {
        offsets_[static_cast<std::size_t>(header.index)] = at + sizeof header;
        sizes_[static_cast<std::size_t>(header.index)] = header.size;
        at += sizeof header + header.size;
      } else {
        at = next_marker(at + 1, end);
      }
    }
  }

  bool is_ours(journal_record const& header) const {
    return header.marker == journal_record::right_marker && header.index < offsets_.size() &&
           header.right_crc(id_) == header.crc;
  }

  std::uint32_t payload_crc(std::uint64_t offset, std::uint64_t size) {
    auto crc = checksum_of(id_);
    buffer_.resize(buffer_bytes);
    while (size != 0) {
      auto const n = static_cast<std::size_t>(std::min<std::uint64_t>(size, buffer_bytes));
      // Somebody has cut the file: then it is as if the record were torn.
      if (read_at(offset, buffer_.data(), n) != n) break;
      crc.process_bytes(buffer_.data(), n);
      offset += n;
      size -= n;
    }
    return crc.checksum();
  }

  /// The first place from `at` on where a marker is; `end` if there is none.
  std::uint64_t next_marker(std::uint64_t at, std::uint64_t end) {
    auto const& marker = journal_record::right_marker;
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
  journal_id id_{};
  std::uint64_t first_record_ = 0;
  std::vector<std::uint64_t> offsets_;  // of each result's bytes; 0: there is none
  std::vector<std::uint64_t> sizes_;
  std::string buffer_;
};

}  // namespace forkmap::detail
