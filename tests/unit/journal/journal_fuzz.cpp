// A journal with any bytes after its header: every result that is read was written, and a result
// that is appended afterwards is read when the journal is opened again.
//
// To fuzz: clang++ -std=c++20 -g -fsanitize=fuzzer,address,undefined -Iinclude
//            tests/unit/journal/journal_fuzz.cpp -DFORKMAP_FUZZ -o /tmp/fuzz && /tmp/fuzz
// The tests run it with random damage.
// SPDX-License-Identifier: MIT
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include <forkmap/detail/journal/journal.hpp>

using namespace forkmap::detail;

namespace {

constexpr std::uint64_t n_results = 8;

void require(bool condition) {
  if (!condition) std::abort();
}

/// A file in memory, without a name on disk.
class memory_file {
 public:
  memory_file() : fd_(::memfd_create("journal", MFD_CLOEXEC)) { require(bool(fd_)); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_.get()); }
  std::string bytes() const {
    std::string all(static_cast<std::size_t>(::lseek(fd_.get(), 0, SEEK_END)), '\0');
    require(::pread(fd_.get(), all.data(), all.size(), 0) == static_cast<ssize_t>(all.size()));
    return all;
  }
  void write(std::string_view all) const {
    require(::ftruncate(fd_.get(), 0) == 0);
    require(::pwrite(fd_.get(), all.data(), all.size(), 0) == static_cast<ssize_t>(all.size()));
  }

 private:
  descriptor fd_;
};

/// Reads bytes from the input, and zeros after its end.
class input {
 public:
  explicit input(std::string_view bytes) : left_(bytes) {}

  bool empty() const { return left_.empty(); }
  std::string take(std::size_t n) {
    auto part = std::string(left_.substr(0, n));
    left_.remove_prefix(part.size());
    part.resize(n);
    return part;
  }
  std::uint64_t number(std::size_t bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, take(bytes).data(), bytes);
    return value;
  }

 private:
  std::string_view left_;
};

/// The bytes after the header. The input chooses the kind of each entry. Correct checksums let the
/// fuzzer reach the code behind the checks.
struct body {
  std::string bytes{};
  std::array<std::set<std::string>, n_results> written{};  // the values that each result may have

  body(input from, journal_id const& id) {
    while (!from.empty()) {
      auto const kind = from.number(1) % 4;
      if (kind == 0) {  // any bytes
        bytes += from.take(from.number(1));
        continue;
      }
      journal_entry entry{.marker = journal_entry::right_marker,
                          .index = from.number(1) % (n_results + 1),
                          .size = from.number(1),
                          .payload_crc = 0,
                          .crc = 0};
      auto const payload = from.take(static_cast<std::size_t>(entry.size));
      auto crc = checksum_of(id);
      crc.process_bytes(payload.data(), payload.size());
      entry.payload_crc = crc.checksum();
      if (kind == 1 && entry.index < n_results) written[entry.index].insert(payload);
      if (kind == 2) entry.size = from.number(8);  // a size that differs from that of the payload
      if (kind == 3) entry.payload_crc ^= 1;       // a damaged payload
      entry.crc = entry.right_crc(id);
      bytes.append(reinterpret_cast<char const*>(&entry), sizeof entry);
      bytes += payload;
      // An entry of kind 2 may have the correct size by chance.
      if (kind == 2 && entry.index < n_results && entry.size == payload.size())
        written[entry.index].insert(payload);
    }
  }
};

int fuzz_journal(std::uint8_t const* data, std::size_t size) {
  journal_key const key{
      .n_results = n_results, .result_type = "i", .result_bytes = 4, .seed = 7, .flat = false};
  memory_file const file;
  {
    journal const made(file.path(), key);
  }
  auto const head = file.bytes();
  journal_header header{};
  std::memcpy(&header, head.data(), sizeof header);

  body const behind(input({reinterpret_cast<char const*>(data), size}), header.id);
  auto const before = head + behind.bytes;
  file.write(before);
  std::string const added = "added";
  try {
    journal const opened(file.path(), key);
    require(file.bytes() == before);
    for (std::uint64_t i = 0; i != n_results; ++i) {
      if (opened.has(i)) require(behind.written[i].count(opened.read(i)) == 1);
    }
    opened.append(3, reinterpret_cast<std::byte const*>(added.data()), added.size());
  } catch (std::invalid_argument const&) {
    require(file.bytes() == before);
    return 0;
  }
  {
    journal const again(file.path(), key);
    require(again.has(3) && again.read(3) == added);
  }

  // The input as the whole file, with its header.
  file.write({reinterpret_cast<char const*>(data), size});
  try {
    journal const opened(file.path(), key);
    for (std::uint64_t i = 0; i != n_results; ++i) require(!opened.has(i));
  } catch (std::invalid_argument const&) {
  }
  return 0;
}

}  // namespace

#ifdef FORKMAP_FUZZ
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  return fuzz_journal(data, size);
}
#else
#include <random>

#include "support/catch.hpp"

TEST_CASE("journal: random damage is read or refused", "[journal]") {
  std::mt19937 random(1);
  for (int round = 0; round != 3000; ++round) {
    std::string bytes(random() % 300, '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? random() : random() % 16);
    fuzz_journal(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size());
  }
  SUCCEED();
}
#endif
