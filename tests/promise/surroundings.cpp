// Calls in programs that use signals, threads, resource limits or OpenMP.
// SPDX-License-Identifier: MIT
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <iterator>
#include <mutex>
#include <new>
#include <ranges>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/is_asleep.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

/// Runs `body` in a process of its own.
/// Returns: the exit status, or minus the signal that ended the process.
template <class Body> int status_of_child(Body body) {
  auto const child = ::fork();
  if (child == 0) {
    int status = 99;
    try {
      status = body();
    } catch (std::exception const& e) {
      std::fprintf(stderr, "in a child: %s\n", e.what());
    }
    ::_exit(status);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) != child) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool works() {
  auto const xs =
      fm::parallel(2).map([](int i) { return std::to_string(i); }, std::views::iota(0, 9));
  return xs.size() == 9 && xs[8] == "8";
}

/// A process in a group of its own that runs a map with two workers, which wait until let_go() is
/// called.
class waiting_caller {
 public:
  explicit waiting_caller(std::function<void()> const& before = {}) {
    child_ = ::fork();
    if (child_ == 0) {
      ::setpgid(0, 0);
      if (before) before();
      bool interrupted = false;
      auto const outcomes = fm::parallel(2).outcomes(support::tasks_of(2, [&](int i) {
        pids_[static_cast<std::size_t>(i)] = ::getpid();
        while (pids_[2] == 0) std::this_thread::sleep_for(1ms);  // set by let_go()
        return i;
      }));
      interrupted = !outcomes[0] || !outcomes[1];
      ::_exit(interrupted ? 1 : 42);
    }
    REQUIRE(support::wait_until([&] { return pids_[0] != 0 && pids_[1] != 0; }));
  }
  waiting_caller(waiting_caller const&) = delete;
  waiting_caller& operator=(waiting_caller const&) = delete;
  ~waiting_caller() {
    pids_[2] = 1;
    if (child_ > 0) end(SIGKILL);
  }

  pid_t pid() const { return child_; }
  void let_go() { pids_[2] = 1; }
  bool workers_have_ended() const {
    return support::wait_until(
        [&] { return !support::is_running(pids_[0]) && !support::is_running(pids_[1]); });
  }
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(child_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
  int end(int signal) {
    ::kill(child_, signal);
    return wait();
  }

 private:
  fm::shared_array<pid_t> pids_{{3}};
  pid_t child_ = 0;
};

}  // namespace

TEST_CASE("surroundings: a caller that is killed leaves no worker", "[surroundings]") {
  waiting_caller caller;
  REQUIRE(caller.end(SIGKILL) == -SIGKILL);
  REQUIRE(caller.workers_have_ended());
}

TEST_CASE("surroundings: SIGINT to the group or only to the caller ends caller and workers",
          "[surroundings]") {
  {
    waiting_caller caller;
    ::kill(-caller.pid(), SIGINT);
    REQUIRE(caller.wait() == -SIGINT);
    REQUIRE(caller.workers_have_ended());
  }
  waiting_caller caller;
  REQUIRE(caller.end(SIGINT) == -SIGINT);
  REQUIRE(caller.workers_have_ended());
}

TEST_CASE("surroundings: a SIGINT handler of the caller that returns does not disturb the call",
          "[surroundings]") {
  waiting_caller caller([] { ::signal(SIGINT, [](int) {}); });
  for (int i = 0; i != 20; ++i) ::kill(-caller.pid(), SIGINT);
  caller.let_go();
  REQUIRE(caller.wait() == 42);
}

TEST_CASE("surroundings: calls with time limits work in a caller that blocks all signals",
          "[surroundings]") {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  auto const outcomes =
      fm::parallel({.n_jobs = 2, .timeout = 100ms}).outcomes(support::tasks_of(4, [](int i) {
        if (i == 1) {
          for (;;) ::pause();
        }
        return i;
      }));
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  REQUIRE(outcomes[1].error().reason == fm::failure::timed_out);
  REQUIRE(outcomes[1].error().trace().find("pause") != std::string::npos);
  REQUIRE(*outcomes[3] == 3);
}

