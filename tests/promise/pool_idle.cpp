// Costs of an idle pool.
// SPDX-License-Identifier: MIT
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/sanitizers.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

TEST_CASE("pool: idle workers use no processor time", "[pool]") {
  if (support::thread_sanitizer) return;  // TSan's background thread uses processor time
  fm::pool const workers(4);
  auto const pids = workers(std::vector(40, &::getpid));
  auto const microseconds_used = [&] {
    long sum = 0;
    for (auto const pid : support::child_processes()) {
      clockid_t clock{};
      timespec time{};
      if (::clock_getcpuclockid(pid, &clock) == 0 && ::clock_gettime(clock, &time) == 0)
        sum += time.tv_sec * 1'000'000 + time.tv_nsec / 1000;
    }
    return sum;
  };
  REQUIRE(support::child_processes().size() >= 1);
  // Workers park after spinning for 50 microseconds, so their processor time must stop increasing.
  REQUIRE(support::wait_until([&] {
    auto const before = microseconds_used();
    std::this_thread::sleep_for(100ms);
    return microseconds_used() == before;
  }));
}

namespace {
/// Returns when 64 tasks have called this, each in a different worker.
int meet_all_64(fm::shared_array<int> const& arrived) {
  std::atomic_ref<int> all(arrived[0]);
  ++all;
  while (all < 64) std::this_thread::sleep_for(1ms);
  return ::getpid();
}
/// The memory in kB that a process shares with no other.
long private_memory(int pid) {
  std::ifstream rollup("/proc/" + std::to_string(pid) + "/smaps_rollup");
  long sum = 0;
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with("Private_")) sum += std::stol(line.substr(line.find(':') + 1));
  }
  return sum;
}
}  // namespace

TEST_CASE("pool: each of 64 idle workers uses less than a megabyte of private memory", "[pool]") {
  if (support::address_sanitizer || support::thread_sanitizer) return;  // they use more memory
  fm::pool const workers(64);
  fm::shared_array<int> const arrived({1});
  auto const pids = workers(std::vector(64, fm::delayed(meet_all_64)(arrived)));
  REQUIRE(std::set<int>(pids.begin(), pids.end()).size() == 64);
  for (int const pid : pids) {
    auto const private_kb = private_memory(pid);
    REQUIRE(private_kb > 0);
    REQUIRE(private_kb < 1024);
  }
}
