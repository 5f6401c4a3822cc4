// A pool that stays: the same calls as parallel(), for tasks that are sent.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <complex>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <forkmap/forkmap.hpp>

#include "support/catch.hpp"
#include "support/child_processes.hpp"
#include "support/sanitizers.hpp"
#include "support/tasks.hpp"
#include "support/temporary_directory.hpp"
#include "support/wait_until.hpp"

namespace fm = forkmap;
using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

int wrapping_square(int x) {
  return static_cast<int>(static_cast<unsigned>(x) * static_cast<unsigned>(x));
}
std::string text_of(int x) { return std::string(static_cast<std::size_t>(x % 50), 'a') + "!"; }
double sum(std::span<double const> xs) { return std::accumulate(xs.begin(), xs.end(), 0.0); }
void nothing() {}
int fail_at_three(int x) {
  if (x == 3) throw std::invalid_argument("three");
  return x;
}
int die_at_three(int x) {
  if (x == 3) ::raise(SIGSEGV);
  return x;
}
[[gnu::noinline]] int stay(int x) {
  for (;;) ::pause();
  return x;
}
int global = 1;

}  // namespace

TEST_CASE("pool: results come in order, of every kind of call", "[pool]") {
  fm::pool const workers(3);
  for (int round = 0; round != 3; ++round) {
    for (int const n : {0, 1, 2, 7, 1000}) {
      auto const squares = workers.map(wrapping_square, support::count_to(n));
      REQUIRE(squares.size() == static_cast<std::size_t>(n));
      for (int i = 0; i != n; ++i) REQUIRE(squares[static_cast<std::size_t>(i)] == i * i);
      auto const texts = workers(support::portable_tasks_of(n, text_of));
      REQUIRE(texts.size() == static_cast<std::size_t>(n));
      for (int i = 0; i != n; ++i) REQUIRE(texts[static_cast<std::size_t>(i)] == text_of(i));
      auto const total =
          workers.reduce(support::portable_tasks_of(n, wrapping_square), 5, std::plus<>());
      REQUIRE(total == std::accumulate(squares.begin(), squares.end(), 5));
    }
    auto const several =
        workers(fm::delayed(wrapping_square)(5), nothing, [] { return std::string("x"); });
    static_assert(
        std::same_as<decltype(several), std::tuple<int, std::monostate, std::string> const>);
    REQUIRE(std::get<0>(several) == 25);
    REQUIRE(std::get<2>(several) == "x");
    workers(std::vector(5, &nothing));
    auto const first = workers.first(support::portable_tasks_of(9, [](int i) {
      if (i < 4) throw std::runtime_error("not this one");
      return i;
    }));
    REQUIRE(first.index >= 4);
    REQUIRE(first.value == static_cast<int>(first.index));
  }
  REQUIRE_THROWS_AS(workers.first(std::vector<int (*)()>{}), std::invalid_argument);
}

TEST_CASE("pool: a reduction is the same whatever the number of workers", "[pool]") {
  auto const cat = [](std::string a, std::string const& b) { return a + b; };
  std::string expected = ">";
  for (int i = 0; i != 3000; ++i) expected += text_of(i);
  for (int const n_jobs : {1, 2, 5}) {
    REQUIRE(fm::pool(n_jobs).reduce(support::portable_tasks_of(3000, text_of), std::string(">"),
                                    cat) == expected);
  }
}

TEST_CASE("pool: n_jobs = 1 has a worker, too", "[pool]") {
  fm::pool const workers(1);
  auto const pids = workers(std::vector(4, &::getpid));
  REQUIRE(pids[0] != ::getpid());
  REQUIRE(std::ranges::count(pids, pids[0]) == 4);
}

namespace {

struct corner {
  double x, y;
  bool operator==(corner const&) const = default;
};
struct named {
  std::string name;
  std::vector<corner> points;
  bool operator==(named const&) const = default;
};
struct counter {
  int n;
  int plus(int m) const { return n + m; }
};

template <class T> T same(T const& value) { return value; }
int length(char const* text) { return text == nullptr ? -1 : static_cast<int>(std::strlen(text)); }
std::string view(std::string_view text) { return std::string(text); }
std::vector<int> as_vector(std::vector<int> const& xs) { return xs; }
int take(std::unique_ptr<int> x) { return *x; }
int span_and_vector(std::span<int const> a, std::vector<int> const& b) { return a[0] + b[0] * 10; }
bool is_aligned(std::span<std::complex<double> const> xs) {
  return reinterpret_cast<std::uintptr_t>(xs.data()) % alignof(std::complex<double>) == 0;
}

template <class T> void must_arrive(fm::pool const& workers, T const& value) {
  REQUIRE(std::get<0>(workers(fm::delayed(&same<T>)(value))) == value);
  REQUIRE(std::get<0>(workers(fm::delayed(&same<T>)(std::cref(value)))) == value);
}

}  // namespace

