// A thread of the library, on which the program's signal handlers never run.
// SPDX-License-Identifier: MIT
#pragma once

#include <signal.h>

#include <system_error>
#include <thread>
#include <utility>

#include <forkmap/detail/os/call.hpp>

namespace forkmap::detail {

class background_thread {
 public:
  /// Runs body() on a new thread. body() must return, and join() be called, before the destructor runs.
  /// Errors: std::system_error naming pthread_create if the system refuses a new thread.
  template <class Body> explicit background_thread(Body body) {
    sigset_t all;
    sigfillset(&all);
    sigset_t before;
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      thread_ = std::thread(std::move(body));
    } catch (std::system_error const& refused) {
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      throw_system_error(refused.code().value(), "pthread_create of a thread of a pool");
    } catch (...) {
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
      throw;
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  bool is_running() const noexcept { return thread_.joinable(); }
  void join() { thread_.join(); }

 private:
  std::thread thread_;
};

}  // namespace forkmap::detail
