// The ring of messages, with threads in the roles of worker and caller (run under TSan, too).
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/messages/ring.hpp>
#include <forkmap/detail/messages/send.hpp>
#include <forkmap/detail/messages/sender.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/message_handler.hpp>
#include <forkmap/this_task.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

namespace {

/// Rings in ordinary memory, with the interface of call_memory.
struct test_memory {
  explicit test_memory(std::size_t n) {
    for (std::size_t k = 0; k != n; ++k) rings.push_back(std::make_unique<message_ring>());
  }
  message_ring& messages(std::uint32_t k) const { return *rings[k]; }

  std::vector<std::unique_ptr<message_ring>> rings{};
};

/// What the inbox's thread sleeps on.
struct waker {
  std::atomic<std::uint32_t> event{0};

  static void wake(void* self) noexcept {
    auto& event = static_cast<waker*>(self)->event;
    event.fetch_add(1);
    wake_all(event);
  }
};

using message = std::pair<std::size_t, std::vector<std::uint64_t>>;

/// Delivers messages until `is_over()`, sleeping as a call's thread does.
template <class IsOver>
void deliver_until(message_inbox& inbox, waker& to_wake, IsOver const& is_over) {
  for (;;) {
    auto const seen = to_wake.event.load();
    bool const over = is_over();
    if (inbox.deliver()) continue;
    if (over) return;
    if (inbox.may_sleep()) wait_while_equal(to_wake.event, seen, ring_look_again_ns);
  }
}

}  // namespace

TEST_CASE("ring: messages of several workers arrive whole and in order", "[messages]") {
  this_process.pid = ::getpid();
  constexpr std::size_t n_workers = 3;
  constexpr std::size_t n_messages = 3'000;
  test_memory const memory(n_workers);
  std::vector<std::size_t> next(n_workers);
  int n_wrong = 0;
  forkmap::message_handler const handler = [&](std::size_t task, message const& m) {
    n_wrong += m.first == next[task]++ ? 0 : 1;
    for (auto const word : m.second) n_wrong += word == m.first ? 0 : 1;
  };
  message_inbox inbox(handler);
  inbox.attach(memory, n_workers);
  waker to_wake;
  std::atomic<std::size_t> n_ended = 0;
  std::vector<std::thread> workers;
  for (std::size_t k = 0; k != n_workers; ++k) {
    workers.emplace_back([&, k] {
      message_sender out(handler, *memory.rings[k], waker::wake, &to_wake);
      out.begin_call(9);
      std::mt19937 random(static_cast<unsigned>(k));
      for (std::size_t i = 0; i != n_messages; ++i) {
        // Now and then larger than the ring.
        auto const n = random() % 500 == 0 ? 20'000 : random() % 40;
        send_message(out, k, message(i, std::vector<std::uint64_t>(n, i)));
      }
      ++n_ended;
      waker::wake(&to_wake);
    });
  }
  deliver_until(inbox, to_wake, [&] { return n_ended == n_workers; });
  for (auto& worker : workers) worker.join();
  CHECK(n_wrong == 0);
  for (auto const n : next) CHECK(n == n_messages);
  CHECK_FALSE(inbox.has_any());
}

TEST_CASE("ring: the messages of a worker that ended are kept, an incomplete one is dropped",
          "[messages]") {
  this_process.pid = ::getpid();
  test_memory const memory(1);
  std::vector<int> got;
  forkmap::message_handler const handler = [&](std::size_t, int const& i) { got.push_back(i); };
  message_inbox inbox(handler);
  inbox.attach(memory, 1);
  waker to_wake;
  auto const send_from_new_worker = [&](int from) {
    message_sender out(handler, *memory.rings[0], waker::wake, &to_wake);
    out.begin_call(1);
    for (int i = from; i != from + 3; ++i) send_message(out, 0, i);
  };
  send_from_new_worker(0);
  memory.rings[0]->written.fetch_sub(2);  // it ended before the last message was complete
  inbox.retire(0);
  send_from_new_worker(10);
  CHECK(inbox.has_any());
  inbox.detach();
  CHECK_FALSE(inbox.is_finished());
  inbox.deliver_all();
  CHECK((got == std::vector{0, 1, 10, 11, 12}));
  CHECK(inbox.is_finished());
}

TEST_CASE("ring: any damage to a message, or to its position, is noticed", "[messages]") {
  this_process.pid = ::getpid();
  std::mt19937 random(7);
  for (int trial = 0; trial != 2'000; ++trial) {
    test_memory const memory(1);
    int n_wrong = 0;
    int n = 0;
    forkmap::message_handler const handler = [&](std::size_t task, std::string const& text) {
      n_wrong += text == std::string(40, static_cast<char>('a' + n)) && task == 5 ? 0 : 1;
      ++n;
    };
    message_inbox inbox(handler);
    inbox.attach(memory, 1);
    waker to_wake;
    message_sender out(handler, *memory.rings[0], waker::wake, &to_wake);
    out.begin_call(1);
    for (int i = 0; i != 10; ++i) send_message(out, 5, std::string(40, static_cast<char>('a' + i)));
    auto& ring = *memory.rings[0];
    auto const used = static_cast<std::size_t>(ring.written.load());
    bool const position = trial % 4 == 0;
    if (position) {
      ring.written.store(random() % (2 * used));
    } else {
      auto const at = random() % used;
      ring.bytes[at] ^= static_cast<std::byte>(1 + random() % 255);
    }
    bool damaged = false;
    try {
      inbox.detach();
      inbox.deliver_all();
    } catch (std::runtime_error const&) {
      damaged = true;
    }
    CHECK(n_wrong == 0);
    CHECK((damaged || position));
    CHECK(n <= 10);
  }
}

TEST_CASE("ring: bytes of an earlier call or worker are not taken for messages", "[messages]") {
  this_process.pid = ::getpid();
  test_memory const memory(1);
  int n = 0;
  forkmap::message_handler const handler = [&](std::size_t, int const&) { ++n; };
  waker to_wake;
  message_inbox earlier(handler);
  earlier.attach(memory, 1);
  message_sender out(handler, *memory.rings[0], waker::wake, &to_wake);
  send_message(out, 0, 1);
  auto const written = memory.rings[0]->written.load();
  message_inbox inbox(handler);
  inbox.attach(memory, 1);
  memory.rings[0]->written.store(written);
  CHECK_THROWS_AS(inbox.deliver(), std::runtime_error);
  CHECK(n == 0);
}
