// Marks of processes: every process that a marked process starts inherits the mark and is found by
// it.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

#include <forkmap/detail/crash/current_backtrace.hpp>
#include <forkmap/detail/os/marked_processes.hpp>
#include <forkmap/detail/os/process.hpp>
#include <forkmap/detail/os/process_mark.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/wait_until.hpp"

namespace fd = forkmap::detail;

namespace {

constexpr auto whole_mark = ~fd::process_mark{0};
constexpr std::int64_t marked_patience_ns = 10'000'000'000;

/// A child that sets a mark and then executes the program sleep.
fd::child_process marked_sleeper(fd::process_mark mark) {
  return fd::child_process::start([mark] {
    if (!fd::wear_mark(mark)) ::_exit(1);
    ::execlp("sleep", "sleep", "1000", nullptr);
    ::_exit(1);
  });
}
bool wears(pid_t pid, fd::process_mark mark) {
  return support::wait_until([&] { return fd::mark_of_process(pid, true).mark == mark; });
}

}  // namespace

TEST_CASE("marks: each call and each of its workers has its own", "[system]") {
  auto const one = fd::new_mark();
  auto const other = fd::new_mark();
  CHECK(one != other);
  CHECK((one & fd::mark_of_all) == one);
  CHECK((one >> 62U) == 1);
  CHECK(fd::mark_of_worker(one, 5) == one + 5);
  CHECK((fd::mark_of_worker(one, ~0U) & fd::mark_of_all) == one);
}

TEST_CASE("marks: a program keeps the mark of the process that started it", "[system]") {
  auto const call = fd::new_mark();
  auto first = marked_sleeper(fd::mark_of_worker(call, 1));
  auto second = marked_sleeper(fd::mark_of_worker(call, 2));
  auto const stranger = marked_sleeper(fd::new_mark());
  REQUIRE(wears(first.pid(), fd::mark_of_worker(call, 1)));
  REQUIRE(wears(second.pid(), fd::mark_of_worker(call, 2)));
  auto const left = fd::kill_marked(fd::mark_of_worker(call, 1), whole_mark, marked_patience_ns);
  CHECK((!left.any && left.refused == 0));
  CHECK(first.wait().signal == SIGKILL);
  CHECK_FALSE(second.has_ended());
  fd::kill_marked(call, fd::mark_of_all, marked_patience_ns);
  CHECK(second.wait().signal == SIGKILL);
  CHECK_FALSE(stranger.has_ended());
  fd::kill_marked(fd::no_mark, whole_mark, marked_patience_ns);  // the mark of no process
  CHECK_FALSE(stranger.has_ended());
}

TEST_CASE("marks: root finds a marked process that changed its user", "[system]") {
  if (::geteuid() != 0) return;
  auto const mark = fd::new_mark();
  auto child = fd::child_process::start([mark] {
    fd::wear_mark(mark);
    if (::setuid(65534) != 0) ::_exit(1);
    ::execlp("sleep", "sleep", "1000", nullptr);
    ::_exit(1);
  });
  REQUIRE(support::wait_until([&] { return fd::mark_of_process(child.pid(), true).mark == mark; }));
  fd::kill_marked(mark, whole_mark, marked_patience_ns);
  CHECK(child.wait().signal == SIGKILL);
}

TEST_CASE("marks: a process that kills by mark does not kill itself", "[system]") {
  auto child = fd::child_process::start([] {
    auto const mark = fd::new_mark();
    fd::wear_mark(mark);
    fd::kill_marked(mark, whole_mark, marked_patience_ns);
    ::_exit(7);
  });
  CHECK(child.wait().exit_status == 7);
}

TEST_CASE("marks: gaps in the own process ids show that other processes were started", "[system]") {
  fd::own_births births;
  births.note(10);
  CHECK(births.oldest() == 10);
  births.note(12);  // another process got 11
  CHECK_FALSE(births.are_all());
}

TEST_CASE("process: state and parent are read, whatever the name", "[system]") {
  CHECK(fd::process_stat::of(::getpid()).parent == ::getppid());
  CHECK(fd::process_stat::of(::getpid()).is_alive());
  auto child = marked_sleeper(fd::new_mark());
  CHECK(fd::process_stat::of(child.pid()).parent == ::getpid());
  child.send(SIGSTOP);
  CHECK(support::wait_until([&] { return fd::process_stat::of(child.pid()).state == 'T'; }));
  CHECK(child.kill());
  CHECK(support::wait_until([&] { return child.has_ended(); }));
  CHECK_FALSE(fd::process_stat::of(child.pid()).is_alive());
  CHECK(child.wait().signal == SIGKILL);
  CHECK(fd::process_stat::of(0x7fffffff).state == '\0');
}

TEST_CASE("process: unmarked descendants are found by their ancestor", "[system]") {
  auto child = fd::child_process::start([] {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (::fork() == 0) {
      if (::fork() == 0) ::execlp("sleep", "sleep", "1000", nullptr);
      ::_exit(0);
    }
    for (;;) ::pause();
  });
  REQUIRE(support::wait_until([&] { return support::child_processes(child.pid()).size() == 1; }));
  fd::kill_descendants(child);
  CHECK(support::wait_until([&] { return support::child_processes(child.pid()).empty(); }));
  CHECK(child.kill());
  CHECK(child.wait().signal == SIGKILL);
}
