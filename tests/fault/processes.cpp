// Systems that refuse pidfds. forkmap uses a slower fallback that works, or reports an error.
// SPDX-License-Identifier: MIT
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <ranges>
#include <string>
#include <system_error>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "injection.hpp"
#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"

namespace fm = forkmap;
using fault::function;
using namespace std::chrono_literals;

namespace {

int aborts_at_three(int i) {
  if (i == 3) std::abort();
  return i;
}
int never_ends_at_three(int i) {
  while (i == 3) ::pause();
  return i;
}

/// Checks that task 3 failed for that reason and all others have their result.
template <class Outcomes>
void check_all_but_three(Outcomes const& outcomes, fm::failure::kind reason) {
  for (std::size_t i = 0; i != outcomes.size(); ++i) {
    if (i == 3) {
      CHECK(outcomes[i].error().reason == reason);
    } else {
      CHECK(*outcomes[i] == static_cast<int>(i));
    }
  }
}

/// Runs each engine, with each way in which a worker can exit.
void use_all_engines() {
  constexpr int n = 6;
  check_all_but_three(fm::parallel(2).outcomes(support::tasks_of(n, aborts_at_three)),
                      fm::failure::died);
  fm::options const limited{.n_jobs = 2, .timeout = 100ms};
  check_all_but_three(fm::parallel(limited).outcomes(support::tasks_of(n, never_ends_at_three)),
                      fm::failure::timed_out);
  {
    fm::pool const workers(limited);
    check_all_but_three(workers.outcomes(support::portable_tasks_of(n, aborts_at_three)),
                        fm::failure::died);
    check_all_but_three(workers.outcomes(support::portable_tasks_of(n, never_ends_at_three)),
                        fm::failure::timed_out);
    auto later = workers.submit(fm::delayed(never_ends_at_three)(3));
    later.cancel();
    CHECK_THROWS_AS(later.get(), fm::task_cancelled);
  }
  int sum = 0;
  for (int const x : fm::parallel(2).stream(support::tasks_of(n, [](int i) { return i; })))
    sum += x;
  CHECK(sum == 15);
}

/// Within this scope forkmap acts as on a system without pidfds.
class without_process_handles {
 public:
  without_process_handles() { fm::detail::has_no_process_handles = true; }
  without_process_handles(without_process_handles const&) = delete;
  without_process_handles& operator=(without_process_handles const&) = delete;
  ~without_process_handles() { fm::detail::has_no_process_handles = false; }
};

}  // namespace

TEST_CASE("fault: all engines work on a system without pidfds", "[fault]") {
  without_process_handles const scope;
  use_all_engines();
}

TEST_CASE("fault: after the first ENOSYS forkmap does not call pidfd_open again", "[fault]") {
  fault::count_only(SYS_pidfd_open);
  fault::arm(function::syscall, 1, ENOSYS);
  use_all_engines();
  CHECK(fault::disarm());
  fault::count_only(-1);
  CHECK(fm::detail::has_no_process_handles);
  fm::detail::has_no_process_handles = false;
}

TEST_CASE("fault: all engines work if pidfd_open fails for a running process", "[fault]") {
  // ESRCH is the error for a process that has exited, EPERM that of some container runtimes.
  for (int const code : {ESRCH, EPERM}) {
    for (int nth = 1; nth <= 12; ++nth) {
      CAPTURE(code, nth);
      fault::count_only(SYS_pidfd_open);
      fault::arm(function::syscall, nth, code);
      use_all_engines();
      fault::disarm();
      fault::count_only(-1);
    }
  }
}

TEST_CASE("fault: all engines work if signals or waits by pidfd fail", "[fault]") {
  for (long const number : {SYS_pidfd_send_signal, SYS_waitid}) {
    for (int const code : {ENOSYS, EPERM}) {
      for (int nth = 1; nth <= 4; ++nth) {
        CAPTURE(number, code, nth);
        fault::count_only(number);
        fault::arm(function::syscall, nth, code);
        use_all_engines();
        fault::disarm();
        fault::count_only(-1);
      }
    }
  }
}

TEST_CASE("fault: if poll fails in a pool, its calls throw an error that names poll", "[fault]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .timeout = 200ms});
  fault::arm(function::ppoll, 1, EINVAL);
  REQUIRE_THROWS_WITH(workers(support::portable_tasks_of(6, never_ends_at_three)),
                      Catch::Matchers::ContainsSubstring("poll for the ends of a pool's workers"));
  REQUIRE(fault::disarm());
  REQUIRE_THROWS_AS(workers(support::portable_tasks_of(2, never_ends_at_three)), std::system_error);
}

TEST_CASE("fault: a limit of descriptors that is set after a pool was made", "[fault]") {
  if (support::address_sanitizer)
    return;  // the sanitizer needs a descriptor to examine the type of an exception
  // In a child process, because the limit would stay in effect.
  auto const child = ::fork();
  if (child == 0) {
    alarm(60);
    fm::pool workers(fm::options{.n_jobs = 2, .timeout = 200ms});
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = 1;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    try {
      auto const outcomes = workers.outcomes(support::portable_tasks_of(6, never_ends_at_three));
      ::_exit(outcomes[3] ? 1 : 0);
    } catch (std::system_error const& e) {
      ::_exit(e.code().value() == EINVAL || e.code().value() == EMFILE ? 0 : 2);
    }
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
}
