// What do messages of running tasks cost? Many small ones, and the time from this_task::send to the
// handler in a caller that sleeps.
// SPDX-License-Identifier: MIT
#include <benchmark/benchmark.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/by_hand.hpp"
#include "support/paired.hpp"

namespace fm = forkmap;
using bench::by_hand::check;

namespace {

using clock_type = std::chrono::steady_clock;

double now() { return std::chrono::duration<double>(clock_type::now().time_since_epoch()).count(); }

struct message {
  std::array<std::uint64_t, 4> words;
};

constexpr std::uint64_t messages_each = 500'000;

int send_many(int of_worker) {
  for (std::uint64_t k = 0; k != messages_each; ++k)
    fm::this_task::send(message{{k, static_cast<std::uint64_t>(of_worker), 2, 3}});
  return of_worker;
}

/// Two processes write messages to a pipe each; this one reads them.
/// Returns: how many there were.
std::uint64_t through_pipes() {
  pollfd ends[2];
  pid_t children[2];
  for (int k = 0; k != 2; ++k) {
    int pipe[2];
    check(::pipe(pipe) == 0, "pipe");
    children[k] = ::fork();
    if (children[k] == 0) {
      ::close(pipe[0]);
      for (std::uint64_t i = 0; i != messages_each; ++i) {
        message const each{{i, static_cast<std::uint64_t>(k), 2, 3}};
        if (::write(pipe[1], &each, sizeof each) != sizeof each) ::_exit(1);
      }
      ::_exit(0);
    }
    ::close(pipe[1]);
    ends[k] = {pipe[0], POLLIN, 0};
  }
  std::uint64_t bytes = 0;
  std::vector<std::byte> buffer(std::size_t{64} << 10U);
  for (int open = 2; open != 0;) {
    check(::poll(ends, 2, -1) > 0, "poll");
    for (auto& end : ends) {
      if (end.revents == 0) continue;
      auto const got = ::read(end.fd, buffer.data(), buffer.size());
      if (got > 0) {
        bytes += static_cast<std::uint64_t>(got);
      } else {
        ::close(end.fd);
        end.fd = -1;
        --open;
      }
    }
  }
  for (auto const child : children) ::waitpid(child, nullptr, 0);
  return bytes / sizeof(message);
}

template <class Workers>
void many(benchmark::State& state, char const* text, Workers const& workers, std::uint64_t& n) {
  bench::in_turns(
      state, {.text = text, .limit = 0.5},
      [&] {
        return bench::seconds_of([] { check(through_pipes() == 2 * messages_each, "pipes"); });
      },
      [&] {
        n = 0;
        auto const took =
            bench::seconds_of([&] { workers.map(send_many, std::views::iota(0, 2)); });
        check(n == 2 * messages_each, "messages");
        return took;
      });
}

void many_of_parallel(benchmark::State& state) {
  std::uint64_t n = 0;
  auto const count = [&](std::size_t, message const&) { ++n; };
  many(state, "10^6 messages of 32 bytes, 2 workers / a write to a pipe for each",
       fm::parallel({.n_jobs = 2, .on_message = count}), n);
}
BENCHMARK(many_of_parallel)->Iterations(11)->UseManualTime()->Unit(benchmark::kMillisecond);

void many_of_pool(benchmark::State& state) {
  std::uint64_t n = 0;
  auto const count = [&](std::size_t, message const&) { ++n; };
  fm::pool const workers({.n_jobs = 2, .on_message = count});
  many(state, "the same from a pool / the same", workers, n);
}
BENCHMARK(many_of_pool)->Iterations(11)->UseManualTime()->Unit(benchmark::kMillisecond);

constexpr unsigned n_spaced = 50;
constexpr unsigned pause_us = 1000;

void wait_while(std::atomic<std::uint32_t>& word, std::uint32_t seen) {
  while (word.load() == seen) ::syscall(SYS_futex, &word, FUTEX_WAIT, seen, nullptr, nullptr, 0);
}
void advance(std::atomic<std::uint32_t>& word) {
  word.fetch_add(1);
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

/// The median time of a futex round trip between two processes that sleep in between.
double futex_round_trip() {
  struct shared {
    alignas(128) std::atomic<std::uint32_t> there;
    alignas(128) std::atomic<std::uint32_t> back;
  };
  auto* const memory =
      ::mmap(nullptr, sizeof(shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  auto& words = *static_cast<shared*>(memory);
  auto const child = ::fork();
  if (child == 0) {
    for (std::uint32_t i = 0; i != n_spaced; ++i) {
      wait_while(words.there, i);
      advance(words.back);
    }
    ::_exit(0);
  }
  std::vector<double> times;
  for (std::uint32_t i = 0; i != n_spaced; ++i) {
    ::usleep(pause_us);
    auto const begin = now();
    advance(words.there);
    wait_while(words.back, i);
    times.push_back(now() - begin);
  }
  ::waitpid(child, nullptr, 0);
  ::munmap(memory, sizeof(shared));
  return bench::median(times);
}

int send_spaced(int i) {
  for (unsigned k = 0; k != n_spaced; ++k) {
    ::usleep(pause_us);
    fm::this_task::send(now());
  }
  return i;
}

template <class Run>
void latency(benchmark::State& state, char const* text, std::vector<double>& times,
             Run const& run) {
  bench::in_turns(state, {.text = text, .ratio_target = 2}, futex_round_trip, [&] {
    times.clear();
    run();
    check(times.size() == n_spaced, "messages");
    return bench::median(times);
  });
}

void latency_of_parallel(benchmark::State& state) {
  std::vector<double> times;
  auto const note = [&](std::size_t, double const& sent) { times.push_back(now() - sent); };
  auto const map = fm::parallel({.n_jobs = 1, .isolate = true, .on_message = note});
  latency(state, "from send to the handler of a caller that sleeps / a futex round trip", times,
          [&] { map.map(send_spaced, std::views::iota(0, 1)); });
}
BENCHMARK(latency_of_parallel)->Iterations(21)->UseManualTime()->Unit(benchmark::kMicrosecond);

void latency_of_pool(benchmark::State& state) {
  std::vector<double> times;
  auto const note = [&](std::size_t, double const& sent) { times.push_back(now() - sent); };
  fm::pool const workers({.n_jobs = 1, .on_message = note});
  latency(state, "the same in a call of a pool / the same", times,
          [&] { workers.map(send_spaced, std::views::iota(0, 1)); });
}
BENCHMARK(latency_of_pool)->Iterations(21)->UseManualTime()->Unit(benchmark::kMicrosecond);

void latency_of_submit(benchmark::State& state) {
  std::vector<double> times;
  auto const note = [&](std::size_t, double const& sent) { times.push_back(now() - sent); };
  fm::pool const workers({.n_jobs = 1, .on_message = note});
  latency(state, "the same of a submitted task, in get() / the same", times,
          [&] { workers.submit(send_spaced, 0).get(); });
}
BENCHMARK(latency_of_submit)->Iterations(21)->UseManualTime()->Unit(benchmark::kMicrosecond);

}  // namespace
