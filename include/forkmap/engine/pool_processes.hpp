// The processes of a pool: the template, and its workers in their places.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include <forkmap/cpu.hpp>
#include <forkmap/engine/hazards.hpp>
#include <forkmap/options.hpp>
#include <forkmap/system/call.hpp>
#include <forkmap/system/clock.hpp>
#include <forkmap/system/futex.hpp>
#include <forkmap/system/loaded_modules.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/system/per_worker.hpp>
#include <forkmap/system/process.hpp>
#include <forkmap/system/stdio.hpp>
#include <forkmap/system/template_process.hpp>
#include <forkmap/worker/death.hpp>
#include <forkmap/worker/fault_handler.hpp>
#include <forkmap/worker/pool_channel.hpp>
#include <forkmap/worker/pool_life.hpp>
#include <forkmap/worker/stuck.hpp>

namespace forkmap::detail {

/// What is known of the process in a place.
struct pool_life_so_far {
  child_process process{};
  std::uint32_t number = 0;
  std::uint64_t call = 0;  // the one that the attempts are of
  retry again{};
  int idle_deaths = 0;  // in a row, each soon after its birth
  std::int64_t born = 0;
  whereabouts stuck{};
};

template <class = void> class pool_processes {
 public:
  /// Forks the template process and the workers.
  /// Errors: std::system_error naming what the system refused; nothing is left then.
  pool_processes(options const& how, std::uint32_t n_workers)
      : layout_(n_workers),
        file_(layout_.file_bytes()),
        map_(file_.map(0, layout_.control_bytes, PROT_READ | PROT_WRITE)),
        control_(map_.data(), n_workers),
        event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        has_deadline_(how.deadline.is_set()),
        probe_signal_(how.timeout.is_set() ? unused_signal() : 0),
        lives_(n_workers) {
    if (!event_) throw_errno("eventfd of a pool");
    if (!populate_for_writing(map_.data(), layout_.control_bytes)) {
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for a pool,",
                  std::to_string(layout_.control_bytes) + " bytes");
    }
    warn_of_hazards();
    flush_output();
    pool_birth const birth{.how = how,
                           .layout = layout_,
                           .control = control_,
                           .file = file_,
                           .threads = threads_,
                           .supervisor_event = event_.get(),
                           .share = std::max(1, effective_n_jobs(-1) / static_cast<int>(n_workers)),
                           .probe_signal = probe_signal_};
    template_.reset(
        new template_process(n_workers, [&](std::uint32_t k, pid_t parent, sigset_t const& mask) {
          live_in_pool(birth, k, parent, mask);
        }));
    start_missing();
  }
  pool_processes(pool_processes const&) = delete;
  pool_processes& operator=(pool_processes const&) = delete;

  /// Lets idle ones leave, and waits for all of them. Where calls have a deadline, those that are
  /// still at worker_init do not get more time.
  ~pool_processes() {
    close();
    for (std::uint32_t k = 0; k != size(); ++k) {
      auto& it = lives_[k];
      if (!it.process) continue;
      it.process.send(SIGCONT);  // stopped, it would never leave
      if (has_deadline_ && control_.place(k).phase.load() == worker_phase::starting) kill(k);
      pollfd end{it.process.handle(), POLLIN, 0};
      while (::poll(&end, 1, -1) < 0 && errno == EINTR) {
      }
      template_->collect(it.process);
    }
  }

  pool_layout const& layout() const noexcept { return layout_; }
  pool_control control() const noexcept { return control_; }
  shared_file const& file() const noexcept { return file_; }
  std::uint32_t size() const noexcept { return layout_.n_workers; }
  pool_life_so_far& life(std::uint32_t k) noexcept { return lives_[k]; }
  /// Readable when workers, or who wants the supervisor to look, have written to it.
  int event() const noexcept { return event_.get(); }
  /// Has the supervisor look at everything.
  void poke() const noexcept {
    std::uint64_t const one = 1;
    retry_interrupted([&] { return ::write(event_.get(), &one, sizeof one); });
  }
  /// Readable when the template process has ended.
  int template_handle() const noexcept { return template_->handle(); }

  bool serves(std::uint32_t k, std::uint32_t call) const noexcept {
    return lives_[k].process && control_.place(k).serving.load() == call + 1;
  }

