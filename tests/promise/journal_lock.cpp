// The lock of a journal: held by a call while it runs, and released at its end.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <memory>
#include <ranges>
#include <system_error>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

std::size_t run_with_journal(std::filesystem::path const& journal, fm::shared_array<int>& begun) {
  return fm::parallel({.n_jobs = 2, .resume = journal})
      .map(
          [&](int i) {
            begun[0] = 1;
            std::this_thread::sleep_for(5ms);
            return i;
          },
          std::views::iota(0, 40))
      .size();
}

}  // namespace

TEST_CASE("resume: a process that is forked during a call does not hold the lock of its journal",
          "[resume]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  fm::shared_array<int> begun({1});
  std::unique_ptr<fm::pool> pool_made_during_call;
  std::atomic<pid_t> child{0};
  std::thread other([&] {
    if (!support::wait_until([&] { return begun[0] == 1; })) return;
    pool_made_during_call = std::make_unique<fm::pool>(2);
    child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
  });
  CHECK(run_with_journal(journal, begun) == 40);
  other.join();
  REQUIRE((pool_made_during_call != nullptr && child > 0));
  // The next call must run at once: it would wait if the lock were still held.
  auto const begin = std::chrono::steady_clock::now();
  CHECK(run_with_journal(journal, begun) == 40);
  CHECK(std::chrono::steady_clock::now() - begin < 4s);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
}

TEST_CASE("resume: a journal that another call of the program uses is refused", "[resume]") {
  support::temporary_directory const folder;
  auto const journal = folder.path() / "journal";
  fm::shared_array<int> begun({2});
  std::thread first([&] {
    fm::parallel({.n_jobs = 2, .resume = journal})
        .map(
            [&](int i) {
              begun[0] = 1;
              while (begun[1] == 0) std::this_thread::sleep_for(1ms);
              return i;
            },
            std::views::iota(0, 2));
  });
  CHECK(support::wait_until([&] { return begun[0] == 1; }));
  CHECK_THROWS_AS(fm::parallel({.n_jobs = 2, .resume = journal})
                      .map([](int i) { return i; }, std::views::iota(0, 2)),
                  std::system_error);
  begun[1] = 1;
  first.join();
}