TEST_CASE("pool: arguments of every kind arrive", "[pool]") {
  // With the limit of 16 bytes most blocks are shared.
  for (std::size_t const max_nbytes : {std::size_t{1} << 20U, std::size_t{16}}) {
    fm::pool const workers(fm::options{.n_jobs = 2, .max_nbytes = max_nbytes});
    must_arrive(workers, 7);
    must_arrive(workers, true);
    must_arrive(workers, corner{1, 2});
    must_arrive(workers, std::string("a rather long string that does not fit into any small one"));
    must_arrive(workers, std::vector<int>{1, 2, 3, 4, 5, 6, 7});
    must_arrive(workers, std::vector<bool>{true, false, true});
    must_arrive(workers, std::vector<std::string>{"a", "", "c"});
    must_arrive(workers, std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
    must_arrive(workers, std::optional<int>{});
    must_arrive(workers, std::array<int, 3>{1, 2, 3});
    must_arrive(workers, named{"n", {{1, 2}, {3, 4}}});
    must_arrive(workers, std::filesystem::path("/a/b"));
    auto const one = [&](auto task) { return std::get<0>(workers(task)); };
    REQUIRE(one(fm::delayed(length)("hello")) == 5);
    REQUIRE(one(fm::delayed(length)(static_cast<char const*>(nullptr))) == -1);
    REQUIRE(one(fm::delayed(view)(std::string_view("some text of some length"))) ==
            "some text of some length");
    REQUIRE(one(fm::delayed(view)(std::string_view())).empty());
    std::vector<double> const xs(100, 0.5);
    REQUIRE(one(fm::delayed(sum)(std::cref(xs))) == 50);
    REQUIRE(one(fm::delayed(sum)(std::span(xs))) == 50);
    REQUIRE(one(fm::delayed(sum)(std::span(xs).subspan(90))) == 5);
    REQUIRE(one(fm::delayed(sum)(std::span<double const>())) == 0);
    std::vector<int> const ints{1, 2, 3, 4, 5, 6};
    REQUIRE(one(fm::delayed(as_vector)(std::cref(ints))) == ints);
    REQUIRE(one(fm::delayed(span_and_vector)(std::cref(ints), std::cref(ints))) == 11);
    REQUIRE(one(fm::delayed(&counter::plus)(counter{3}, 4)) == 7);
    REQUIRE(one(fm::delayed(&counter::n)(counter{3})) == 3);
    REQUIRE(one(fm::delayed(std::plus<>())(3, 4)) == 7);
    REQUIRE(one(fm::delayed(take)(std::make_unique<int>(9))) == 9);
    REQUIRE(one(fm::delayed([](auto const& call, int x) { return call() + x; })(
                fm::delayed(wrapping_square)(3), 1)) == 10);
    REQUIRE(one(fm::delayed([](int (*fn)(int), int x) { return fn(x); })(&wrapping_square, 4)) ==
            16);
    std::vector<std::complex<double>> const complex(9);
    REQUIRE(one(fm::delayed([](char, std::span<std::complex<double> const> c) {
      return is_aligned(c);
    })('x', std::cref(complex))));
  }
}

TEST_CASE("pool: a block that many tasks name is read once per call, and anew in the next",
          "[pool]") {
  fm::pool const workers(2);
  std::vector<double> xs(1'000'000, 1.0);
  auto const sums = [&] {
    return workers(support::count_to(64) |
                   std::views::transform([&](int) { return fm::delayed(sum)(std::cref(xs)); }));
  };
  REQUIRE(sums() == std::vector<double>(64, 1e6));
  xs.assign(xs.size(), 2.0);
  REQUIRE(sums() == std::vector<double>(64, 2e6));
  // The same address, another array.
  std::vector<double>(1'000'000, 3.0).swap(xs);
  REQUIRE(sums() == std::vector<double>(64, 3e6));
}

namespace {
using place_seen = std::pair<pid_t, std::uint64_t>;

place_seen place_of(void const* data) {
  return {::getpid(), static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(data))};
}
place_seen vector_seen(std::vector<double> const& xs) {
  if (xs.size() != 50'000 || xs[7] != 7) throw std::logic_error("not the caller's vector");
  return place_of(xs.data());
}
using named_numbers = std::map<std::string, std::vector<int>>;
place_seen map_seen(named_numbers const& all, int i) {
  if (all.size() != 500 || all.at("7").size() != 107U || i < 0) throw std::logic_error("no map");
  return place_of(&all);
}
void write_at(fm::memmap<double> const& xs, int i) { xs[static_cast<std::size_t>(i)] = i; }
std::size_t size_of(fm::owned_array<double> const& xs) { return xs.size(); }
place_seen memmap_seen(fm::memmap<double const> const& xs) { return place_of(xs.data()); }
place_seen array_seen(fm::shared_array<double> const& xs) { return place_of(xs.data()); }
}  // namespace

TEST_CASE("pool: what tasks of a call have in common is made once per worker", "[pool]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .max_nbytes = 10'000});
  constexpr int n = 64;
  auto const n_places = [&](auto const& task) {
    auto const all = workers(std::views::iota(0, n) | std::views::transform(task));
    return std::set(all.begin(), all.end()).size();
  };
  std::vector<double> xs(50'000);
  std::iota(xs.begin(), xs.end(), 0.0);
  CHECK(n_places([&](int) { return fm::delayed(vector_seen)(std::cref(xs)); }) <= 2);

  named_numbers numbers;
  for (int i = 0; i != 500; ++i) numbers[std::to_string(i)].resize(100U + static_cast<unsigned>(i));
  CHECK(n_places([&](int i) { return fm::delayed(map_seen)(std::cref(numbers), i); }) <= 2);

  support::temporary_directory const folder;
  fm::dump(xs, folder.path() / "xs.npy");
  auto const mapped = fm::load<double>(folder.path() / "xs.npy");
  CHECK(n_places([&](int) { return fm::delayed(memmap_seen)(mapped); }) <= 2);
  fm::shared_array<double> const shared({1000});
  CHECK(n_places([&](int) { return fm::delayed(array_seen)(shared); }) <= 2);

  // A memmap by reference is not its elements: what a worker writes is in the file.
  auto const written = fm::memmap<double>::create(folder.path() / "out.npy", {n});
  workers(std::views::iota(0, n) | std::views::transform([&](int i) {
            return fm::delayed(write_at)(std::cref(written), i);
          }));
  CHECK(written[n - 1] == n - 1);
  // An array that only its serialiser can make again.
  auto const owned = fm::load<double>(folder.path() / "xs.npy", fm::in_memory);
  CHECK(workers(fm::delayed(sum)(std::cref(owned)), fm::delayed(size_of)(std::cref(owned))) ==
        std::tuple(sum(owned), owned.size()));

  // The next call sees what has become of them.
  numbers.erase("9");
  REQUIRE_THROWS_WITH(workers(fm::delayed(map_seen)(std::cref(numbers), 1)),
                      ContainsSubstring("no map"));
}

TEST_CASE("pool: arrays in files and in shared memory are the same memory in workers", "[pool]") {
  support::temporary_directory const folder;
  fm::pool const workers(2);
  fm::shared_array<int> counts({10});  // made after the pool
  auto file = fm::memmap<double>::create(folder.path() / "out.npy", {10});
  workers(support::count_to(40) | std::views::transform([&](int i) {
            return fm::delayed([](fm::shared_array<int> to, fm::memmap<double> out, int k) {
              std::atomic_ref(to[static_cast<std::size_t>(k % 10)]).fetch_add(1);
              out[static_cast<std::size_t>(k % 10)] = k % 10;
            })(counts, file, i);
          }));
  for (int i = 0; i != 10; ++i) {
    REQUIRE(counts[static_cast<std::size_t>(i)] == 4);
    REQUIRE(file[static_cast<std::size_t>(i)] == i);
  }
  fm::shared_array<int const> const readable = counts;
  REQUIRE(std::get<0>(workers(fm::delayed([](fm::shared_array<int const> const& from) {
            return from[3];
          })(std::cref(readable)))) == 4);
}

TEST_CASE("pool: results and arguments of many megabytes", "[pool]") {
  fm::pool const workers(2);
  auto const large = [](std::vector<int> const& xs, int k) {
    auto copy = xs;
    for (auto& x : copy) x += k;
    return copy;
  };
  std::vector<int> xs(3'000'000);
  std::iota(xs.begin(), xs.end(), 0);
  for (int round = 0; round != 2; ++round) {
    auto const all = workers(support::count_to(4) | std::views::transform([&](int k) {
                               return fm::delayed(large)(std::cref(xs), k);
                             }));
    for (int k = 0; k != 4; ++k) {
      auto const& each = all[static_cast<std::size_t>(k)];
      REQUIRE(each.size() == xs.size());
      REQUIRE(each.front() == k);
      REQUIRE(each.back() == 2'999'999 + k);
    }
  }
}

TEST_CASE("pool: calls of all sizes follow each other in the same memory", "[pool]") {
  fm::pool const workers(2);
  unsigned random = 1;
  for (int round = 0; round != 200; ++round) {
    random = random * 1664525U + 1013904223U;
    int const n = static_cast<int>((random >> 16U) % (round % 20 == 0 ? 30'000U : 300U));
    if (round % 3 == 0) {
      auto const texts = workers(support::portable_tasks_of(n, text_of));
      for (int i = 0; i != n; ++i) {
        if (texts[static_cast<std::size_t>(i)] != text_of(i)) FAIL(round << " " << i);
      }
    } else if (round % 3 == 1) {
      auto const xs = workers.map(wrapping_square, support::count_to(n));
      for (int i = 0; i != n; ++i) {
        if (xs[static_cast<std::size_t>(i)] != i * i) FAIL(round << " " << i);
      }
    } else {
      auto const expected = static_cast<long>(n) * (n - 1) / 2;
      REQUIRE(
          workers.reduce(support::portable_tasks_of(n, [](int i) { return static_cast<long>(i); }),
                         0L, std::plus<>()) == expected);
    }
  }
}

TEST_CASE("pool: globals are those of its creation, whatever the caller has become", "[pool]") {
  global = 1;
  fm::pool const workers(2);
  global = 2;
  auto const read = [](int) { return global; };
  REQUIRE(workers.map(read, support::count_to(4)) == std::vector(4, 1));
  // A replacement starts from the same state.
  REQUIRE_THROWS_AS(workers(support::portable_tasks_of(4, die_at_three)), fm::worker_died);
  REQUIRE(workers.map(read, support::count_to(4)) == std::vector(4, 1));
  global = 1;
}

TEST_CASE("pool: failures are those of parallel()", "[pool]") {
  fm::pool const workers(2);
  for (int round = 0; round != 3; ++round) {
    try {
      workers(support::portable_tasks_of(9, fail_at_three));
      FAIL("nothing was thrown");
    } catch (std::invalid_argument const& e) {
      REQUIRE(std::string(e.what()) == "three");
      REQUIRE(dynamic_cast<fm::task_context const&>(e).index() == 3);
    }
    auto const fates = workers.outcomes(support::portable_tasks_of(9, fail_at_three));
    for (int i = 0; i != 9; ++i)
      REQUIRE(fates[static_cast<std::size_t>(i)].has_value() == (i != 3));
    try {
      workers(support::portable_tasks_of(9, die_at_three));
      FAIL("nothing was thrown");
    } catch (fm::worker_died const& e) {
      REQUIRE(e.signal() == SIGSEGV);
      REQUIRE(e.index() == 3);
      REQUIRE_THAT(e.trace(), ContainsSubstring("die_at_three"));
    }
    auto const deaths = workers.outcomes(support::portable_tasks_of(9, die_at_three));
    for (int i = 0; i != 9; ++i)
      REQUIRE(deaths[static_cast<std::size_t>(i)].has_value() == (i != 3));
    REQUIRE(deaths[3].error().reason == fm::failure::died);
    REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
  }
}

TEST_CASE("pool: a failure ends what else runs of its call, promptly", "[pool]") {
  fm::pool const workers(2);
  auto const begin = std::chrono::steady_clock::now();
  REQUIRE_THROWS_AS(workers(support::portable_tasks_of(2,
                                                       [](int i) {
                                                         if (i == 1)
                                                           throw std::runtime_error("now");
                                                         return stay(i);
                                                       })),
                    std::runtime_error);
  REQUIRE(std::chrono::steady_clock::now() - begin < 20s);
  REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("pool: timeout, deadline, stop and retries", "[pool]") {
  {
    fm::pool const workers(fm::options{.n_jobs = 2, .timeout = 50ms});
    auto const fates =
        workers.outcomes(support::portable_tasks_of(5, [](int i) { return i == 2 ? stay(i) : i; }));
    for (int i = 0; i != 5; ++i)
      REQUIRE(fates[static_cast<std::size_t>(i)].has_value() == (i != 2));
    REQUIRE(fates[2].error().reason == fm::failure::timed_out);
    if (!support::address_sanitizer)
      REQUIRE_THAT(fates[2].error().trace(), ContainsSubstring("stay"));
    REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
  }
  {
    fm::pool const workers(fm::options{.n_jobs = 2, .deadline = 200ms});
    REQUIRE_THROWS_AS(workers(support::portable_tasks_of(3, stay)), fm::deadline_exceeded);
    REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
    auto const fates =
        workers.outcomes(support::portable_tasks_of(4, [](int i) { return i < 2 ? i : stay(i); }));
    REQUIRE(*fates[0] == 0);
    REQUIRE(*fates[1] == 1);
    REQUIRE(fates[2].error().reason == fm::failure::cancelled);
    REQUIRE(fates[3].error().reason == fm::failure::cancelled);
  }
  {
    std::stop_source source;
    fm::pool const workers(fm::options{.n_jobs = 2, .stop = source.get_token()});
    std::thread const stopper([&] {
      std::this_thread::sleep_for(20ms);
      source.request_stop();
    });
    REQUIRE_THROWS_AS(workers(support::portable_tasks_of(3, stay)), fm::task_cancelled);
    const_cast<std::thread&>(stopper).join();
  }
  {
    fm::shared_array<int> attempts({4});
    fm::pool const workers(fm::options{.n_jobs = 2, .retries = 2});
    auto const fates = workers.outcomes(support::count_to(4) | std::views::transform([&](int i) {
                                          return fm::delayed([](fm::shared_array<int> runs, int k) {
                                            auto const n = ++runs[static_cast<std::size_t>(k)];
                                            if (k == 1 || (k == 2 && n < 3)) ::raise(SIGKILL);
                                            return fm::this_task::attempt();
                                          })(attempts, i);
                                        }));
    REQUIRE(*fates[0] == 0);
    REQUIRE(!fates[1]);
    REQUIRE(fates[1].error().attempt() == 2);
    REQUIRE(*fates[2] == 2);
    REQUIRE(attempts[1] == 3);
    REQUIRE(attempts[3] == 1);
  }
}

TEST_CASE("pool: workers are replaced after so many tasks, with their hooks and budgets",
          "[pool]") {
  support::temporary_directory const folder;
  auto const log = folder.path() / "log";
  auto const note = [log](char const* what) {
    return [log, what](int) {
      std::FILE* const file = std::fopen(log.c_str(), "a");
      std::fputs(what, file);
      std::fclose(file);
    };
  };
  {
    fm::pool const workers(fm::options{.n_jobs = 1,
                                       .max_tasks_per_worker = 3,
                                       .worker_init = note("i"),
                                       .worker_exit = note("e")});
    auto const pids = workers(std::vector(7, &::getpid));
    REQUIRE(std::ranges::count(pids, pids[0]) == 3);
    REQUIRE(std::ranges::count(pids, pids[3]) == 3);
    REQUIRE(pids[6] != pids[3]);
    auto const more = workers(std::vector(2, &::getpid));
    REQUIRE(more == std::vector(2, pids[6]));
  }
  std::FILE* const file = std::fopen(log.c_str(), "r");
  char text[32]{};
  REQUIRE(std::fread(text, 1, sizeof text, file) > 0);
  std::fclose(file);
  // The last worker may have been replaced once more, after its third task.
  std::string const events = text;
  REQUIRE(std::ranges::count(events, 'i') == std::ranges::count(events, 'e'));
  REQUIRE(std::ranges::count(events, 'i') >= 3);
}

TEST_CASE("pool: what worker_init throws is thrown by each call", "[pool]") {
  fm::pool const workers(
      fm::options{.n_jobs = 2, .worker_init = [](int) { throw std::runtime_error("no licence"); }});
  for (int round = 0; round != 2; ++round) {
    try {
      workers.map(wrapping_square, support::count_to(4));
      FAIL("nothing was thrown");
    } catch (std::runtime_error const& e) {
      REQUIRE(std::string(e.what()) == "no licence");
      REQUIRE(dynamic_cast<fm::task_context const&>(e).index() == static_cast<std::size_t>(-1));
    }
  }
}

TEST_CASE("pool: this_task and the report", "[pool]") {
  fm::pool const workers(fm::options{.n_jobs = 2, .seed = 5});
  auto const seen = workers(support::portable_tasks_of(20, [](int i) {
    return std::tuple(fm::this_task::index() == i, fm::this_task::in_worker(),
                      fm::this_task::worker(), fm::this_task::rng()());
  }));
  auto const forked = fm::parallel({.n_jobs = 2, .seed = 5})(
      support::portable_tasks_of(20, [](int) { return fm::this_task::rng()(); }));
  for (int i = 0; i != 20; ++i) {
    auto const& [index, inside, worker, random] = seen[static_cast<std::size_t>(i)];
    REQUIRE(index);
    REQUIRE(inside);
    REQUIRE((worker == 0 || worker == 1));
    REQUIRE(random == forked[static_cast<std::size_t>(i)]);
  }
  workers.map(wrapping_square, support::count_to(7));
  auto const report = fm::last_report();
  REQUIRE(report.tasks == 7);
  REQUIRE(report.workers.size() == 2);
  REQUIRE(report.workers[0].tasks + report.workers[1].tasks == 7);
}

TEST_CASE("pool: what workers print is there before the call returns", "[pool]") {
  support::temporary_directory const folder;
  auto const log = folder.path() / "out";
  auto const child = ::fork();
  if (child == 0) {
    if (std::freopen(log.c_str(), "w", stdout) == nullptr) ::_exit(1);
    fm::pool const workers(2);
    workers(support::portable_tasks_of(50, [](int i) { std::printf("line %d of the log\n", i); }));
    ::_exit(std::filesystem::file_size(log) == 10 * 18 + 40 * 19 ? 42 : 2);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WEXITSTATUS(status) == 42);
}

TEST_CASE("pool: a memory limit is a task's bad_alloc, or the call's error", "[pool]") {
  if (support::shadow_memory) return;  // which counts as address space
  fm::pool const workers(fm::options{.n_jobs = 2, .memory_limit = 200U << 20U});
  auto const fill = [](int i) {
    return std::string(i == 1 ? std::size_t{1} << 30U : 10, 'x').size();
  };
  auto const fates = workers.outcomes(support::portable_tasks_of(3, fill));
  REQUIRE(*fates[0] == 10);
  REQUIRE_THROWS_AS(fates[1].value(), std::bad_alloc);
  REQUIRE(*fates[2] == 10);
  // Arguments that its workers have no room for.
  std::vector<double> const xs(40'000'000);
  REQUIRE_THROWS_AS(workers(fm::delayed(sum)(std::cref(xs))), std::system_error);
  REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("pool: tasks may map, and have pools of their own", "[pool]") {
  fm::pool const workers(2);
  auto const nested = workers.map(
      [](int n) {
        auto const squares = fm::parallel(2).map(wrapping_square, support::count_to(n));
        fm::pool const own(2);
        auto const again = own.map(wrapping_square, support::count_to(n));
        return squares == again ? std::accumulate(squares.begin(), squares.end(), 0) : -1;
      },
      support::count_to(5));
  REQUIRE(nested == std::vector{0, 0, 1, 5, 14});
}

TEST_CASE("pool: several threads use one pool, and several pools", "[pool]") {
  if (support::address_sanitizer) return;  // README: AddressSanitizer and threads
  fm::pool const workers(3);
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t != 6; ++t) {
      threads.emplace_back([&, t] {
        for (int round = 0; round != 100; ++round) {
          if (t == 0 && round % 10 == 0) {
            fm::pool const own(2);
            wrong += own.map(wrapping_square, support::count_to(3)) != std::vector{0, 1, 4};
          } else if (t == 1 && round % 5 == 0) {
            auto const fates = workers.outcomes(support::portable_tasks_of(5, die_at_three));
            for (int i = 0; i != 5; ++i)
              wrong += fates[static_cast<std::size_t>(i)].has_value() != (i != 3);
          } else {
            int const n = 1 + (t * 37 + round) % 60;
            auto const xs = workers.map(wrapping_square, support::count_to(n));
            for (int i = 0; i != n; ++i) wrong += xs[static_cast<std::size_t>(i)] != i * i;
          }
        }
      });
    }
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("pool: one made by a thread that has ended lives on, and can be moved", "[pool]") {
  std::optional<fm::pool> workers;
  std::jthread([&] { workers.emplace(2); }).join();
  REQUIRE(workers->map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
  REQUIRE(workers->outcomes(support::portable_tasks_of(5, die_at_three))[4].has_value());
  fm::pool other = std::move(*workers);
  workers.reset();
  REQUIRE(other.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("pool: another process than its maker's may not use it, but may end", "[pool]") {
  fm::pool workers(2);
  auto const child = ::fork();
  if (child == 0) {
    int status = 1;
    try {
      workers.map(wrapping_square, support::count_to(3));
    } catch (std::logic_error const&) {
      fm::pool const moved = std::move(workers);  // destroyed here: does nothing
      status = 42;
    }
    ::_exit(status);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WEXITSTATUS(status) == 42);
  REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("pool: a caller that is killed leaves nothing", "[pool]") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  auto const child = ::fork();
  if (child == 0) {
    fm::pool const workers(2);
    auto const pids = workers(std::vector(2, &::getpid));
    static_cast<void>(!::write(ends[1], pids.data(), 2 * sizeof(pid_t)));
    workers(support::portable_tasks_of(2, stay));
  }
  pid_t pids[2];
  REQUIRE(::read(ends[0], pids, sizeof pids) == sizeof pids);
  auto const family = support::child_processes(child);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  REQUIRE(support::wait_until([&] {
    return std::ranges::none_of(family, [](pid_t pid) { return support::is_running(pid); });
  }));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("pool: when the process that workers come from is killed, calls say so", "[pool]") {
  fm::pool const workers(2);
  auto const worker = std::get<0>(workers(&::getppid));
  std::jthread const killer([worker] {
    std::this_thread::sleep_for(20ms);
    ::kill(worker, SIGKILL);
  });
  try {
    workers(support::portable_tasks_of(2, stay));
    FAIL("nothing was thrown");
  } catch (std::system_error const& e) {
    REQUIRE_THAT(e.what(), ContainsSubstring("make a new pool"));
  }
  REQUIRE_THROWS_AS(workers.map(wrapping_square, support::count_to(3)), std::system_error);
}

TEST_CASE("pool: workers killed at random moments cost exactly what they ran", "[pool]") {
  constexpr int n = support::shadow_memory ? 2'000 : 20'000;
  fm::pool const workers(fm::options{.n_jobs = 4});
  auto const parent = std::get<0>(workers(&::getppid));
  std::jthread killer([parent](std::stop_token const& stop) {
    unsigned random = 7;
    while (!stop.stop_requested()) {
      auto const children = support::child_processes(parent);
      random = random * 1664525U + 1013904223U;
      if (!children.empty()) ::kill(children[(random >> 16U) % children.size()], SIGKILL);
      std::this_thread::sleep_for(std::chrono::microseconds((random >> 8U) % 4000));
    }
  });
  int wrong = 0;
  int deaths = 0;
  // One call may be over before anybody was killed in a task.
  for (int calls = 0; deaths == 0 && wrong == 0 && calls != 1'000; ++calls) {
    fm::shared_array<int> began({n});
    fm::shared_array<int> ended({n});
    auto const fates = workers.outcomes(
        support::count_to(n) | std::views::transform([&](int i) {
          return fm::delayed([](fm::shared_array<int> b, fm::shared_array<int> e, int k) {
            ++b[static_cast<std::size_t>(k)];
            // Long enough to be killed in.
            for (int volatile x = 0; x < 20'000;) x = x + 1;
            ++e[static_cast<std::size_t>(k)];
            return text_of(k);
          })(began, ended, i);
        }));
    for (int i = 0; i != n; ++i) {
      auto const at = static_cast<std::size_t>(i);
      bool const right = fates[at] ? *fates[at] == text_of(i) && ended[at] == 1
                                   : fates[at].error().reason == fm::failure::died;
      wrong += !right || began[at] > 1;
      deaths += !fates[at];
    }
  }
  killer.request_stop();
  killer.join();
  REQUIRE(wrong == 0);
  REQUIRE(deaths > 0);
}

namespace {
/// Counts what is made of it: the range of a call is evaluated as its tasks are sent.
auto counted_tasks(int n, int (*fn)(int), int& n_made) {
  return std::views::iota(0, n) | std::views::transform([fn, &n_made](int i) {
           ++n_made;
           return fm::delayed(fn)(i);
         });
}
constexpr int too_many = 50'000'000;
int plus(int a, int b) { return a + b; }
int minus(int a, int b) { return a - b; }
int twice(int i) { return 2 * i; }
int twice_or_death(int i) {
  if (i == 4095 || i == 4096 || i == 20'000) {
    // 20'000 succeeds at its second attempt.
    if (i != 20'000 || fm::this_task::attempt() == 0) ::raise(SIGKILL);
  }
  return 2 * i;
}
struct third_of {
  int index;
  double third;
};
third_of third_or_delay(int i) {
  if (i % 100'000 == 70'000) std::this_thread::sleep_for(5ms);
  if ((i == 1000 || i == 150'000 || i == 399'999) && fm::this_task::attempt() == 0)
    ::raise(SIGKILL);
  return {i, i / 3.0};
}
int fail_at_the_end(int i) {
  if (i == 399'990) throw std::out_of_range("the last ones");
  return i;
}
int twice_or_error(int i) {
  if (i % 1000 == 999) throw std::invalid_argument("every thousandth");
  return 2 * i;
}
}  // namespace

TEST_CASE("pool: tasks run while later ones are sent", "[pool]") {
  fm::pool const workers(2);
  SECTION("all of them, once") {
    for (int const n : {4096, 4097, 100'000}) {
      int n_made = 0;
      auto const results = workers(counted_tasks(n, wrapping_square, n_made));
      REQUIRE(n_made == n);
      REQUIRE(results.size() == static_cast<std::size_t>(n));
      int wrong = 0;
      for (int i = 0; i != n; ++i) {
        wrong += results[static_cast<std::size_t>(i)] !=
                 static_cast<int>(static_cast<unsigned>(i) * static_cast<unsigned>(i));
      }
      REQUIRE(wrong == 0);
    }
  }
  SECTION("whatever of them is the same, and from where on") {
    constexpr int n = 20'000;
    auto const task = [](int i) {
      return fm::delayed(i % 5000 < 4990 ? plus : minus)(i < 7000 ? 1000 : 2000, i);
    };
    auto const results = workers(std::views::iota(0, n) | std::views::transform(task));
    int wrong = 0;
    for (int i = 0; i != n; ++i) wrong += results[static_cast<std::size_t>(i)] != task(i)();
    REQUIRE(wrong == 0);
  }
  SECTION("calls without arguments") {
    auto const five = [](int) { return fm::delayed([] { return 5; })(); };
    REQUIRE(workers(std::views::iota(0, 10'000) | std::views::transform(five)) ==
            std::vector(10'000, 5));
  }
  SECTION("with options that cut chunks anywhere") {
    constexpr int n = 30'000;
    auto const check = [](fm::options how, int (*fn)(int), int n_lost) {
      how.n_jobs = 2;
      fm::pool const others(how);
      int n_made = 0;
      auto const fates = others.outcomes(counted_tasks(n, fn, n_made));
      int lost = 0, wrong = 0;
      for (int i = 0; i != n; ++i) {
        auto const& fate = fates[static_cast<std::size_t>(i)];
        lost += !fate.has_value();
        wrong += fate.has_value() && *fate != 2 * i;
      }
      REQUIRE(lost == n_lost);
      REQUIRE(wrong == 0);
    };
    check({.batch_size = 1000}, twice, 0);
    check({.max_tasks_per_worker = 5000}, twice, 0);
    check({.retries = 1}, twice_or_death, 2);
    check({}, twice_or_error, 30);
  }
  SECTION("results are taken while others are made") {
    constexpr int n = 400'000;
    fm::pool const others({.n_jobs = 2, .retries = 1});
    auto const results =
        others(std::views::iota(0, n) | std::views::transform(fm::delayed(third_or_delay)));
    REQUIRE(results.size() == std::size_t{n});
    int wrong = 0;
    for (int i = 0; i != n; ++i) {
      wrong += results[static_cast<std::size_t>(i)].index != i ||
               results[static_cast<std::size_t>(i)].third != i / 3.0;
    }
    REQUIRE(wrong == 0);
    int n_made = 0;
    REQUIRE_THROWS_AS(others(counted_tasks(n, fail_at_the_end, n_made)),
                      fm::remote<std::out_of_range>);
    REQUIRE(others(counted_tasks(n, twice, n_made)).back() == 2 * (n - 1));
  }
  SECTION("a failure is known before the last is made") {
    int n_made = 0;
    REQUIRE_THROWS_AS(workers(counted_tasks(too_many, fail_at_three, n_made)),
                      fm::remote<std::invalid_argument>);
    REQUIRE(n_made < too_many);
    REQUIRE_THROWS_AS(workers(counted_tasks(100'000, die_at_three, n_made)), fm::worker_died);
  }
  SECTION("a race is won before the last is made") {
    int n_made = 0;
    auto const won = workers.first(counted_tasks(too_many, wrapping_square, n_made));
    REQUIRE(won.value == static_cast<int>(static_cast<unsigned>(won.index * won.index)));
    REQUIRE(n_made < too_many);
  }
  SECTION("a range that throws ends those that run") {
    auto tasks = std::views::iota(0, too_many) | std::views::transform([](int i) {
                   if (i == 50'000) throw std::out_of_range("the range ends here");
                   return fm::delayed(stay)(i);
                 });
    REQUIRE_THROWS_WITH(workers(tasks), ContainsSubstring("the range ends here"));
  }
  SECTION("a death costs its task") {
    int n_made = 0;
    auto const fates = workers.outcomes(counted_tasks(50'000, die_at_three, n_made));
    int lost = 0;
    for (auto const& each : fates) lost += !each.has_value();
    REQUIRE(lost == 1);
    REQUIRE_FALSE(fates[3].has_value());
  }
  SECTION("with a limit all are sent first") {
    fm::pool const limited(fm::options{.n_jobs = 2, .timeout = 1min});
    int n_made = 0;
    REQUIRE(limited(counted_tasks(10'000, wrapping_square, n_made)).size() == 10'000);
  }
  REQUIRE(workers(fm::delayed(wrapping_square)(3), fm::delayed(wrapping_square)(4)) ==
          std::tuple(9, 16));
}

TEST_CASE("pool: idle workers use no processor time", "[pool]") {
  if (support::thread_sanitizer) return;  // it has a thread of its own, which does
  fm::pool const workers(4);
  auto const pids = workers(std::vector(40, &::getpid));
  auto const used = [&] {
    long ticks = 0;
    for (auto const pid : support::child_processes()) {
      clockid_t clock{};
      timespec time{};
      if (::clock_getcpuclockid(pid, &clock) == 0 && ::clock_gettime(clock, &time) == 0)
        ticks += time.tv_sec * 1'000'000 + time.tv_nsec / 1000;
    }
    return ticks;
  };
  REQUIRE(support::child_processes().size() >= 1);
  // They park after 50 microseconds of their own time: some moments later nothing changes any more.
  REQUIRE(support::wait_until([&] {
    auto const before = used();
    std::this_thread::sleep_for(100ms);
    return used() == before;
  }));
}

namespace {
/// Returns when 64 tasks have come here, in as many workers.
int meet_all_64(fm::shared_array<int> const& arrived) {
  std::atomic_ref<int> all(arrived[0]);
  ++all;
  while (all < 64) std::this_thread::sleep_for(1ms);
  return ::getpid();
}
/// Of a process, in kB: what it shares with no other.
long private_memory(int pid) {
  std::ifstream rollup("/proc/" + std::to_string(pid) + "/smaps_rollup");
  long sum = 0;
  for (std::string line; std::getline(rollup, line);) {
    if (line.starts_with("Private_")) sum += std::stol(line.substr(line.find(':') + 1));
  }
  return sum;
}
}  // namespace

TEST_CASE("pool: of 64 idle workers none has a megabyte of its own", "[pool]") {
  if (support::address_sanitizer || support::thread_sanitizer) return;  // which have theirs
  fm::pool const workers(64);
  fm::shared_array<int> const arrived({1});
  auto const pids = workers(std::vector(64, fm::delayed(meet_all_64)(arrived)));
  REQUIRE(std::set<int>(pids.begin(), pids.end()).size() == 64);
  for (int const pid : pids) {
    auto const its_own = private_memory(pid);
    REQUIRE(its_own > 0);
    REQUIRE(its_own < 1024);
  }
}

TEST_CASE("future: a submitted task's result, failure or end", "[pool]") {
  fm::pool const workers(2);
  auto future = workers.submit(fm::delayed(text_of)(7));
  REQUIRE(future.valid());
  REQUIRE(future.get() == text_of(7));
  REQUIRE(!future.valid());
  REQUIRE_THROWS_AS(future.get(), std::logic_error);

  auto failed = workers.submit(fm::delayed(fail_at_three)(3));
  REQUIRE_THROWS_AS(failed.get(), std::invalid_argument);
  auto died = workers.submit(fm::delayed(die_at_three)(3));
  REQUIRE_THROWS_AS(died.get(), fm::worker_died);
  workers.submit(nothing).get();

  auto stuck = workers.submit(fm::delayed(stay)(1));
  REQUIRE(!stuck.wait_for(10ms));
  stuck.cancel();
  REQUIRE_THROWS_AS(stuck.get(), fm::task_cancelled);
  REQUIRE(workers.map(wrapping_square, support::count_to(3)) == std::vector{0, 1, 4});
}

TEST_CASE("future: more tasks than places run in their turn, without anybody's asking", "[pool]") {
  fm::pool const workers(2);
  fm::shared_array<int> ran({1});
  std::vector<fm::future<int>> futures;
  for (int i = 0; i != 300; ++i) {
    futures.push_back(workers.submit(fm::delayed([](fm::shared_array<int> to, int k) {
      std::atomic_ref(to[0]).fetch_add(1);
      return k;
    })(ran, i)));
  }
  REQUIRE(support::wait_until([&] { return std::atomic_ref(ran[0]).load() == 300; }));
  for (int i = 299; i >= 0; --i) REQUIRE(futures[static_cast<std::size_t>(i)].get() == i);
}

TEST_CASE("future: cancelling tasks at their ends costs no other task its worker", "[pool]") {
  fm::pool const workers(2);
  int wrong = 0;
  for (int round = 0; round != 300; ++round) {
    // Each ends at about the time at which it is cancelled, and the next is waiting.
    auto ending = workers.submit(fm::delayed(wrapping_square)(3));
    auto next = workers.submit(fm::delayed([](int x) {
      for (int volatile i = 0; i < 20'000;) i = i + 1;
      return x;
    })(round));
    for (int volatile i = 0; i < round * 30;) i = i + 1;
    ending.cancel();
    wrong += next.get() != round;
  }
  REQUIRE(wrong == 0);
}

TEST_CASE("future: a cancelled task's get() throws, also where the task had ended", "[pool]") {
  fm::pool const workers(1);
  auto future = workers.submit(fm::delayed(wrapping_square)(3));
  REQUIRE(future.wait_for(1min));
  future.cancel();
  REQUIRE(future.wait_for(0s));
  REQUIRE_THROWS_AS(future.get(), fm::task_cancelled);
  REQUIRE_FALSE(future.valid());
}

TEST_CASE("future: one that outlives its pool was cancelled, or has its result", "[pool]") {
  std::vector<fm::future<int>> futures;
  {
    fm::pool const workers(2);
    for (int i = 0; i != 4; ++i) futures.push_back(workers.submit(fm::delayed(stay)(i)));
    futures.push_back(workers.submit(fm::delayed(wrapping_square)(3)));
  }
  for (auto& each : futures) REQUIRE_THROWS_AS(each.get(), fm::task_cancelled);
}

TEST_CASE("pool: options that cannot be meant are refused", "[pool]") {
  REQUIRE_THROWS_AS(fm::pool(0), std::invalid_argument);
  REQUIRE_THROWS_AS(fm::pool(fm::options{.n_jobs = 2, .resume = "journal"}), std::invalid_argument);
}
