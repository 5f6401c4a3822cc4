// The protocol of a pool with threads in place of processes: this is what ThreadSanitizer can see.
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <thread>
#include <vector>

#include <forkmap/delayed.hpp>
#include <forkmap/engine/call_place.hpp>
#include <forkmap/sent_tasks.hpp>
#include <forkmap/system/futex.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/transfer/take_results.hpp>
#include <forkmap/transfer/typed_job.hpp>
#include <forkmap/worker/pool_life.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;
namespace fm = forkmap;

namespace {

/// A pool without processes, and without its supervisor: nobody dies here.
class pool_of_threads {
 public:
  explicit pool_of_threads(std::uint32_t n) : layout(n), file(layout.file_bytes()) {
    REQUIRE(event);
    for (std::uint32_t k = 0; k != n; ++k) {
      threads_.emplace_back([this, k] { pool_worker(birth_, k).run(); });
    }
  }
  ~pool_of_threads() {
    control.header().closing = true;
    for (std::uint32_t k = 0; k != layout.n_workers; ++k) {
      control.place(k).work.fetch_add(1);
      wake_all(control.place(k).work);
    }
    for (auto& each : threads_) each.join();
  }

  /// As pool_calls does, in a place that is this thread's own.
  template <class Tasks>
  owner<pool_call_run> run(std::uint32_t c, call_place<>& place, Tasks& range, bool race) {
    using result = typename portable_result<std::ranges::range_value_t<Tasks>>::type;
    sent_map<Tasks, result> tasks(range, true, race);
    auto& shared = control.call(c);
    while (control.is_served(c)) std::this_thread::yield();
    place.begin(layout, file, c, how);
    auto n_tasks = tasks.task_count();
    bool const meanwhile = n_tasks > sending::chunk;
    if (!meanwhile) n_tasks = place.send(tasks);
    auto call = place.prepare(tasks, n_tasks, meanwhile, shared, how, report_of_this_thread, 0);
    shared.waiting = waits_for_call::nobody;
    shared.sent.begin();
    shared.number = ++n_calls_;
    control.header().open_calls.fetch_or(std::uint64_t{1} << c);
    wake();
    if (meanwhile) {
      struct teller final : chunk_listener {
        pool_call& shared;
        pool_call_run const& call;
        teller(pool_call& of, pool_call_run const& made) : shared(of), call(made) {}
        bool chunk_done() noexcept override {
          shared.sent.advance();
          return !call.cancelled();
        }
      } told(shared, *call);
      place.send_meanwhile(tasks, n_tasks, told);
      if (!call->cancelled()) shared.sent.end();
    }
    for (;;) {
      auto const seen = shared.event.load();
      if (!control.is_served(c) && (call->cancelled() || call->all_claimed())) break;
      shared.waiting = waits_for_call::a_thread;
      wait_while_equal(shared.event, seen);
      shared.waiting = waits_for_call::nobody;
    }
    control.header().open_calls.fetch_and(~(std::uint64_t{1} << c));
    call->winner = call->memory.header().winner.load();
    return call;
  }

 private:
  void wake() {
    for (std::uint32_t k = 0; k != layout.n_workers; ++k) {
      if (control.place(k).parked.exchange(0) == 0) continue;
      control.place(k).work.fetch_add(1);
      wake_all(control.place(k).work);
    }
  }

  fm::options how{};
  pool_layout layout;
  shared_file file;
  mapping map{file.map(0, layout.control_bytes, PROT_READ | PROT_WRITE)};
  pool_control control{map.data(), layout.n_workers};
  descriptor event{::eventfd(0, EFD_CLOEXEC)};
  thread_limits limits{};
  pool_birth birth_{how, layout, control, file, limits, event.get(), 1, 0};
  std::atomic<std::uint64_t> n_calls_{0};
  std::vector<std::thread> threads_;  // last: they use all of these
};

int twice(int x) { return 2 * x; }

}  // namespace

TEST_CASE("pool protocol: every task of every call runs once, whoever serves it", "[pool]") {
  pool_of_threads workers(4);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> callers;
  for (std::uint32_t c = 0; c != 3; ++c) {
    callers.emplace_back([&, c] {
      call_place<> place;
      // Of some tasks, of many, and of so many that they are run while they are sent.
      for (int round = 0; round != 60; ++round) {
        int const n = round % 20 == 19 ? 20'000 : 1 + 37 * (round % 5);
        auto range = std::views::iota(0, n) |
                     std::views::transform([](int i) { return fm::delayed(twice)(i); });
        auto const call = workers.run(c, place, range, false);
        auto const results = take_all<int>(*call, static_cast<std::uint64_t>(n), {});
        for (int i = 0; i != n; ++i) wrong += results[static_cast<std::size_t>(i)] != 2 * i;
        place.clear(*call);
      }
    });
  }
  for (auto& each : callers) each.join();
  REQUIRE(wrong == 0);
}

TEST_CASE("pool protocol: a race that is won ends while its tasks are still sent", "[pool]") {
  pool_of_threads workers(1);  // others would wait for what is never sent, until they are killed
  call_place<> place;
  for (int round = 0; round != 20; ++round) {
    int n_made = 0;
    constexpr int n = 10'000'000;
    auto range = std::views::iota(0, n) | std::views::transform([&](int i) {
                   ++n_made;
                   return fm::delayed(twice)(i);
                 });
    auto const call = workers.run(0, place, range, true);
    REQUIRE(call->winner != 0);
    REQUIRE(take<int>(*call, call->winner - 1) == 2 * static_cast<int>(call->winner - 1));
    REQUIRE(n_made < n);
    place.clear(*call);
  }
}
