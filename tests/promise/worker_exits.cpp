// Exit handlers of workers: those registered in a worker run, those of its caller do not.
// SPDX-License-Identifier: MIT
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

/// Exit handlers by kind. Those that ran are counted in memory that all processes share.
enum exit_kind { of_static, of_thread, of_atexit, of_quick_exit, of_caller, n_exit_kinds };

int* exit_counts() {
  static auto* const counts =
      static_cast<int*>(::mmap(nullptr, n_exit_kinds * sizeof(int), PROT_READ | PROT_WRITE,
                               MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  return counts;
}
void count_exit(exit_kind kind) { ++std::atomic_ref(exit_counts()[kind]); }
int exits_counted(exit_kind kind) { return std::atomic_ref(exit_counts()[kind]).load(); }
void forget_exit_counts() {
  for (int kind = 0; kind != n_exit_kinds; ++kind) std::atomic_ref(exit_counts()[kind]).store(0);
}

struct counts_its_end {
  exit_kind kind;
  ~counts_its_end() { count_exit(kind); }
};

/// Registers a handler of every kind in this process, once.
int register_exits(int i) {
  static counts_its_end const at_exit{of_static};
  thread_local counts_its_end const of_this_thread{of_thread};
  static int const once = std::atexit([] { count_exit(of_atexit); }) +
                          std::at_quick_exit([] { count_exit(of_quick_exit); });
  return i + once + (of_this_thread.kind == of_thread ? 0 : 1);
}

int exit_with_7(int) {
  register_exits(0);
  std::exit(7);
}

/// Runs `body` in a process that has exit handlers of its own. They must run at the end of that
/// process only.
void in_caller_with_exits(std::function<void()> const& body) {
  forget_exit_counts();
  auto const outcomes =
      fm::parallel({.n_jobs = 1, .isolate = true}).outcomes(std::vector<std::function<void()>>{[&] {
        std::atexit([] { count_exit(of_caller); });
        std::at_quick_exit([] { count_exit(of_caller); });
        static counts_its_end const statics{of_caller};
        thread_local counts_its_end const threads{of_caller};
        if (statics.kind == threads.kind) body();
        if (exits_counted(of_caller) != 0) {
          throw std::logic_error("a worker has run its caller's handlers");
        }
      }});
  outcomes.at(0).value();
  REQUIRE(exits_counted(of_caller) == 3);  // all of its handlers but the one of quick_exit
}

void require_exits(int n) {
  for (exit_kind const kind : {of_static, of_thread, of_atexit}) {
    INFO("kind " << kind);
    CHECK(exits_counted(kind) == n);
  }
  CHECK(exits_counted(of_quick_exit) == 0);
}

fm::options one_task_each() { return {.n_jobs = 2, .batch_size = 1, .max_tasks_per_worker = 1}; }

}  // namespace

TEST_CASE("exits: workers of a map run the exit handlers registered in them", "[exits]") {
  in_caller_with_exits(
      [] { fm::parallel(one_task_each()).map(register_exits, std::views::iota(0, 4)); });
  require_exits(4);
  in_caller_with_exits([] {
    fm::parallel({.n_jobs = 1, .isolate = true}).map(register_exits, std::views::iota(0, 4));
  });
  require_exits(1);
}

TEST_CASE("exits: workers of a stream run the exit handlers registered in them",
          "[exits][stream]") {
  in_caller_with_exits([] {
    auto const task = [](int i) { return [i] { return register_exits(i); }; };
    int sum = 0;
    for (int const i : fm::parallel(one_task_each())
                           .stream(std::views::iota(0, 4) | std::views::transform(task))) {
      sum += i;
    }
    if (sum != 6) throw std::logic_error("wrong results");
  });
  require_exits(4);
}

TEST_CASE("exits: workers of a pool run the exit handlers registered in them", "[exits][pool]") {
  in_caller_with_exits([] {
    fm::pool const workers(fm::options{.n_jobs = 1});
    workers.map(register_exits, std::views::iota(0, 4));
  });
  require_exits(1);
  in_caller_with_exits([] {
    fm::pool const workers(one_task_each());
    workers.map(register_exits, std::views::iota(0, 4));
    if (workers.submit(fm::delayed(register_exits)(4)).get() != 4) {
      throw std::logic_error("wrong result");
    }
  });
  require_exits(5);
}

TEST_CASE("exits: exit() in a task runs the exit handlers registered in its worker", "[exits]") {
  in_caller_with_exits([] {
    auto const outcomes = fm::parallel(2).map([](int i) { return i; }, std::views::iota(0, 2));
    auto const ends = fm::parallel(2).outcomes(std::vector{[] { return exit_with_7(0); }});
    if (outcomes.size() != 2 || ends[0] ||
        ends[0].error().message.find("exited with status 7") == std::string::npos) {
      throw std::logic_error("wrong failure");
    }
  });
  require_exits(1);
  in_caller_with_exits([] {
    fm::pool const workers(1);
    try {
      workers.submit(fm::delayed(exit_with_7)(0)).get();
    } catch (fm::worker_died const& e) {
      if (e.exit_status() == 7) return;
    }
    throw std::logic_error("wrong failure");
  });
  require_exits(1);
}

TEST_CASE("exits: quick_exit() in a task runs the at_quick_exit handlers registered in its worker",
          "[exits]") {
  in_caller_with_exits([] {
    auto const ends = fm::parallel(2).outcomes(std::vector<std::function<void()>>{[] {
      register_exits(0);
      std::quick_exit(8);
    }});
    if (ends[0] || ends[0].error().message.find("status 8") == std::string::npos) {
      throw std::logic_error("wrong failure");
    }
  });
  REQUIRE(exits_counted(of_quick_exit) == 1);
  REQUIRE(exits_counted(of_static) == 0);
}

TEST_CASE(
    "exits: handlers that another thread registers while workers are forked do not run in them",
    "[exits]") {
  forget_exit_counts();
  static pid_t caller = 0;
  caller = 0;
  in_caller_with_exits([] {
    caller = ::getpid();
    std::atomic<bool> done = false;
    std::thread registers([&] {
      for (int i = 0; i != 2'000 && !done; ++i) {
        std::atexit([] {
          if (::getpid() != caller) count_exit(of_quick_exit);
        });
      }
    });
    for (int i = 0; i != 10; ++i) {
      fm::parallel(one_task_each()).map(register_exits, std::views::iota(0, 2));
    }
    done = true;
    registers.join();
  });
  require_exits(20);
}

TEST_CASE("exits: buffered text of files that a worker has opened is written when it exits",
          "[exits]") {
  auto const write = [](int i) {
    static std::ofstream stream("of_worker_" + std::to_string(::getpid()));
    static std::FILE* const file = std::fopen(("by_c_" + std::to_string(::getpid())).c_str(), "w");
    stream << "line\n";
    std::fputs("line\n", file);
    return i >= 0 ? ::getpid() : 0;
  };
  for (auto const pid : fm::parallel(one_task_each()).map(write, std::views::iota(0, 3))) {
    for (std::string const name : {"of_worker_", "by_c_"}) {
      std::ifstream in(name + std::to_string(pid));
      std::string line;
      CHECK(std::getline(in, line));
      ::unlink((name + std::to_string(pid)).c_str());
    }
  }
}

TEST_CASE("exits: results are kept if an exit handler hangs until the deadline or the exit limit",
          "[exits]") {
  auto const hang_at_exit = [](int i) {
    std::atexit([] {
      for (;;) ::pause();
    });
    return i;
  };
  auto const outcomes = fm::parallel({.n_jobs = 2, .deadline = 2s})
                            .outcomes(std::views::iota(0, 4) | std::views::transform([&](int i) {
                                        return [=] { return hang_at_exit(i); };
                                      }));
  for (int i = 0; i != 4; ++i) CHECK(*outcomes[static_cast<std::size_t>(i)] == i);
  struct shorter_limit {
    std::int64_t before = std::exchange(fm::detail::exit_limit_ns, 100'000'000);
    shorter_limit() = default;
    shorter_limit(shorter_limit const&) = delete;
    shorter_limit& operator=(shorter_limit const&) = delete;
    ~shorter_limit() { fm::detail::exit_limit_ns = before; }
  } const shorter;
  CHECK(fm::parallel(2).map(hang_at_exit, std::views::iota(0, 4))[3] == 3);
  fm::pool const workers(2);
  CHECK(workers.map(
            +[](int i) {
              std::atexit([] {
                for (;;) ::pause();
              });
              return i;
            },
            std::views::iota(0, 4))[3] == 3);
}

TEST_CASE("exits: a pool that cannot start a thread throws an error that names pthread_create",
          "[exits][pool]") {
  if (support::shadow_memory) return;  // sanitizers choose the stack size of threads
  pthread_attr_t before;
  ::pthread_getattr_default_np(&before);
  pthread_attr_t huge;
  ::pthread_attr_init(&huge);
  ::pthread_attr_setstacksize(&huge, std::size_t{1} << 46U);
  ::pthread_setattr_default_np(&huge);
  std::string what;
  int code = 0;
  try {
    fm::pool const workers(2);
  } catch (std::system_error const& e) {
    what = e.what();
    code = e.code().value();
  }
  ::pthread_setattr_default_np(&before);
  ::pthread_attr_destroy(&huge);
  ::pthread_attr_destroy(&before);
  REQUIRE(code == EAGAIN);
  REQUIRE(what.find("forkmap: pthread_create") == 0);
}
