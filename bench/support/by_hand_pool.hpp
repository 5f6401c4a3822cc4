// Forked processes that stay, without forkmap: the floor for the calls of a pool.
// SPDX-License-Identifier: MIT
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <new>

#include "by_hand.hpp"

namespace bench::by_hand {

inline void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, nullptr, nullptr, 0);
}
inline void futex_wake(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
}

/// n processes that call body(k) each time run() is called. They wait with pause and sched_yield
/// for `patience`, then on a futex. The caller does the same with 20 microseconds.
template <class Body> class small_pool {
 public:
  small_pool(int n, std::chrono::microseconds patience, Body body)
      : n_(n),
        shared_(new(::mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0)) shared{}) {
    for (int k = 0; k != n; ++k) {
      auto const child = ::fork();
      check(child >= 0, "fork");
      if (child != 0) {
        children_[k] = child;
        continue;
      }
      for (std::uint32_t seen = 0;;) {
        wait_for_change(shared_->round[k], seen, patience);
        seen = shared_->round[k].word.load();
        body(k);
        if (shared_->done.fetch_add(1) + 1 == shared_->expected.load()) futex_wake(shared_->done);
      }
    }
  }
  small_pool(small_pool const&) = delete;
  small_pool& operator=(small_pool const&) = delete;
  ~small_pool() {
    for (int k = 0; k != n_; ++k) {
      ::kill(children_[k], SIGKILL);
      ::waitpid(children_[k], nullptr, 0);
    }
    ::munmap(shared_, sizeof(shared));
  }

  /// `spins`: whether the caller polls before it sleeps.
  void run(int n, bool spins) {
    start(n);
    wait(spins);
  }

  void start(int n) {
    auto const before = shared_->done.load();
    shared_->expected = before + static_cast<std::uint32_t>(n);
    for (int k = 0; k != n; ++k) {
      shared_->round[k].word.fetch_add(1);
      if (shared_->round[k].asleep.load() != 0) futex_wake(shared_->round[k].word);
    }
  }
  void wait(bool spins) {
    auto const begin = std::chrono::steady_clock::now();
    for (;;) {
      auto const now = shared_->done.load();
      if (now == shared_->expected.load()) return;
      if (spins && std::chrono::steady_clock::now() - begin < std::chrono::microseconds(20)) {
        ::sched_yield();
      } else {
        futex_wait(shared_->done, now);
      }
    }
  }

 private:
  struct alignas(128) channel {
    std::atomic<std::uint32_t> word;
    std::atomic<std::uint32_t> asleep;
  };
  struct shared {
    channel round[8];
    alignas(128) std::atomic<std::uint32_t> done;
    std::atomic<std::uint32_t> expected;
  };

  static void wait_for_change(channel& from, std::uint32_t seen,
                              std::chrono::microseconds patience) {
    auto const begin = std::chrono::steady_clock::now();
    while (from.word.load() == seen && std::chrono::steady_clock::now() - begin < patience) {
      for (int i = 0; i != 16 && from.word.load() == seen; ++i) __builtin_ia32_pause();
      ::sched_yield();
    }
    from.asleep = 1;
    while (from.word.load() == seen) futex_wait(from.word, seen);
    from.asleep = 0;
  }

  int n_;
  shared* shared_;
  pid_t children_[8]{};
};

}  // namespace bench::by_hand
