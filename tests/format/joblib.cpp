// Malicious pickles: each is refused with a message, and no code in a pickle is run.
// SPDX-License-Identifier: MIT
#include <cstdint>
#include <filesystem>
#include <string>

#include <forkmap/inspect.hpp>
#include <forkmap/load_value.hpp>

#include "fuzz/fuzzing.hpp"
#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using Catch::Matchers::ContainsSubstring;

namespace {

std::filesystem::path const& pickles() {
  static std::filesystem::path const folder =
      std::filesystem::path(FORKMAP_TEST_DIR) / "format/fuzz/corpus_joblib";
  return folder;
}

int fuzz(std::string const& bytes) {
  return fuzz_joblib(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size());
}

/// The error of a file or of one of its arrays; empty if there is none.
std::string pickle_refusal(std::filesystem::path const& file) {
  try {
    for (auto const& entry : fm::contents(file)) {
      if (entry.is_array) fm::inspect(file, entry.name);
    }
  } catch (fm::format_error const& error) {
    return error.what();
  }
  return {};
}

}  // namespace

TEST_CASE("format: the fuzzer's pickles are read or refused", "[array][format]") {
  int files = 0;
  for (auto const& entry : std::filesystem::directory_iterator(pickles())) {
    INFO(entry.path().filename());
    CHECK(fuzz(support::file_bytes(entry.path())) == 0);
    ++files;
  }
  CHECK(files > 90);
}

TEST_CASE("format: good pickles open, and the errors of bad ones name reason and offset",
          "[array][format]") {
  for (auto const& entry : std::filesystem::directory_iterator(pickles())) {
    auto const file = entry.path();
    auto const why = pickle_refusal(file);
    INFO(file.filename() << " " << why);
    if (file.filename().native().starts_with("good_")) {
      CHECK(why.empty());
    } else {
      CHECK_THAT(why, ContainsSubstring(file.native()));
      CHECK(why.size() < file.native().size() + 260);
    }
  }
}

TEST_CASE("format: a joblib file truncated anywhere is refused", "[array][format]") {
  support::temporary_directory const folder;
  for (auto const* name : {"good_array_2", "good_array_5", "good_dict_5", "good_records_5"}) {
    auto const whole = support::file_bytes(pickles() / name);
    for (std::size_t size = 0; size < whole.size(); ++size) {
      INFO(name << " cut to " << size);
      auto const file = support::write_bytes(folder.path() / "cut", whole.substr(0, size));
      if (pickle_refusal(file).empty()) FAIL("the truncated file was read");
      fuzz(whole.substr(0, size));
    }
  }
}

TEST_CASE("format: a joblib file with any byte changed is read or refused", "[array][format]") {
  for (auto const* name : {"good_array_5", "good_others_2"}) {
    auto const whole = support::file_bytes(pickles() / name);
    auto bytes = whole;
    for (std::size_t at = 0; at < whole.size(); ++at) {
      // Every opcode, and values next to the old one.
      for (unsigned const value :
           {0x00U, 0x01U, 0x28U, 0x2eU, 0x30U, 0x5dU, 0x61U, 0x62U, 0x65U, 0x68U, 0x71U,
            0x73U, 0x74U, 0x75U, 0x7dU, 0x81U, 0x85U, 0x8aU, 0x8cU, 0x93U, 0x94U, 0xffU}) {
        bytes[at] = static_cast<char>(value);
        fuzz(bytes);
      }
      bytes[at] = whole[at];
    }
  }
  SUCCEED("nothing was read outside the file");
}
