// Messages from tasks to their caller: this_task::send and options::on_message.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

using received = std::map<std::size_t, std::vector<std::string>>;

/// Notes messages, and checks that all come on one thread.
struct message_recorder {
  received all{};
  std::thread::id thread = std::this_thread::get_id();
  bool other_thread = false;

  auto handler() {
    return [this](std::size_t task, std::string const& message) {
      all[task].push_back(message);
      other_thread = other_thread || std::this_thread::get_id() != thread;
    };
  }
};

int send_two(int i) {
  fm::this_task::send(std::to_string(i) + " begins");
  fm::this_task::send(std::to_string(i) + " ends");
  return i;
}

received two_of_each(int n) {
  received all;
  for (int i = 0; i != n; ++i)
    all[static_cast<std::size_t>(i)] = {std::to_string(i) + " begins", std::to_string(i) + " ends"};
  return all;
}

auto sent_by(int n) { return std::views::iota(0, n); }

}  // namespace

TEST_CASE("messages: each task's messages arrive in order, on the waiting thread", "[messages]") {
  message_recorder notes;
  auto const check = [&](int n) {
    CHECK((notes.all == two_of_each(n)));
    CHECK_FALSE(notes.other_thread);
    notes.all.clear();
  };
  for (int const n_jobs : {1, 2, 3}) {
    CAPTURE(n_jobs);
    auto const map = fm::parallel({.n_jobs = n_jobs, .on_message = notes.handler()});
    map.map(send_two, sent_by(20));
    check(20);
    map.outcomes(send_two, sent_by(20));
    check(20);
    for (int const value : map.stream(send_two, sent_by(20)))
      CHECK(notes.all.contains(static_cast<std::size_t>(value)));
    check(20);
    for (auto const& each : map.unordered(send_two, sent_by(20)))
      CHECK(notes.all[each.index].size() == 2);
    check(20);
  }
  fm::pool const workers({.n_jobs = 2, .on_message = notes.handler()});
  for (int call = 0; call != 3; ++call) {
    workers.map(send_two, sent_by(20));
    check(20);
    for (int const value : workers.stream(send_two, sent_by(200)))
      CHECK(notes.all[static_cast<std::size_t>(value)].size() == 2);
    check(200);
    for (auto const& each : workers.unordered_outcomes(send_two, sent_by(20)))
      CHECK(notes.all[each.index].size() == 2);
    check(20);
  }
}

TEST_CASE("messages: reduce and first have messages", "[messages]") {
  message_recorder notes;
  auto const map = fm::parallel({.n_jobs = 2, .on_message = notes.handler()});
  auto const tasks =
      sent_by(50) | std::views::transform([](int i) { return fm::delayed(send_two)(i); });
  CHECK(map.reduce(tasks, 0, [](int a, int b) { return a + b; }) == 49 * 25);
  CHECK((notes.all == two_of_each(50)));
  notes.all.clear();
  auto const won = map.first(tasks);
  CHECK(notes.all[won.index].size() == 2);
}

TEST_CASE("messages: a message arrives while its task runs", "[messages]") {
  // Each task waits until its message has been handled.
  fm::shared_array<int> handled(fm::shape{2});
  auto const data = handled.data();
  auto const wait_for_handler = [data](int i) {
    fm::this_task::send(i);
    return support::wait_until([&] { return std::atomic_ref(data[i]).load() != 0; }) ? i : -1;
  };
  auto const handler = [data](std::size_t task, int const& i) {
    CHECK(task == static_cast<std::size_t>(i));
    std::atomic_ref(data[i]).store(1);
  };
  auto const results =
      fm::parallel({.n_jobs = 2, .on_message = handler}).map(wait_for_handler, sent_by(2));
  CHECK((results == std::vector{0, 1}));
}

namespace {
fm::shared_array<int>* handled_in_pool = nullptr;

int wait_until_handled(int i) {
  fm::this_task::send(i);
  auto& word = (*handled_in_pool)[static_cast<std::size_t>(i)];
  return support::wait_until([&] { return std::atomic_ref(word).load() != 0; }) ? i : -1;
}
}  // namespace

