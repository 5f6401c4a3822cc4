// Test cases of the leak guard. Most of them leave something behind and must fail.
// cmake/leak_guard_tests.cmake runs each one and holds the message that the guard must print.
// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <string>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/run_program.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

namespace {

pid_t forked(std::function<void()> const& work) {
  pid_t const child = ::fork();
  if (child == 0) {
    work();
    ::_exit(0);
  }
  return child;
}

void wait_for(pid_t child) { ::waitpid(child, nullptr, 0); }

std::string const shared_name = "/forkmap-guard-check-" + std::to_string(::getpid());

}  // namespace

TEST_CASE("leaves nothing") {
  support::temporary_directory const folder;
  std::ofstream(folder.path() / "file") << "some bytes";
  support::temporary_directory const in_memory("/dev/shm");
  wait_for(forked([] {}));

  CHECK(support::run_shell("echo out; echo err >&2; exit 3").out == "out\n");
  CHECK(support::run_shell("echo out; echo err >&2; exit 3").err == "err\n");
  CHECK(support::run_shell("echo out; echo err >&2; exit 3").exit_status == 3);
  CHECK(support::run_shell("kill -9 $$").signal == SIGKILL);
  CHECK(support::run_shell("sleep 60", std::chrono::milliseconds(100)).timed_out);
  CHECK(support::run_shell("exec >/dev/null 2>&1; sleep 60", std::chrono::milliseconds(100))
            .timed_out);

  support::running_program program({"sh", "-c", "sleep 60 & echo begun; wait"});
  CHECK(program.wait_for_output("begun"));
  CHECK(support::child_processes().size() == 2);
  CHECK(support::child_processes(program.pid()).size() == 1);
  program.send_to_group(SIGTERM);
  CHECK(program.wait().signal == SIGTERM);
  CHECK(support::child_processes().empty());
  CHECK(support::is_running(::getpid()));
  CHECK(!support::is_running(program.pid()));
}

TEST_CASE("loses a child to a signal") {
  int status = 0;
  pid_t const child = forked([] { ::raise(SIGSEGV); });
  CHECK(::waitpid(child, &status, 0) == child);
  CHECK((WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV));
}

TEST_CASE("leaves a running child") {
  forked([] { ::pause(); });
}

TEST_CASE("leaves a zombie") {
  pid_t const child = forked([] {});
  CHECK(support::wait_until([&] { return !support::is_running(child); }));
}

TEST_CASE("leaves an orphan") {
  wait_for(forked([] { forked([] { ::pause(); }); }));
}

TEST_CASE("leaves a descriptor") { CHECK(::open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0); }

TEST_CASE("closes a descriptor that it did not open") { CHECK(::close(STDIN_FILENO) == 0); }

TEST_CASE("leaves a name in /dev/shm") {
  int const memory = ::shm_open(shared_name.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  CHECK(memory >= 0);
  ::close(memory);
  ::atexit([] { ::shm_unlink(shared_name.c_str()); });
}

TEST_CASE("leaves a file") { std::ofstream("relative") << "some bytes"; }

TEST_CASE("leaves a signal blocked") {
  sigset_t one{};
  ::sigaddset(&one, SIGUSR1);
  CHECK(::sigprocmask(SIG_BLOCK, &one, nullptr) == 0);
}

TEST_CASE("fails a CHECK in a child") {
  wait_for(forked([] { CHECK(1 == 2); }));
}

TEST_CASE("fails a REQUIRE in a child") {
  wait_for(forked([] { REQUIRE(1 == 2); }));
}

TEST_CASE("runs on in a child") {
  pid_t const child = ::fork();
  if (child != 0) wait_for(child);
}
