// Faulty tasks that overwrite memory that forkmap shares with them, in calls with messages. The caller
// must continue, and all messages that it handles must be right.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <exception>
#include <random>
#include <ranges>
#include <string>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"
#include "support/scribble.hpp"

namespace fm = forkmap;

namespace {

std::string text_sent(std::size_t task, int k) {
  // The 20th message is larger than the memory for messages.
  return std::string(k == 20 ? 100'000 : 30, static_cast<char>('a' + task % 26)) +
         std::to_string(task) + " " + std::to_string(k);
}

struct wild_sender {
  int task;
  unsigned seed;
  support::damage kind;
  int end;  // 0: returns, 1: crashes, 2: exits
};

int send_some_wildly(int i, wild_sender act) {
  for (int k = 0; k != 25; ++k) {
    if (i == act.task && k == static_cast<int>(act.seed % 25)) {
      if (act.kind == support::damage::descriptors)
        for (int fd = 3; fd != 1100; ++fd) ::close(fd);
      else
        support::damage_memory(act.kind, act.seed);
      if (act.end == 1) ::raise(SIGSEGV);
      if (act.end == 2) std::_Exit(0);
    }
    fm::this_task::send(text_sent(static_cast<std::size_t>(fm::this_task::index()), k));
  }
  return i * 3;
}

}  // namespace

TEST_CASE("hostile messages: wild stores cause no wrong message and no wrong result", "[hostile]") {
  int n_wrong = 0;
  int n_right = 0;
  auto const handler = [&](std::size_t task, std::string const& text) {
    // A task whose claim was overwritten may run twice, at the same time, so the order says nothing.
    auto const k = text.substr(text.find_last_of(' ') + 1);
    bool const is_number = !k.empty() && k.find_first_not_of("0123456789") == std::string::npos;
    (is_number && text == text_sent(task, std::stoi(k)) ? n_right : n_wrong)++;
  };
  auto const trials = support::address_sanitizer || support::thread_sanitizer ? 30U : 400U;
  fm::pool const workers({.n_jobs = 2, .on_message = handler});
  auto const map = fm::parallel({.n_jobs = 2, .on_message = handler});
  for (unsigned trial = 0; trial != trials; ++trial) {
    INFO("trial " << trial);
    std::mt19937 random(trial * 7919 + 5);
    wild_sender act{};
    act.kind = static_cast<support::damage>(random() % support::n_kinds_of_damage);
    act.end = static_cast<int>(random() % 3);
    act.seed = static_cast<unsigned>(random());
    act.task = static_cast<int>(random() % 12);
    auto const tasks = std::views::iota(0, 12) | std::views::transform([act](int i) {
                         return fm::delayed(send_some_wildly)(i, act);
                       });
    auto const check_all = [&](auto&& outcomes) {
      int i = 0;
      for (auto const& outcome : outcomes) {
        if (outcome && *outcome != i * 3) ++n_wrong;
        ++i;
      }
    };
    try {
      switch (trial % 4) {
        case 0:
          check_all(map.outcomes(tasks));
          break;
        case 1:
          check_all(workers.outcomes(tasks));
          break;
        case 2:
          check_all(workers.stream_outcomes(tasks));
          break;
        default:
          check_all(map.stream_outcomes(tasks));
      }
    } catch (std::exception const&) {  // the call may fail
    }
    CHECK(n_wrong == 0);
  }
  CHECK(n_right > 0);
}
