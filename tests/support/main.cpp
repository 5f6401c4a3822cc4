// The main of every test executable: Catch2, and the guard that looks after each test case.

// Without Catch2's handlers a worker that dies of a signal dies of it, and quietly.
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
    look_at(stats.assertionResult);
    return false;
  }
#else
  void assertionEnded(Catch::AssertionStats const& stats) override {
    look_at(stats.assertionResult);
  }
#endif

 private:
  void look_at(Catch::AssertionResult const& result) {
    if (!guard().in_child() || result.isOk()) return;
    // Catch2 3 keeps its signal handlers, and reports from there: let the process die of it.
    dying_ = result.getResultType() == Catch::ResultWas::FatalErrorCondition;
    if (!dying_)
      guard().fail_from_child(std::string("assertion failed: ") + result.getExpression());
  }

  bool dying_ = false;
};

CATCH_REGISTER_LISTENER(guard_listener)

}  // namespace

// Defaults, so that a test run by hand behaves as under ctest; the environment still has its say.
// Workers shall die of their signals, and forked processes are what these tests are about. ASan
// does not know of fork: a child of a process whose other thread was storing the stack of an
// allocation waits for the lock of that store for ever. There are few stacks of two frames, so that
// the store is hardly written to; for longer ones in a report, run the test with
// ASAN_OPTIONS=malloc_context_size=30.
extern "C" char const* __asan_default_options() {
  return "handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigfpe=0:handle_sigill=0:"
         "allocator_may_return_null=1:malloc_context_size=2";
}
extern "C" char const* __ubsan_default_options() { return "print_stacktrace=1"; }
extern "C" char const* __tsan_default_options() { return "die_after_fork=0:handle_segv=0"; }

int main(int argc, char** argv) {
  // The number of failed tests may be 256, which a shell takes for 0.
  bool const passed = Catch::Session().run(argc, argv) == 0;
  if (guard().in_child()) guard().fail_from_child("it ran on to the end of main");
  // Catch2 2 is content when nothing of that name is there.
  if (guard().is_used() && guard().tests() == 0) {
    std::fputs("no test case of this name\n", stderr);
    return 1;
  }
  return passed && guard().complaints() == 0 ? 0 : 1;
}
