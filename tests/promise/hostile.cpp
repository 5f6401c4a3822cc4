// Faulty tasks that overwrite memory that forkmap shares with them, or close and reuse its
// descriptors. The caller must continue, and the results of all other tasks must be correct.
// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <random>
#include <ranges>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/scribble.hpp"

namespace fm = forkmap;

namespace {

template <class R> R honest_value(int i) {
  if constexpr (std::is_same_v<R, std::string>)
    return std::string(40, static_cast<char>('a' + i % 26)) + std::to_string(i);
  else if constexpr (std::is_same_v<R, std::vector<double>>)
    return std::vector<double>(50'000 + static_cast<std::size_t>(i), i);
  else
    return static_cast<R>(i * 3 + 1);
}

/// The damage that one task of a call does, and how that task ends.
struct wild_act {
  int task = 0;
  unsigned seed = 0;
  support::damage kind{};
  int end = 0;  // 0: returns, 1: crashes, 2: exits, 3: throws
};

char const* precious_file() { return "precious.bin"; }

template <class R> R wild_task(int i, wild_act act) {
  if (i == act.task) {
    if (act.kind == support::damage::descriptors) {
      support::truncate_shared_memory();
      support::reuse_descriptors(precious_file());
    } else {
      support::damage_memory(act.kind, act.seed);
    }
    if (act.end == 1) ::raise(SIGSEGV);
    if (act.end == 2) std::_Exit(0);
    if (act.end == 3) throw std::runtime_error("thrown after the damage");
  }
  return honest_value<R>(i);
}

/// Makes a call of a random kind, in which one task does damage.
/// Returns: the number of wrong values.
template <class R> int wrong_values(unsigned trial, fm::pool const& workers) {
  std::mt19937 random(trial * 7919 + 13);
  wild_act act;
  act.kind = static_cast<support::damage>(random() % support::n_kinds_of_damage);
  act.end = static_cast<int>(random() % 4);
  act.seed = static_cast<unsigned>(random());
  bool const many = random() % 4 == 0 && !std::is_same_v<R, std::vector<double>>;
  int const n = many ? 1500 : 24;
  act.task = static_cast<int>(random() % static_cast<unsigned>(n));
  auto const tasks = std::views::iota(0, n) | std::views::transform([act](int i) {
                       return fm::delayed(wild_task<R>)(i, act);
                     });
  int wrong = 0;
  auto const check_all = [&](auto const& results) {
    for (int i = 0; i != n; ++i)
      wrong += results[static_cast<std::size_t>(i)] != honest_value<R>(i) ? 1 : 0;
  };
  auto const check_outcomes = [&](auto const& outcomes) {
    for (int i = 0; i != n; ++i) {
      auto const& outcome = outcomes[static_cast<std::size_t>(i)];
      wrong += i != act.task && outcome && *outcome != honest_value<R>(i) ? 1 : 0;
    }
  };
  try {
    switch (random() % 6) {
      case 0:
        check_outcomes(fm::parallel(2).outcomes(tasks));
        break;
      case 1:
        check_outcomes(workers.outcomes(tasks));
        break;
      case 2:
        check_all(fm::parallel(2)(tasks));
        break;
      case 3:
        check_all(workers(tasks));
        break;
      case 4: {
        int i = 0;
        for (auto const& value : fm::parallel(2).stream(tasks))
          wrong += value != honest_value<R>(i++) ? 1 : 0;
        break;
      }
      default: {
        auto const first = workers.first(tasks);
        wrong += first.value != honest_value<R>(static_cast<int>(first.index)) ? 1 : 0;
      }
    }
  } catch (std::exception const&) {  // the call may fail, but must return no wrong values
  }
  return wrong;
}

template <class R> void try_damage(unsigned first) {
  constexpr std::size_t precious_bytes = 100'000;
  std::ofstream(precious_file(), std::ios::binary) << std::string(precious_bytes, '\0');
  // Fewer trials with a sanitizer: forks are slow, and its own shadow memory must not be
  // overwritten.
  unsigned const n = support::address_sanitizer || support::thread_sanitizer ? 50 : 2'500;
  {
    fm::pool const workers(2);
    for (unsigned trial = first; trial != first + n; ++trial) {
      INFO("trial " << trial);
      CHECK(wrong_values<R>(trial, workers) == 0);
    }
  }
  std::ifstream file(precious_file(), std::ios::binary);
  std::string const bytes(std::istreambuf_iterator<char>(file), {});
  CHECK(bytes == std::string(precious_bytes, '\0'));
  std::filesystem::remove(precious_file());
}

}  // namespace

TEST_CASE("hostile: wild stores and closed descriptors change no other task's double",
          "[hostile]") {
  try_damage<double>(0);
}

TEST_CASE("hostile: wild stores and closed descriptors change no other task's int", "[hostile]") {
  try_damage<int>(10'000);
}

TEST_CASE("hostile: wild stores and closed descriptors change no other task's string",
          "[hostile]") {
  try_damage<std::string>(20'000);
}

TEST_CASE("hostile: wild stores and closed descriptors change no other task's large array",
          "[hostile]") {
  try_damage<std::vector<double>>(30'000);
}

TEST_CASE("hostile: a task that erases its worker's claim does not run for ever", "[hostile]") {
  // Each run of task 50 sets all shared words to zero, so its batch looks unclaimed again.
  auto const outcomes =
      fm::parallel(2).outcomes(std::views::iota(0, 100) | std::views::transform([](int i) {
                                 return [i] {
                                   if (i == 50) support::damage_memory(support::damage::zeros, 1);
                                   return i;
                                 };
                               }));
  for (int i = 0; i != 100; ++i) {
    auto const& outcome = outcomes[static_cast<std::size_t>(i)];
    if (outcome) CHECK(*outcome == i);
  }
}

TEST_CASE("hostile: first() never returns a failed task, even if a task overwrites the winner",
          "[hostile]") {
  // The second task writes the index of the first one, which has failed, as the winner.
  auto const name_first_as_winner = [] {
    for (auto const& mapping : support::writable_shared_memory()) {
      auto* const words = reinterpret_cast<std::uint64_t*>(mapping.begin);
      if (words[0] == 0 && words[1] == 0) words[1] = 1;  // call_header::winner
    }
  };
  auto const race = [&](auto const& workers) {
    try {
      auto const won = workers.first(std::views::iota(0, 2) | std::views::transform([&](int i) {
                                       return [=] {
                                         if (i == 0) throw std::runtime_error("the first one");
                                         name_first_as_winner();
                                         return 7;
                                       };
                                     }));
      CHECK(won.index == 1);
      CHECK(won.value == 7);
    } catch (std::runtime_error const& e) {
      CHECK(std::string(e.what()) == "the first one");
    }
  };
  race(fm::parallel({.n_jobs = 1, .isolate = true}));
}

TEST_CASE("hostile: a replacement worker does not overwrite a large blob of its predecessor",
          "[hostile]") {
  auto const large = [](int i) {
    return std::string(i == 0 ? 2'000'000 : 300'000, static_cast<char>('a' + i));
  };
  // Overwrites the end of its worker's blobs with an offset inside the blob of task 0, then kills
  // the worker.
  auto const understate_blobs = [] {
    for (auto const& mapping : support::writable_shared_memory()) {
      auto* const words = reinterpret_cast<std::uint64_t*>(mapping.begin);
      auto& end_of_blobs = words[5];  // worker_state::arena_next
      if (end_of_blobs > 2'000'000 && end_of_blobs < 2'200'000) end_of_blobs = 1'000'000;
    }
    ::raise(SIGKILL);
  };
  auto const task = [&](int i) {
    return [=] {
      if (i == 1) understate_blobs();
      return large(i);
    };
  };
  auto const outcomes = fm::parallel({.n_jobs = 1, .isolate = true})
                            .outcomes(std::views::iota(0, 4) | std::views::transform(task));
  for (int i = 0; i != 4; ++i) {
    CAPTURE(i);
    auto const& outcome = outcomes[static_cast<std::size_t>(i)];
    CHECK(outcome.has_value() == (i != 1));
    if (outcome.has_value()) CHECK((*outcome == large(i)));
  }
}

TEST_CASE("hostile: a task that damages shared memory and then hangs is ended at its time limit",
          "[hostile]") {
  using namespace std::chrono_literals;
  for (unsigned seed = 0; seed != 8; ++seed) {
    auto const outcomes =
        fm::parallel({.n_jobs = 2, .timeout = 300ms})
            .outcomes(std::views::iota(0, 6) | std::views::transform([seed](int i) {
                        return [i, seed] {
                          if (i == 3) {
                            support::damage_memory(support::damage::page, seed);
                            for (;;) ::pause();
                          }
                          return i;
                        };
                      }));
    CHECK_FALSE(outcomes[3]);
  }
}

TEST_CASE("hostile: a pool ends although a task has damaged its worker's state and never returns",
          "[hostile]") {
  auto const damage_and_hang = [](int i) {
    if (i != 3) return i;
    for (auto const& mapping : support::writable_shared_memory()) {
      // The worker's pool_worker_state begins with its call slot + 1 and the phase `working`.
      auto* const words = reinterpret_cast<std::uint32_t*>(mapping.begin);
      if (words[0] == 1 && words[1] == 1) words[0] = 0x1234'5678;
    }
    for (;;) ::pause();
  };
  auto const begin = std::chrono::steady_clock::now();
  {
    fm::pool const workers(2);
    auto const outcomes = workers.outcomes(damage_and_hang, std::views::iota(0, 6));
    for (int i = 0; i != 6; ++i) {
      auto const& outcome = outcomes[static_cast<std::size_t>(i)];
      CHECK((outcome ? *outcome == i : i >= 3));
    }
  }
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

namespace {

/// Overwrites what this worker can write of forkmap's memory with zeros, as a stray memset would.
void set_all_to_zero() {
  for (auto const& mapping : support::writable_shared_memory())
    std::memset(mapping.begin, 0, static_cast<std::size_t>(mapping.end - mapping.begin));
}

int zero_and_die_at_three(int i) {
  if (i == 3) {
    set_all_to_zero();
    ::raise(SIGKILL);
  }
  return i;
}

/// Makes calls that must end. They may fail, but each result that they give must be right.
template <class Workers> void call_with_zeros(Workers const& workers) {
  auto const numbers = std::views::iota(0, 12);
  auto const check_each = [](auto&& outcomes) {
    int at = 0;
    for (auto const& outcome : outcomes) {
      if (outcome) CHECK(*outcome == at);
      ++at;
    }
  };
  auto const may_fail = [](auto const& call) {
    try {
      call();
    } catch (std::exception const&) {
    }
  };
  for (int n = 0; n != 2; ++n) {
    may_fail([&] {
      auto const results = workers.map(zero_and_die_at_three, numbers);
      CHECK(std::ranges::equal(results, numbers));
    });
    may_fail([&] { check_each(workers.outcomes(zero_and_die_at_three, numbers)); });
    may_fail([&] { check_each(workers.stream_outcomes(zero_and_die_at_three, numbers)); });
  }
}

/// Sets the call that this worker serves to none, or to that of another slot, so that the caller does
/// not see it in its call.
void hide_from_caller(std::uint32_t serving = 0) {
  for (auto const& mapping : support::writable_shared_memory()) {
    // The worker's pool_worker_state begins with its call slot + 1 and the phase `working`.
    auto* const words = reinterpret_cast<std::uint32_t*>(mapping.begin);
    if (words[0] == 1 && words[1] == 1) words[0] = serving;
  }
}

}  // namespace

TEST_CASE("hostile: calls end although a task sets all its memory to zero and dies", "[hostile]") {
  call_with_zeros(fm::parallel(2));
  fm::pool const workers(2);
  call_with_zeros(workers);
  for (int n = 0; n != 2; ++n) {
    std::vector<fm::future<int>> futures;
    for (int i = 0; i != 12; ++i) futures.push_back(workers.submit(zero_and_die_at_three, i));
    for (int i = 0; i != 12; ++i) {
      try {
        auto const result = futures[static_cast<std::size_t>(i)].get();
        CHECK(result == i);
      } catch (std::exception const&) {
      }
    }
  }
  CHECK(workers.map([](int i) { return i; }, std::vector{1, 2, 3}) == std::vector{1, 2, 3});
}

TEST_CASE("hostile: a worker that hides from its caller gives no wrong results to the next call",
          "[hostile]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .batch_size = 20});
  auto const hide_and_negate = [](int i) {
    if (i == 30) hide_from_caller();
    if (i >= 30) ::usleep(200);
    return -i;
  };
  for (int n = 0; n != 5; ++n) {
    static_cast<void>(workers.outcomes(hide_and_negate, std::views::iota(0, 400)));
    int at = 0;
    for (auto const& outcome :
         workers.outcomes([](int i) { return i; }, std::views::iota(0, 400))) {
      if (outcome) CHECK(*outcome == at);
      ++at;
    }
  }
}

TEST_CASE("hostile: a worker that hides and never returns is replaced when a call needs it",
          "[hostile]") {
  fm::pool const worker(1);
  for (int const serving : {0, 2, 64}) {
    auto const outcomes = worker.outcomes(
        [](int slot) {
          hide_from_caller(static_cast<std::uint32_t>(slot));
          for (;;) ::pause();
          return slot;
        },
        std::vector{serving});
    CHECK_FALSE(outcomes[0]);
    CHECK(worker.map([](int i) { return i; }, std::vector{1, 2}) == std::vector{1, 2});
  }
}

TEST_CASE("hostile: a call ends although a worker of another call pretends to serve it",
          "[hostile]") {
  fm::pool const workers(2);
  fm::shared_array<int> has_begun({2});  // the first call, and the second one
  // The first call is in slot 0, the second one in slot 1.
  auto first = std::async(std::launch::async, [&] {
    return workers.outcomes(
        [](int, fm::shared_array<int> begun) {
          std::atomic_ref(begun[0]).store(1);
          while (std::atomic_ref(begun[1]).load() == 0) ::usleep(1000);
          hide_from_caller(2);
          for (;;) ::pause();
        },
        std::vector{1}, std::vector{has_begun});
  });
  while (std::atomic_ref(has_begun[0]).load() == 0) ::usleep(1000);
  auto const results = workers.map(
      [](int i, fm::shared_array<int> begun) {
        std::atomic_ref(begun[1]).store(1);
        ::usleep(300'000);  // so that the other worker pretends before this call could end
        return i;
      },
      std::vector{5}, std::vector{has_begun});
  CHECK(results == std::vector{5});
  CHECK_FALSE(first.get()[0]);
}

TEST_CASE("hostile: a pool notices deaths although a task has cleared O_NONBLOCK everywhere",
          "[hostile]") {
  fm::pool const workers(2);
  workers.map(
      [](int) {
        for (int fd = 3; fd != 1100; ++fd) {
          auto const flags = ::fcntl(fd, F_GETFL);
          if (flags >= 0) ::fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
        }
      },
      std::views::iota(0, 4));
  for (int n = 0; n != 20; ++n) {
    auto const outcomes = workers.outcomes(
        [](int i) {
          if (i == 1) ::raise(SIGKILL);
          return i;
        },
        std::vector{0, 1, 2});
    CHECK(outcomes[0].value() == 0);
    CHECK_FALSE(outcomes[1]);
    CHECK(outcomes[2].value() == 2);
  }
}

TEST_CASE("hostile: submitted tasks and streams end although no worker wakes the supervisor",
          "[hostile]") {
  auto const close_all = [](int i) {
    for (int fd = 3; fd != 1100; ++fd) ::close(fd);
    return i;
  };
  // What waits for each call is in memory that all workers write.
  auto const overwrite = [](int i) {
    for (auto const& mapping : support::writable_shared_memory())
      std::memset(mapping.begin + 128, 0, std::size_t{128} * 64);
    return i;
  };
  for (int n = 0; n != 3; ++n) {
    fm::pool const workers(2);
    CHECK(workers.map([](int i) { return i; }, std::vector{1, 2}) == std::vector{1, 2});
    // Then the supervisor sleeps until it is woken. If it does not yet, the test shows less.
    ::usleep(400'000);
    if (n == 0) {
      CHECK(workers.submit(close_all, 7).get() == 7);
      continue;
    }
    int at = 0;
    for (auto const& outcome : workers.stream_outcomes(overwrite, std::views::iota(0, 5))) {
      if (outcome) CHECK(*outcome == at);
      ++at;
    }
    CHECK(at == 5);
  }
}

TEST_CASE("hostile: a process that a task forks has no mapping of forkmap's memory", "[hostile]") {
  auto const n_mappings = fm::parallel(2).map(
      [](int) {
        int ends[2] = {-1, -1};
        if (::pipe(ends) != 0) return -1;
        auto const child = ::fork();
        if (child == 0) {
          auto const n = static_cast<int>(support::writable_shared_memory().size());
          static_cast<void>(!::write(ends[1], &n, sizeof n));
          ::_exit(0);
        }
        int n = -1;
        static_cast<void>(!::read(ends[0], &n, sizeof n));
        ::close(ends[0]);
        ::close(ends[1]);
        int status = 0;
        while (::waitpid(child, &status, 0) < 0) {
        }
        return n;
      },
      std::views::iota(0, 4));
  CHECK(n_mappings == std::vector<int>(4, 0));
}

TEST_CASE("hostile: a journal stays complete after a task has closed and reused every descriptor",
          "[hostile]") {
  std::ofstream(precious_file(), std::ios::binary) << std::string(1000, '\0');
  auto const run = [](bool wild) {
    return fm::parallel({.n_jobs = 2, .batch_size = 1, .resume = "hostile.journal"})
        .map(
            [wild](int i) {
              if (wild && i < 2) support::reuse_descriptors(precious_file());
              return std::string(100, static_cast<char>('a' + i));
            },
            std::views::iota(0, 20));
  };
  auto const results = run(true);
  std::ifstream file(precious_file(), std::ios::binary);
  CHECK(std::string(std::istreambuf_iterator<char>(file), {}) == std::string(1000, '\0'));
  CHECK(run(false) == results);
  CHECK(fm::last_report().resumed == 20);
  std::filesystem::remove(precious_file());
  std::filesystem::remove("hostile.journal");
}
