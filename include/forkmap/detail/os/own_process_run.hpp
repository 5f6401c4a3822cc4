// Detection of a process that a task has forked, when it returns from the task.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstdint>

#include <forkmap/detail/os/exits.hpp>
#include <forkmap/detail/os/pages.hpp>

namespace forkmap::detail {

using process_word = std::atomic<std::uint32_t>;

/// A word that the kernel sets to 0 in a forked child; null if the system does not do that.
inline constinit std::atomic<process_word*> word_of_process = nullptr;
/// How many runs of tasks in this process are on this thread's stack.
inline thread_local constinit int runs_in_this_process = 0;

/// A run of tasks in the caller's own process.
///
/// A child that a task forks, and that returns or throws out of the task, would run the other tasks
/// and then the rest of the program, too. end_if_forked() ends it. The child may make calls of its
/// own before.
class own_process_run {
 public:
  own_process_run() noexcept : word_(enter()) { ++runs_in_this_process; }
  own_process_run(own_process_run const&) = delete;
  own_process_run& operator=(own_process_run const&) = delete;
  ~own_process_run() { --runs_in_this_process; }

  /// Call when a task has ended.
  void end_if_forked() const noexcept {
    if (word_ != nullptr && word_->load(std::memory_order_relaxed) == 0) [[unlikely]]
      exit_now(1);
  }

 private:
  /// Returns: null in a child that a task has forked: the run of that task ends it.
  static process_word* enter() noexcept {
    auto* word = word_of_process.load(std::memory_order_acquire);
    if (word == nullptr && (word = make()) == nullptr) return nullptr;
    if (word->load(std::memory_order_relaxed) == 0) {
      if (runs_in_this_process != 0) return nullptr;
      word->store(1, std::memory_order_relaxed);
    }
    return word;
  }

  static process_word* make() noexcept {
#ifdef MADV_WIPEONFORK
    auto const bytes = page_size();
    auto* const page =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return nullptr;
    process_word* first = nullptr;
    auto* const word = static_cast<process_word*>(page);
    if (::madvise(page, bytes, MADV_WIPEONFORK) == 0 &&
        word_of_process.compare_exchange_strong(first, word, std::memory_order_acq_rel)) {
      return word;
    }
    ::munmap(page, bytes);
    return first;
#else
    return nullptr;
#endif
  }

  process_word* word_;
};

}  // namespace forkmap::detail