TEST_CASE("surroundings: the program's handler of a fatal signal is kept in workers",
          "[surroundings]") {
  struct sigaction own{};
  struct sigaction before{};
  own.sa_handler = [](int) { ::_exit(17); };
  ::sigaction(SIGSEGV, &own, &before);
  auto const outcomes = fm::parallel(2).outcomes(support::tasks_of(3, [](int i) {
    if (i == 1) ::raise(SIGSEGV);
    return i;
  }));
  ::sigaction(SIGSEGV, &before, nullptr);
  REQUIRE(outcomes[1].error().message.find("exited with status 17") != std::string::npos);
  REQUIRE(*outcomes[2] == 2);
}

TEST_CASE("surroundings: ten threads can call at once while others take locks", "[surroundings]") {
  // ASan before LLVM 18 does not handle its allocator's locks at a fork: g++ 12's ASan hangs in
  // children.
  if (support::address_sanitizer) return;
  std::atomic<bool> done{false};
  std::mutex program_mutex;
  std::FILE* const sink = std::fopen("/dev/null", "w");
  std::vector<std::thread> busy;
  for (int i = 0; i != 3; ++i) {
    busy.emplace_back([&] {
      while (!done) {
        std::vector<std::string> const garbage(100, std::string(1000, 'x'));
        std::fprintf(sink, "%s\n", garbage[0].c_str());
        std::lock_guard const hold(program_mutex);
        std::this_thread::yield();
      }
    });
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> callers;
  for (int k = 0; k != 10; ++k) {
    callers.emplace_back([&, k] {
      for (int round = 0; round != 10; ++round) {
        auto const xs = fm::parallel({.n_jobs = 2, .timeout = 100s})
                            .map(
                                [k](int i) {
                                  std::printf("%s", "");
                                  std::vector<std::string> const mine(10, std::string(500, 'y'));
                                  if (i == 3 && k == 4) {  // a nested map
                                    return static_cast<int>(fm::parallel(2)
                                                                .map([](int j) { return j; },
                                                                     std::views::iota(0, 5))
                                                                .size()) -
                                           2;
                                  }
                                  return static_cast<int>(mine.size()) - 10 + i;
                                },
                                std::views::iota(0, 12));
        for (int i = 0; i != 12; ++i) wrong += xs[static_cast<std::size_t>(i)] != i;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  done = true;
  for (auto& thread : busy) thread.join();
  std::fclose(sink);
  REQUIRE(wrong == 0);
}

TEST_CASE(
    "surroundings: OpenMP works before the call and in tasks, with the right number of threads",
    "[surroundings]") {
  // In a process of its own, so that other tests do not have OpenMP's threads.
  auto const status = status_of_child([] {
    void* const library = ::dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) return 77;
    auto* const parallel = reinterpret_cast<void (*)(void (*)(void*), void*, unsigned, unsigned)>(
        ::dlsym(library, "GOMP_parallel"));
    auto* const max_threads = reinterpret_cast<int (*)()>(::dlsym(library, "omp_get_max_threads"));
    if (parallel == nullptr || max_threads == nullptr) return 77;
    auto const region = [parallel](unsigned threads) {
      std::atomic<int> ran{0};
      parallel([](void* data) { ++*static_cast<std::atomic<int>*>(data); }, &ran, threads, 0);
      return ran.load();
    };
    if (region(3) != 3) return 1;
    auto const in_tasks = fm::parallel({.n_jobs = 2, .timeout = 60s})(
        support::tasks_of(4, [&](int) { return region(3); }));
    if (in_tasks != std::vector(4, 3)) return 2;
    if (region(3) != 3) return 3;  // still works in the caller
    auto const asked = [&](int inner) {
      return fm::parallel({.n_jobs = 2, .inner_threads = inner})(
          support::tasks_of(2, [&](int) { return max_threads(); }));
    };
    if (asked(5) != std::vector(2, 5)) return 4;
    if (asked(0) != std::vector(2, std::max(1, fm::cpu_count() / 2))) return 5;
    return 42;
  });
  if (status == 77) {
    WARN("no libgomp.so.1 here: not tested");
  } else {
    REQUIRE(status == 42);
  }
}

TEST_CASE("surroundings: maps inside an OpenMP region work, with one warning in total",
          "[surroundings]") {
  support::temporary_directory const folder;
  auto const log = folder.path() / "stderr";
  auto const status = status_of_child([&] {
    void* const library = ::dlopen("libgomp.so.1", RTLD_NOW | RTLD_GLOBAL);
    auto* const parallel =
        library == nullptr ? nullptr
                           : reinterpret_cast<void (*)(void (*)(void*), void*, unsigned, unsigned)>(
                                 ::dlsym(library, "GOMP_parallel"));
    if (parallel == nullptr) return 77;
    if (std::freopen(log.c_str(), "w", stderr) == nullptr) return 1;
    std::atomic<int> right{0};
    parallel(
        [](void* data) {
          for (int i = 0; i != 3; ++i) *static_cast<std::atomic<int>*>(data) += works();
        },
        &right, 2, 0);
    std::fflush(stderr);
    return right == 6 ? 42 : 2;
  });
  if (status == 77) {
    WARN("no libgomp.so.1 here: not tested");
    return;
  }
  REQUIRE(status == 42);
  std::ifstream in(log);
  std::string const text(std::istreambuf_iterator<char>(in), {});
  auto const at = text.find("forkmap: warning: a map was called inside an OpenMP parallel region");
  REQUIRE(at != text.npos);
  REQUIRE(text.find("warning", at + 20) == text.npos);
}

TEST_CASE("surroundings: a call that lacks descriptors, processes or file size fails and names it",
          "[surroundings]") {
  auto const names = [](int resource, rlim_t most, std::string const& text) {
    return status_of_child([&] {
      auto const before = support::child_processes().size();
      rlimit usual{};
      ::getrlimit(static_cast<__rlimit_resource>(resource), &usual);
      rlimit const tight{.rlim_cur = most, .rlim_max = usual.rlim_max};
      ::setrlimit(static_cast<__rlimit_resource>(resource), &tight);
      int trouble = 0;
      try {
        if (!works()) trouble = 1;  // the limit may be sufficient
      } catch (std::system_error const& e) {
        if (std::string(e.what()).find(text) == std::string::npos) {
          std::fprintf(stderr, "%s\n", e.what());
          trouble = 2;
        }
      } catch (std::bad_alloc const&) {
      }
      ::setrlimit(static_cast<__rlimit_resource>(resource), &usual);
      if (trouble != 0) return trouble;
      if (support::child_processes().size() != before) return 3;
      return works() ? 42 : 4;
    });
  };
  // Not with sanitizers: UBSan needs descriptors to inspect objects.
  for (rlim_t most = 3; most != 8 && !support::address_sanitizer; ++most) {
    REQUIRE(names(RLIMIT_NOFILE, most, most == 3 ? "memfd_create" : "forkmap: ") == 42);
  }
  REQUIRE(names(RLIMIT_FSIZE, 100'000, "RLIMIT_FSIZE") == 42);
  // RLIMIT_NPROC does not apply to root, so this child becomes another user.
  auto const forks = status_of_child([] {
    if (::geteuid() == 0 && ::setuid(54'321) != 0) return 77;
    rlimit const none{.rlim_cur = 1, .rlim_max = 1};
    ::setrlimit(RLIMIT_NPROC, &none);
    try {
      works();
      return 1;
    } catch (std::system_error const& e) {
      return std::string(e.what()).find("fork of a worker") != std::string::npos ? 42 : 2;
    }
  });
  REQUIRE((forks == 42 || forks == 77));
}

TEST_CASE("surroundings: calls work in a thread with a small stack and during unwinding",
          "[surroundings]") {
  pthread_attr_t small;
  ::pthread_attr_init(&small);
  ::pthread_attr_setstacksize(&small, 256U << 10U);
  pthread_t thread{};
  bool good = false;
  REQUIRE(::pthread_create(
              &thread, &small,
              [](void* result) -> void* {
                *static_cast<bool*>(result) = works();
                return nullptr;
              },
              &good) == 0);
  ::pthread_join(thread, nullptr);
  ::pthread_attr_destroy(&small);
  REQUIRE(good);

  struct maps_at_end {
    bool& good;
    ~maps_at_end() { good = works(); }
  };
  bool unwound = false;
  try {
    maps_at_end const at_end{unwound};
    throw std::runtime_error("on the way");
  } catch (std::runtime_error const&) {
  }
  REQUIRE(unwound);
}

TEST_CASE("surroundings: results outlive the thread that made the call", "[surroundings]") {
  std::vector<std::string> results;
  std::thread([&] {
    results =
        fm::parallel(2).map([](int i) { return std::string(1000, static_cast<char>('a' + i)); },
                            std::views::iota(0, 20));
  }).join();
  REQUIRE(results[19] == std::string(1000, 't'));
}

TEST_CASE("surroundings: a program that reaps all children does not disturb results",
          "[surroundings]") {
  std::atomic<bool> done{false};
  std::thread reaper([&] {
    while (!done) {
      if (::waitpid(-1, nullptr, WNOHANG) <= 0) std::this_thread::sleep_for(100us);
    }
  });
  for (int round = 0; round != 50; ++round) {
    auto const outcomes = fm::parallel(2).outcomes(support::tasks_of(20, [](int i) {
      if (i == 7) ::raise(SIGKILL);
      return i;
    }));
    for (int i = 0; i != 20; ++i) {
      auto const& outcome = outcomes[static_cast<std::size_t>(i)];
      REQUIRE(outcome.has_value() == (i != 7));
    }
    REQUIRE(outcomes[7].error().reason == fm::failure::died);
  }
  done = true;
  reaper.join();
}

#if defined(__GLIBCXX__)  // with libc++, a cancelled thread cannot leave a try block
TEST_CASE("surroundings: cancelling a thread ends its call and the workers of the call",
          "[surroundings]") {
  // ASan keeps the stack state of the frames that a cancelled thread leaves, and reports errors for
  // it.
  if (support::address_sanitizer) return;
  for (int const n_jobs : {1, 2}) {
    fm::shared_array<int> begun({1});
    std::atomic<pid_t> id{0};
    std::atomic<bool> returned{false};
    std::thread caller([&] {
      id = ::gettid();
      fm::parallel(n_jobs).outcomes(support::tasks_of(4, [&](int) -> int {
        std::atomic_ref(begun(0)).store(1);
        for (;;) ::usleep(1000);
      }));
      returned = true;
    });
    bool const waits = support::wait_until(
        [&] { return std::atomic_ref(begun(0)).load() == 1 && support::is_asleep(id); });
    ::pthread_cancel(caller.native_handle());
    caller.join();
    CHECK(waits);
    CHECK(!returned);
    CHECK(support::child_processes().empty());
  }
}
#endif

TEST_CASE("surroundings: after unshare(CLONE_NEWPID) a refused fork says what is wrong",
          "[system]") {
  auto const child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWPID) != 0) ::_exit(42);  // not allowed here
    // The namespace ends with its first process, a worker of the first call.
    for (int call = 0; call != 3; ++call) {
      try {
        fm::parallel(2).map([](int i) { return i; }, std::views::iota(0, 4));
      } catch (std::exception const& e) {
        ::_exit(std::strstr(e.what(), "unshare --pid without --fork") != nullptr ? 42 : 2);
      }
    }
    ::_exit(3);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 42));
}
