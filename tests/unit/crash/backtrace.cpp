// The backtrace that a crashing process writes, and the text that its parent makes of it.
// SPDX-License-Identifier: MIT
#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <string>
#include <vector>

#include <forkmap/detail/crash/backtrace.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

using namespace forkmap::detail;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;

namespace {

// Static, so that their names are not in the dynamic symbol table. The arithmetic on the results
// prevents tail calls.
__attribute__((noinline, no_sanitize("undefined"))) int reads_null(int volatile* from) {
  return *from + 1;
}
__attribute__((noinline, no_sanitize("undefined"))) int calls_null(int (*function)()) {
  asm volatile("" : "+r"(function));  // hides the value from the optimiser
  auto const got = function();
  asm volatile("" : : "r"(got));  // uses the result, to prevent a tail call
  return got + 1;
}
// Not sanitized: a function of the sanitizer could otherwise be the innermost frame.
__attribute__((noinline, no_sanitize("undefined", "address", "thread"))) int overflows_stack(
    int volatile* depth) {
  char volatile room[512];
  room[0] = static_cast<char>(*depth);
  *depth = *depth + 1;
  if (*depth < 0) return 0;
  return overflows_stack(depth) + room[0];
}
[[gnu::noinline]] int aborts(int volatile* from) {
  if (*from == 0) std::abort();
  return *from;
}

raw_backtrace* into = nullptr;

struct notes {
  int signal;
  std::uint64_t fault_address;
  std::vector<std::uintptr_t> frames;
};

/// The backtrace of a process that calls `crash`.
template <class Die> notes notes_of(Die crash) {
  void* const memory = ::mmap(nullptr, sizeof(raw_backtrace), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  into = ::new (memory) raw_backtrace{};
  auto const child = ::fork();
  if (child == 0) {
    alignas(16) static std::byte stack[std::size_t{64} << 10U];
    stack_t const own{.ss_sp = stack, .ss_flags = 0, .ss_size = sizeof stack};
    ::sigaltstack(&own, nullptr);
    struct sigaction action{};
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    action.sa_sigaction = [](int signal, siginfo_t* info, void* context) {
      record_backtrace(*into, 7, signal, info, context);
      ::_exit(42);
    };
    for (int const signal : {SIGSEGV, SIGABRT, SIGBUS}) ::sigaction(signal, &action, nullptr);
    crash();
    ::_exit(1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  REQUIRE(WIFEXITED(status));
  REQUIRE(WEXITSTATUS(status) == 42);
  REQUIRE(forkmap::detail::has_backtrace(*into, 7));
  notes const all{into->signal, into->fault_address, frames_of(*into)};
  ::munmap(memory, sizeof(raw_backtrace));
  return all;
}

std::string text_of(notes const& of) { return text_of_backtrace(of.frames, "\n"); }

}  // namespace

TEST_CASE("backtrace: the function that crashed comes first, with its address", "[system]") {
  auto const noted = notes_of([] { return reads_null(nullptr); });
  REQUIRE(noted.signal == SIGSEGV);
  REQUIRE(noted.fault_address == 0);
  auto const text = text_of(noted);
  REQUIRE_THAT(text, StartsWith("#0  (anonymous namespace)::reads_null(int volatile*)"));
  REQUIRE_THAT(text, ContainsSubstring("unit_tests+0x") && ContainsSubstring("\n#1  "));
}

TEST_CASE("backtrace: a call of a null pointer shows the caller", "[system]") {
  auto const text = text_of(notes_of([] { return calls_null(nullptr); }));
  REQUIRE_THAT(text, StartsWith("#0  ? (0x0)\n#1  (anonymous namespace)::calls_null"));
}

TEST_CASE("backtrace: a stack overflow shows the innermost frames", "[system]") {
  int depth = 0;
  auto const noted = notes_of([&] { return overflows_stack(&depth); });
  REQUIRE(noted.signal == SIGSEGV);
  REQUIRE(noted.frames.size() > 100);
  REQUIRE_THAT(text_of(noted), StartsWith("#0  (anonymous namespace)::overflows_stack"));
}

TEST_CASE("backtrace: abort shows its caller", "[system]") {
  int zero = 0;
  auto const noted = notes_of([&] { return aborts(&zero); });
  REQUIRE(noted.signal == SIGABRT);
  REQUIRE_THAT(text_of(noted), ContainsSubstring("(anonymous namespace)::aborts(int volatile*)"));
}

TEST_CASE("backtrace: overwritten data is read within bounds", "[system]") {
  raw_backtrace scribbled{};
  scribbled.n_frames = ~std::uint64_t{0};
  for (auto& each : scribbled.frames) each = 0x1234;
  REQUIRE(frames_of(scribbled).size() == raw_backtrace::most_frames);
  REQUIRE_THAT(text_of_backtrace(frames_of(scribbled), "\n"),
               StartsWith("#0  ? (0x1234)\n#1  ? (0x1233)"));
}

TEST_CASE("backtrace: it ends at the given function", "[system]") {
  auto const frames = notes_of([] { return reads_null(nullptr); }).frames;
  REQUIRE(text_of_backtrace(frames, "(anonymous namespace)::reads_").empty());
}

TEST_CASE("symbols: functions are found by their address in a file", "[system]") {
  elf_symbols const own("/proc/self/exe");
  Dl_info found{};
  void* map = nullptr;
  auto const address = reinterpret_cast<std::uintptr_t>(&reads_null);
  REQUIRE(::dladdr1(reinterpret_cast<void*>(address), &found, &map, RTLD_DL_LINKMAP) != 0);
  auto const offset = address - static_cast<link_map*>(map)->l_addr;
  auto const* const name = own.name_at(offset);
  REQUIRE(name != nullptr);
  REQUIRE_THAT(demangled(name), ContainsSubstring("reads_null"));
  REQUIRE(own.name_at(1) == nullptr);
  REQUIRE(own.name_at(~std::uint64_t{0}) == nullptr);
}

TEST_CASE("symbols: files that are missing, truncated or damaged have no symbols", "[system]") {
  support::temporary_directory const folder;
  auto const file = folder.path() / "file";
  REQUIRE(elf_symbols("/nowhere/at/all").name_at(0x1000) == nullptr);
  REQUIRE(elf_symbols(folder.path()).name_at(0x1000) == nullptr);
  for (std::string const text : {"", "x", "\177ELF", "\177ELF\2\1\1 and then nothing like it"}) {
    REQUIRE(elf_symbols(support::write_bytes(file, text)).name_at(0x1000) == nullptr);
  }
  // The first 4 KiB of this program, which lack the section headers; then with changed bytes.
  std::string program(4096, '\0');
  REQUIRE(std::ifstream("/proc/self/exe", std::ios::binary).read(program.data(), 4096));
  REQUIRE(elf_symbols(support::write_bytes(file, program)).name_at(0x1000) == nullptr);
  for (std::size_t at = 0; at != sizeof(Elf64_Ehdr); ++at) {
    auto changed = program;
    changed[at] = static_cast<char>(changed[at] ^ 0x55);
    elf_symbols(support::write_bytes(file, changed)).name_at(0x1000);
  }
}

TEST_CASE("backtrace: source lines appear if FORKMAP_ADDR2LINE asks for them", "[crash]") {
  // Instead of the real addr2line, which needs debug information: a script that is found first.
  support::temporary_directory const folder;
  auto const script = folder.path() / "addr2line";
  std::ofstream(script) << "#!/bin/sh\necho '/some/folder/parse.cpp:7 (discriminator 2)'\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  std::string const path = std::getenv("PATH");
  ::setenv("PATH", (folder.path().native() + ':' + path).c_str(), 1);
  std::vector const frames{reinterpret_cast<std::uintptr_t>(&std::abort)};

  CHECK(text_of_backtrace(frames, "main").find("parse.cpp") == std::string::npos);
  ::setenv("FORKMAP_ADDR2LINE", "1", 1);
  CHECK_THAT(text_of_backtrace(frames, "main"), ContainsSubstring("abort at parse.cpp:7 "));
  for (auto const* const unknown : {"??:0", "??:?", "parse.cpp:?", ""}) {
    std::ofstream(script) << "#!/bin/sh\necho '" << unknown << "'\n";
    CHECK(source_line_of("/proc/self/exe", "0x1") == "");
  }
  std::filesystem::remove(script);
  ::setenv("PATH", folder.path().c_str(), 1);
  CHECK(source_line_of("/proc/self/exe", "0x1") == "");

  ::unsetenv("FORKMAP_ADDR2LINE");
  ::setenv("PATH", path.c_str(), 1);
}

TEST_CASE("backtrace: functions between the loop over tasks and the task are left out", "[crash]") {
  for (auto const* const name :
       {"void forkmap::detail::run_map<int, forkmap::detail::x<int (*)(int)> >(int&)",
        "decltype(auto) forkmap::delayed_call<int (*)(int), int>::call<0l>(int)",
        "forkmap::detail::map_job<int, X>(X&, bool)::{lambda(void*)#1}::_FUN(void*)",
        "int std::__invoke_impl<int, int (*&)(int), int&>(std::__invoke_other, int (*&)(int), "
        "int&)",
        "std::invoke_result<int (*&)(int), int&>::type std::invoke<int (*&)(int), int&>(int&)",
        "_ZZN7forkmap12delayed_callIPFiiEJiEE4callILl0ES3_EEDcRT0_ENKUlSt16"}) {
    CAPTURE(name);
    CHECK(is_between_loop_and_task(name));
  }
  for (auto const* const name : {"work(int)", "main::{lambda(int)#1}::operator()(int) const", "?",
                                 "int analyse<forkmap::slice>(forkmap::slice)", "operator<(a, b)",
                                 "_ZN4mine4workEN7forkmap5sliceE"}) {
    CAPTURE(name);
    CHECK_FALSE(is_between_loop_and_task(name));
  }
}
