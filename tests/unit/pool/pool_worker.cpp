// The protocol of a pool with threads instead of processes, so that ThreadSanitizer can check it.
// SPDX-License-Identifier: MIT
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <ranges>
#include <thread>
#include <vector>

#include <forkmap/delayed.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/job/typed_job.hpp>
#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/os/output_files.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/call_slot.hpp>
#include <forkmap/detail/pool/pool_worker.hpp>
#include <forkmap/detail/pool/sent_tasks.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;
namespace fm = forkmap;

namespace {

/// A pool whose workers are threads. It has no supervisor, because its workers cannot crash.
class pool_of_threads {
 public:
  explicit pool_of_threads(std::uint32_t n) : layout(n), file(layout.file_bytes()) {
    REQUIRE(event);
    for (std::uint32_t k = 0; k != n; ++k) {
      threads_.emplace_back([this, k] {
        pool_view const view(layout, k, file.get());
        if (view) pool_worker(birth_, view.control(), k).run();
      });
    }
  }
  ~pool_of_threads() {
    control.header().closing = 1;
    for (std::uint32_t k = 0; k != layout.n_workers; ++k) {
      control.worker(k).work.fetch_add(1);
      wake_all(control.worker(k).work);
    }
    for (auto& thread : threads_) thread.join();
    this_process.frame = nullptr;  // it was a worker's
  }

  /// Runs a call as pool_calls does, in a call slot that only this thread uses.
  template <class Tasks>
  owner<pool_call> run(std::uint32_t c, call_slot<>& slot, Tasks& range, bool race) {
    using result = typename sendable_result<std::ranges::range_value_t<Tasks>>::type;
    sent_map<Tasks, result> tasks(range);
    if (race) tasks.set_goal(call_goal::first);
    auto& shared = control.call(c);
    while (control.is_served(c)) std::this_thread::yield();
    slot.begin(layout, file, c, opts);
    auto n_tasks = tasks.task_count();
    bool const meanwhile = n_tasks > sending::chunk;
    if (!meanwhile) n_tasks = slot.send(tasks);
    auto const number = ++n_calls_;
    auto call =
        slot.prepare(tasks, n_tasks, meanwhile, shared, number, opts, report_of_this_thread(), 0);
    auto& bell = control.bell(c);
    auto const sent = control.sent(c);
    bell.waiting = waits_for_call::nobody;
    sent.begin();
    shared.number = number;
    control.open_calls().fetch_or(std::uint64_t{1} << c);
    wake();
    if (meanwhile) {
      struct listener final : chunk_listener {
        sending const& sent;
        pool_call const& call;
        listener(sending const& s, pool_call const& c) : sent(s), call(c) {}
        bool chunk_done() noexcept override {
          sent.advance();
          return !call.cancelled();
        }
      } progress(sent, *call);
      slot.send_meanwhile(tasks, n_tasks, progress);
      if (!call->cancelled()) sent.end();
    }
    for (;;) {
      auto const seen = bell.event.load();
      if (!control.is_served(c) && (call->cancelled() || call->all_claimed())) break;
      bell.waiting = waits_for_call::a_thread;
      wait_while_equal(bell.event, seen);
      bell.waiting = waits_for_call::nobody;
    }
    control.close(c);
    shared.number = 0;
    call->take_over_all();
    call->winner = call->memory.header().winner.load();
    return call;
  }

 private:
  void wake() {
    for (std::uint32_t k = 0; k != layout.n_workers; ++k) {
      auto& bell = control.worker(k);
      if (bell.parked.exchange(0) == 0) continue;
      bell.work.fetch_add(1);
      wake_all(bell.work);
    }
  }

  fm::options opts{};
  pool_layout layout;
  shared_file file;
  mapping map{file.map(0, static_cast<std::size_t>(layout.place_at(layout.n_workers)),
                       PROT_READ | PROT_WRITE)};
  pool_control control{map.data(), map.data() + layout.bells_at(), map.data() + layout.place_at(0),
                       nullptr, layout.n_workers};
  descriptor event{::eventfd(0, EFD_CLOEXEC)};
  thread_limits limits{0, 1, 0};
  output_files const no_files{};
  pool_birth birth_{opts, layout, file, limits, event.get(), 1, 0, 0, no_mark, no_files};
  std::atomic<std::uint64_t> n_calls_{0};
  std::vector<std::thread> threads_;  // last member: the threads use all others
};

int twice(int x) { return 2 * x; }

}  // namespace

TEST_CASE("pool protocol: every task of every call runs once, in any worker", "[pool]") {
  pool_of_threads workers(4);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> callers;
  for (std::uint32_t c = 0; c != 3; ++c) {
    callers.emplace_back([&, c] {
      call_slot<> slot;
      // Calls of few tasks, of many, and of so many that tasks run while others are still sent.
      for (int round = 0; round != 60; ++round) {
        int const n = round % 20 == 19 ? 20'000 : 1 + 37 * (round % 5);
        auto range = std::views::iota(0, n) |
                     std::views::transform([](int i) { return fm::delayed(twice)(i); });
        auto const call = workers.run(c, slot, range, false);
        auto const results = collect_all<int>(*call, static_cast<std::uint64_t>(n), {});
        for (int i = 0; i != n; ++i) wrong += results[static_cast<std::size_t>(i)] != 2 * i;
        slot.clear(*call);
      }
    });
  }
  for (auto& caller : callers) caller.join();
  REQUIRE(wrong == 0);
}

TEST_CASE("pool protocol: first() ends while tasks are still being sent", "[pool]") {
  pool_of_threads workers(1);  // more workers would wait for unsent tasks until they are killed
  call_slot<> slot;
  for (int round = 0; round != 20; ++round) {
    int n_made = 0;
    constexpr int n = 10'000'000;
    auto range = std::views::iota(0, n) | std::views::transform([&](int i) {
                   ++n_made;
                   return fm::delayed(twice)(i);
                 });
    auto const call = workers.run(0, slot, range, true);
    REQUIRE(call->winner != 0);
    REQUIRE(take<int>(*call, call->winner - 1) == 2 * static_cast<int>(call->winner - 1));
    REQUIRE(n_made < n);
    slot.clear(*call);
  }
}
