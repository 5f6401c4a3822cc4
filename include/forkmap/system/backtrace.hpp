// Where a process was when it died: noted by itself in shared memory, made text of by its parent.
#pragma once

#include <dlfcn.h>
#include <link.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <boost/stacktrace/safe_dump_to.hpp>
#if defined(BOOST_STACKTRACE_USE_BACKTRACE) || defined(BOOST_STACKTRACE_USE_ADDR2LINE) || \
    defined(BOOST_STACKTRACE_LINK) || defined(BOOST_STACKTRACE_DYN_LINK)
#include <boost/stacktrace/frame.hpp>
#endif

#include <forkmap/system/owner.hpp>
#include <forkmap/system/symbols.hpp>

namespace forkmap::detail {

/// What a signal handler notes. In memory shared with the parent; zeros mean that there is nothing.
struct raw_backtrace {
  static constexpr std::size_t most_frames = 120;

  std::atomic<std::uint32_t> whose;  // the number of the process; set when all below is there
  std::uint32_t place_bytes;           // of a text behind the frames: see fault_place.hpp
  std::int32_t signal;
  std::int32_t code;
  std::uint64_t fault_address;
  std::uint64_t n_frames;
  std::uint64_t frames[most_frames + 1];  // innermost first; one more for the 0 that ends a dump
};

static_assert(sizeof(std::uintptr_t) <= sizeof(std::uint64_t) && sizeof(raw_backtrace) == 1000,
              "forkmap: the layout of shared memory is part of the protocol");
static_assert(std::atomic<std::uint32_t>::is_always_lock_free,
              "forkmap: a futex and a signal handler need an atomic without a lock");

/// The code that a signal has interrupted, and the address that it would have returned to.
struct interrupted_code {
  std::uint64_t program_counter = 0;
  std::uint64_t stack_pointer = 0;
  std::uint64_t link = 0;  // where the processor has a register for it
};
inline interrupted_code interrupted(void const* context) noexcept {
  interrupted_code code;
  [[maybe_unused]] auto const& machine = static_cast<ucontext_t const*>(context)->uc_mcontext;
#if defined(__x86_64__)
  code.program_counter = static_cast<std::uint64_t>(machine.gregs[REG_RIP]);
  code.stack_pointer = static_cast<std::uint64_t>(machine.gregs[REG_RSP]);
#elif defined(__aarch64__)
  code.program_counter = machine.pc;
  code.stack_pointer = machine.sp;
  code.link = machine.regs[30];
#endif
  return code;
}

/// In a signal handler: notes what came and where, and wakes whoever waits for it. Neither allocates
/// nor locks.
inline void record_backtrace(raw_backtrace& into, std::uint32_t whose, int signal,
                             siginfo_t const* info, void const* context) noexcept {
  into.place_bytes = 0;
  into.signal = signal;
  into.code = info->si_code;
  into.fault_address = reinterpret_cast<std::uintptr_t>(info->si_addr);

  auto const code = interrupted(context);
  // A call to nowhere: nothing can unwind from there (the attempt reads the code, and is a fault
  // itself), but the caller's address is at hand.
  bool const nowhere = code.program_counter == 0 ||
                       (info->si_code > 0 && code.program_counter == into.fault_address &&
                        (signal == SIGSEGV || signal == SIGBUS));
  if (nowhere && code.stack_pointer != 0) {
    into.frames[0] = code.program_counter;
    into.frames[1] =
        code.link != 0 ? code.link : *reinterpret_cast<std::uint64_t const*>(code.stack_pointer);
    into.n_frames = 2;
  } else {
    auto const dumped = boost::stacktrace::safe_dump_to(into.frames, sizeof into.frames);
    auto n = dumped == 0 ? 0 : dumped - 1;  // without the 0
    // The first ones are this function, the handler and what the kernel calls it from.
    auto* const end = into.frames + n;
    auto* const first = std::find(into.frames, end, code.program_counter);
    if (first != end)
      n = static_cast<std::size_t>(std::move(first, end, into.frames) - into.frames);
    into.n_frames = n;
  }
  into.whose.store(whose, std::memory_order_release);
  ::syscall(SYS_futex, &into.whose, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

/// Whether that process has left its backtrace there.
inline bool has_backtrace(raw_backtrace const& from, std::uint32_t whose) noexcept {
  return from.whose.load(std::memory_order_acquire) == whose;
}

/// In the parent. The process may have written anything there: only the number is believed, within
/// limits.
inline std::vector<std::uintptr_t> frames_of(raw_backtrace const& from) {
  auto const n = std::min<std::uint64_t>(from.n_frames, raw_backtrace::most_frames);
  return {from.frames, from.frames + n};
}

/// What there is at a code address.
struct code_place {
  std::string function{};
  std::string source{};  // "parse.cpp:7"
};

/// What the dynamic linker knows, or Boost.Stacktrace where it has been configured to know more: its
/// header is slow to compile.
inline code_place place_of_code(void const* address) {
#if defined(BOOST_STACKTRACE_USE_BACKTRACE) || defined(BOOST_STACKTRACE_USE_ADDR2LINE) || \
    defined(BOOST_STACKTRACE_LINK) || defined(BOOST_STACKTRACE_DYN_LINK)
  boost::stacktrace::frame const frame(address);
  auto source = frame.source_file();
  if (!source.empty()) source += ':' + std::to_string(frame.source_line());
  return {frame.name(), std::move(source)};
#else
  Dl_info found{};
  if (::dladdr(address, &found) == 0 || found.dli_sname == nullptr) return {};
  return {demangled(found.dli_sname), {}};
#endif
}

/// Makes text of frames, innermost first: "#2  parse(char const*) at parse.cpp:7 (./a.out+0x1234)",
/// a line each. Source lines only where Boost.Stacktrace has been configured to find them
/// (BOOST_STACKTRACE_USE_BACKTRACE or _ADDR2LINE); `addr2line -e ./a.out 0x1234` tells, too. Ends
/// before the first function whose name begins with `until`.
///
/// Addresses are this process's: of one that is a fork of it, code loaded since has no name.
/// Cost: milliseconds.
inline std::string text_of_backtrace(std::vector<std::uintptr_t> const& frames,
                                     std::string const& until) {
  constexpr std::size_t longest_name = 300;
  struct symbols_of_file {
    std::string file;
    elf_symbols symbols;
    owner<symbols_of_file> next;
  };
  owner<symbols_of_file> files;
  auto const symbols_of = [&](std::string const& file) -> elf_symbols const& {
    for (auto const* known = files.get(); known != nullptr; known = known->next.get()) {
      if (known->file == file) return known->symbols;
    }
    auto* const first = new symbols_of_file{file, elf_symbols(file), nullptr};
    first->next = std::move(files);
    files.reset(first);
    return first->symbols;
  };
  auto const hex = [](std::uint64_t number) {
    std::string digits;
    do {
      digits.insert(digits.begin(), "0123456789abcdef"[number % 16]);
      number /= 16;
    } while (number != 0);
    return "0x" + digits;
  };

  std::string text;
  for (std::size_t i = 0; i != frames.size(); ++i) {
    // All but the first are where a call returns to, which may be the next function already.
    auto const address = frames[i] - (i != 0 && frames[i] != 0 ? 1 : 0);
    auto const* const pointer = reinterpret_cast<void const*>(address);
    auto [name, source] = place_of_code(pointer);
    std::string module;
    Dl_info found{};
    void* map = nullptr;
    if (::dladdr1(pointer, &found, &map, RTLD_DL_LINKMAP) != 0 && map != nullptr) {
      auto const offset = address - static_cast<link_map const*>(map)->l_addr;
      auto const* const path = static_cast<link_map const*>(map)->l_name;
      bool const program = path == nullptr || *path == '\0';
      if (name.empty()) {
        auto const* const symbol = symbols_of(program ? "/proc/self/exe" : path).name_at(offset);
        if (symbol != nullptr) name = demangled(symbol);
      }
      module = std::string(program ? found.dli_fname : path) + '+' + hex(offset);
    }
    if (name.empty()) name = "?";
    if (name.compare(0, until.size(), until) == 0) break;
    if (name.size() > longest_name) name.replace(longest_name, name.npos, "...");
    text += '#' + std::to_string(i) + (i < 10 ? "  " : " ") + name;
    if (!source.empty()) text += " at " + source;
    text += " (" + (module.empty() ? hex(address) : module) + ")\n";
  }
  return text;
}

}  // namespace forkmap::detail
