// A place for calls: the caller's side of its memory, kept warm from one call to the next.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/engine/pool_call_run.hpp>
#include <forkmap/engine/pool_tasks.hpp>
#include <forkmap/options.hpp>
#include <forkmap/plan/dispatch.hpp>
#include <forkmap/report.hpp>
#include <forkmap/system/owner.hpp>
#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/shared_arguments.hpp>
#include <forkmap/worker/pool_channel.hpp>

namespace forkmap::detail {

/// How much of a stretch of memory is kept for the next call: a little always, and much if it was
/// used twice in a row.
class kept_bytes {
 public:
  /// Notes what a call has used, in a place that is often used or not.
  /// Returns: how much is kept.
  std::size_t after(std::size_t used, bool often) noexcept {
    auto const little = (often ? std::size_t{16} : std::size_t{1}) << 20U;
    auto const most = often ? most_kept_bytes : little;
    auto const twice = std::min({used, std::exchange(last_, used), most});
    return std::max(twice, little);
  }

 private:
  std::size_t last_ = 0;
};

template <class = void> class call_place {
 public:
  bool taken = false;

  /// Begins a call.
  void begin(pool_layout const& layout, shared_file const& file, std::uint32_t c,
             options const& how) {
    if (arguments_ == nullptr) {
      layout_ = &layout;
      file_ = &file;
      number_ = c;
      arguments_.reset(
          new argument_writer(file.get(), layout.arguments(c), layout.arguments_bytes()));
      kept_arenas_.resize(layout.n_workers);
    }
    begins_.clear();
    arguments_->begin_call(how.max_nbytes);
  }

  /// Returns: how many tasks there are.
  std::uint64_t send(pool_tasks& tasks) { return tasks.send(*arguments_, begins_); }

  /// Sends the tasks while workers run the first of them, as long as the listener wants them.
  void send_meanwhile(pool_tasks& tasks, std::uint64_t n_tasks, chunk_listener& listener) {
    arguments_->tell(listener);
    tasks.send_chunks(*arguments_, n_tasks, table());
  }

  /// Writes all that workers need to know of the call, but for the tasks if those are sent in chunks.
  owner<pool_call_run> prepare(pool_tasks& tasks, std::uint64_t n_tasks, bool in_chunks,
                               pool_call& shared, options const& how, map_report& report,
                               std::int64_t called_at) {
    auto work = tasks.describe(n_tasks);
    work.first_index = tasks.first_index;
    if (work.batch_tasks == 0) work.batch_tasks = how.batch_size;
    auto plan = make_plan(n_tasks, layout_->n_workers, work.batch_tasks, in_chunks);
    plan.n_workers = layout_->n_workers;  // any of them may come
    call_layout where(plan, work.n_results, work.forked.bytes, work.forked.align);
    where.arenas = layout_->arenas(number_);
    table_ = round_up(where.mapped_bytes, sizeof(std::uint64_t));
    call_bytes_ = table_ + sizeof(std::uint64_t) *
                               (in_chunks ? divide_up(n_tasks, sending::chunk) : begins_.size());
    map_front();
    // Zeros where the call counts on them.
    auto const names = work.flat ? 0 : work.n_results * work.forked.bytes;
    std::memset(front_.data(), 0, std::min<std::uint64_t>(used_, where.results + names));
    used_ = std::max(used_, call_bytes_);
    std::copy(begins_.begin(), begins_.end(), table());  // of chunks as they are sent

    call_memory const memory(where, front_.data(), *file_);
    memory.prepare(plan);
    shared.work = work;
    shared.plan = plan;
    shared.layout = where;
    shared.front_bytes = call_bytes_;
    shared.front_made = front_made_;
    shared.table = table_;
    shared.task_bytes = begins_.empty() && !in_chunks ? tasks.task_bytes() : 0;
    shared.in_chunks = in_chunks;
    shared.argument_bytes = in_chunks ? tasks.most_chunk_bytes(n_tasks) : arguments_->size();
    return owner<pool_call_run>(
        new pool_call_run(number_, work, plan, memory, how, report, called_at));
  }

  /// Gives memory back that the next call will probably not need.
  void clear(pool_call_run const& call) noexcept {
    constexpr std::uint32_t often_used = 4;  // places are taken from the lowest on
    bool const often = number_ < often_used;
    auto const arenas = layout_->arenas(number_);
    for (std::uint32_t k = 0; k != call.plan.n_workers; ++k) {
      auto const begin = arenas.begin(k);
      auto const used = static_cast<std::size_t>(
          call.memory.slots()[k].arena_next.load(std::memory_order_relaxed) - begin);
      auto const kept = kept_arenas_[k].after(used, often);
      if (kept < used) file_->give_back(begin + kept, used - kept);
    }
    auto const kept =
        round_up(kept_front_.after(static_cast<std::size_t>(call_bytes_), often), map_grain);
    if (kept < present_) {
      ::madvise(front_.data() + kept, front_.size() - kept, MADV_REMOVE);
      present_ = kept;
      used_ = std::min<std::uint64_t>(used_, kept);
    }
    arguments_->trim(kept_arguments_.after(static_cast<std::size_t>(arguments_->size()), often));
  }

 private:
  /// Where workers find their tasks.
  std::uint64_t* table() noexcept {
    return reinterpret_cast<std::uint64_t*>(front_.data() + table_);
  }

  /// Maps the call's stretch and makes it present.
  void map_front() {
    if (call_bytes_ > layout_->stretch_bytes()) {
      throw_system_error(ENOMEM, "shared memory of a pool for a call,",
                         std::to_string(call_bytes_) + " bytes");
    }
    if (front_.size() < call_bytes_) {
      front_ = file_->map(layout_->stretch(number_), round_up(call_bytes_, map_grain),
                          PROT_READ | PROT_WRITE);
      present_ = 0;
    }
    if (present_ >= call_bytes_) return;
    if (!populate_for_writing(front_.data(), static_cast<std::size_t>(call_bytes_))) {
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for a call,",
                  std::to_string(call_bytes_) + " bytes");
    }
    present_ = static_cast<std::size_t>(call_bytes_);
    ++front_made_;
  }

  pool_layout const* layout_ = nullptr;
  shared_file const* file_ = nullptr;
  std::uint32_t number_ = 0;
  mapping front_{};
  std::size_t present_ = 0;       // bytes of `front` that cannot fault
  std::uint64_t front_made_ = 0;  // how often memory has been made for it
  std::uint64_t used_ = 0;        // bytes of it that may not be zero
  std::uint64_t call_bytes_ = 0;  // of the last call
  std::uint64_t table_ = 0;
  owner<argument_writer> arguments_{};
  std::vector<std::uint64_t> begins_{};  // of the tasks, where they have no size in common
  kept_bytes kept_front_{}, kept_arguments_{};
  std::vector<kept_bytes> kept_arenas_{};
};

}  // namespace forkmap::detail
