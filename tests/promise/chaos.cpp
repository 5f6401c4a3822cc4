// Exact outcomes while workers are killed at random moments, from outside and by their own tasks.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

void throw_runtime_error() { throw std::runtime_error("on purpose"); }

/// The time that a new worker needs to reach its first task on this machine: the median of 9
/// samples.
std::chrono::microseconds time_to_first_task() {
  std::vector<std::chrono::steady_clock::duration> samples;
  for (int i = 0; i != 9; ++i) {
    auto const begin = std::chrono::steady_clock::now();
    fm::parallel({.n_jobs = 1, .isolate = true})([] {});
    samples.push_back(std::chrono::steady_clock::now() - begin);
  }
  std::ranges::nth_element(samples, samples.begin() + 4);
  return std::chrono::duration_cast<std::chrono::microseconds>(samples[4]);
}

/// Kills random children of the thread that constructs it, at random moments, until it is
/// destroyed. The pauses are long enough for most workers to reach their first task: a call ends
/// with an error if workers repeatedly die before that.
class killer {
 public:
  explicit killer(unsigned seed)
      : children_("/proc/self/task/" + std::to_string(::gettid()) + "/children"),
        longest_pause_(std::max(4000us, 3 * time_to_first_task())),
        thread_([this, seed] { run(seed); }) {}
  killer(killer const&) = delete;
  killer& operator=(killer const&) = delete;
  ~killer() {
    done_ = true;
    thread_.join();
  }
  int kills() const { return kills_; }

 private:
  void run(unsigned seed) {
    std::mt19937 random(seed);
    while (!done_) {
      std::ifstream file(children_);
      std::vector<pid_t> const children{std::istream_iterator<pid_t>(file), {}};
      if (!children.empty()) {
        kills_ += ::kill(children[random() % children.size()], SIGKILL) == 0;
      }
      std::this_thread::sleep_for(longest_pause_ * (random() % 1000) / 1000);
    }
  }

  std::string children_;
  std::atomic<bool> done_{false};
  std::atomic<int> kills_{0};
  std::chrono::microseconds longest_pause_;
  std::thread thread_;
};

/// Counts how often each task began and ended. The counts survive the workers.
struct run_counts {
  explicit run_counts(int n) : began({n}), ended({n}) {}

  template <class Make> auto tasks(Make make) {
    return std::views::iota(0, static_cast<int>(began.size())) |
           std::views::transform([this, make](int i) {
             return [this, make, i] {
               auto const at = static_cast<std::size_t>(i);
               ++began[at];
               // Some tasks are long enough to be hit by a kill.
               if (i % 64 == 0) std::this_thread::sleep_for(100us);
               auto result = make(i);
               ++ended[at];
               return result;
             };
           });
  }

  fm::shared_array<int> began;
  fm::shared_array<int> ended;
};

/// Runs n tasks while workers are killed. A task that ended must have its value, any other must
/// have the failure `died`. No task may run more often than `retries` allows.
template <class Make> void must_account_for_all(fm::options opts, int n, Make make) {
  run_counts runs(n);
  killer const kills(static_cast<unsigned>(n));
  auto const outcomes = fm::parallel(opts).outcomes(runs.tasks(make));
  REQUIRE(outcomes.size() == static_cast<std::size_t>(n));
  int wrong = 0;
  for (int i = 0; i != n; ++i) {
    auto const at = static_cast<std::size_t>(i);
    auto const attempts = outcomes[at] ? 0 : outcomes[at].error().attempt();
    bool const right =
        outcomes[at] ? *outcomes[at] == make(i) && runs.ended[at] >= 1
                     : outcomes[at].error().reason == fm::failure::died && attempts == opts.retries;
    // A task runs again only as a retry.
    wrong += !right || runs.began[at] > 1 + opts.retries || runs.ended[at] > runs.began[at];
  }
  REQUIRE(wrong == 0);
}

}  // namespace

