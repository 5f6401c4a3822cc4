// Malicious .npy files: each is refused with a message.
// SPDX-License-Identifier: MIT
#include <cstdint>
#include <filesystem>
#include <string>

#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>

#include "fuzz/fuzzing.hpp"
#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/refusal.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

std::filesystem::path const& corpus() {
  static std::filesystem::path const folder =
      std::filesystem::path(FORKMAP_TEST_DIR) / "format/fuzz/corpus";
  return folder;
}

}  // namespace

TEST_CASE("format: the fuzzer's corpus is read or refused", "[array][format]") {
  int files = 0;
  for (auto const& entry : std::filesystem::directory_iterator(corpus())) {
    auto const bytes = support::file_bytes(entry.path());
    CHECK(fuzz_npy_header(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size()) == 0);
    ++files;
  }
  CHECK(files > 100);
}

TEST_CASE("format: good files of the corpus open, records are not doubles, errors name the reason",
          "[array][format]") {
  for (auto const& entry : std::filesystem::directory_iterator(corpus())) {
    auto const file = entry.path();
    INFO(file.filename());
    auto const mapping = support::refusal([&] { fm::load<double>(file); });
    auto const copying = support::refusal([&] { fm::load<double>(file, fm::in_memory); });
    auto const looking = support::refusal([&] { fm::inspect(file); });
    if (file.filename().native().starts_with("record_")) {
      CHECK(looking.empty());
      CHECK_THAT(mapping, ContainsSubstring("not '<f8' (double)"));
      CHECK_THAT(copying, ContainsSubstring("not '<f8' (double)"));
    } else if (file.filename().native().starts_with("good_")) {
      CHECK(copying.empty());
      CHECK(looking.empty());
      // Data that is not aligned, which NumPy would copy, cannot be mapped.
      if (file.filename() != "good_unaligned") CHECK(mapping.empty());
    } else {
      for (auto const& text : {mapping, copying, looking}) {
        CHECK_THAT(text, ContainsSubstring(file.native()));
        CHECK(text.size() < file.native().size() + 250);
      }
    }
  }
}

TEST_CASE("format: an unaligned array can be read into memory, but not mapped", "[array][format]") {
  auto const file = corpus() / "good_unaligned";
  CHECK_THROWS_WITH(fm::load<double>(file), ContainsSubstring("in_memory"));
  CHECK(fm::load<double>(file, fm::in_memory).size() == 6);
}

TEST_CASE("format: errors name other kinds of files", "[array][format]") {
  auto const refused = [](std::string const& name) {
    return support::refusal([&] { fm::load<double>(corpus() / ("bad_other_" + name)); });
  };
  CHECK_THAT(refused("zip"), ContainsSubstring("zip: the archive has no end of central directory"));
  CHECK_THAT(refused("pickle"), ContainsSubstring("ends inside its pickle"));
  CHECK_THAT(refused("zlib"), ContainsSubstring("zlib-compressed data: "));
  CHECK_THAT(refused("gzip"), ContainsSubstring("gzip-compressed data: truncated"));
  CHECK_THAT(refused("zfile"), ContainsSubstring("joblib 0.9 or older"));
  CHECK_THAT(refused("text"), ContainsSubstring("not an array file"));
}

TEST_CASE("format: a file truncated anywhere is refused", "[array][format]") {
  support::temporary_directory const folder;
  auto const golden = std::filesystem::path(FORKMAP_TEST_DIR) / "format/numpy";
  for (auto const* name : {"f8.npy", "b1.npy", "f8_version_2.npy", "f8_version_3.npy"}) {
    auto const whole = support::file_bytes(golden / name);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      auto const file = support::write_bytes(folder.path() / "cut.npy", whole.substr(0, size));
      INFO(name << " cut to " << size);
      CHECK_FALSE(support::refusal([&] { fm::inspect(file); }).empty());
      CHECK_FALSE(support::refusal([&] { fm::load<double>(file); }).empty());
      CHECK_FALSE(support::refusal([&] { fm::load<double>(file, fm::in_memory); }).empty());
    }
  }
}

TEST_CASE("format: a file with any byte changed is read or refused", "[array][format]") {
  auto const whole =
      support::file_bytes(std::filesystem::path(FORKMAP_TEST_DIR) / "format/numpy/f8.npy");
  auto bytes = whole;
  for (std::size_t at = 0; at < 128; ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      bytes[at] = static_cast<char>(value);
      fuzz_npy_header(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size());
    }
    bytes[at] = whole[at];
  }
  SUCCEED("nothing was read outside the file");
}

TEST_CASE("format: a header longer than 1 MiB is refused before it is read", "[array][format]") {
  support::temporary_directory const folder;
  using namespace std::string_literals;
  auto const file = support::write_bytes(folder.path() / "long.npy",
                                         "\x93NUMPY\2\0\1\0\x20\0"s + std::string(1U << 22U, ' '));
  CHECK_THROWS_WITH(fm::load<double>(file), ContainsSubstring("the limit is 1048576"));
}
