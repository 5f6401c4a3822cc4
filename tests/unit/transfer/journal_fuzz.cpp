// Any bytes at all may follow a journal's header: a result that is read from them is one that was
// written, and what is appended afterwards is there when the journal is opened again.
//
// To fuzz: clang++ -std=c++20 -g -fsanitize=fuzzer,address,undefined -Iinclude
//            tests/unit/transfer/journal_fuzz.cpp -DFORKMAP_FUZZ -o /tmp/fuzz && /tmp/fuzz
// The tests run it over damage made at random.
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

#include <forkmap/transfer/journal.hpp>

using namespace forkmap::detail;

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);

namespace {

constexpr std::uint64_t n_results = 8;

void require(bool condition) {
  if (!condition) std::abort();
}

/// A file without a name on disk.
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

/// Takes bytes from the input; zeros when it has come to its end.
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

/// What follows the header: the input says of what kinds. Right checksums let what is wrong behind
/// them be reached.
struct body {
  std::string bytes{};
  std::array<std::set<std::string>, n_results> written{};  // what each result may be read as

  body(input from, journal_id const& id) {
    while (!from.empty()) {
      auto const kind = from.number(1) % 4;
      if (kind == 0) {  // anything
        bytes += from.take(from.number(1));
        continue;
      }
      journal_record record{.marker = journal_record::right_marker,
                            .index = from.number(1) % (n_results + 1),
                            .size = from.number(1),
                            .payload_crc = 0,
                            .crc = 0};
      auto const payload = from.take(static_cast<std::size_t>(record.size));
      auto crc = checksum_of(id);
      crc.process_bytes(payload.data(), payload.size());
      record.payload_crc = crc.checksum();
      if (kind == 1 && record.index < n_results) written[record.index].insert(payload);
      if (kind == 2) record.size = from.number(8);  // of another size than its payload
      if (kind == 3) record.payload_crc ^= 1;       // a torn payload
      record.crc = record.right_crc(id);
      bytes.append(reinterpret_cast<char const*>(&record), sizeof record);
      bytes += payload;
      // Kind 2 may by chance be right.
      if (kind == 2 && record.index < n_results && record.size == payload.size())
        written[record.index].insert(payload);
    }
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
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

  // Its header is the input's, too.
  file.write({reinterpret_cast<char const*>(data), size});
  try {
    journal const opened(file.path(), key);
    for (std::uint64_t i = 0; i != n_results; ++i) require(!opened.has(i));
  } catch (std::invalid_argument const&) {
  }
  return 0;
}

#ifndef FORKMAP_FUZZ
#include <random>

#include "support/catch.hpp"

TEST_CASE("journal: what the fuzzer makes at random is read or refused", "[journal]") {
  std::mt19937 random(1);
  for (int round = 0; round != 3000; ++round) {
    std::string bytes(random() % 300, '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? random() : random() % 16);
    LLVMFuzzerTestOneInput(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size());
  }
  SUCCEED();
}
#endif