TEST_CASE("chaos: killing workers at random fails only the tasks that they were running",
          "[chaos]") {
  auto const number = [](int i) { return 3 * i; };
  auto const text = [](int i) { return std::to_string(i); };
  for (int round = 0; round != (support::shadow_memory ? 1 : 3); ++round) {
    must_account_for_all({.n_jobs = 3}, 20'000, number);
    must_account_for_all({.n_jobs = 3}, 20'000, text);
    must_account_for_all({.n_jobs = 2}, 900 + round, number);
    must_account_for_all({.n_jobs = 2, .batch_size = 7}, 5000, text);
    must_account_for_all({.n_jobs = 4, .batch_size = 1, .max_tasks_per_worker = 300}, 5000, number);
    must_account_for_all({.n_jobs = 3, .timeout = 60s, .retries = 1}, 5000, number);
    must_account_for_all({.n_jobs = 3, .retries = 3}, 5000, text);
  }
}

TEST_CASE("chaos: reduce returns the right sum or throws worker_died while workers are killed",
          "[chaos]") {
  int sums = 0;
  for (int round = 0; round != (support::shadow_memory ? 8 : 20); ++round) {
    killer const kills(static_cast<unsigned>(round));
    try {
      auto const sum = fm::parallel({.n_jobs = 3, .retries = 2})
                           .reduce(std::views::iota(0, 3000) | std::views::transform([](int i) {
                                     return [i] { return std::to_string(i % 10); };
                                   }),
                                   std::string(), std::plus<std::string>());
      REQUIRE(sum.size() == 3000);
      for (std::size_t i = 0; i != 3000; ++i) REQUIRE(sum[i] == static_cast<char>('0' + i % 10));
      ++sums;
    } catch (fm::worker_died const& e) {
      REQUIRE((e.attempt() == 2 || e.index() == static_cast<std::size_t>(-1)));
    }
  }
  REQUIRE(sums > 0);
}

TEST_CASE("chaos: a journal loses no result while workers are killed", "[chaos]") {
  auto const journal = std::filesystem::temp_directory_path() / "chaos-journal";
  for (int round = 0; round != 4; ++round) {
    killer const kills(static_cast<unsigned>(round));
    auto const outcomes =
        fm::parallel({.n_jobs = 3, .resume = journal})
            .outcomes(std::views::iota(0, 2000) | std::views::transform([&](int i) {
                        return [=] {
                          if (i % 64 == 0) std::this_thread::sleep_for(100us);
                          return std::to_string(i);
                        };
                      }));
    for (std::size_t i = 0; i != outcomes.size(); ++i) {
      if (outcomes[i]) REQUIRE(*outcomes[i] == std::to_string(i));
    }
  }
  auto const all = fm::parallel({.n_jobs = 2, .resume = journal})(
      std::views::iota(0, 2000) |
      std::views::transform([](int i) { return [i] { return std::to_string(i); }; }));
  for (std::size_t i = 0; i != all.size(); ++i) REQUIRE(all[i] == std::to_string(i));
  REQUIRE(fm::last_report().resumed > 1900);
  std::filesystem::remove(journal);
}

TEST_CASE("chaos: each way in which a task can end its worker is reported as such", "[chaos]") {
  if (support::thread_sanitizer) return;  // TSan handles SIGBUS and SIGFPE, whatever its options
  struct ending {
    std::function<void()> die;
    fm::failure::kind reason;
    int signal;
    int status;
  };
  auto const by_signal = [](int signal) {
    return ending{[signal] { ::raise(signal); }, fm::failure::died, signal, -1};
  };
  std::vector<ending> endings;
  for (int const signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGKILL,
                           SIGTERM, SIGHUP, SIGPIPE, SIGUSR1, SIGALRM, SIGXCPU}) {
    endings.push_back(by_signal(signal));
  }
  endings.push_back({[] { ::exit(0); }, fm::failure::died, 0, 0});
  endings.push_back({[] { ::exit(3); }, fm::failure::died, 0, 3});
  endings.push_back({[] { ::_exit(0); }, fm::failure::died, 0, 0});
  endings.push_back({[] { std::quick_exit(5); }, fm::failure::died, 0, 5});
  endings.push_back({[] { std::abort(); }, fm::failure::died, SIGABRT, -1});
  endings.push_back({[]() noexcept { throw_runtime_error(); }, fm::failure::died, SIGABRT, -1});
  endings.push_back({[] { throw std::runtime_error("no"); }, fm::failure::threw, 0, -1});
  endings.push_back({[] {
                       for (;;) ::pause();
                     },
                     fm::failure::timed_out, SIGKILL, -1});
  // A signal in a thread that the task has started ends the whole worker.
  endings.push_back(
      {[] { std::thread([] { ::raise(SIGSEGV); }).join(); }, fm::failure::died, SIGSEGV, -1});
  auto const n = static_cast<int>(3 * endings.size());
  for (int const n_jobs : {1, 3}) {
    fm::shared_array<int> runs({n});
    auto const outcomes = fm::parallel({.n_jobs = n_jobs, .timeout = 500ms})
                              .outcomes(std::views::iota(0, n) | std::views::transform([&](int i) {
                                          return [&, i] {
                                            ++runs[static_cast<std::size_t>(i)];
                                            if (i % 3 == 1)
                                              endings[static_cast<std::size_t>(i / 3)].die();
                                            return i;
                                          };
                                        }));
    for (int i = 0; i != n; ++i) {
      auto const at = static_cast<std::size_t>(i);
      INFO("task " << i << ", ending " << i / 3);
      REQUIRE(runs[at] == 1);
      if (i % 3 != 1) {
        REQUIRE(outcomes[at]);
        REQUIRE(*outcomes[at] == i);
        continue;
      }
      auto const& expected = endings[static_cast<std::size_t>(i / 3)];
      REQUIRE(!outcomes[at]);
      REQUIRE(outcomes[at].error().reason == expected.reason);
      REQUIRE(outcomes[at].error().index() == at);
      if (expected.reason != fm::failure::died) continue;
      try {
        outcomes[at].value();
      } catch (fm::worker_died const& e) {
        REQUIRE(e.signal() == expected.signal);
        REQUIRE(e.exit_status() == expected.status);
      }
    }
  }
}

TEST_CASE("chaos: a stack overflow is reported as SIGSEGV with its address and backtrace",
          "[chaos]") {
  struct deep {
    [[gnu::noinline]] static int go(int volatile* depth) {
      char volatile room[1000];
      room[0] = 1;
      *depth = *depth + 1;
      if (*depth < 0) return 0;
      return go(depth) + room[0];
    }
  };
  auto const outcomes =
      fm::parallel(2).outcomes(std::views::iota(0, 3) | std::views::transform([](int i) {
                                 return [i] {
                                   int depth = 0;
                                   return i == 1 ? deep::go(&depth) : i;
                                 };
                               }));
  REQUIRE(*outcomes[0] == 0);
  REQUIRE(*outcomes[2] == 2);
  REQUIRE(outcomes[1].error().reason == fm::failure::died);
  REQUIRE(outcomes[1].error().message.find("SIGSEGV at address 0x") != std::string::npos);
  REQUIRE(outcomes[1].error().trace().find("deep::go") != std::string::npos);
}

TEST_CASE("chaos: thousands of calls in a row do not increase memory use or open descriptors",
          "[chaos]") {
  auto const call = [](int i) {
    auto const xs = fm::parallel(2)([i] { return i; }, [i] { return std::to_string(i); });
    return std::get<0>(xs) == i && std::get<1>(xs) == std::to_string(i);
  };
  auto const resident = [] {
    std::ifstream file("/proc/self/statm");
    long total = 0;
    long pages = 0;
    file >> total >> pages;
    return pages;
  };
  auto const descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
  };
  // With a sanitizer, the process that is forked is ten times as large.
  constexpr int calls = support::thread_sanitizer ? 50 : support::address_sanitizer ? 100 : 2000;
  int wrong = 0;
  for (int i = 0; i != calls / 50 + 20; ++i) wrong += !call(i);
  auto const pages = resident();
  auto const open = descriptors();
  for (int i = 0; i != calls; ++i) wrong += !call(i);
  REQUIRE(wrong == 0);
  REQUIRE(descriptors() == open);
  // Sanitizers do not return freed memory.
  if (!support::shadow_memory) REQUIRE(resident() < pages + 500);
}
