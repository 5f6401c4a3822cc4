// The main of every test executable: Catch2, and the leak guard that checks each test case.
// SPDX-License-Identifier: MIT

// Without Catch2's signal handlers, a signal kills a worker directly, and Catch2 reports nothing.
#define CATCH_CONFIG_RUNNER
#define CATCH_CONFIG_NO_POSIX_SIGNALS
#include <cstdio>

#include "catch.hpp"
#include "leak_guard.hpp"

namespace {

#if FORKMAP_CATCH_VERSION == 2
using listener_base = Catch::TestEventListenerBase;
#else
using listener_base = Catch::EventListenerBase;
#endif

support::leak_guard& guard() {
  static support::leak_guard one;
  return one;
}

class guard_listener : public listener_base {
 public:
  using listener_base::listener_base;

  void testRunStarting(Catch::TestRunInfo const&) override { guard().run_begins(); }
  void testRunEnded(Catch::TestRunStats const&) override {
    if (!guard().in_child()) guard().run_ends();
  }

  void testCaseStarting(Catch::TestCaseInfo const& test) override {
    guard().test_begins(test.name);
  }
  void testCaseEnded(Catch::TestCaseStats const&) override {
    if (dying_) return;
    if (guard().in_child()) guard().fail_from_child("it ran on to the end of the test case");
    guard().test_ends();
  }

#if FORKMAP_CATCH_VERSION == 2
  bool assertionEnded(Catch::AssertionStats const& stats) override {
    check_in_child(stats.assertionResult);
    return false;
  }
#else
  void assertionEnded(Catch::AssertionStats const& stats) override {
    check_in_child(stats.assertionResult);
  }
#endif

 private:
  void check_in_child(Catch::AssertionResult const& result) {
    if (!guard().in_child() || result.isOk()) return;
    // Catch2 3 keeps its signal handlers and reports from them: let the signal kill the process.
    dying_ = result.getResultType() == Catch::ResultWas::FatalErrorCondition;
    if (!dying_)
      guard().fail_from_child(std::string("assertion failed: ") + result.getExpression());
  }

  bool dying_ = false;
};

CATCH_REGISTER_LISTENER(guard_listener)

}  // namespace

// Default options of the sanitizers, so that a test run by hand behaves as under ctest. The
// environment overrides them. Signals must kill workers, so the sanitizers do not handle them, and
// TSan does not end forked processes. malloc_context_size=2: ASan is not safe across fork. If
// another thread holds the lock of ASan's stack depot (its store of allocation stacks) during a
// fork, the child waits for that lock for ever. Stacks of two frames have few distinct values, so
// the depot is rarely written. For longer stacks in a report, run the test with
// ASAN_OPTIONS=malloc_context_size=30.
extern "C" char const* __asan_default_options() {
  return "handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigfpe=0:handle_sigill=0:"
         "allocator_may_return_null=1:malloc_context_size=2";
}
extern "C" char const* __ubsan_default_options() { return "print_stacktrace=1"; }
extern "C" char const* __tsan_default_options() { return "die_after_fork=0:handle_segv=0"; }
/// Each process has one of each of these variables. Tests that use threads in place of workers
/// share them between threads.
extern "C" char const* __tsan_default_suppressions();
extern "C" char const* __tsan_default_suppressions() {
  return "race:forkmap::detail::this_process\nrace:forkmap::detail::outer_path\n";
}

int main(int argc, char** argv) {
  // run() returns the number of failed tests. 256 as an exit status would be 0.
  bool const passed = Catch::Session().run(argc, argv) == 0;
  if (guard().in_child()) guard().fail_from_child("it ran on to the end of main");
  // Catch2 2 returns success when no test case has the given name.
  if (guard().is_used() && guard().tests() == 0) {
    std::fputs("no test case of this name\n", stderr);
    return 1;
  }
  return passed && guard().complaints() == 0 ? 0 : 1;
}
