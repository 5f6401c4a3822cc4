// Lines printed by workers that are longer than any buffer, through a pipe.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cwchar>
#include <functional>
#include <iostream>
#include <map>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"

namespace fm = forkmap;

namespace {

/// Runs `body` in a process of its own, in which `descriptor` is a pipe.
/// Returns: the text that it writes to the pipe.
std::string piped_by(int descriptor, std::function<void()> const& body) {
  std::array<int, 2> ends{};
  if (::pipe(ends.data()) != 0) throw std::runtime_error("no pipe");
  std::string text;
  // Allocated here: g++ 12's ASan does not unlock its allocator in the child of a fork, if another thread
  // has locked it then. The thread allocates only when the worker, which is forked by then, has printed.
  std::vector<char> some(20'000);
  std::thread reader([&] {
    for (ssize_t n = 0; (n = ::read(ends[0], some.data(), some.size())) > 0;) {
      text.append(some.data(), static_cast<std::size_t>(n));
    }
  });
  auto const outcomes =
      fm::parallel({.n_jobs = 1, .isolate = true}).outcomes(std::vector<std::function<void()>>{[&] {
        ::dup2(ends[1], descriptor);
        ::close(ends[1]);
        body();
      }});
  ::close(ends[1]);
  reader.join();
  ::close(ends[0]);
  outcomes.at(0).value();
  return text;
}

std::string long_line(int i, std::size_t length) {
  return std::string(length, static_cast<char>('a' + i % 26));
}

/// Checks that `text` has n_lines lines, each of `length` times one letter.
/// Returns: empty if it has, otherwise a message.
std::string broken_lines(std::string const& text, int n_lines, std::size_t length) {
  int lines = 0;
  int broken = 0;
  for (std::size_t at = 0; at < text.size(); ++lines) {
    auto const end = text.find('\n', at);
    auto const line = text.substr(at, end - at);
    if (line.size() != length || line.find_first_not_of(line[0]) != line.npos) ++broken;
    at = end == text.npos ? text.size() : end + 1;
  }
  if (lines == n_lines && broken == 0) return {};
  return std::to_string(broken) + " broken of " + std::to_string(lines);
}

constexpr int n_long_lines = 24;

void print_from_workers(std::function<void(int)> const& print) {
  fm::parallel({.n_jobs = 4, .batch_size = 1}).map(print, std::views::iota(0, n_long_lines));
}

int put_long_line(int i, std::size_t length) {
  std::puts(long_line(i, length).c_str());
  return i;
}

// 8192 is the size of a stdio buffer, 65536 the capacity of a pipe.
constexpr std::array<std::size_t, 5> line_lengths{4'095, 8'191, 8'192, 65'536, 200'000};

}  // namespace

TEST_CASE("long lines: lines from stdio and C++ streams arrive whole", "[output]") {
  for (auto const length : line_lengths) {
    INFO("lines of " << length);
    using print_line = std::function<void(int)>;
    std::map<std::string, print_line> const ways{
        {"printf", [=](int i) { std::printf("%s\n", long_line(i, length).c_str()); }},
        {"cout", [=](int i) { std::cout << long_line(i, length) << '\n'; }},
        {"both", [=](int i) {
           std::cout << long_line(i, length / 2);
           std::printf("%s", long_line(i, length - length / 2).c_str());
           std::cout << std::endl;
         }}};
    for (auto const& [name, way] : ways) {
      INFO(name);
      CHECK(broken_lines(piped_by(STDOUT_FILENO, [&] { print_from_workers(way); }), n_long_lines,
                         length) == "");
    }
    CHECK(broken_lines(piped_by(STDERR_FILENO,
                                [&] {
                                  print_from_workers([=](int i) {
                                    auto const line = long_line(i, length);
                                    if (i % 2 == 0)
                                      std::cerr << line << '\n';
                                    else
                                      std::fprintf(stderr, "%s\n", line.c_str());
                                  });
                                }),
                       n_long_lines, length) == "");
  }
}

TEST_CASE("long lines: lines arrive whole if streams are not synchronised with stdio", "[output]") {
  for (std::size_t const length : {10U, 100U, 5'000U, 200'000U}) {
    INFO("lines of " << length);
    auto const text = piped_by(STDOUT_FILENO, [&] {
      std::ios::sync_with_stdio(false);
      std::cout << long_line(0, length) << '\n';  // stays in the buffer, must be printed once
      print_from_workers([=](int i) { std::cout << long_line(i, length) << '\n'; });
      std::cout << long_line(1, length) << '\n' << std::flush;
    });
    CHECK(broken_lines(text, n_long_lines + 2, length) == "");
  }
}

TEST_CASE("long lines: lines from pools, streams and nested maps arrive whole", "[output]") {
  constexpr std::size_t length = 70'000;
  CHECK(broken_lines(piped_by(STDOUT_FILENO,
                              [] {
                                fm::pool const workers(3);
                                workers.map(
                                    +[](int i) { return put_long_line(i, length); },
                                    std::views::iota(0, n_long_lines));
                              }),
                     n_long_lines, length) == "");
  CHECK(broken_lines(piped_by(STDOUT_FILENO,
                              [] {
                                auto const task = [](int i) {
                                  return [i] { return put_long_line(i, length); };
                                };
                                auto results = fm::parallel({.n_jobs = 3, .batch_size = 1})
                                                   .stream(std::views::iota(0, n_long_lines) |
                                                           std::views::transform(task));
                                for (int const i : results) {
                                  if (i < 0) throw std::logic_error("wrong result");
                                }
                              }),
                     n_long_lines, length) == "");
  CHECK(broken_lines(piped_by(STDOUT_FILENO,
                              [] {
                                fm::parallel(2).map(
                                    [](int i) {
                                      fm::parallel(2).map(
                                          [=](int j) {
                                            put_long_line(i * n_long_lines / 2 + j, length);
                                          },
                                          std::views::iota(0, n_long_lines / 2));
                                    },
                                    std::views::iota(0, 2));
                              }),
                     n_long_lines, length) == "");
}

TEST_CASE("long lines: flushing half a line prints it, and wide text is printed", "[output]") {
  // The task waits until the reader has received the flushed half line.
  std::array<int, 2> seen{};
  REQUIRE(::pipe(seen.data()) == 0);
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  std::thread reader([&] {
    std::array<char, 4> first{};
    if (::read(ends[0], first.data(), first.size()) == 4)
      static_cast<void>(!::write(seen[1], "x", 1));
  });
  auto const ok = fm::parallel({.n_jobs = 1, .isolate = true})([&] {
    ::dup2(ends[1], STDOUT_FILENO);
    std::printf("half");
    std::fflush(stdout);
    char c = 0;
    return ::read(seen[0], &c, 1) == 1 && ::fileno(stdout) == STDOUT_FILENO;
  });
  reader.join();
  for (int const fd : {seen[0], seen[1], ends[0], ends[1]}) ::close(fd);
  REQUIRE(std::get<0>(ok));

  auto const text = piped_by(
      STDOUT_FILENO, [] { print_from_workers([](int) { std::wprintf(L"%ls\n", L"aaaaa"); }); });
  REQUIRE(broken_lines(text, n_long_lines, 5) == "");
}

TEST_CASE("long lines: a worker that is killed while it prints does not block the others",
          "[output]") {
  auto const text = piped_by(STDOUT_FILENO, [] {
    auto const outcomes =
        fm::parallel({.n_jobs = 3, .batch_size = 1})
            .outcomes(std::views::iota(0, n_long_lines) | std::views::transform([](int i) {
                        return [i] {
                          std::thread killer;
                          if (i % 6 == 0) {
                            killer = std::thread([] { ::kill(::getpid(), SIGKILL); });
                          }
                          put_long_line(i, 300'000);
                          if (killer.joinable()) killer.join();
                          return i;
                        };
                      }));
    for (int i = 0; i != n_long_lines; ++i) {
      if (outcomes[static_cast<std::size_t>(i)].has_value() != (i % 6 != 0)) {
        throw std::logic_error("wrong outcomes");
      }
    }
  });
  REQUIRE(text.size() >= (n_long_lines - 4) * std::size_t{300'001});
}
