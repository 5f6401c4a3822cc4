// Tasks that run once in every worker of a pool: pool::everywhere.
//
// The caller writes a task and its arguments to a region of the pool's file, which workers can only
// read, and then adds 1 to pool_header::n_setups. A worker runs the tasks that it has not run yet
// before it runs tasks of a call; not when it starts, since the caller may be about to drop one that has
// failed. After the addition the caller makes a call with one empty task for each worker
// (dispatch_plan::one_each), so that all workers run the new one now.
// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/job/typed_job.hpp>
#include <forkmap/detail/messages/sender.hpp>
#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/pool/pool_control.hpp>
#include <forkmap/detail/pool/remote_tasks.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/serialize/call_cache.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// One task, as it is in the region. Its arguments are elsewhere in the region.
struct setup_entry {
  job this_job;
  std::uint64_t arguments_at;  // in the region
  std::uint64_t argument_bytes;
  std::uint64_t begins[2];                // of the task, and of what follows, in the arguments
  std::atomic<std::uint32_t> is_dropped;  // not 0: it has failed and is not run any more
};
static_assert(std::is_trivially_destructible_v<setup_entry>);

/// The region: entries, then arguments.
inline constexpr std::size_t setup_entries_bytes = std::size_t{1} << 20U;
inline constexpr std::uint64_t most_setups = setup_entries_bytes / sizeof(setup_entry);

/// The caller's side.
class setup_list {
 public:
  setup_list(pool_layout const& layout, shared_file const& file)
      : layout_(layout), file_(file), next_argument_(setup_entries_bytes) {}

  /// Adds a task; workers run it from now on.
  /// Returns: its number.
  /// Errors: std::system_error ENOSPC after most_setups tasks; ENOMEM if arguments have no room.
  std::uint32_t add(pool_tasks& task, pool_control control, std::size_t max_nbytes) {
    auto const i = control.header().n_setups.load();
    if (i == most_setups)
      throw_system_error(ENOSPC, "pool::everywhere,", std::to_string(i) + " tasks before");
    if (entries_.size() == 0) {
      entries_ = file_.map(layout_.setups_at(), setup_entries_bytes, PROT_READ | PROT_WRITE);
      entries_.keep_from_children();
    }
    auto const entry_end = (i + std::size_t{1}) * sizeof(setup_entry);
    if (!populate_for_writing(entries_.data() + i * sizeof(setup_entry), sizeof(setup_entry)))
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for pool::everywhere,",
                  std::to_string(entry_end) + " bytes");
    argument_writer out(file_.get(), layout_.setups_at() + next_argument_,
                        layout_.setups_bytes() - next_argument_);
    out.begin_call(max_nbytes);
    std::vector<std::uint64_t> begins;
    task.send(out, begins);
    auto& entry = at(i);
    entry.this_job = task.describe(1);
    entry.arguments_at = next_argument_;
    entry.argument_bytes = out.size();
    entry.begins[0] = begins[0];
    entry.begins[1] = begins[1];
    next_argument_ += round_up(static_cast<std::size_t>(out.size()) + 1, map_grain);
    control.header().n_setups.store(i + 1);
    return i;
  }
  /// Has workers not run task i any more.
  void drop(std::uint32_t i) noexcept { at(i).is_dropped.store(1); }

 private:
  setup_entry& at(std::uint32_t i) noexcept {
    return *std::launder(reinterpret_cast<setup_entry*>(entries_.data() + i * sizeof(setup_entry)));
  }

  pool_layout const& layout_;
  shared_file const& file_;
  mapping entries_{};
  std::uint64_t next_argument_;
};

/// Runs a task and discards its result.
class setup_loop final : public task_loop {
 public:
  setup_loop() {
    end = 1;
    current = &shown_;
  }

  /// Throws the task's exception to the caller of the job.
  bool failed(std::uint64_t) override { throw; }
  writer& begin_blob() override {
    result_.clear();
    return result_;
  }
  void made(std::uint64_t) override {}
  void won(std::uint64_t) override {}

 private:
  void watch(std::uint64_t) override {}

  std::atomic<std::uint64_t> shown_{0};
  memory_writer result_{};
};

/// A worker's side.
class worker_setups {
 public:
  worker_setups(pool_layout const& layout, shared_file const& file) noexcept
      : layout_(layout), file_(file) {}

  /// Runs the tasks that this worker has not run yet.
  /// Errors: what a task throws. The worker does not run that task again.
  void catch_up(pool_header const& header, std::size_t max_nbytes, call_cache& cache) {
    while (n_done_ != header.n_setups.load()) {
      if (entries_.size() == 0)
        entries_ = file_.map(layout_.setups_at(), setup_entries_bytes, PROT_READ);
      auto const& entry = *std::launder(
          reinterpret_cast<setup_entry const*>(entries_.data() + n_done_++ * sizeof(setup_entry)));
      if (entry.is_dropped.load() == 0) run(entry, max_nbytes, cache);
    }
  }

 private:
  void run(setup_entry const& entry, std::size_t max_nbytes, call_cache& cache) const {
    argument_reader arguments(file_.get(), layout_.setups_at() + entry.arguments_at, max_nbytes,
                              cache);
    arguments.begin_call(entry.argument_bytes);
    remote_tasks tasks;
    tasks.arguments = &arguments;
    tasks.table = entry.begins;
    tasks.n_tasks = 1;
    tasks.end = entry.argument_bytes;
    setup_loop loop;
    entry.this_job.run(&tasks, loop);
    cache.end_call();
  }

  pool_layout const& layout_;
  shared_file const& file_;
  mapping entries_{};
  std::uint32_t n_done_ = 0;
};

/// The tasks of the call that has every worker come: an empty one for each.
class one_for_each_worker final : public pool_tasks {
 public:
  explicit one_for_each_worker(std::uint32_t n_workers) noexcept : n_workers_(n_workers) {}

  std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) override {
    begins.assign(n_workers_ + std::size_t{1}, out.size());
    return n_workers_;
  }
  job describe(std::uint64_t n_tasks) override {
    job this_job;
    this_job.n_tasks = this_job.n_results = n_tasks;
    this_job.batch_tasks = 1;
    this_job.one_each = true;
    this_job.run = [](void*, task_loop& loop) { for_each_task(loop, [](std::uint64_t) {}); };
    return this_job;
  }

 private:
  std::uint32_t n_workers_;
};

}  // namespace forkmap::detail