TEST_CASE("messages: a pool's message arrives while its task runs", "[messages]") {
  fm::shared_array<int> handled(fm::shape{8});
  handled_in_pool = &handled;
  auto const handler = [&](std::size_t, int const& i) {
    std::atomic_ref(handled[static_cast<std::size_t>(i)]).store(1);
  };
  fm::pool const workers({.n_jobs = 2, .on_message = handler});
  CHECK((workers.map(wait_until_handled, sent_by(2)) == std::vector{0, 1}));
  CHECK(workers.submit(wait_until_handled, 2).get() == 2);
  auto later = workers.submit(wait_until_handled, 3);
  CHECK(support::wait_until([&] { return later.wait_for(1ms); }));
  std::vector<fm::future<int>> futures;
  for (int const i : {4, 5}) futures.push_back(workers.submit(wait_until_handled, i));
  CHECK(fm::wait_any(futures).has_value());
  workers.wait();
  for (int const i : {6, 7}) (void)workers.submit(wait_until_handled, i);
  workers.wait();
}

TEST_CASE("messages: what a task sent before its worker crashed is handled", "[messages]") {
  auto const send_and_crash = [](int i) {
    for (int k = 0; k != 100; ++k) fm::this_task::send(k);
    if (i % 2 == 1) ::raise(SIGKILL);
    return i;
  };
  std::map<std::size_t, int> count;
  auto const handler = [&](std::size_t task, int const& k) { CHECK(count[task]++ == k); };
  auto const check = [&](auto const& outcomes) {
    for (std::size_t i = 0; i != 10; ++i) {
      CHECK(outcomes[i].has_value() == (i % 2 == 0));
      CHECK(count[i] == 100);
    }
    count.clear();
  };
  check(fm::parallel({.n_jobs = 2, .on_message = handler}).outcomes(send_and_crash, sent_by(10)));
  fm::pool const workers({.n_jobs = 2, .on_message = handler});
  check(workers.outcomes(send_and_crash, sent_by(10)));
  auto submitted = workers.submit(send_and_crash, 1);
  CHECK_THROWS_AS(submitted.get(), fm::worker_died);
  CHECK(count[0] == 100);
  count.clear();
  for (auto const& each : workers.unordered_outcomes(send_and_crash, sent_by(10)))
    CHECK(count[each.index] == 100);
}

TEST_CASE("messages: a task that is retried sends its messages again", "[messages]") {
  auto const crash_once = [](int i) {
    fm::this_task::send(fm::this_task::attempt());
    if (fm::this_task::attempt() == 0) ::raise(SIGKILL);
    return i;
  };
  std::map<std::size_t, std::vector<int>> attempts;
  auto const handler = [&](std::size_t task, int const& attempt) {
    attempts[task].push_back(attempt);
  };
  fm::parallel({.n_jobs = 2, .retries = 1, .on_message = handler}).map(crash_once, sent_by(4));
  for (std::size_t i = 0; i != 4; ++i) CHECK((attempts[i] == std::vector{0, 1}));
}

