// A map whose system calls fail, each in turn: std::system_error names the call, and everything is
// released (the test program checks children, descriptors and files after each test).
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <ranges>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "fail_each.hpp"
#include "injection.hpp"
#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;
using fault::fail_each;
using fault::function;

namespace {

std::vector<std::string> texts() {
  return fm::parallel(3).map([](int i) { return std::to_string(i); }, std::views::iota(0, 30));
}

}  // namespace

TEST_CASE("fault: a map without shared memory", "[fault]") {
  REQUIRE(fail_each(function::memfd_create, EMFILE, "memfd_create", texts) == 1);
  REQUIRE(fail_each(function::ftruncate, ENOMEM, "ftruncate of shared memory", texts) == 1);
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory", texts) >= 2);
  REQUIRE(texts().size() == 30);
}

TEST_CASE("fault: a map without processes or descriptors", "[fault]") {
  REQUIRE(fail_each(function::fork, EAGAIN, "fork of a worker", texts) == 3);
  for (int nth = 1; nth <= 3; ++nth) {  // later ones wait for the workers: those do not fail
    fault::arm(function::syscall, nth, EMFILE);
    REQUIRE_THROWS_WITH(texts(), Catch::Matchers::ContainsSubstring("pidfd_open of a worker"));
    REQUIRE(fault::disarm());
  }
  REQUIRE(texts().size() == 30);
}

TEST_CASE("fault: a map that cannot wait, and one that is interrupted", "[fault]") {
  REQUIRE(fail_each(function::ppoll, EINVAL, "poll for the end of workers", texts) >= 1);
  fault::arm(function::ppoll, 1, EINTR);
  REQUIRE(texts().size() == 30);
  REQUIRE(fault::disarm());
}

TEST_CASE("fault: a child that somebody has collected before it was looked at", "[fault]") {
  for (int nth = 1; nth <= 3; ++nth) {
    auto const undisturbed = texts();
    // It has ended of itself: what it did counts.
    fault::collect_before_pidfd_open(nth, 0);
    REQUIRE(texts() == undisturbed);
    REQUIRE(fault::collected());
    // It was killed: before its tasks, which others do, or among them.
    fault::collect_before_pidfd_open(nth, SIGKILL);
    try {
      auto const done = texts();  // not within REQUIRE, which takes exceptions for its own
      REQUIRE(done == undisturbed);
    } catch (fm::worker_died const& e) {
      REQUIRE((e.signal() == 0 && e.exit_status() == -1));
    }
    REQUIRE(fault::collected());
  }
}

TEST_CASE("fault: a worker without memory for its result fails its task", "[fault]") {
  auto const fates =
      fm::parallel(2).outcomes(std::views::iota(0, 10) | std::views::transform([](int i) {
                                 return [i] {
                                   if (i == 4)
                                     fault::arm(function::mmap, 1, ENOMEM);  // in the worker
                                   return std::string(200'000, 'x');
                                 };
                               }));
  int failed = 0;
  for (auto const& fate : fates) {
    if (fate)
      REQUIRE(fate->size() == 200'000);
    else
      REQUIRE_THROWS_AS(fate.value(), std::system_error);
    failed += !fate;
  }
  REQUIRE(failed <= 1);
}

TEST_CASE("fault: a task over its limit whose worker cannot be asked where it is", "[fault]") {
  fault::arm(function::syscall, 2, EPERM);  // pidfd_send_signal, after the worker's pidfd_open
  try {
    fm::parallel({.n_jobs = 1, .timeout = std::chrono::milliseconds(20)})([] {
      for (;;) ::pause();
    });
    FAIL("it ran without end");
  } catch (fm::task_timeout const& e) {
    REQUIRE(e.trace().find("/proc says") != std::string::npos);
  }
  REQUIRE(fault::disarm());
}

TEST_CASE("fault: a replacement that cannot be forked ends the call", "[fault]") {
  auto const dying = [] {
    fm::parallel({.n_jobs = 1, .isolate = true})
        .outcomes(std::views::iota(0, 3) | std::views::transform([](int i) {
                    return [i] {
                      if (i == 1) std::abort();
                      return i;
                    };
                  }));
  };
  REQUIRE(fail_each(function::fork, EAGAIN, "fork of a worker", dying) == 2);
}

TEST_CASE("fault: where memory is promised strictly, a call's is reserved before it is written",
          "[fault]") {
  // Each test of ctest is a process of its own.
  bool const is_first = fault::memfds_made() == 0;
  support::temporary_directory const folder;
  auto const two = (folder.path() / "overcommit_memory").native();
  support::write_bytes(two, "2\n");
  fault::redirect("/proc/sys/vm/overcommit_memory", two.c_str());
  int const reserved = fail_each(function::fallocate, ENOMEM, "fallocate of shared memory", texts);
  REQUIRE(texts().size() == 30);
  fault::redirect(nullptr, nullptr);
  // A process looks once: one that has run other tests before has not been asked again.
  REQUIRE(reserved == (is_first ? 1 : 0));
  REQUIRE(fault::redirected() == reserved);
}

namespace {

int some_context = 0;

/// As CUDA's: where this thread has a context.
int cuda_context(void** context) {
  *context = &some_context;
  return 0;
}

}  // namespace

TEST_CASE("fault: a thread that uses CUDA is warned once", "[fault]") {
  support::temporary_directory const folder;
  auto const log = (folder.path() / "stderr").native();
  fault::provide("cuCtxGetCurrent", reinterpret_cast<void*>(&cuda_context));
  auto const child = ::fork();
  if (child == 0) {
    if (std::freopen(log.c_str(), "w", stderr) == nullptr) ::_exit(1);
    texts();
    texts();
    std::fflush(stderr);
    ::_exit(0);
  }
  fault::provide(nullptr, nullptr);
  int status = 1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(status == 0);
  auto const text = support::file_bytes(log);
  auto const at = text.find("forkmap: warning: this thread uses CUDA");
  REQUIRE(at != text.npos);
  REQUIRE(text.find("warning", at + 20) == text.npos);
}
