// Output of tasks: options::output.
// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <ranges>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace fm = forkmap;

namespace {

/// Prints in several ways; the last line is incomplete. Task 1 is then killed, task 2 throws.
int print_much(int i) {
  std::printf("printf %d\n", i);
  std::cout << "cout " << i << '\n';
  std::cerr << "cerr " << i << '\n';
  if (std::system("echo from a program; echo its error >&2") != 0) std::abort();
  std::printf("half a line");
  if (i == 1) ::raise(SIGKILL);
  if (i == 2) throw std::runtime_error("thrown");
  return i;
}

std::string printed_text(int i) {
  auto const n = std::to_string(i);
  return "printf " + n + "\ncout " + n + "\ncerr " + n + "\nfrom a program\nits error\nhalf a line";
}

constexpr int n_printing = 6;
auto printing() { return std::views::iota(0, n_printing); }

template <class Outcomes> void check_kept(Outcomes&& outcomes) {
  int i = 0;
  for (auto const& outcome : outcomes) {
    CAPTURE(i);
    CHECK(outcome.has_value() == (i != 1 && i != 2));
    CHECK(outcome.output() == printed_text(i));
    ++i;
  }
  CHECK(i == n_printing);
}

std::string text_in_file(std::filesystem::path const& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Runs `print` with stdout and stderr of this process redirected to files.
/// Returns: what it has printed to them.
template <class Print> std::vector<std::string> redirected(Print const& print) {
  support::temporary_directory const folder;
  std::fflush(nullptr);
  int const standard[] = {STDOUT_FILENO, STDERR_FILENO};
  int saved[2];
  for (int i = 0; i != 2; ++i) {
    saved[i] = ::dup(standard[i]);
    auto const path = folder.path() / std::to_string(i);
    int const file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(file, standard[i]);
    ::close(file);
  }
  print();
  std::fflush(nullptr);
  std::vector<std::string> texts;
  for (int i = 0; i != 2; ++i) {
    ::dup2(saved[i], standard[i]);
    ::close(saved[i]);
    texts.push_back(text_in_file(folder.path() / std::to_string(i)));
  }
  return texts;
}

std::multiset<std::string> all_lines_of(std::string const& text) {
  std::multiset<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.insert(line);
  return lines;
}

}  // namespace

TEST_CASE("output: capture keeps what each task and its programs print, also before it dies",
          "[output]") {
  for (int const n_jobs : {1, 2}) {
    auto const map = fm::parallel({.n_jobs = n_jobs, .output = fm::output::capture});
    check_kept(map.outcomes(print_much, printing()));
    check_kept(map.stream_outcomes(print_much, printing()));
  }
  fm::pool const workers({.n_jobs = 2, .output = fm::output::capture});
  for (int call = 0; call != 3; ++call) {
    check_kept(workers.outcomes(print_much, printing()));
    check_kept(workers.stream_outcomes(print_much, printing()));
  }
  for (auto const& each : workers.unordered_outcomes(print_much, printing()))
    CHECK(each.value.output() == printed_text(static_cast<int>(each.index)));
}

TEST_CASE("output: the exceptions that calls throw have the captured output", "[output]") {
  auto const output_of_exception = [](auto const& call) {
    try {
      call();
    } catch (fm::task_context const& e) {
      return e.output();
    }
    return std::string("no exception");
  };
  auto const map = fm::parallel({.n_jobs = 2, .output = fm::output::capture});
  fm::pool const workers({.n_jobs = 2, .output = fm::output::capture});
  for (int const bad : {1, 2}) {
    CHECK(output_of_exception([&] { map.map(print_much, std::vector{bad}); }) == printed_text(bad));
    CHECK(output_of_exception([&] { workers.map(print_much, std::vector{bad}); }) ==
          printed_text(bad));
    CHECK(output_of_exception([&] { workers.submit(print_much, bad).get(); }) == printed_text(bad));
  }
  CHECK(map.map(print_much, std::vector{0, 3}) == std::vector{0, 3});
}

TEST_CASE("output: capture keeps the last 64 KiB, and takes little memory for more", "[output]") {
  auto const print_lines = [](int i) {
    std::string const line(999, static_cast<char>('a' + i));
    for (int k = 0; k != 20'000; ++k) std::puts(line.c_str());
    std::puts("the end");
  };
  auto const outcomes = fm::parallel({.n_jobs = 2, .output = fm::output::capture})
                            .outcomes(print_lines, std::views::iota(0, 2));
  for (auto const& outcome : outcomes) {
    CHECK(outcome.output().size() == std::size_t{64} << 10U);
    CHECK(outcome.output().ends_with("the end\n"));
  }
}

TEST_CASE("output: a task that prints nothing has no output, also after one that printed",
          "[output]") {
  auto const print_if_even = [](int i) {
    if (i % 2 == 0) std::printf("%d", i);
  };
  fm::pool const workers({.n_jobs = 1, .output = fm::output::capture});
  auto const outcomes = workers.outcomes(print_if_even, std::views::iota(0, 10));
  for (std::size_t i = 0; i != 10; ++i)
    CHECK(outcomes[i].output() == (i % 2 == 0 ? std::to_string(i) : ""));
}

TEST_CASE("output: messages and captured output go together", "[output]") {
  auto const both = [](int i) {
    fm::this_task::send(i);
    std::printf("%d", i);
    return i;
  };
  int sum = 0;
  auto const add = [&](std::size_t, int const& i) { sum += i; };
  fm::options const opts{.n_jobs = 2, .on_message = add, .output = fm::output::capture};
  fm::pool const workers(opts);
  for (auto const& outcomes :
       {fm::parallel(opts).outcomes(both, printing()), workers.outcomes(both, printing())}) {
    for (std::size_t i = 0; i != n_printing; ++i) CHECK(outcomes[i].output() == std::to_string(i));
  }
  CHECK(sum == 30);
}

TEST_CASE("output: a timed-out task, a cancelled one and a retried one have their output",
          "[output]") {
  auto const print_and_wait = [](int i) {
    std::printf("attempt %d", fm::this_task::attempt());
    if (i == 0 || fm::this_task::attempt() == 0)
      for (;;) ::pause();
    return i;
  };
  using namespace std::chrono_literals;
  fm::options const opts{
      .n_jobs = 2, .timeout = 200ms, .retries = 1, .output = fm::output::capture};
  fm::pool const workers(opts);
  for (auto const& outcomes : {fm::parallel(opts).outcomes(print_and_wait, std::vector{0, 1}),
                               workers.outcomes(print_and_wait, std::vector{0, 1})}) {
    CHECK(outcomes[0].error().reason == fm::failure::timed_out);
    CHECK(outcomes[0].output() == "attempt 1");
    CHECK(outcomes[1].has_value());
    CHECK(outcomes[1].output() == "attempt 1");
  }
  auto const late = fm::parallel({.n_jobs = 1, .deadline = 300ms, .output = fm::output::capture})
                        .outcomes(print_and_wait, std::vector{0});
  CHECK(late[0].error().reason == fm::failure::cancelled);
  CHECK(late[0].output() == "attempt 0");
}

TEST_CASE("output: line_prefix puts the task before each line, on the right descriptor",
          "[output]") {
  std::multiset<std::string> expected_out, expected_err;
  for (int const i : printing()) {
    auto const prefix = '[' + std::to_string(i) + "] ";
    auto const n = std::to_string(i);
    for (auto const& text :
         {"printf " + n, "cout " + n, std::string("from a program"), std::string("half a line")})
      expected_out.insert(prefix + text);
    for (auto const& text : {"cerr " + n, std::string("its error")})
      expected_err.insert(prefix + text);
  }
  auto const check = [&](auto const& call) {
    auto const texts = redirected(call);
    CHECK((all_lines_of(texts[0]) == expected_out));
    CHECK((all_lines_of(texts[1]) == expected_err));
  };
  fm::options const opts{.n_jobs = 2, .output = fm::output::line_prefix};
  check([&] { (void)fm::parallel(opts).outcomes(print_much, printing()); });
  check([&] {
    fm::pool const workers(opts);
    (void)workers.outcomes(print_much, printing());
  });
}

TEST_CASE("output: directory has a file for each task", "[output]") {
  support::temporary_directory const folder;
  auto const logs = folder.path() / "new" / "logs";
  fm::options const opts{.n_jobs = 2, .output = fm::output::directory(logs)};
  for (int run = 0; run != 2; ++run) {
    if (run == 0) {
      (void)fm::parallel(opts).outcomes(print_much, printing());
    } else {
      fm::pool const workers(opts);
      (void)workers.outcomes(print_much, printing());
    }
    for (int const i : printing()) {
      CAPTURE(run, i);
      CHECK(text_in_file(logs / ("task-" + std::to_string(i) + ".log")) == printed_text(i));
    }
  }
  auto retried = opts;
  retried.retries = 1;
  (void)fm::parallel(retried).outcomes(print_much, printing());
  CHECK(text_in_file(logs / "task-1.log") == printed_text(1) + printed_text(1));
}

TEST_CASE("output: a folder that cannot be made, or a file that cannot be opened, is an error",
          "[output]") {
  support::temporary_directory const folder;
  std::ofstream(folder.path() / "file") << "x";
  auto const print = [](int i) { std::printf("%d", i); };
  CHECK_THROWS_AS(
      fm::parallel({.n_jobs = 2, .output = fm::output::directory(folder.path() / "file" / "logs")})
          .map(print, printing()),
      std::filesystem::filesystem_error);
  std::filesystem::create_directory(folder.path() / "task-1.log");
  auto const outcomes = fm::parallel({.n_jobs = 2, .output = fm::output::directory(folder.path())})
                            .outcomes(print, printing());
  for (std::size_t i = 0; i != n_printing; ++i) CHECK(outcomes[i].has_value() == (i != 1));
  CHECK(outcomes[1].error().message.find("task-1.log") != std::string::npos);
}

TEST_CASE("output: worker_init and worker_exit print as the caller does", "[output]") {
  fm::options opts{.n_jobs = 1, .output = fm::output::capture};
  opts.worker_init = [](int) { std::puts("init"); };
  opts.worker_exit = [](int) { std::puts("exit"); };
  std::vector<fm::outcome<void>> outcomes;
  auto const texts = redirected([&] {
    outcomes = fm::parallel(opts).outcomes([](int) { std::printf("task"); }, std::vector{0});
  });
  CHECK(texts[0] == "init\nexit\n");
  CHECK(outcomes[0].output() == "task");
}

TEST_CASE("output: a task may close all descriptors, or redirect its own", "[output]") {
  auto const wild = [](int i) {
    if (i == 0)
      for (int fd = 0; fd != 1100; ++fd) ::close(fd);
    if (i == 1) std::printf("before"), std::fflush(stdout), ::close(1), ::close(2);
    std::printf("task %d", i);
    return i;
  };
  for (auto const& mode :
       {fm::output_mode(fm::output::capture), fm::output_mode(fm::output::line_prefix)}) {
    std::vector<fm::outcome<int>> outcomes;
    redirected([&] {
      fm::pool const workers({.n_jobs = 1, .batch_size = 1, .output = mode});
      outcomes = workers.outcomes(wild, std::views::iota(0, 4));
    });
    for (std::size_t i = 0; i != 4; ++i)
      CHECK((outcomes[i] && *outcomes[i] == static_cast<int>(i)));
    if (mode.what() == fm::output_mode::capture) {
      CHECK(outcomes[1].output() == "before");
      CHECK(outcomes[3].output() == "task 3");
    }
  }
}

namespace {

/// What tasks print to stdout with output::line_prefix, in lines without an order.
template <class Task> std::multiset<std::string> prefixed_lines(Task const& task, int n) {
  auto const texts = redirected([&] {
    (void)fm::parallel({.n_jobs = 1, .output = fm::output::line_prefix})
        .outcomes(task, std::views::iota(0, n));
  });
  return all_lines_of(texts[0]);
}

}  // namespace

TEST_CASE("output: with line_prefix, processes that tasks fork and nested calls print lines once",
          "[output]") {
  auto const fork_and_print = [](int) {
    if (auto const child = ::fork(); child == 0) {
      std::printf("child 1\n");
      std::printf("child 2\n");
      std::fflush(stdout);
      ::_exit(0);
    } else {
      int status = -1;
      while (::waitpid(child, &status, 0) < 0) {
      }
      std::printf("status %d\n", status);
    }
  };
  CHECK((prefixed_lines(fork_and_print, 1) ==
         std::multiset<std::string>{"[0] child 1", "[0] child 2", "[0] status 0"}));
  auto const nest = [](int) {
    std::puts("before");
    fm::parallel(2).map([](int i) { std::printf("inner %d\n", i); }, std::views::iota(0, 2));
    std::puts("after");
  };
  CHECK((prefixed_lines(nest, 1) ==
         std::multiset<std::string>{"[0] before", "[0] inner 0", "[0] inner 1", "[0] after"}));
}

TEST_CASE("output: with line_prefix, threads of a task print each line once", "[output]") {
  auto const print_in_threads = [](int) {
    std::thread other([] {
      for (int k = 0; k != 1000; ++k) std::printf("other %d\n", k);
    });
    for (int k = 0; k != 1000; ++k) std::fprintf(stderr, "this %d\n", k);
    other.join();
  };
  auto const lines = prefixed_lines(print_in_threads, 1);
  CHECK(lines.size() == 1000);
  CHECK(std::set(lines.begin(), lines.end()).size() == 1000);
}

TEST_CASE("output: a task that enlarges its output file costs no memory and no other task",
          "[output]") {
  auto const enlarge_and_die = [](int i) {
    std::printf("task %d\n", i);
    std::fflush(stdout);
    if (i != 0) return;
    static_cast<void>(!::ftruncate(STDOUT_FILENO, off_t{1} << 40));
    std::abort();
  };
  for (auto const mode : {fm::output::line_prefix, fm::output::capture}) {
    redirected([&] {
      fm::pool const workers({.n_jobs = 1, .output = mode});
      for (int call = 0; call != 2; ++call) {
        auto const outcomes = workers.outcomes(enlarge_and_die, std::views::iota(0, 3));
        CHECK_FALSE(outcomes[0]);
        CHECK((outcomes[1] && outcomes[2]));
      }
    });
  }
}

TEST_CASE("output: tasks that close descriptors or change their flags keep outputs apart",
          "[output]") {
  auto const wild = [](int i) {
    if (i == 1)
      for (int fd = 3; fd != 1100; ++fd) ::close(fd);
    if (i == 3) ::fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK);
    std::printf("task %d", i);
  };
  for (std::size_t const batch_size : {1U, 4U}) {
    fm::options const opts{
        .n_jobs = 1, .batch_size = batch_size, .isolate = true, .output = fm::output::capture};
    fm::pool const workers(opts);
    for (auto const& outcomes : {fm::parallel(opts).outcomes(wild, std::views::iota(0, 8)),
                                 workers.outcomes(wild, std::views::iota(0, 8))}) {
      for (std::size_t i = 0; i != 8; ++i)
        CHECK(outcomes[i].output() == "task " + std::to_string(i));
    }
  }
}

TEST_CASE("output: directory is relative to where the option was made", "[output]") {
  support::temporary_directory const folder;
  auto const before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  auto const mode = fm::output::directory("logs");
  std::filesystem::current_path(before);
  auto const leave_and_print = [](int i) {
    std::filesystem::current_path("/");
    std::printf("%d", i);
  };
  fm::parallel({.n_jobs = 1, .output = mode}).map(leave_and_print, std::views::iota(0, 3));
  for (int i = 0; i != 3; ++i) {
    auto const file = "task-" + std::to_string(i) + ".log";
    CHECK(text_in_file(folder.path() / "logs" / file) == std::to_string(i));
  }
}

TEST_CASE("output: a retry that prints nothing has no output", "[output]") {
  auto const print_and_die_once = [](int i) {
    if (fm::this_task::attempt() != 0) return i;
    std::printf("first attempt");
    std::fflush(stdout);
    std::abort();
  };
  auto const outcomes = fm::parallel({.n_jobs = 1, .retries = 1, .output = fm::output::capture})
                            .outcomes(print_and_die_once, std::vector{0});
  REQUIRE(outcomes[0]);
  CHECK(outcomes[0].output().empty());
}

TEST_CASE("output: a submitted task that prints much ends although nobody waits for it",
          "[output]") {
  auto const print_lines = [](int i) {
    for (int k = 0; k != 2000; ++k) std::puts(std::string(99, 'z').c_str());
    return i;
  };
  fm::pool const workers({.n_jobs = 1, .output = fm::output::capture});
  auto later = workers.submit(print_lines, 5);
  pollfd done{later.descriptor(), POLLIN, 0};
  CHECK(::poll(&done, 1, 20'000) == 1);
  CHECK(later.get() == 5);
}
