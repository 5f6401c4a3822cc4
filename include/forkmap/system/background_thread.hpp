// A thread of the library's own, which the program's signal handlers never run on.
#pragma once

#include <signal.h>

#include <thread>
#include <utility>

namespace forkmap::detail {

class background_thread {
 public:
  /// Runs body() on a new thread; it must come to its end before this is destroyed.
  /// Errors: std::system_error if there is no thread to be had.
  template <class Body> explicit background_thread(Body body) {
    sigset_t all;
    sigfillset(&all);
    sigset_t before;
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      thread_ = std::thread(std::move(body));
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
