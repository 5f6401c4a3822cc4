// The sentence about the mapping in which a fault occurred.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/load.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;

namespace {

/// The mapping that a crash report notes for a fault at that address.
std::string place_of(void const* address, std::size_t n_frames, raw_backtrace& words) {
  words.fault_address = reinterpret_cast<std::uintptr_t>(address);
  words.n_frames = n_frames;
  words.place_bytes = 0;
  note_fault_place(words);
  return fault_place_of(words);
}

std::string told(std::string const& place, int signal = SIGSEGV, std::uint64_t at = 0x7f0000002010,
                 bool was_code = false) {
  return text_of_fault_place(place, signal, at, was_code);
}

}  // namespace

TEST_CASE("fault place: a process finds the mapping of an address", "[fault_place]") {
  support::temporary_directory const folder;
  auto const file = std::filesystem::canonical(folder.path()) / "a file.npy";
  auto const array = forkmap::load<int>(forkmap::dump(std::vector<int>(10'000, 1), file));
  auto const words = std::make_unique<raw_backtrace>();
  auto const place = place_of(&array[5000], 3, *words);
  CHECK_THAT(place, ContainsSubstring(" r--s 00000000 "));
  CHECK(place.ends_with(file.native()));
  CHECK(words->n_frames == 3);
  CHECK(told(place, SIGSEGV, words->fault_address) ==
        ": byte 20128 of " + file.native() + ", which was read-only there");
  CHECK(place_of(nullptr, 3, *words).empty());
  // If space is short, the outermost frames are dropped.
  CHECK(place_of(&array[5000], raw_backtrace::most_frames, *words) == place);
  CHECK(words->n_frames >= 50);
  CHECK(words->n_frames < raw_backtrace::most_frames);
  // Values that the process may have overwritten are checked.
  words->place_bytes = ~0U;
  CHECK(fault_place_of(*words).size() <= sizeof *words);
  words->n_frames = ~0ULL;
  CHECK(fault_place_of(*words).empty());
}

TEST_CASE("fault place: the sentence describes the page", "[fault_place]") {
  auto const line = [](char const* rights, char const* path) {
    return std::string("7f0000000000-7f0000010000 ") + rights + " 00003000 fd:00 1234567   " + path;
  };
  CHECK(told(line("r--s", "/tmp/a b.npy")) ==
        ": byte 20496 of /tmp/a b.npy, which was read-only there");
  CHECK(told(line("---p", "/tmp/a")) == ": byte 20496 of /tmp/a, which was not accessible there");
  CHECK(told(line("rw-s", "/tmp/a"), SIGSEGV, 0x7f0000002010, true) ==
        ": byte 20496 of /tmp/a, which was not executable there");
  CHECK(told(line("r--s", "/memfd:forkmap-array (deleted)")) ==
        ": byte 20496 of a shared_array, which was read-only there");
  CHECK(told(line("rw-s", "/nowhere/at/all"), SIGBUS) ==
        ": byte 20496 of /nowhere/at/all, which cannot be read or written there");
  support::temporary_directory const folder;
  auto const file = folder.path() / "short";
  support::write_bytes(file, std::string(4097, 'x'));
  CHECK(told(line("r--s", file.c_str()), SIGBUS) ==
        ": byte 20496 of " + file.native() + ", which has 4097 bytes now");
  // Lines without a file, and invalid lines.
  for (auto const* bad : {"", "7f0000000000-7f0000010000 ---p 00000000 00:00 0 ",
                          "7f0000000000-7f0000010000 ---p 00000000 00:00 0   [stack]", "/", "-/x",
                          "7f-80 r/", "7f0000000000-7f0000010000 /", "zz-yy rw-p 0 0 0 /x"}) {
    INFO(bad);
    CHECK(told(bad).empty());
  }
}

TEST_CASE("fault place: only refused accesses are looked up", "[fault_place]") {
  CHECK(is_refusal(SIGSEGV, SEGV_ACCERR));
  CHECK(is_refusal(SIGBUS, BUS_ADRERR));
  CHECK(!is_refusal(SIGSEGV, SEGV_MAPERR));
  CHECK(!is_refusal(SIGSEGV, SI_USER));
  CHECK(!is_refusal(SIGABRT, SEGV_ACCERR));
}
