// Output of workers: printed once, in whole lines, before the call returns.
// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/sanitizers.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

/// Runs `body` in a process of its own, in which `descriptor` is redirected to a file.
/// Returns: the content of the file.
std::string printed_by(int descriptor, std::function<void()> const& body) {
  support::temporary_directory const folder;
  auto const file = folder.path() / "printed";
  auto const outcomes =
      fm::parallel({.n_jobs = 1, .isolate = true}).outcomes(std::vector<std::function<void()>>{[&] {
        int const fd = ::open(file.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
        ::dup2(fd, descriptor);
        ::close(fd);
        // As at the start of a program with redirected output: stdout is fully buffered.
        static std::array<char, 4096> out;
        std::setvbuf(stdout, out.data(), _IOFBF, out.size());
        body();
      }});
  outcomes.at(0).value();
  return support::file_bytes(file);
}

int print_and_throw(int i) {
  std::printf("%s.", std::string(3'000, 'x').c_str());
  if (i % 2 != 0) throw std::runtime_error("no result");
  return i;
}

std::vector<std::string> sorted_lines(std::string const& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  std::ranges::sort(lines);
  return lines;
}

}  // namespace

TEST_CASE("output: text that was buffered before the call is printed once", "[output]") {
  auto const text = printed_by(STDOUT_FILENO, [] {
    std::printf("before ");
    std::cout << "and ";
    fm::parallel(3).map([](int) {}, std::views::iota(0, 9));
    std::printf("after\n");
  });
  REQUIRE(text == "before and after\n");
}

TEST_CASE("output: text that workers print has been written when the call returns", "[output]") {
  auto const text = printed_by(STDOUT_FILENO, [] {
    fm::parallel(2).map(
        [](int i) {
          if (i % 2 == 0)
            std::printf("line %03d", i);
          else
            std::cout << "line " << i / 100 << i / 10 % 10 << i % 10;
          std::printf("\n");
        },
        std::views::iota(0, 200));
    std::printf("~end\n");
  });
  auto const lines = sorted_lines(text);
  REQUIRE(lines.size() == 201);
  REQUIRE(text.ends_with("~end\n"));
  for (std::size_t i = 0; i != 200; ++i) {
    auto number = std::to_string(i);
    number.insert(0, 3 - number.size(), '0');
    REQUIRE(lines[i] == "line " + number);
  }
}

TEST_CASE("output: lines of several workers stay whole, on stdout and stderr", "[output]") {
  for (int const descriptor : {STDOUT_FILENO, STDERR_FILENO}) {
    auto const text = printed_by(descriptor, [&] {
      fm::parallel(4).map(
          [&](int i) {
            auto& stream = descriptor == STDOUT_FILENO ? std::cout : std::cerr;
            auto* const file = descriptor == STDOUT_FILENO ? stdout : stderr;
            std::string const word(100, static_cast<char>('a' + i % 26));
            for (int k = 0; k != 50; ++k) {
              stream << word << ' ' << word << '\n';
              std::fprintf(file, "%s", word.c_str());
              std::fprintf(file, " %s\n", word.c_str());
            }
          },
          std::views::iota(0, 26));
    });
    auto const lines = sorted_lines(text);
    REQUIRE(lines.size() == 26 * 100);
    for (std::size_t i = 0; i != lines.size(); ++i) {
      std::string const word(100, static_cast<char>('a' + i / 100));
      REQUIRE(lines[i] == word + ' ' + word);
    }
  }
}

TEST_CASE("output: an unbuffered stdout is written in whole lines, too", "[output]") {
  auto const text = printed_by(STDOUT_FILENO, [] {
    std::setvbuf(stdout, nullptr, _IONBF, 0);
    fm::parallel(4).map(
        [](int i) {
          for (int k = 0; k != 50; ++k) {
            std::printf("%d", i);
            std::printf(" says ");
            std::printf("hello\n");
          }
        },
        std::views::iota(0, 10));
  });
  auto const lines = sorted_lines(text);
  REQUIRE(lines.size() == 500);
  for (std::size_t i = 0; i != lines.size(); ++i) {
    REQUIRE(lines[i] == std::to_string(i / 50) + " says hello");
  }
}

TEST_CASE("output: text that other threads print during calls is printed once", "[output]") {
  constexpr int calls = support::shadow_memory ? 8 : 30;
  auto const text = printed_by(STDOUT_FILENO, [] {
    std::atomic<bool> done{false};
    int lines = 0;
    std::thread printer([&] {
      for (; !done; ++lines) std::printf("line %d\n", lines);
    });
    for (int call = 0; call != calls; ++call) {
      fm::parallel(2).map([](int) {}, std::views::iota(0, 4));
    }
    done = true;
    printer.join();
    std::printf("%d\n", lines);
  });
  std::istringstream in(text);
  std::string line;
  int next = 0;
  while (std::getline(in, line) && line == "line " + std::to_string(next)) ++next;
  REQUIRE(line == std::to_string(next));
}

TEST_CASE("output: the output of a pool's task that throws is printed, and its worker continues",
          "[output][pool]") {
  auto const text = printed_by(STDOUT_FILENO, [] {
    constexpr int n_tasks = 200;
    int const out = ::dup(STDOUT_FILENO);
    std::array<int, 2> pipe_ends{};
    if (::pipe(pipe_ends.data()) != 0) throw std::runtime_error("no pipe");
    ::dup2(pipe_ends[1], STDOUT_FILENO);
    ::close(pipe_ends[1]);
    // The reader is slow, so that workers wait for space in the pipe.
    std::string printed;
    std::thread reader([&] {
      std::array<char, 4096> some;
      for (ssize_t n = 0; (n = ::read(pipe_ends[0], some.data(), some.size())) > 0;) {
        printed.append(some.data(), static_cast<std::size_t>(n));
        std::this_thread::sleep_for(std::chrono::microseconds(200));
      }
    });
    fm::shared_array<int> const starts({1});
    {
      fm::pool const workers(
          fm::options{.n_jobs = 3, .worker_init = [starts](int) { ++std::atomic_ref(starts[0]); }});
      std::vector<fm::future<int>> all;
      for (int i = 0; i != n_tasks; ++i)
        all.push_back(workers.submit(fm::delayed(print_and_throw)(i)));
      for (auto& future : all) {
        try {
          future.get();
        } catch (std::runtime_error const&) {
        }
      }
    }
    ::dup2(out, STDOUT_FILENO);  // closes the last writing end of the pipe
    reader.join();
    ::close(pipe_ends[0]);
    ::close(out);
    std::printf("%td of %d, %d workers", std::ranges::count(printed, '.'), n_tasks, starts[0]);
  });
  REQUIRE(text == "200 of 200, 3 workers");
}

TEST_CASE("output: calls work in a program that has closed stdout, and workers print nothing",
          "[output]") {
  auto const closed = [] {
    ::close(STDOUT_FILENO);
    auto const results = fm::parallel(2).map(
        [](int i) {
          std::printf("into nothing %d\n", i);
          return std::to_string(i);
        },
        std::views::iota(0, 200));
    return results.size() == 200 && results[199] == "199";
  };
  auto const outcomes = fm::parallel({.n_jobs = 1, .isolate = true}).outcomes(std::vector{closed});
  REQUIRE(outcomes.at(0).value());
}

TEST_CASE("output: exit() in a task does not run the caller's atexit handlers", "[output]") {
  auto const text = printed_by(STDOUT_FILENO, [] {
    std::atexit([] { std::printf("the caller's handler\n"); });
    auto const outcomes =
        fm::parallel(2).outcomes(std::vector<std::function<void()>>{[] {
                                                                      std::printf("kept");
                                                                      std::exit(5);
                                                                    },
                                                                    [] {}});
    std::printf("%s\n", outcomes[0] ? " succeeded" : " failed");
    std::fflush(stdout);
  });
  // The caller is a worker itself, which runs its own handler when it exits.
  REQUIRE(text == "kept failed\nthe caller's handler\n");
}

TEST_CASE("output: buffered text of the program's open files is not written twice", "[output]") {
  support::temporary_directory const folder;
  auto const name = folder.path() / "own";
  auto* const file = std::fopen(name.c_str(), "w");
  std::fprintf(file, "once ");
  fm::parallel(2).map([](int) {}, std::views::iota(0, 4));
  std::fprintf(file, "more\n");
  std::fclose(file);
  REQUIRE(support::file_bytes(name) == "once more\n");
}

TEST_CASE("output: an exception of a pool's worker_exit is printed on stderr", "[output]") {
  auto const text = printed_by(STDERR_FILENO, [] {
    fm::options opts{.n_jobs = 1};
    opts.worker_exit = [](int) { throw std::runtime_error("not today"); };
    fm::pool const workers(opts);
    workers.map([](int) {}, std::views::iota(0, 3));
  });
  REQUIRE(text == "forkmap: worker_exit of a pool's worker threw: not today\n");
}
