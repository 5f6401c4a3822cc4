// The journal of a call: results are read back as they were written, even after damage to the file.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/detail/journal/journal.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

journal_key key_of(std::uint64_t n) {
  return {.n_results = n, .result_type = "i", .result_bytes = 4, .seed = 7, .flat = true};
}

std::string payload_of(std::uint64_t i, std::size_t n) {
  std::string bytes(n, '\0');
  for (std::size_t at = 0; at != n; ++at) bytes[at] = static_cast<char>((i * 31 + at * 7) % 128);
  return bytes;
}

void append(journal const& to, std::uint64_t i, std::size_t n) {
  auto const bytes = payload_of(i, n);
  to.append(i, reinterpret_cast<std::byte const*>(bytes.data()), bytes.size());
}

/// Whether every result in the journal is correct.
bool all_right(journal const& from, std::uint64_t n) {
  for (std::uint64_t i = 0; i != n; ++i) {
    if (!from.has(i)) continue;
    auto const bytes = from.read(i);
    if (bytes != payload_of(i, bytes.size())) return false;
  }
  return true;
}

int count(journal const& from, std::uint64_t n) {
  int there = 0;
  for (std::uint64_t i = 0; i != n; ++i) there += from.has(i);
  return there;
}

std::string error_of(std::filesystem::path const& file, journal_key const& key) {
  try {
    journal const opened(file, key, std::chrono::milliseconds(0));
  } catch (std::invalid_argument const& e) {
    return e.what();
  }
  return {};
}

}  // namespace

TEST_CASE("journal: appended results are read when the journal is opened again", "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  {
    journal const written(file, key_of(100));
    REQUIRE(count(written, 100) == 0);
    for (std::uint64_t i = 0; i < 100; i += 3) append(written, i, i * 1000);
  }
  journal const read(file, key_of(100));
  for (std::uint64_t i = 0; i != 100; ++i) {
    REQUIRE(read.has(i) == (i % 3 == 0));
    if (read.has(i)) REQUIRE(read.read(i) == payload_of(i, i * 1000));
  }
}

TEST_CASE("journal: the last of several entries for a result is used", "[journal]") {
  support::temporary_directory const folder;
  {
    journal const written(folder.path() / "j", key_of(3));
    append(written, 1, 10);
    append(written, 1, 20);
  }
  REQUIRE(journal(folder.path() / "j", key_of(3)).read(1).size() == 20);
}

TEST_CASE("journal: the journal of another call is refused with the difference", "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  {
    journal const written(file, key_of(5));
  }
  auto const before = support::file_bytes(file);
  auto other = key_of(6);
  REQUIRE_THAT(error_of(file, other), ContainsSubstring("number of results is 5 (here 6)"));
  other = key_of(5);
  other.result_type = "d";
  REQUIRE_THAT(error_of(file, other), ContainsSubstring("the result type is int (here double)"));
  other = key_of(5);
  other.seed = 8;
  REQUIRE_THAT(error_of(file, other), ContainsSubstring("the seed is 7 (here 8)"));
  other = key_of(5);
  other.result_bytes = 8;
  REQUIRE_THAT(error_of(file, other), ContainsSubstring("the result size is 4 (here 8)"));
  REQUIRE_THAT(error_of(file, other), ContainsSubstring("Delete it, or give another path"));
  REQUIRE(support::file_bytes(file) == before);
  REQUIRE(error_of(file, key_of(5)).empty());
}

TEST_CASE("journal: a file that is not a journal is refused and not changed", "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  for (std::string const text :
       {"hello", "a longer text that is longer than any header would be, by far",
        "forkmap9 of another version, as far as one can tell from here"}) {
    support::write_bytes(file, text);
    REQUIRE(!error_of(file, key_of(5)).empty());
    REQUIRE(support::file_bytes(file) == text);
  }
  REQUIRE_THAT(error_of(file, key_of(5)), ContainsSubstring("another version"));
  ::mkfifo((folder.path() / "fifo").c_str(), 0600);
  REQUIRE_THAT(error_of(folder.path() / "fifo", key_of(5)), ContainsSubstring("not a regular"));
  REQUIRE_THROWS_AS(journal(folder.path(), key_of(5)), std::system_error);
  REQUIRE_THROWS_AS(journal(folder.path() / "none/j", key_of(5)), std::system_error);
}

TEST_CASE("journal: truncated anywhere, it keeps its complete entries and can be extended",
          "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  std::vector<std::size_t> ends;
  {
    journal const written(file, key_of(4));
    for (std::uint64_t i = 0; i != 4; ++i) {
      ends.push_back(std::filesystem::file_size(file));
      append(written, i, 9);
    }
  }
  auto const whole = support::file_bytes(file);
  for (std::size_t cut = 0; cut <= whole.size(); ++cut) {
    INFO(cut);
    support::write_bytes(file, whole.substr(0, cut));
    {
      journal const opened(file, key_of(4));
      auto const complete = std::count_if(ends.begin(), ends.end(), [&](auto end) {
        return cut >= end + sizeof(journal_entry) + 9;
      });
      REQUIRE(count(opened, 4) == complete);
      REQUIRE(all_right(opened, 4));
      append(opened, 3, 9);
    }
    journal const again(file, key_of(4));
    REQUIRE(again.has(3));
    REQUIRE(all_right(again, 4));
  }
}