  /// Kills worker k if it serves that call. Step 4 of pool_channel.hpp.
  void end(std::uint32_t k, std::uint32_t call) {
    auto serving = call + 1;
    if (lives_[k].process &&
        control_.place(k).serving.compare_exchange_strong(serving, serving | pool_place::doomed)) {
      kill(k);
    }
  }

  /// Forks the workers that are not there.
  void start_missing() {
    for (std::uint32_t k = 0; k != size(); ++k) {
      if (lives_[k].process) continue;
      poke();  // the supervisor has to watch over it, too
      start(k);
    }
  }

  /// Forks the worker of that place.
  void start(std::uint32_t k) {
    auto& place = control_.place(k);
    place.process = lives_[k].number = ++n_started_;
    place.phase.store(worker_phase::starting);
    place.parked.store(0);
    lives_[k].born = nanoseconds_now();
    lives_[k].process = template_->start(k);
  }

  /// Collects a worker that has ended.
  ended_process collect(std::uint32_t k) {
    auto& it = lives_[k];
    auto const pid = it.process.pid();
    auto const end = template_->collect(it.process);
    auto words = last_words::of(it.number, end, control_.place(k).backtrace);
    auto const file = words.there && words.code > 0 ? modules_.later_module_at(words.fault_address)
                                                    : std::string();
    if (!file.empty()) {
      words.remark = " in " + file +
                     ", which was loaded after the pool had been made: its workers do not have it "
                     "(make the pool later)";
    }
    return {pid, end, std::move(words)};
  }

  /// Where a worker is that does not come to an end.
  whereabouts locate(std::uint32_t k) {
    return detail::locate(lives_[k].process, lives_[k].number, control_.place(k).backtrace,
                          probe_signal_);
  }
  void kill(std::uint32_t k) { kill_tree(lives_[k].process); }

  /// Wakes up to that many idle workers, counting those that are awake, and one for each open call
  /// more than are served: it may be older, and then those take it.
  void wake(std::uint64_t wanted) const noexcept {
    auto const open =
        static_cast<std::uint64_t>(std::popcount(control_.header().open_calls.load()));
    std::uint64_t serving = 0;
    for (std::uint32_t k = 0; k != size(); ++k) serving += control_.place(k).serving.load() != 0;
    if (open > serving + 1) wanted += open - serving - 1;
    for (std::uint32_t k = 0; k != size() && wanted != 0; ++k) {
      auto const& place = control_.place(k);
      // One that is at its begin or its end does not count: it may take its time.
      if (place.serving.load() != 0 || place.phase.load() != worker_phase::working) continue;
      --wanted;
      control_.unpark(k);
    }
  }

  /// Has workers leave by themselves, when they serve no call.
  void close() {
    control_.header().closing.store(true);
    rouse();
  }

  /// Wakes all that sleep, however they are marked.
  void rouse() const noexcept {
    for (std::uint32_t k = 0; k != size(); ++k) {
      auto& place = control_.place(k);
      place.work.fetch_add(1);
      wake_all(place.work);
    }
  }

  /// The template process is gone, and nobody collects workers.
  void abandon() noexcept {
    constexpr std::int64_t patience_ns = 5'000'000'000;  // for all: the kernel may hold some
    for (std::uint32_t k = 0; k != size(); ++k) lives_[k].process.kill();
    auto const end_of_patience = nanoseconds_now() + patience_ns;
    for (std::uint32_t k = 0; k != size(); ++k) {
      auto& process = lives_[k].process;
      // As long as it runs it may come to a call.
      pollfd end{process.handle(), POLLIN, 0};
      auto const rest = std::max<std::int64_t>(0, end_of_patience - nanoseconds_now());
      if (process) ::poll(&end, 1, static_cast<int>(rest / 1'000'000));
      process.forget();
      control_.place(k).serving.store(0);
    }
  }

 private:
  pool_layout layout_;
  shared_file file_;
  mapping map_;
  pool_control control_;
  descriptor event_;
  bool has_deadline_;
  int probe_signal_;
  loaded_modules modules_;  // that workers have
  thread_limits threads_;
  per_worker<pool_life_so_far> lives_;
  std::uint32_t n_started_ = 0;
  owner<template_process> template_;
};

}  // namespace forkmap::detail
