// The life of a pool's worker: it looks for calls, serves them, and sleeps in between.
#pragma once

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <exception>

#include <forkmap/options.hpp>
#include <forkmap/system/futex.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/stdio.hpp>
#include <forkmap/this_task.hpp>
#include <forkmap/transfer/arena.hpp>
#include <forkmap/transfer/remote_tasks.hpp>
#include <forkmap/worker/budget.hpp>
#include <forkmap/worker/fault_handler.hpp>
#include <forkmap/worker/loop.hpp>
#include <forkmap/worker/pool_channel.hpp>

namespace forkmap::detail {

/// What all workers of a pool are born with: memory of the template process, inherited.
struct pool_birth {
  options const& how;
  pool_layout const& layout;
  pool_control control;
  shared_file const& file;
  thread_limits const& threads;
  int supervisor_event;  // an eventfd
  int share;             // of the machine's cores
  int probe_signal;
};

template <class = void> class pool_worker {
 public:
  pool_worker(pool_birth const& birth, std::uint32_t k)
      : birth_(birth), k_(k), place_(birth.control.place(k)), left_(tasks_per_worker(birth.how)) {
    ::fstat(birth.file.get(), &file_status_);
    frame_.worker = static_cast<int>(k);
    frame_.seed = birth.how.seed;
    active_frame = &frame_;
    cache_of_call = &cache_;
  }

  void run() {
    try {
      apply_budget(birth_.how, birth_.threads, birth_.share, k_);
      if (birth_.how.worker_init) birth_.how.worker_init(static_cast<int>(k_));
    } catch (...) {
      not_initialised_ = std::current_exception();  // every call that it comes to fails of it
    }
    place_.phase.store(worker_phase::working);
    auto const inherited = place_.serving.load() & ~pool_place::doomed;
    if (inherited != 0) serve(inherited - 1);
    while (left_ != 0 && !closing()) {
      if (!serve_any()) wait();
    }
    bool const retires = !closing();
    place_.phase.store(retires ? worker_phase::retiring : worker_phase::leaving);
    say_goodbye();
    flush_output();
    place_.phase.store(retires ? worker_phase::retired : worker_phase::finished);
  }

 private:
  /// There is no call that could throw what worker_exit throws.
  void say_goodbye() const {
    if (!birth_.how.worker_exit) return;
    try {
      birth_.how.worker_exit(static_cast<int>(k_));
    } catch (std::exception const& e) {
      std::fprintf(stderr, "forkmap: worker_exit of a pool's worker threw: %s\n", e.what());
    } catch (...) {
      std::fputs("forkmap: worker_exit of a pool's worker threw\n", stderr);
    }
  }

  /// What this worker has mapped of a call's place, for as long as it lives.
  struct stretch {
    mapping front;
    present_blocks present;
    argument_reader arguments;
    arena_writer arena;
    stretch(pool_birth const& birth, std::uint32_t c, std::uint32_t k, call_cache& cache)
        : arguments(birth.file.get(), birth.layout.arguments(c), birth.how.max_nbytes, cache),
          arena(birth.file.get(), birth.layout.arenas(c).begin(k),
                birth.layout.arenas(c).begin(k + 1)) {}
  };

  pool_header& header() const noexcept { return birth_.control.header(); }
  bool closing() const noexcept { return header().closing.load(); }

  /// Serves the open call that was made first, if there is any.
  bool serve_any() {
    auto const open = header().open_calls.load();
    if (open == 0) return false;
    auto c = most_calls;
    auto first = ~std::uint64_t{0};
    for (auto left = open; left != 0; left &= left - 1) {
      auto const each = static_cast<std::uint32_t>(__builtin_ctzll(left));
      auto const number = birth_.control.call(each).number.load(std::memory_order_relaxed);
      if (number >= first) continue;
      first = number;
      c = each;
    }
    place_.serving.store(c + 1);
    auto const still_open = header().open_calls.load();
    if ((still_open & ~(std::uint64_t{1} << c)) != 0) birth_.control.unpark_one();
    if ((still_open >> c & 1U) != 0)
      serve(c);
    else
      leave(c, false, 0);
    return true;
  }

  /// Steps 3 and 4. `serving` says already that this worker is there.
  void serve(std::uint32_t c) {
    auto& call = birth_.control.call(c);
    if (stretches_[c] == nullptr) stretches_[c].reset(new stretch(birth_, c, k_, cache_));
    auto& mapped = *stretches_[c];
    if (mapped.front.size() < call.front_bytes) {
      mapped.front = birth_.file.map(birth_.layout.stretch(c),
                                     round_up(call.front_bytes, map_grain), PROT_READ | PROT_WRITE);
    }
    auto trouble = not_initialised_;
    try {
      mapped.present.follow(mapped.front.data(), mapped.front.size(), call.front_made);
      mapped.arguments.begin_call(call.argument_bytes);
    } catch (...) {
      trouble = std::current_exception();
    }
    call_memory const memory(call.layout, mapped.front.data(), birth_.file);
    remote_tasks tasks{&mapped.arguments,
                       reinterpret_cast<std::uint64_t const*>(mapped.front.data() + call.table),
                       call.plan.n_tasks,
                       call.plan.batch_tasks,
                       call.argument_bytes,
                       call.task_bytes,
                       call.in_chunks,
                       &call.sent,
                       [](void const* control) noexcept {
                         static_cast<pool_control const*>(control)->unpark_all();
                       },
                       &birth_.control};

    auto const number = call.number.load(std::memory_order_relaxed);
    auto work = call.work;
    work.tasks = &tasks;
    worker_birth const birth{.work = work,
                             .how = birth_.how,
                             .plan = call.plan,
                             .memory = memory,
                             .resume = nullptr,
                             .threads = birth_.threads,
                             .signals = nullptr,
                             .caller = 0,
                             .number = k_,
                             .process = place_.process,
                             .share = birth_.share,
                             .probe_signal = birth_.probe_signal,
                             .left_over = place_.left_over,
                             .again = place_.again,
                             .present = &mapped.present};
    frame_.first_index = work.first_index;
    frame_.attempt = birth.again.attempt;
    frame_.retried_begin = birth.again.tasks.begin;
    frame_.retried_end = birth.again.tasks.end;
    if (frame_.random) frame_.random->made_for = no_task;  // that number was of another call
    place_.left_over = {};
    place_.again = {};

    auto& slot = memory.slots()[k_];
    constexpr auto relaxed = std::memory_order_relaxed;
    mapped.arena.rewind(slot.arena_next.load(relaxed));
    worker_loop loop(birth, mapped.arena);
    loop.clock = child_clock::of_old_child();  // it waits for calls by the other way
    if (trouble) {
      try {
        std::rethrow_exception(trouble);
      } catch (...) {
        loop.failed(outside_tasks);
        loop.cancel();
      }
    }
    frame_.current = loop.current;
    auto const from = loop.clock.now();
    slot.working_from.store(from, relaxed);
    if (slot.began.load(relaxed) == 0) slot.began.store(from, relaxed);
    task_runner(birth, loop, left_).run();
    cache_.end_call();
    frame_.current = nullptr;
    slot.busy.store(slot.busy.load(relaxed) + loop.clock.now() - from, relaxed);
    slot.working_from.store(0, relaxed);
    flush_output();
    if (left_ == 0) {
      // What it may have left of a batch is for its replacement: it stays in the call until it is
      // collected.
      return;
    }
    birth_.control.close(c);
    leave(c, loop.cancelled(), loop.has_cancelled() ? number : 0);
  }

  /// Step 4. `given_up`: the call's number if this worker has cancelled it.
  void leave(std::uint32_t c, bool cancelled, std::uint64_t given_up) {
    auto here = c + 1;
    if (!place_.serving.compare_exchange_strong(here, here | pool_place::leaving)) {
      for (;;) bound().syscall(SYS_pause);  // doomed
    }
    auto& last = birth_.control.call(c).given_up;
    for (auto seen = last.load(); seen < given_up;) {
      if (last.compare_exchange_weak(seen, given_up)) break;
    }
    if (cancelled || !birth_.control.is_served(c)) raise_event(c);
    place_.serving.store(0);
    if (!has_descriptors()) left_ = 0;  // it retires
  }

  /// Whether the pool's descriptors are still here: a task may have closed all that there were, and
  /// the program's files may have their numbers now.
  bool has_descriptors() const noexcept {
    struct stat now{};
    return ::fstat(birth_.file.get(), &now) == 0 && now.st_ino == file_status_.st_ino &&
           now.st_dev == file_status_.st_dev;
  }

  void raise_event(std::uint32_t c) {
    if (birth_.control.raise_event(c) != waits_for_call::the_supervisor) return;
    if (!has_descriptors()) return;  // its end, which comes next, has the supervisor look
    std::uint64_t const one = 1;
    bound().syscall(SYS_write, birth_.supervisor_event, &one, sizeof one);
  }

  /// Until there may be work: awake for a little, for the next call often comes at once.
  void wait() {
    constexpr std::int64_t patience_ns = 50'000;
    auto const wanted = [&] { return header().open_calls.load() != 0 || closing(); };
    if (spin_until(patience_ns, wanted)) return;
    auto const seen = place_.work.load();
    place_.parked.store(1);
    if (!wanted()) wait_while_equal(place_.work, seen);
    place_.parked.store(0);
  }

  pool_birth const& birth_;
  std::uint32_t k_;
  pool_place& place_;
  std::uint64_t left_;
  struct stat file_status_{};  // of the pool's file, as it was at birth
  task_frame frame_;
  std::exception_ptr not_initialised_;
  call_cache cache_;
  owner<stretch> stretches_[most_calls];
};

/// Lives as a pool's worker. Called in the child of a fork; never returns.
template <class = void>
[[noreturn]] void live_in_pool(pool_birth const& birth, std::uint32_t k, pid_t parent,
                               sigset_t mask) noexcept {
  follow_parent(parent);
  if (birth.probe_signal != 0) sigdelset(&mask, birth.probe_signal);
  set_signal_mask(mask);
  leave_at_exit();
  forget_inherited_output();
  print_in_lines();
  this_process.is_worker = true;
  this_process.share = birth.share;
  give_last_words(birth.control.place(k).backtrace, birth.control.place(k).process,
                  birth.probe_signal);
  scoped_options = nullptr;
  pool_worker(birth, k).run();
  flush_output();
  exit_now(0);
}

}  // namespace forkmap::detail
