// Programs that tasks start. They have the signal dispositions of the caller, and they end with a
// task that is ended and with a caller that is killed. wait() in a task sees only children of the
// task.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <ranges>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/tasks.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

/// The engines that have workers.
enum class started_by { parallel, pool, stream };
constexpr started_by all_engines[] = {started_by::parallel, started_by::pool, started_by::stream};

/// Runs the tasks fn(0), ..., fn(n - 1) with one engine.
template <class Fn> auto run_by(started_by engine, int n, Fn fn, fm::options const& opts) {
  auto const tasks = support::portable_tasks_of(n, fn);
  std::vector<std::invoke_result_t<Fn, int>> results;
  if (engine == started_by::parallel) {
    results = fm::parallel(opts)(tasks);
  } else if (engine == started_by::pool) {
    fm::pool const workers(opts);
    results = workers(tasks);
  } else {
    for (auto x : fm::parallel(opts).stream(tasks)) results.push_back(x);
  }
  return results;
}

/// The set of signals that are ignored in a program which the task starts. Started without a shell,
/// because a shell changes the set.
std::uint64_t ignored_by_program(int) {
  int ends[2];
  if (::pipe(ends) != 0) return 0;
  auto const program = ::fork();
  if (program == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execlp("cat", "cat", "/proc/self/status", nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string text;
  char some[256];
  for (ssize_t n = 0; (n = ::read(ends[0], some, sizeof some)) > 0;)
    text.append(some, static_cast<std::size_t>(n));
  ::close(ends[0]);
  ::waitpid(program, nullptr, 0);
  auto const at = text.find("SigIgn:");
  return at == text.npos ? ~std::uint64_t{0} : std::strtoull(text.c_str() + at + 7, nullptr, 16);
}

constexpr std::uint64_t bit_of(int signal) { return std::uint64_t{1} << (signal - 1); }

/// Sets the disposition of a signal until it is destroyed.
class disposition_of {
 public:
  disposition_of(int signal, void (*handler)(int)) : signal_(signal) {
    struct sigaction own{};
    own.sa_handler = handler;
    ::sigaction(signal, &own, &before_);
  }
  disposition_of(disposition_of const&) = delete;
  disposition_of& operator=(disposition_of const&) = delete;
  ~disposition_of() { ::sigaction(signal_, &before_, nullptr); }

 private:
  int signal_;
  struct sigaction before_{};
};

/// The ids of processes that tasks have started, in memory that all processes share.
constexpr std::size_t most_noted = 64;
pid_t* noted = nullptr;  // [0]: their number, then the ids

void note_this_process() {
  auto const at = static_cast<std::size_t>(__atomic_add_fetch(noted, 1, __ATOMIC_SEQ_CST));
  if (at <= most_noted) __atomic_store_n(noted + at, ::getpid(), __ATOMIC_SEQ_CST);
}

[[noreturn]] void spin_for_ever() {
  note_this_process();
  for (;;) ::pause();
}

std::vector<pid_t> all_noted() {
  std::vector<pid_t> pids;
  for (std::size_t at = 1; at <= most_noted; ++at) {
    auto const seen = __atomic_load_n(noted + at, __ATOMIC_SEQ_CST);
    if (seen != 0) pids.push_back(seen);
  }
  return pids;
}
int n_running() {
  int n = 0;
  for (auto const pid : all_noted()) n += support::is_running(pid) ? 1 : 0;
  return n;
}

/// While it exists, tasks can note processes. The destructor kills those that still run.
class noted_scope {
 public:
  noted_scope() { noted = array_.data(); }
  noted_scope(noted_scope const&) = delete;
  noted_scope& operator=(noted_scope const&) = delete;
  ~noted_scope() {
    for (auto const pid : all_noted()) {
      if (support::is_running(pid)) ::kill(pid, SIGKILL);
    }
    noted = nullptr;
  }

 private:
  fm::shared_array<pid_t> array_{{most_noted + 1}};
};

/// Starts a process in a session of its own. Its parent exits at once, so it is no child of the
/// task.
void start_daemon() {
  auto const middle = ::fork();
  if (middle != 0) {
    ::waitpid(middle, nullptr, 0);
    return;
  }
  ::setsid();
  if (::fork() == 0) {
    ::prctl(PR_SET_NAME, "own name");
    spin_for_ever();
  }
  ::_exit(0);
}

int start_programs_and_stay(int) {
  start_daemon();
  if (::fork() == 0) spin_for_ever();
  spin_for_ever();
}
constexpr int started_each = 3;

int stay_without_signals(int) {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  if (::fork() == 0) spin_for_ever();
  spin_for_ever();
}
int stay_as_other_user(int) {
  if (::fork() == 0) spin_for_ever();
  if (::setgid(65534) != 0 || ::setuid(65534) != 0) std::abort();
  spin_for_ever();
}

/// Forks a caller in a process group of its own and waits until its tasks have noted n_noted
/// processes.
template <class Fn> pid_t caller_with(started_by engine, Fn fn, int n_noted, fm::options opts) {
  auto const caller = ::fork();
  if (caller == 0) {
    ::setpgid(0, 0);
    ::signal(SIGINT, SIG_DFL);
    static_cast<void>(run_by(engine, 2, fn, opts));
    ::_exit(0);
  }
  ::setpgid(caller, caller);
  REQUIRE(support::wait_until([&] { return n_running() == n_noted; }));
  return caller;
}
void end_caller(pid_t caller, int signal) {
  ::kill(signal == SIGINT ? -caller : caller, signal);
  int status = 0;
  REQUIRE(::waitpid(caller, &status, 0) == caller);
  REQUIRE((WIFSIGNALED(status) && WTERMSIG(status) == signal));
}

int leave_daemon(int i) {
  start_daemon();
  return i;
}

/// Forks a child that leaves an orphan, then counts the children that wait() returns.
int children_waited_for(int) {
  auto const child = ::fork();
  if (child == 0) {
    if (::fork() == 0) ::_exit(0);
    ::_exit(0);
  }
  int n = 0;
  while (::wait(nullptr) > 0) ++n;
  return n;
}

int zombies_below(pid_t ancestor) {
  int n = 0;
  auto const all = support::all_processes();
  auto family = support::child_processes(ancestor);
  family.push_back(ancestor);
  for (auto const& process : all) {
    if (process.state != 'Z') continue;
    for (auto const parent : family) n += process.parent == parent ? 1 : 0;
  }
  return n;
}

}  // namespace

TEST_CASE("programs: those that tasks start have the signal dispositions of the caller",
          "[programs]") {
  for (auto const engine : all_engines) {
    CAPTURE(static_cast<int>(engine));
    fm::options const opts{.n_jobs = 2, .timeout = 100s};
    auto const usual = run_by(engine, 2, ignored_by_program, opts);
    for (auto const set : usual) CHECK((set & (bit_of(SIGINT) | bit_of(SIGCHLD))) == 0);
    {
      disposition_of const handled(SIGINT, [](int) {});
      for (auto const set : run_by(engine, 2, ignored_by_program, opts))
        CHECK((set & bit_of(SIGINT)) == 0);
    }
    disposition_of const ignored(SIGINT, SIG_IGN);
    disposition_of const children_ignored(SIGCHLD, SIG_IGN);
    for (auto const set : run_by(engine, 2, ignored_by_program, opts)) {
      CHECK((set & bit_of(SIGINT)) != 0);
      CHECK((set & bit_of(SIGCHLD)) != 0);
    }
  }
}

TEST_CASE("programs: those that tasks start end when the caller is killed, daemons too",
          "[programs]") {
  for (auto const engine : all_engines) {
    for (int const signal : {SIGKILL, SIGTERM, SIGINT}) {
      CAPTURE(static_cast<int>(engine), signal);
      noted_scope const scope;
      end_caller(caller_with(engine, start_programs_and_stay, 2 * started_each, {.n_jobs = 2}),
                 signal);
      CHECK(support::wait_until([] { return n_running() == 0; }));
    }
  }
}

TEST_CASE("programs: a worker that blocks all signals ends when the caller is killed",
          "[programs]") {
  for (auto const engine : all_engines) {
    CAPTURE(static_cast<int>(engine));
    noted_scope const scope;
    auto const caller = caller_with(engine, stay_without_signals, 4, {.n_jobs = 2});
    // Wait until the caller has forked its guardian process, which ends such workers.
    REQUIRE(support::wait_until([&] { return support::child_processes(caller).size() >= 5; }));
    end_caller(caller, SIGKILL);
    CHECK(support::wait_until([] { return n_running() == 0; }));
  }
}

TEST_CASE("programs: a worker that has changed its user id ends when the caller is killed",
          "[programs]") {
  if (::geteuid() != 0) return;  // only root can change the user id
  for (auto const engine : all_engines) {
    CAPTURE(static_cast<int>(engine));
    {
      noted_scope const scope;
      auto const caller = caller_with(engine, stay_as_other_user, 4, {.n_jobs = 2});
      REQUIRE(support::wait_until([&] { return support::child_processes(caller).size() >= 5; }));
      end_caller(caller, SIGKILL);
      CHECK(support::wait_until([] { return n_running() == 0; }));
    }
    noted_scope const scope;
    auto const init = [](int) {
      if (::setgid(65534) != 0 || ::setuid(65534) != 0) std::abort();
    };
    end_caller(caller_with(engine, start_programs_and_stay, 2 * started_each,
                           {.n_jobs = 2, .worker_init = init}),
               SIGKILL);
    CHECK(support::wait_until([] { return n_running() == 0; }));
  }
}

TEST_CASE("programs: those of a task that times out end with the task, daemons too", "[programs]") {
  for (auto const engine : {started_by::parallel, started_by::pool}) {
    CAPTURE(static_cast<int>(engine));
    noted_scope const scope;
    REQUIRE_THROWS_AS(run_by(engine, 1, start_programs_and_stay, {.n_jobs = 2, .timeout = 500ms}),
                      fm::task_timeout);
    CHECK(all_noted().size() == started_each);
    CHECK(support::wait_until([] { return n_running() == 0; }));
  }
}

TEST_CASE("programs: a process that keeps forking itself and exiting is ended with its task",
          "[programs]") {
  for (auto const engine : {started_by::parallel, started_by::pool}) {
    CAPTURE(static_cast<int>(engine));
    fm::shared_array<int> hops({1});
    static int* counter = nullptr;
    counter = hops.data();
    auto const chain = [](int) {
      if (::fork() == 0) {
        for (;;) {
          if (::fork() != 0) ::_exit(0);
          __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
        }
      }
      for (;;) ::pause();
      return 0;
    };
    REQUIRE_THROWS_AS(run_by(engine, 1, chain, {.n_jobs = 2, .timeout = 300ms}), fm::task_timeout);
    auto const now = [&] { return __atomic_load_n(hops.data(), __ATOMIC_SEQ_CST); };
    CHECK(now() > 0);
    // The chain has ended when the counter stays the same for a second.
    CHECK(support::wait_until([&] {
      auto const before = now();
      std::this_thread::sleep_for(1s);
      return now() == before;
    }));
  }
}

TEST_CASE("programs: those that a task leaves running when it returns continue after the call",
          "[programs]") {
  for (auto const engine : all_engines) {
    CAPTURE(static_cast<int>(engine));
    noted_scope const scope;
    CHECK(run_by(engine, 2, leave_daemon, {.n_jobs = 2}) == std::vector{0, 1});
    REQUIRE(support::wait_until([] { return all_noted().size() == 2; }));
    CHECK(n_running() == 2);
  }
}

TEST_CASE("programs: wait() in a task sees only the task's children, and no orphan stays a zombie",
          "[programs]") {
  for (auto const engine : all_engines) {
    CAPTURE(static_cast<int>(engine));
    CHECK(run_by(engine, 20, children_waited_for, {.n_jobs = 2}) == std::vector<int>(20, 1));
  }
  fm::pool const workers(2);
  CHECK(workers.map(children_waited_for, std::views::iota(0, 100)) == std::vector<int>(100, 1));
  CHECK(support::wait_until([] { return zombies_below(::getpid()) == 0; }));
}

TEST_CASE("programs: a caller that is a subreaper keeps no orphan of a task as a zombie",
          "[programs]") {
  auto const caller = ::fork();
  if (caller == 0) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    auto const own = ::fork();  // a zombie of the program itself, which forkmap must not reap
    if (own == 0) ::_exit(3);
    auto const counts = fm::parallel(2).map(children_waited_for, std::views::iota(0, 40));
    for (auto const n : counts) {
      if (n != 1) ::_exit(1);
    }
    // The last orphans may have ended after the call.
    if (zombies_below(::getpid()) > 10) ::_exit(2);
    int status = 0;
    ::_exit(::waitpid(own, &status, 0) == own && WEXITSTATUS(status) == 3 ? 0 : 4);
  }
  int status = 0;
  REQUIRE(::waitpid(caller, &status, 0) == caller);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

TEST_CASE("programs: a pool can still end tasks after the program has given up root",
          "[programs]") {
  if (::geteuid() != 0) return;
  auto const pause_at_one = [](int i) {
    while (i == 1) ::pause();
    return i;
  };
  auto const caller = ::fork();
  if (caller == 0) {
    alarm(60);  // ends this process if the call hangs
    fm::pool workers(fm::options{.n_jobs = 2, .timeout = 200ms});
    fm::pool other(2);
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(1);
    auto const outcomes = workers.outcomes(support::portable_tasks_of(3, pause_at_one));
    if (!outcomes[0] || outcomes[1] || outcomes[1].error().reason != fm::failure::timed_out ||
        !outcomes[2])
      ::_exit(2);
    auto later = other.submit(fm::delayed(pause_at_one)(1));
    later.cancel();
    try {
      later.get();
      ::_exit(3);
    } catch (fm::task_cancelled const&) {
      ::_exit(0);
    }
  }
  int status = 0;
  REQUIRE(::waitpid(caller, &status, 0) == caller);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}

// The caller runs as a user without privileges whose saved user id is root, so that workers can
// become root.
TEST_CASE("programs: a call reports at its limit a worker that it has no permission to kill",
          "[programs]") {
  if (::geteuid() != 0) return;
  for (bool const by_deadline : {false, true}) {
    for (auto const engine : {started_by::parallel, started_by::pool}) {
      CAPTURE(by_deadline, static_cast<int>(engine));
      noted_scope const scope;
      auto const caller = ::fork();
      if (caller == 0) {
        alarm(60);
        if (::setresuid(65534, 65534, 0) != 0) ::_exit(1);
        auto const become_root = [](int) {
          if (::setresuid(0, 0, 0) != 0) std::abort();
          spin_for_ever();
          return 0;
        };
        auto opts = fm::options{.n_jobs = 1};
        if (by_deadline)
          opts.deadline = 300ms;
        else
          opts.timeout = 300ms;
        try {
          static_cast<void>(run_by(engine, 1, become_root, opts));
        } catch (std::exception const& e) {
          ::_exit(std::string(e.what()).find("left running") != std::string::npos ? 0 : 2);
        }
        ::_exit(3);
      }
      int status = 0;
      REQUIRE(::waitpid(caller, &status, 0) == caller);
      CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
    }
  }
}

TEST_CASE("programs: a pool whose fork server is stopped by SIGSTOP keeps its deadline",
          "[programs]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .deadline = 300ms});
  auto const children = support::child_processes();
  pid_t server = 0;
  for (auto const pid : children) {
    auto const process = support::find_process(pid);
    if (process && process->parent == ::getpid()) server = pid;
  }
  REQUIRE(server != 0);
  ::kill(server, SIGSTOP);
  auto const begin = std::chrono::steady_clock::now();
  auto const pause_at_one = [](int i) {
    while (i == 1) ::pause();
    return i;
  };
  auto const outcomes = workers.outcomes(support::portable_tasks_of(2, pause_at_one));
  CHECK(std::chrono::steady_clock::now() - begin < 5s);
  CHECK(outcomes[1].error().reason == fm::failure::cancelled);
  CHECK(workers.map([](int i) { return i; }, std::views::iota(0, 3)) == std::vector{0, 1, 2});
}

TEST_CASE("programs: a task that waits for a retry at the deadline is reported as cancelled",
          "[programs]") {
  auto const dies = [](int i) {
    if (i == 0) {
      std::this_thread::sleep_for(1ms);
      ::raise(SIGKILL);
    }
    return i;
  };
  fm::options const opts{.n_jobs = 1, .retries = 1'000'000, .deadline = 100ms};
  for (int round = 0; round != 10; ++round) {
    CHECK(fm::parallel(opts).outcomes(support::tasks_of(2, dies))[0].error().reason ==
          fm::failure::cancelled);
  }
  fm::pool const workers(opts);
  for (int round = 0; round != 10; ++round) {
    CHECK(workers.outcomes(support::portable_tasks_of(2, dies))[0].error().reason ==
          fm::failure::cancelled);
  }
}