TEST_CASE("journal: a changed byte loses one entry or is an error, but gives no wrong result",
          "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  {
    journal const written(file, key_of(4));
    for (std::uint64_t i = 0; i != 4; ++i) append(written, i, 9);
  }
  auto const whole = support::file_bytes(file);
  for (std::size_t at = 0; at != whole.size(); ++at) {
    for (int const bit : {0, 3, 7}) {
      INFO(at << " bit " << bit);
      auto damaged = whole;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      support::write_bytes(file, damaged);
      if (!error_of(file, key_of(4)).empty()) continue;
      journal const opened(file, key_of(4));
      REQUIRE(all_right(opened, 4));
      REQUIRE(count(opened, 4) == 3);
    }
  }
}

TEST_CASE("journal: entries inside the payload of a damaged entry are not read", "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  auto const inner_file = folder.path() / "inner";
  {
    journal const inner(inner_file, key_of(4));
    append(inner, 2, 50);
  }
  auto const inner = support::file_bytes(inner_file);
  {
    journal const written(file, key_of(4));
    written.append(1, reinterpret_cast<std::byte const*>(inner.data()), inner.size());
    append(written, 3, 9);
  }
  auto damaged = support::file_bytes(file);
  auto const at = damaged.find(inner);
  damaged[at] = 'F';  // the outer entry is now damaged
  support::write_bytes(file, damaged);
  journal const opened(file, key_of(4));
  REQUIRE(!opened.has(1));
  REQUIRE(!opened.has(2));
  REQUIRE(opened.has(3));
}

TEST_CASE("journal: after writers are killed, only complete entries are read", "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  constexpr std::uint64_t n = 2000;
  for (int round = 0; round != 10; ++round) {
    journal const shared(file, key_of(n));
    std::vector<pid_t> children;
    for (std::uint64_t k = 0; k != 3; ++k) {
      auto const child = ::fork();
      if (child == 0) {
        for (std::uint64_t i = k;; i = (i + 3) % n) append(shared, i, i * 10);
      }
      children.push_back(child);
    }
    auto const grown = std::filesystem::file_size(file) + 1'000'000;
    REQUIRE(support::wait_until([&] { return std::filesystem::file_size(file) > grown; }));
    for (auto const child : children) ::kill(child, SIGKILL);
    for (auto const child : children) ::waitpid(child, nullptr, 0);
  }
  journal const read(file, key_of(n));
  REQUIRE(count(read, n) > 100);
  REQUIRE(all_right(read, n));
  for (std::uint64_t i = 0; i != n; ++i) {
    if (read.has(i)) REQUIRE(read.read(i).size() == i * 10);
  }
}

TEST_CASE("journal: only one program at a time can use it", "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  {
    journal const here(file, key_of(5));
    try {
      journal const there(file, key_of(5), std::chrono::milliseconds(20));
      FAIL("nothing was thrown");
    } catch (std::system_error const& e) {
      REQUIRE(e.code().value() == EWOULDBLOCK);
      REQUIRE_THAT(e.what(), ContainsSubstring("is another program using it?"));
    }
  }
  journal const free(file, key_of(5));
}

TEST_CASE("journal: a full disk is an error that names the file", "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  auto const child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit const limit{.rlim_cur = 10'000, .rlim_max = 10'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    journal const small(file, key_of(5));
    append(small, 1, 4000);
    try {
      append(small, 2, 9000);
    } catch (std::system_error const& e) {
      ::_exit(std::string(e.what()).find(file.native()) != std::string::npos ? 42 : 1);
    }
    ::_exit(2);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WEXITSTATUS(status) == 42);
  journal const read(file, key_of(5));
  REQUIRE(read.has(1));
  REQUIRE(!read.has(2));
}

TEST_CASE("journal: a file made to take quadratic time is refused", "[journal]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "j";
  {
    journal const written(file, key_of(5));
  }
  auto bytes = support::file_bytes(file);
  journal_id id;
  std::copy_n(bytes.begin() + 8, id.size(), reinterpret_cast<char*>(id.data()));
  // Each entry claims all bytes after it as its payload, and its checksum is wrong.
  constexpr std::size_t n = 2000;
  for (std::size_t i = 0; i != n; ++i) {
    journal_entry entry{.marker = journal_entry::right_marker,
                        .index = 1,
                        .size = (n - i - 1) * sizeof(journal_entry),
                        .payload_crc = 0,
                        .crc = 0};
    entry.crc = entry.right_crc(id);
    bytes.append(reinterpret_cast<char const*>(&entry), sizeof entry);
  }
  support::write_bytes(file, bytes);
  REQUIRE_THAT(error_of(file, key_of(5)), ContainsSubstring("too many damaged entries"));
}
