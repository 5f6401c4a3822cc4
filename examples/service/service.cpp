// A service with a pool. Requests arrive over a socket, run in a solver that is not thread-safe,
// and are answered in order. A request that crashes the solver or does not end is answered with an
// error; other requests are not affected.
// SPDX-License-Identifier: MIT
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <string>

#include <forkmap/forkmap.hpp>

namespace fm = forkmap;
using namespace std::chrono_literals;

namespace {

// A legacy solver: its workspace is global, and it does not check its input.
double workspace[2];

/// The square root of a number by Newton's method. 0 crashes it, and with a negative number it does
/// not end.
double solve(std::string const& request) {
  workspace[0] = std::strtod(request.c_str(), nullptr);
  if (workspace[0] == 0) std::abort();
  for (workspace[1] = workspace[0];;) {
    auto const before = workspace[1];
    workspace[1] = (before + workspace[0] / before) / 2;
    if (workspace[1] - before < 1e-12 && before - workspace[1] < 1e-12) return workspace[1];
  }
}

/// Answers each line in order, until the end of input.
void serve(int socket) {
  fm::pool const workers(fm::options{.n_jobs = 2, .timeout = 200ms});
  std::deque<fm::future<double>> pending;
  auto const answer_first = [&] {
    try {
      ::dprintf(socket, "%.6f\n", pending.front().get());
    } catch (std::exception const& e) {
      ::dprintf(socket, "error: %s\n", e.what());
    }
    pending.pop_front();
  };

  auto* const requests = ::fdopen(socket, "r");
  char line[64];
  while (std::fgets(line, sizeof line, requests) != nullptr) {
    pending.push_back(workers.submit(fm::delayed(solve)(std::string(line))));
    // Finished requests are answered at once. A client that sends faster than the solver works
    // waits.
    while (!pending.empty() && (pending.size() == 64 || pending.front().wait_for(0s))) {
      answer_first();
    }
  }
  while (!pending.empty()) answer_first();
  std::fclose(requests);
}

/// Sends a thousand requests, of which three are bad, and checks the answers.
/// Returns: whether they are right.
bool ask(int socket) {
  auto const writer = ::fork();
  if (writer == 0) {
    for (int i = 1; i <= 1000; ++i) {
      char const* const bad = i == 200 || i == 700 ? "0" : i == 500 ? "-1" : nullptr;
      if (bad != nullptr)
        ::dprintf(socket, "%s\n", bad);
      else
        ::dprintf(socket, "%d\n", i * i);
    }
    ::shutdown(socket, SHUT_WR);
    ::_exit(0);
  }
  bool right = true;
  int i = 0;
  auto* const answers = ::fdopen(socket, "r");
  char line[512];
  while (std::fgets(line, sizeof line, answers) != nullptr) {
    ++i;
    if (i == 200 || i == 500 || i == 700) {
      std::printf("request %d: %s", i, line);
      right &= std::string(line).starts_with("error: task " + std::to_string(i - 1) + " ");
    } else {
      right &= std::strtod(line, nullptr) == i;
    }
  }
  std::fclose(answers);
  ::waitpid(writer, nullptr, 0);
  return right && i == 1000;
}

}  // namespace

int main() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
    std::perror("socketpair");
    return 1;
  }
  auto const service = ::fork();
  if (service == 0) {
    ::close(ends[0]);
    serve(ends[1]);
    ::_exit(0);
  }
  ::close(ends[1]);
  auto const begin = std::chrono::steady_clock::now();
  bool const right = ask(ends[0]);
  std::chrono::duration<double> const took = std::chrono::steady_clock::now() - begin;
  int status = 0;
  ::waitpid(service, &status, 0);
  std::printf("1000 requests answered in %.2f s, 3 of them with an error\n", took.count());
  return right && status == 0 ? 0 : 1;
}
