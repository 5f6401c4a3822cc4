// The backtrace of a crashing process: addresses that it notes in shared memory, and their text.
// SPDX-License-Identifier: MIT
#pragma once

#include <dlfcn.h>
#include <link.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/crash/source_lines.hpp>
#include <forkmap/detail/crash/symbols.hpp>
#include <forkmap/detail/owner.hpp>

namespace forkmap::detail {

/// What a signal handler writes, in memory shared with the parent. Zeros mean that there is nothing.
struct raw_backtrace {
  static constexpr std::size_t most_frames = 120;

  std::atomic<std::uint32_t> whose;  // the process's number; stored after all the rest
  std::uint32_t place_bytes;         // length of the text behind the frames: see fault_handler.hpp
  std::int32_t signal;
  std::int32_t code;
  std::uint64_t fault_address;
  std::uint64_t n_frames;
  std::uint64_t frames[most_frames + 1];  // innermost first; one more for the final 0 of a dump
};

static_assert(sizeof(std::uintptr_t) <= sizeof(std::uint64_t) && sizeof(raw_backtrace) == 1000,
              "forkmap: the layout of shared memory is part of the protocol");
static_assert(std::atomic<std::uint32_t>::is_always_lock_free,
              "forkmap: futexes and signal handlers need lock-free atomics of 32 bits");

/// The code that a signal has interrupted, and the address to which it would have returned.
struct interrupted_code {
  std::uint64_t program_counter = 0;
  std::uint64_t stack_pointer = 0;
  std::uint64_t link = 0;  // the return address, where the processor has a register for it
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
#elif defined(__riscv)
  code.program_counter = machine.__gregs[REG_PC];
  code.stack_pointer = machine.__gregs[REG_SP];
  code.link = machine.__gregs[REG_RA];
#endif
  return code;
}

/// Writes the return addresses of this thread's stack, innermost first: at most that many.
/// Neither allocates nor locks, but for the first call in a process, which may load libgcc_s.
/// Source: Itanium C++ ABI, Exception Handling, 1.6.1 and GCC's unwind.h.
inline std::size_t unwind(std::uint64_t* frames, std::size_t most) noexcept {
  struct progress {
    std::uint64_t* next;
    std::uint64_t* end;
  } at{frames, frames + most};
  ::_Unwind_Backtrace(
      [](_Unwind_Context* context, void* data) {
        auto& to = *static_cast<progress*>(data);
        auto const address = static_cast<std::uint64_t>(::_Unwind_GetIP(context));
        if (address == 0 || to.next == to.end) return _URC_END_OF_STACK;
        *to.next++ = address;
        return _URC_NO_REASON;
      },
      &at);
  return static_cast<std::size_t>(at.next - frames);
}

/// Called in a signal handler: notes the signal and the backtrace, and wakes waiting processes. Neither
/// allocates nor locks.
inline void record_backtrace(raw_backtrace& into, std::uint32_t whose, int signal,
                             siginfo_t const* info, void const* context) noexcept {
  into.place_bytes = 0;
  into.signal = signal;
  into.code = info->si_code;
  into.fault_address = reinterpret_cast<std::uintptr_t>(info->si_addr);

  auto const code = interrupted(context);
  // A call of an invalid address. Unwinding from there would read the code there, and fault itself; but
  // the return address is still in its register or on top of the stack.
  bool const invalid_call = code.program_counter == 0 ||
                            (info->si_code > 0 && code.program_counter == into.fault_address &&
                             (signal == SIGSEGV || signal == SIGBUS));
  if (invalid_call && code.stack_pointer != 0) {
    into.frames[0] = code.program_counter;
    into.frames[1] =
        code.link != 0 ? code.link : *reinterpret_cast<std::uint64_t const*>(code.stack_pointer);
    into.n_frames = 2;
  } else {
    auto n = unwind(into.frames, raw_backtrace::most_frames);
    // The first frames are this function, the handler and the kernel's call of it.
    auto* const end = into.frames + n;
    auto* const first = std::find(into.frames, end, code.program_counter);
    if (first != end)
      n = static_cast<std::size_t>(std::move(first, end, into.frames) - into.frames);
    into.n_frames = n;
  }
  into.whose.store(whose, std::memory_order_release);
  ::syscall(SYS_futex, &into.whose, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

/// Whether the process with the number `whose` has written its backtrace.
inline bool has_backtrace(raw_backtrace const& from, std::uint32_t whose) noexcept {
  return from.whose.load(std::memory_order_acquire) == whose;
}

// In the parent. The process may have overwritten this memory, and may go on writing: only the number
// of frames is used, limited, and read once.

inline std::size_t n_frames_of(raw_backtrace const& from) noexcept {
  return std::min<std::size_t>(__atomic_load_n(&from.n_frames, __ATOMIC_RELAXED),
                               raw_backtrace::most_frames);
}
inline std::vector<std::uintptr_t> frames_of(raw_backtrace const& from) {
  auto const n = n_frames_of(from);
  return {from.frames, from.frames + n};
}

/// Whether a function is part of forkmap, or of the C++ library and called by forkmap to call a task.
inline bool is_between_loop_and_task(std::string name) {
  constexpr char deduced[] = "decltype(auto) ";
  if (name.compare(0, sizeof deduced - 1, deduced) == 0) name.erase(0, sizeof deduced - 1);
  if (name.compare(0, 2, "_Z") == 0)
    return name.find("7forkmap") < sizeof "_ZZZNK";              // not demangled
  name.resize(std::min(name.size(), name.find_first_of("<(")));  // its own name and its result type
  return name.find("forkmap::") != name.npos || name.find("std::invoke") != name.npos ||
         name.find("std::__invoke") != name.npos || name.find("std::ranges::") != name.npos;
}

/// Converts frames to text, innermost first, one per line:
/// "#2  parse(char const*) at parse.cpp:7 (./a.out+0x1234)". Source lines appear only if the
/// environment variable FORKMAP_ADDR2LINE asks for them. Ends before the first function whose name
/// begins with `until`, and before the functions that it has called to call a task.
///
/// Addresses are looked up in this process. If they come from a fork of it, code that the fork has
/// loaded has no name.
/// Cost: milliseconds; with source lines a new process for each frame.
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

  bool const with_lines = wants_source_lines();
  std::string text;
  std::size_t end_of_task = 0;  // in the text
  for (std::size_t i = 0; i != frames.size(); ++i) {
    // All frames but the first are return addresses, which may already belong to the next function.
    auto const address = frames[i] - (i != 0 && frames[i] != 0 ? 1 : 0);
    auto const* const pointer = reinterpret_cast<void const*>(address);
    std::string name, source, module;
    Dl_info found{};
    void* map = nullptr;
    if (::dladdr1(pointer, &found, &map, RTLD_DL_LINKMAP) != 0 && map != nullptr) {
      auto const offset = address - static_cast<link_map const*>(map)->l_addr;
      auto const* const path = static_cast<link_map const*>(map)->l_name;
      bool const program = path == nullptr || *path == '\0';
      if (found.dli_sname != nullptr) {
        name = demangled(found.dli_sname);
      } else {
        auto const* const symbol = symbols_of(program ? "/proc/self/exe" : path).name_at(offset);
        if (symbol != nullptr) name = demangled(symbol);
      }
      module = std::string(program ? found.dli_fname : path) + '+' + hex(offset);
      if (with_lines && name.compare(0, until.size(), until) != 0) {
        source = source_line_of(
            program ? "/proc/" + std::to_string(::getpid()) + "/exe" : std::string(path),
            hex(offset));
      }
    }
    if (name.empty()) name = "?";
    if (name.compare(0, until.size(), until) == 0) {
      text.resize(end_of_task);
      break;
    }
    // A lambda may be inlined into forkmap's function, whose name then says which one it is.
    bool const has_lambda = end_of_task == text.size() &&
                            (name.find("{lambda") != name.npos || name.find("::$_") != name.npos) &&
                            name.find("forkmap::") < name.find('<');
    bool const is_of_task = has_lambda || !is_between_loop_and_task(name);
    if (name.size() > longest_name) name.replace(longest_name, name.npos, "...");
    text += '#' + std::to_string(i) + (i < 10 ? "  " : " ") + name;
    if (!source.empty()) text += " at " + source;
    text += " (" + (module.empty() ? hex(address) : module) + ")\n";
    if (is_of_task) end_of_task = text.size();
  }
  return text;
}

}  // namespace forkmap::detail