TEST_CASE("messages: types, among them text, large values and a variant", "[messages]") {
  SECTION("text is one type") {
    auto const send_text = [](int) {
      fm::this_task::send("literal");
      fm::this_task::send(std::string_view("view"));
      fm::this_task::send(std::string("string"));
      char const* const pointer = "pointer";
      fm::this_task::send(pointer);
    };
    std::vector<std::string> got;
    for (int const n_jobs : {1, 2}) {
      fm::parallel(
          {.n_jobs = n_jobs,
           .on_message = [&](std::size_t, std::string_view text) { got.emplace_back(text); }})
          .map(send_text, sent_by(1));
      CHECK((got == std::vector<std::string>{"literal", "view", "string", "pointer"}));
      got.clear();
    }
  }
  SECTION("a message may be larger than the memory for messages") {
    auto const send_large = [](int i) {
      fm::this_task::send(std::vector<double>(300'000, i));
      fm::this_task::send(std::vector<double>(static_cast<std::size_t>(i), i));
    };
    std::map<std::size_t, std::vector<std::size_t>> sizes;
    auto const handler = [&](std::size_t task, std::vector<double> const& values) {
      sizes[task].push_back(values.size());
      CHECK(std::ranges::all_of(values, [&](double v) { return v == static_cast<double>(task); }));
    };
    fm::parallel({.n_jobs = 2, .on_message = handler}).map(send_large, sent_by(6));
    fm::pool({.n_jobs = 2, .on_message = handler}).map(send_large, sent_by(6));
    for (std::size_t i = 0; i != 6; ++i)
      CHECK((sizes[i] == std::vector<std::size_t>{300'000, i, 300'000, i}));
  }
  SECTION("messages of several types") {
    using message = std::variant<int, std::string>;
    std::vector<message> got;
    auto const handler = [&](std::size_t, message const& m) { got.push_back(m); };
    auto const send_both = [](int) {
      fm::this_task::send(message(1));
      fm::this_task::send(message("two"));
    };
    fm::parallel({.n_jobs = 1, .isolate = true, .on_message = handler}).map(send_both, sent_by(1));
    CHECK((got == std::vector<message>{1, "two"}));
  }
  SECTION("a handler may take the message by value and keep it") {
    std::vector<std::unique_ptr<int>> got;
    auto const send_pointer = [](int i) { fm::this_task::send(std::make_unique<int>(i)); };
    fm::parallel({.n_jobs = 2,
                  .on_message =
                      [&](std::size_t, std::unique_ptr<int> const& p) {
                        got.push_back(std::make_unique<int>(*p));
                      }})
        .map(send_pointer, sent_by(3));
    CHECK(got.size() == 3);
  }
}

TEST_CASE("messages: a message of another type is an error of the task that names both types",
          "[messages]") {
  for (int const n_jobs : {1, 2}) {
    auto const outcomes =
        fm::parallel({.n_jobs = n_jobs, .on_message = [](std::size_t, int const&) {}})
            .outcomes([](int) { fm::this_task::send(1.5); }, sent_by(1));
    REQUIRE_FALSE(outcomes[0]);
    CHECK(outcomes[0].error().message ==
          "forkmap: this_task::send: the message is a double, but the call's options::on_message "
          "takes a int");
    CHECK_THROWS_AS(outcomes[0].value(), std::logic_error);
  }
}

TEST_CASE("messages: send does nothing without a handler and outside a task", "[messages]") {
  fm::this_task::send(1);
  fm::parallel(1).map([](int i) { fm::this_task::send(i); }, sent_by(3));
  fm::parallel(2).map([](int i) { fm::this_task::send(i); }, sent_by(3));
  int n = 0;
  fm::options opts{.n_jobs = 2, .on_message = [&](std::size_t, int const&) { ++n; }};
  opts.worker_init = [](int) { fm::this_task::send(1); };
  fm::parallel(opts).map([](int i) { return i; }, sent_by(3));
  CHECK(n == 0);
}

TEST_CASE("messages: what the handler throws ends the call", "[messages]") {
  struct stop_it : std::runtime_error {
    using runtime_error::runtime_error;
  };
  auto const fail = [](std::size_t, int const& i) {
    if (i == 2) throw stop_it("enough");
  };
  auto const send_and_go_on = [](int i) {
    try {
      fm::this_task::send(i);
    } catch (...) {  // with n_jobs = 1
    }
    if (i > 2 && fm::this_task::in_worker()) ::pause();
    return i;
  };
  for (int const n_jobs : {1, 2}) {
    CAPTURE(n_jobs);
    auto const map = fm::parallel({.n_jobs = n_jobs, .on_message = fail});
    CHECK_THROWS_AS(map.map(send_and_go_on, sent_by(8)), stop_it);
    CHECK_THROWS_AS(map.outcomes(send_and_go_on, sent_by(8)), stop_it);
    auto const read_all = [&](auto stream) {
      for (auto const& each : stream) static_cast<void>(each);
    };
    CHECK_THROWS_AS(read_all(map.stream(send_and_go_on, sent_by(8))), stop_it);
    CHECK_THROWS_AS(read_all(map.unordered_outcomes(send_and_go_on, sent_by(8))), stop_it);
  }
  fm::pool const workers({.n_jobs = 2, .on_message = fail});
  for (int call = 0; call != 3; ++call) {
    CHECK_THROWS_AS(workers.map(send_and_go_on, sent_by(8)), stop_it);
    CHECK((workers.map(send_and_go_on, sent_by(2)) == std::vector{0, 1}));
    auto bad = workers.submit(send_and_go_on, 2);
    auto good = workers.submit(send_and_go_on, 1);
    CHECK(good.get() == 1);
    CHECK_THROWS_AS(bad.get(), stop_it);
  }
}

TEST_CASE("messages: a submitted task that hangs is ended when the handler throws", "[messages]") {
  auto const send_and_hang = [](int i) {
    fm::this_task::send(i);
    for (;;) ::pause();
    return i;
  };
  fm::pool const workers(
      {.n_jobs = 1, .on_message = [](std::size_t, int const&) { throw std::runtime_error("no"); }});
  auto later = workers.submit(send_and_hang, 1);
  CHECK_THROWS_WITH(later.get(), "no");
}

TEST_CASE("messages: the handler may make calls, of the same pool too", "[messages]") {
  std::unique_ptr<fm::pool> workers;
  int sum = 0;
  auto const send_number = [](int i) {
    fm::this_task::send(i);
    return i;
  };
  auto const nested = [&](std::size_t, int const& i) {
    if (i >= 100) return;
    sum += workers->submit(send_number, 100 + i).get();
    sum += workers->map(send_number, sent_by(102) | std::views::drop(100))[0];
  };
  workers = std::make_unique<fm::pool>(fm::options{.n_jobs = 2, .on_message = nested});
  CHECK(workers->submit(send_number, 1).get() == 1);
  CHECK(sum == 101 + 100);
  workers->map(send_number, sent_by(3));
  CHECK(sum == 101 + 100 + 303 + 300);
}

TEST_CASE("messages: a task that sends more than its caller handles waits for it", "[messages]") {
  constexpr int flood_size = 20'000;  // several times the memory for messages
  auto const flood = [](int i) {
    for (int k = 0; k != flood_size; ++k) fm::this_task::send(std::pair(i, k));
    return i;
  };
  SECTION("a slow handler") {
    int n = 0;
    auto const handler = [&](std::size_t, std::pair<int, int> const&) {
      if (++n % 1000 == 0) std::this_thread::sleep_for(1ms);
    };
    fm::parallel({.n_jobs = 2, .on_message = handler}).map(flood, sent_by(2));
    CHECK(n == 2 * flood_size);
  }
  SECTION("a submitted task that nobody waits for does not block others") {
    int n = 0;
    fm::pool const workers(
        {.n_jobs = 1, .on_message = [&](std::size_t, std::pair<int, int> const&) { ++n; }});
    auto ignored = workers.submit(flood, 1);
    auto awaited = workers.submit(flood, 2);
    CHECK(awaited.get() == 2);
    CHECK(n == 2 * flood_size);
    auto ignored_too = workers.submit(flood, 3);
    CHECK((workers.map(flood, sent_by(2)) == std::vector{0, 1}));
    for (int i = 0; i != 4; ++i) (void)workers.submit(flood, i);
    workers.wait();
    CHECK(n == 9 * flood_size);
  }
  SECTION("the wait counts for timeout") {
    auto const outcomes = fm::parallel({.n_jobs = 2,
                                        .timeout = 100ms,
                                        .on_message =
                                            [](std::size_t, std::pair<int, int> const&) {
                                              std::this_thread::sleep_for(1ms);
                                            }})
                              .outcomes(flood, sent_by(1));
    CHECK(outcomes[0].error().reason == fm::failure::timed_out);
  }
}

TEST_CASE("messages: the messages of a future that is dropped, or of a pool that ends, do no harm",
          "[messages]") {
  int n = 0;
  {
    fm::pool const workers(
        {.n_jobs = 2, .on_message = [&](std::size_t, std::string const&) { ++n; }});
    (void)workers.submit(send_two, 0);
    (void)workers.submit(send_two, 1);
  }
  fm::future<int> outlives;
  {
    fm::pool const workers(
        {.n_jobs = 2, .on_message = [&](std::size_t, std::string const&) { ++n; }});
    outlives = workers.submit(send_two, 3);
    outlives.wait();
    n = 0;
    (void)workers.submit(send_two, 4);
  }
  CHECK(outlives.get() == 3);
}

TEST_CASE("messages: threads that a task starts may send", "[messages]") {
  auto const send_from_threads = [](int i) {
    std::vector<std::thread> threads;
    for (int t = 0; t != 4; ++t) {
      threads.emplace_back([t] {
        for (int k = 0; k != 500; ++k) fm::this_task::send(std::pair(t, k));
      });
    }
    for (auto& thread : threads) thread.join();
    return i;
  };
  std::map<std::size_t, std::map<int, int>> next;
  auto const handler = [&](std::size_t task, std::pair<int, int> const& m) {
    CHECK(next[task][m.first]++ == m.second);
  };
  fm::parallel({.n_jobs = 2, .on_message = handler}).map(send_from_threads, sent_by(3));
  for (std::size_t i = 0; i != 3; ++i) {
    for (int t = 0; t != 4; ++t) CHECK(next[i][t] == 500);
  }
}

TEST_CASE("messages: several threads use a pool with messages at once", "[messages]") {
  std::atomic<int> n = 0;
  std::atomic<int> on_wrong_thread = 0;
  thread_local int tag = 0;
  auto const handler = [&](std::size_t, int const& sender) {
    ++n;
    if (tag != sender) ++on_wrong_thread;
  };
  auto const send_tag = [](int of_thread) {
    for (int k = 0; k != 20; ++k) fm::this_task::send(of_thread);
  };
  fm::pool const workers({.n_jobs = 2, .on_message = handler});
  std::vector<std::thread> threads;
  for (int t = 1; t != 5; ++t) {
    threads.emplace_back([&, t] {
      tag = t;
      for (int call = 0; call != 30; ++call) workers.map(send_tag, std::vector<int>(4, t));
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(n == 4 * 30 * 4 * 20);
  CHECK(on_wrong_thread == 0);
}

TEST_CASE("messages: send in a process that a task has forked is an error there", "[messages]") {
  auto const fork_and_send = [](int) {
    auto const pid = ::fork();
    if (pid == 0) {
      try {
        fm::this_task::send(1);
      } catch (std::logic_error const&) {
        ::_exit(7);
      }
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
  };
  int n = 0;
  auto const results =
      fm::parallel({.n_jobs = 2, .on_message = [&](std::size_t, int const&) { ++n; }})
          .map(fork_and_send, sent_by(2));
  CHECK((results == std::vector{7, 7}));
  CHECK(n == 0);
}

TEST_CASE("messages: a nested call has its own handler", "[messages]") {
  auto const nested = [](int i) {
    int inner = 0;
    fm::parallel({.n_jobs = 2,
                  .on_message =
                      [&](std::size_t, int const& k) {
                        inner += k;
                        fm::this_task::send(k);  // to the outer call
                      }})
        .map([](int k) { fm::this_task::send(k); }, sent_by(3));
    fm::parallel(2).map([](int k) { fm::this_task::send(k); }, sent_by(3));  // no handler
    return inner * 10 + i;
  };
  int outer = 0;
  auto const results =
      fm::parallel({.n_jobs = 2, .on_message = [&](std::size_t, int const& k) { outer += k; }})
          .map(nested, sent_by(2));
  CHECK((results == std::vector{30, 31}));
  CHECK(outer == 6);
}

TEST_CASE("messages: no message is lost or wrong when workers are killed at random", "[messages]") {
  // Each task numbers its messages. What arrives must be a prefix of what it has sent.
  auto const send_many = [](int i) {
    for (int k = 0; k != 300; ++k)
      fm::this_task::send(std::pair(i, std::vector<int>(static_cast<std::size_t>(k), k)));
    return i;
  };
  for (int round = 0; round != 5; ++round) {
    std::map<std::size_t, int> next;
    int wrong = 0;
    auto const handler = [&](std::size_t task, std::pair<int, std::vector<int>> const& m) {
      auto& k = next[task];
      if (static_cast<std::size_t>(m.first) != task ||
          m.second != std::vector<int>(static_cast<std::size_t>(k), k))
        ++wrong;
      ++k;
    };
    auto const outcomes = fm::parallel({.n_jobs = 2, .on_message = handler})
                              .outcomes(
                                  [&](int i) {
                                    std::thread([] {
                                      ::usleep(static_cast<unsigned>(::getpid() * 37 % 3000));
                                      ::raise(SIGKILL);
                                    }).detach();
                                    return send_many(i);
                                  },
                                  sent_by(20));
    CHECK(wrong == 0);
    for (std::size_t i = 0; i != outcomes.size(); ++i) CHECK((!outcomes[i] || next[i] == 300));
  }
}

namespace {

/// Sends more than a worker's memory for messages holds.
int send_a_lot(int i) {
  std::string const text(1000, 'x');
  for (int k = 0; k != 300; ++k) fm::this_task::send(text);
  return i;
}

}  // namespace

TEST_CASE("messages: a call begins although submitted tasks that wait for room have all call slots",
          "[messages]") {
  int n = 0;
  fm::pool const workers(
      {.n_jobs = 2, .on_message = [&](std::size_t, std::string const&) { ++n; }});
  std::vector<fm::future<int>> futures;
  for (int i = 0; i != 70; ++i) futures.push_back(workers.submit(send_a_lot, i));
  CHECK((workers.map([](int i) { return i; }, sent_by(3)) == std::vector{0, 1, 2}));
  for (int i = 0; i != 70; ++i) CHECK(futures[static_cast<std::size_t>(i)].get() == i);
  CHECK(n == 70 * 300);
}

TEST_CASE("messages: handlers of two pools may wait for tasks of the other pool", "[messages]") {
  std::unique_ptr<fm::pool> first, second;
  auto const send_number = [](int i) {
    fm::this_task::send(i);
    return i;
  };
  std::vector<int> handled;
  first = std::make_unique<fm::pool>(
      fm::options{.n_jobs = 1, .on_message = [&](std::size_t, int const& i) {
                    if (i == 0) handled.push_back(second->submit(send_number, 1).get());
                    handled.push_back(i);
                  }});
  second = std::make_unique<fm::pool>(
      fm::options{.n_jobs = 1, .on_message = [&](std::size_t, int const& i) {
                    if (i == 1) handled.push_back(first->submit(send_number, 2).get());
                    handled.push_back(i);
                  }});
  CHECK(first->submit(send_number, 0).get() == 0);
  std::ranges::sort(handled);
  CHECK((handled == std::vector{0, 1, 1, 2, 2}));
}

TEST_CASE("messages: those of a task keep their order while its handler makes calls",
          "[messages]") {
  std::unique_ptr<fm::pool> workers;
  std::vector<int> handled;
  bool in_handler = false;
  auto const handler = [&](std::size_t, int const& i) {
    CHECK_FALSE(in_handler);
    in_handler = true;
    // The task must be able to end: the pool may have no other worker for this call.
    if (i == 0) workers->map([](int k) { return k; }, sent_by(3));
    in_handler = false;
    handled.push_back(i);
  };
  auto const send_many = [](int) {
    for (int k = 0; k != 20'000; ++k) fm::this_task::send(k);
  };
  workers = std::make_unique<fm::pool>(fm::options{.n_jobs = 1, .on_message = handler});
  for (int call = 0; call != 2; ++call) {
    if (call == 0)
      workers->submit(send_many, 0).get();
    else
      workers->map(send_many, sent_by(1));
    REQUIRE(handled.size() == 20'000);
    for (int k = 0; k != 20'000; ++k) CHECK(handled[static_cast<std::size_t>(k)] == k);
    handled.clear();
  }
}

TEST_CASE("messages: pool.wait() returns when all messages have been handled", "[messages]") {
  std::atomic<int> n = 0;
  std::atomic<bool> has_begun = false;
  fm::pool const workers({.n_jobs = 2, .on_message = [&](std::size_t, std::string const&) {
                            has_begun = true;
                            std::this_thread::sleep_for(20ms);
                            ++n;
                          }});
  auto first = workers.submit(send_two, 0);
  std::thread other([&] { first.wait(); });
  CHECK(support::wait_until([&] { return has_begun.load(); }));
  (void)workers.submit(send_two, 1);
  workers.wait();
  CHECK(n == 4);
  other.join();
}

TEST_CASE("messages: a thread that outlives its task does not disturb later calls", "[messages]") {
  auto const leave_thread = [](int i) {
    std::thread([] {
      std::vector<char> const large(1'000'000);
      for (;;) fm::this_task::send(large);
    }).detach();
    return i;
  };
  fm::pool const workers({.n_jobs = 1, .on_message = [](std::size_t, std::vector<char> const&) {}});
  CHECK((workers.map(leave_thread, sent_by(1)) == std::vector{0}));
  for (int call = 0; call != 20; ++call) {
    auto const outcomes = workers.outcomes([](int i) { return i; }, sent_by(3));
    for (int i = 0; i != 3; ++i) CHECK(outcomes[static_cast<std::size_t>(i)].value() == i);
  }
}

TEST_CASE("messages: threads of a nested call without workers send to that call", "[messages]") {
  auto const nested = [](int) {
    int inner = 0;
    fm::parallel({.n_jobs = 1, .on_message = [&](std::size_t, int const& k) { inner += k; }})
        .map([](int k) { std::thread([k] { fm::this_task::send(k); }).join(); }, std::vector{1, 2});
    return inner;
  };
  int outer = 0;
  auto const results =
      fm::parallel({.n_jobs = 2, .on_message = [&](std::size_t, int const& k) { outer += k; }})
          .map(nested, sent_by(2));
  CHECK((results == std::vector{3, 3}));
  CHECK(outer == 0);
}
