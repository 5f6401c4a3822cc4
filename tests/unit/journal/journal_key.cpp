// The key of a journal, by which it knows its call, and the message about a difference.
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <forkmap/detail/journal/journal.hpp>
#include <forkmap/detail/journal/journal_key.hpp>
#include <forkmap/detail/os/program_id.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

journal_key call_key() {
  return {.n_results = 5,
          .result_type = "i",
          .result_bytes = 4,
          .seed = 7,
          .flat = true,
          .n_tasks = 5,
          .program = "build id 12ab",
          .inputs = std::string(5 * 8, 'x')};
}
void take_any(std::filesystem::path const& file, journal_key const& key) {
  journal const made(file, key);
}

}  // namespace

TEST_CASE("journal key: the same call matches, and a difference in any part does not",
          "[journal]") {
  auto const key = call_key();
  REQUIRE(key.fits(call_key().bytes()));
  auto const differs = [&](auto change, std::string const& how) {
    auto other = call_key();
    change(other);
    REQUIRE(!key.fits(other.bytes()));
    REQUIRE_THAT(key.difference(other.bytes()), ContainsSubstring(how));
    REQUIRE_THAT(key.difference(other.bytes()),
                 ContainsSubstring("Delete it, or give another path"));
  };
  differs([](auto& other) { other.n_results = 6; }, "number of results is 6 (here 5)");
  differs([](auto& other) { other.result_type = "d"; }, "type is double (here int)");
  differs([](auto& other) { other.result_bytes = 8; }, "size is 8 (here 4)");
  differs([](auto& other) { other.seed = 8; }, "seed is 8 (here 7)");
  differs([](auto& other) { other.flat = false; }, "stored in another format");
  differs([](auto& other) { other.n_tasks = 9; }, "number of tasks is 9 (here 5)");
  differs([](auto& other) { other.inputs[3 * 8] = 'y'; }, "element 3 differs.");
  differs([](auto& other) { other.inputs.clear(); }, "elements have another type");
  differs([](auto& other) { other.program = "build id 34cd"; },
          "the program is another one or was rebuilt: build id 34cd (here build id 12ab)");
  differs([](auto& other) { other.program = "build id 34cd"; }, "FORKMAP_RESUME_ANY_PROGRAM=1");
}

TEST_CASE("journal key: another program is accepted only if the user allows it", "[journal]") {
  auto key = call_key();
  key.any_program = true;
  auto other = call_key();
  other.program = "checksum 34cd56";
  REQUIRE(key.fits(other.bytes()));
  other.inputs[0] = 'y';
  REQUIRE(!key.fits(other.bytes()));
  REQUIRE_THAT(key.difference(other.bytes()),
               ContainsSubstring("element 0 differs") && !ContainsSubstring("program"));
  support::temporary_directory const folder;
  auto const file = folder.path() / "journal";
  other.inputs[0] = 'x';
  take_any(file, other);
  REQUIRE_NOTHROW(take_any(file, key));
  REQUIRE_THROWS_AS(take_any(file, call_key()), std::invalid_argument);
}

TEST_CASE("journal key: invalid bytes are refused", "[journal]") {
  auto const key = call_key();
  auto const whole = key.bytes();
  for (std::size_t n = 0; n != whole.size(); ++n) {
    auto any = key;
    any.any_program = true;
    REQUIRE(!any.fits(whole.substr(0, n)));
    REQUIRE(!key.difference(whole.substr(0, n)).empty());
  }
}

TEST_CASE("program id: constant for a program, and a checksum if the linker wrote no build id",
          "[journal]") {
  auto const id = program_id(reinterpret_cast<void const*>(&take_any));
  REQUIRE(!id.empty());
  REQUIRE(id == program_id(nullptr));
  support::temporary_directory const folder;
  auto const a = support::write_bytes(folder.path() / "a", "one");
  auto const b = support::write_bytes(folder.path() / "b", "other");
  REQUIRE(checksum_of_file(a.c_str()) == checksum_of_file(a.c_str()));
  REQUIRE(checksum_of_file(a.c_str()) != checksum_of_file(b.c_str()));
  REQUIRE(checksum_of_file("/no/such/file").empty());
}
