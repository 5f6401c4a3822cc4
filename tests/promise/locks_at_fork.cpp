// Locks of the C library that another thread holds while workers are forked.
// SPDX-License-Identifier: MIT
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/is_asleep.hpp"
#include "support/sanitizers.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

extern "C" int __cxa_atexit(void (*)(void*), void*, void*) noexcept;
extern "C" void __cxa_finalize(void*);

namespace fm = forkmap;

namespace {

int same_number(int i) { return i; }

bool maps_right() {
  return fm::parallel(2).map(same_number, std::views::iota(0, 4)) == std::vector{0, 1, 2, 3};
}
bool pools_right() {
  fm::pool const workers(2);
  return workers.map(same_number, std::views::iota(0, 4)) == std::vector{0, 1, 2, 3};
}

/// A thread that waits for the input of a FILE and holds its lock meanwhile.
class waiting_reader {
 public:
  waiting_reader() {
    if (::pipe(ends_.data()) != 0) throw std::runtime_error("no pipe");
    file_ = ::fdopen(ends_[0], "r");
    thread_ = std::thread([this] {
      id_ = ::gettid();
      std::array<char, 9> text{};
      if (std::fgets(text.data(), text.size(), file_) != nullptr) got_ = text.data();
    });
    waits_ = support::wait_until([&] { return id_ != 0 && support::is_asleep(id_); });
  }
  waiting_reader(waiting_reader const&) = delete;
  waiting_reader& operator=(waiting_reader const&) = delete;
  ~waiting_reader() {
    if (thread_.joinable()) end();
    std::fclose(file_);
    ::close(ends_[1]);
  }

  bool waits() const { return waits_; }
  std::string end() {
    static_cast<void>(!::write(ends_[1], "text\n", 5));
    thread_.join();
    return got_;
  }

 private:
  std::array<int, 2> ends_{};
  std::FILE* file_ = nullptr;
  std::atomic<pid_t> id_ = 0;
  std::string got_;
  bool waits_ = false;
  std::thread thread_;
};

}  // namespace

TEST_CASE("locks: threads that register and remove exit handlers block no call", "[locks]") {
  if (support::shadow_memory) return;  // sanitizers have locks of their own here
  static char token = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int i = 0; i != 2; ++i) {
    threads.emplace_back([&] {
      while (!done) {
        for (int n = 0; n != 40; ++n) __cxa_atexit([](void*) {}, nullptr, &token);
        __cxa_finalize(&token);
      }
    });
  }
  int wrong = 0;
  for (int i = 0; i != 60; ++i) wrong += !maps_right();
  for (int i = 0; i != 15; ++i) wrong += !pools_right();
  done = true;
  for (auto& thread : threads) thread.join();
  REQUIRE(wrong == 0);
}

TEST_CASE("locks: a thread that waits for input of a FILE blocks no call", "[locks]") {
  waiting_reader reader;
  REQUIRE(reader.waits());
  REQUIRE(maps_right());
  REQUIRE(pools_right());
  REQUIRE(reader.end() == "text\n");
}

TEST_CASE("locks: a worker with a thread that waits for input can exit", "[locks]") {
  auto const task = [](int i) {
    auto* const reader = new waiting_reader;  // never deleted: it waits until the worker exits
    std::printf("%s", "");
    return reader->waits() ? i : -1;
  };
  REQUIRE(fm::parallel(2).map(task, std::views::iota(0, 2)) == std::vector{0, 1});
  fm::pool const workers(2);
  REQUIRE(workers.map(task, std::views::iota(0, 2)) == std::vector{0, 1});
}

TEST_CASE("locks: buffered text of a FILE that another thread has locked is written once",
          "[locks]") {
  support::temporary_directory const folder;
  auto const name = folder.path() / "log";
  auto* const file = std::fopen(name.c_str(), "w");
  std::atomic<bool> locked = false;
  std::atomic<bool> done = false;
  std::thread writer([&] {
    ::flockfile(file);
    std::fputs("once\n", file);
    locked = true;
    while (!done) std::this_thread::yield();
    ::funlockfile(file);
  });
  bool const is_locked = support::wait_until([&] { return locked.load(); });
  bool const right = maps_right() && pools_right();
  auto const before = support::file_bytes(name);
  done = true;
  writer.join();
  std::fclose(file);
  REQUIRE(is_locked);
  REQUIRE(right);
  REQUIRE(before.empty());
  REQUIRE(support::file_bytes(name) == "once\n");
}

TEST_CASE("locks: text that a task writes to a FILE of the caller is flushed when the worker exits",
          "[locks]") {
  support::temporary_directory const folder;
  auto const name = folder.path() / "log";
  auto* const file = std::fopen(name.c_str(), "w");
  std::fputs("caller\n", file);
  fm::parallel(2).map([&](int) { std::fputs("task\n", file); }, std::views::iota(0, 2));
  std::fclose(file);
  REQUIRE(support::file_bytes(name) == "caller\ntask\ntask\n");
}
