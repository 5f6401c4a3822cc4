// A map when a system call fails, for each call in turn. The std::system_error names the call, and
// all resources are released (the test program checks children, descriptors and files after each
// test).
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <ranges>
#include <stdexcept>
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
  REQUIRE(fail_each(function::mmap, ENOMEM, "mmap of shared memory", texts) >= 1);
  REQUIRE(texts().size() == 30);
}

TEST_CASE("fault: a map without processes or descriptors", "[fault]") {
  REQUIRE(fail_each(function::fork, EAGAIN, "fork of a worker", texts) == 3);
  for (int nth = 1; nth <= 3; ++nth) {  // later system calls wait for the workers and do not fail
    fault::arm(function::syscall, nth, EMFILE);
    REQUIRE_THROWS_WITH(texts(), Catch::Matchers::ContainsSubstring("pidfd_open of a worker"));
    REQUIRE(fault::disarm());
  }
  REQUIRE(texts().size() == 30);
}

TEST_CASE("fault: a map whose wait fails, or is interrupted by a signal", "[fault]") {
  REQUIRE(fail_each(function::ppoll, EINVAL, "poll for the end of workers", texts) >= 1);
  fault::arm(function::ppoll, 1, EINTR);
  REQUIRE(texts().size() == 30);
  REQUIRE(fault::disarm());
}

TEST_CASE("fault: a worker that other code reaps before its pidfd is opened", "[fault]") {
  for (int nth = 1; nth <= 3; ++nth) {
    auto const undisturbed = texts();
    // The worker exited by itself, so its results are used.
    fault::collect_before_pidfd_open(nth, 0);
    REQUIRE(texts() == undisturbed);
    REQUIRE(fault::collected());
    // The worker was killed: before its first task, then other workers run its tasks; or during
    // one.
    fault::collect_before_pidfd_open(nth, SIGKILL);
    try {
      auto const done = texts();  // not inside REQUIRE, which would catch the exception
      REQUIRE(done == undisturbed);
    } catch (fm::worker_died const& e) {
      REQUIRE((e.signal() == 0 && e.exit_status() == -1));
    }
    REQUIRE(fault::collected());
  }
}

TEST_CASE("fault: if a worker has no memory for a result, that task fails", "[fault]") {
  auto const outcomes =
      fm::parallel(2).outcomes(std::views::iota(0, 10) | std::views::transform([](int i) {
                                 return [i] {
                                   if (i == 4)
                                     fault::arm(function::mmap, 1, ENOMEM);  // in the worker
                                   return std::string(200'000, 'x');
                                 };
                               }));
  int failed = 0;
  for (auto const& outcome : outcomes) {
    if (outcome)
      REQUIRE(outcome->size() == 200'000);
    else
      REQUIRE_THROWS_AS(outcome.value(), std::system_error);
    failed += !outcome;
  }
  REQUIRE(failed <= 1);
}

TEST_CASE("fault: if a window cannot be mapped a second time, it is moved", "[fault]") {
  auto const grows = [](int i) {
    fault::arm(function::mremap, 1, EINVAL);
    return std::string(1'000'000, static_cast<char>('a' + i));
  };
  auto const check = [](std::vector<std::string> const& results) {
    for (int i = 0; i != 4; ++i) {
      auto const expected = std::string(1'000'000, static_cast<char>('a' + i));
      REQUIRE((results[static_cast<std::size_t>(i)] == expected));
    }
  };
  check(fm::parallel(2).map(grows, std::views::iota(0, 4)));
  check(fm::pool(2).map(grows, std::views::iota(0, 4)));
}

TEST_CASE("fault: if there is no memory for the text of a failure, its begin is kept", "[fault]") {
  auto const fails = [](int) -> int {
    std::invalid_argument const failure(std::string(1'000'000, 'x'));
    fault::arm(function::mmap, 1, ENOMEM);
    throw failure;
  };
  auto const check = [](std::exception const& e) {
    std::string const what = e.what();
    REQUIRE(what.size() < 2000);
    REQUIRE(what.find("xxxx... (no shared memory for the rest)") != what.npos);
  };
  try {
    fm::parallel(2).map(fails, std::views::iota(0, 2));
    FAIL("nothing was thrown");
  } catch (std::invalid_argument const& e) {
    check(e);
  }
  try {
    fm::pool(2).map(fails, std::views::iota(0, 2));
    FAIL("nothing was thrown");
  } catch (std::invalid_argument const& e) {
    check(e);
  }
}

TEST_CASE("fault: a task times out, and the signal that asks for its backtrace fails", "[fault]") {
  fault::count_only(SYS_pidfd_send_signal);
  fault::arm(function::syscall, 1, EPERM);
  try {
    fm::parallel({.n_jobs = 1, .timeout = std::chrono::milliseconds(20)})([] {
      for (;;) ::pause();
    });
    FAIL("the endless task returned");
  } catch (fm::task_timeout const& e) {
    CHECK(e.trace().find("/proc says") != std::string::npos);
  }
  CHECK(fault::disarm());
  fault::count_only(-1);
}

TEST_CASE("fault: if a replacement cannot be forked, the call ends", "[fault]") {
  auto const call_with_crash = [] {
    fm::parallel({.n_jobs = 1, .isolate = true})
        .outcomes(std::views::iota(0, 3) | std::views::transform([](int i) {
                    return [i] {
                      if (i == 1) std::abort();
                      return i;
                    };
                  }));
  };
  REQUIRE(fail_each(function::fork, EAGAIN, "fork of a worker", call_with_crash) == 2);
}

TEST_CASE("fault: under strict overcommit, the memory of a call is reserved before it is written",
          "[fault]") {
  // True under ctest, which runs each test in its own process.
  bool const is_first = fault::memfds_made() == 0;
  support::temporary_directory const folder;
  auto const overcommit_file = (folder.path() / "overcommit_memory").native();
  support::write_bytes(overcommit_file, "2\n");
  fault::redirect("/proc/sys/vm/overcommit_memory", overcommit_file.c_str());
  int const reserved = fail_each(function::fallocate, ENOMEM, "fallocate of shared memory", texts);
  REQUIRE(texts().size() == 30);
  fault::redirect(nullptr, nullptr);
  // A process reads overcommit_memory once, so not again if other tests ran before in this process.
  REQUIRE(reserved == (is_first ? 1 : 0));
  REQUIRE(fault::redirected() == reserved);
}

namespace {

int some_context = 0;

/// A stand-in for CUDA's cuCtxGetCurrent that says that this thread has a context.
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
