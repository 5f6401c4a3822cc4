// A pool's call as its caller holds it, and the call slot whose memory it uses.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/engine/call_limits.hpp>
#include <forkmap/detail/engine/reporting.hpp>
#include <forkmap/detail/engine/shared_results.hpp>
#include <forkmap/detail/engine/task_outcomes.hpp>
#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/job/option_checks.hpp>
#include <forkmap/detail/messages/inbox.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/plan/dispatch.hpp>
#include <forkmap/detail/plan/longest_first.hpp>
#include <forkmap/detail/pool/pool_channel.hpp>
#include <forkmap/detail/pool/pool_control.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/worker/limits.hpp>
#include <forkmap/options.hpp>
#include <forkmap/report.hpp>

namespace forkmap::detail {

// One call of a pool, as its caller holds it while workers serve it.

/// At most this much of a worker's memory for results is kept for the next call.
inline constexpr std::size_t most_kept_bytes = std::size_t{256} << 20U;

/// A running call; its results when it is over.
class pool_call final : public shared_results {
 public:
  pool_call(std::uint32_t c, job const& new_job, dispatch_plan const& new_plan,
            call_memory const& where, std::uint64_t new_number, options const& opts,
            map_report& into, std::int64_t called_at)
      : shared_results(where, new_job, new_plan, new_number),
        place(c),
        number(new_number),
        this_job(new_job),
        plan(new_plan),
        outcomes(this_job, plan, *this),
        limits(opts, called_at),
        report(into, called_at) {}
  ~pool_call() override {
    if (release != nullptr) release(owner, *this);
  }

  // Gives the call slot back when the results have been taken.
  void (*release)(void* owner, pool_call& call) noexcept = nullptr;
  void* owner = nullptr;

  std::uint32_t place;      // the call slot
  std::uint64_t number;     // among the pool's calls
  std::uint64_t woken = 0;  // how many workers were to be awake when the call was opened
  job this_job;
  dispatch_plan plan;
  task_outcomes outcomes;
  call_limits limits;
  call_report report;
  ended_call ended = ended_call::by_nothing;  // what ended the call before its tasks had, if any
  std::int64_t looked_at = 0;      // when is_neglected() or end_pretenders() last looked at it
  std::int64_t neglected_ns = 0;   // how long it has waited for workers that look idle,
  bool has_new_workers = false;    // which have been replaced
  std::int64_t pretended_ns = 0;   // how long a worker has seemed to serve it
  message_inbox* inbox = nullptr;  // null: the pool has no handler of messages
  bool is_ended = false;           // no more workers come, and those that came are killed
  bool results_are_many = false;   // more than most_kept_bytes
  std::exception_ptr broken{};     // why the pool cannot go on with the call

  /// Keeps memory that the next call may use again.
  void taken(std::uint64_t result) noexcept override {
    if (results_are_many) shared_results::taken(result);
  }

  bool cancelled() const noexcept { return memory.header().is_cancelled(); }
  void cancel() noexcept { memory.header().cancel(); }

  /// Whether every batch has been claimed. Exact, unlike task_outcomes::all_claimed().
  bool all_claimed() const noexcept {
    if (outcomes.all_claimed()) return true;
    for (std::uint64_t batch = 0; batch != plan.n_batches; ++batch) {
      if (memory.lanes().owner_entry(batch) == 0) return false;
    }
    return true;
  }
};

// A call slot: the caller's side of its memory, which is kept from one call to the next.

/// How much of a region of memory is kept for the next call: always a little, and more if two calls
/// in a row used more.
class kept_bytes {
 public:
  /// Notes how much a call has used. `often`: the call slot is used often.
  /// Returns: how many bytes to keep.
  std::size_t after(std::size_t used, bool often) noexcept {
    auto const little = (often ? std::size_t{16} : std::size_t{1}) << 20U;
    auto const most = often ? most_kept_bytes : little;
    auto const twice = std::min({used, std::exchange(last_, used), most});
    return std::max(twice, little);
  }

 private:
  std::size_t last_ = 0;
};

template <class = void> class call_slot {
 public:
  bool taken = false;

  /// Begins a call.
  void begin(pool_layout const& layout, shared_file const& file, std::uint32_t c,
             options const& opts) {
    if (arguments_ == nullptr) {
      layout_ = &layout;
      file_ = &file;
      number_ = c;
      heads_.reserve(layout.n_workers);
      head_maps_.reserve(layout.n_workers);
      arguments_.reset(
          new argument_writer(file.get(), layout.arguments(c), layout.arguments_bytes()));
      kept_arenas_.resize(layout.n_workers);
    }
    begins_.clear();
    arguments_->begin_call(opts.max_nbytes);
  }

  /// Returns: how many tasks there are.
  std::uint64_t send(pool_tasks& tasks) { return tasks.send(*arguments_, begins_); }

  /// Sends the tasks while workers run the first of them, as long as the listener wants them.
  void send_meanwhile(pool_tasks& tasks, std::uint64_t n_tasks, chunk_listener& listener) {
    arguments_->tell(listener);
    tasks.send_chunks(*arguments_, n_tasks, table());
  }

  /// Writes all that workers need for the call, except the tasks if these are sent in chunks.
  /// `number`: of the call, among the pool's calls.
  owner<pool_call> prepare(pool_tasks& tasks, std::uint64_t n_tasks, bool in_chunks,
                           call_control& shared, std::uint64_t number, options const& opts,
                           map_report& report, std::int64_t called_at) {
    auto this_job = tasks.describe(n_tasks);
    this_job.first_index = tasks.first_index;
    this_job.outer = tasks.outer;
    if (this_job.batch_tasks == 0) this_job.batch_tasks = opts.batch_size;
    auto plan = make_plan(n_tasks, layout_->n_workers, this_job.batch_tasks, in_chunks);
    plan.n_workers = layout_->n_workers;  // any worker may serve the call
    order_.clear();
    if (opts.cost && n_tasks > 1 && !this_job.one_each) {
      if (this_job.batch_tasks == 0) plan = make_plan(n_tasks, layout_->n_workers, 1);
      order_ = longest_first(plan, opts.cost, this_job.first_index);
      plan.order = order_.data();
      plan.in_order = true;
      plan.n_workers = layout_->n_workers;
    }
    plan.one_each = this_job.one_each;
    if (plan.one_each) plan.in_order = false;
    call_layout where(plan, this_job.n_results, this_job.forked.bytes, this_job.forked.align,
                      has_messages(opts));
    where.common_at = layout_->common(number_);
    where.own_first = layout_->own(number_);
    where.own_stride = layout_->each_worker();
    where.arenas = layout_->arenas(number_);
    auto const n_begins =
        static_cast<std::size_t>(in_chunks ? divide_up(n_tasks, sending::chunk) : begins_.size());
    table_bytes_ = sizeof(std::uint64_t) * n_begins + sizeof(std::uint32_t) * order_.size();
    common_bytes_ = where.common_bytes;
    own_bytes_ = where.own_bytes;
    if (own_bytes_ > layout_->each_worker()) refuse(own_bytes_);
    if (make_present(common_, layout_->common(number_), common_bytes_, common_present_))
      ++common_made_;
    make_present(table_, layout_->table(number_), table_bytes_, table_present_);
    map_heads(where.head_bytes);
    // The call expects these bytes to be zero.
    std::memset(common_.data(), 0, std::min(common_used_, common_bytes_));
    common_used_ = std::max(common_used_, common_bytes_);
    // The begins of chunks are written as these are sent.
    std::copy(begins_.begin(), begins_.end(), table());
    std::copy(order_.begin(), order_.end(), reinterpret_cast<std::uint32_t*>(table() + n_begins));

    call_memory const memory(where, common_.data(), heads_.data(), *file_);
    for (std::uint32_t k = 0; k != plan.n_workers; ++k)
      std::memset(static_cast<void*>(&memory.state(k)), 0, sizeof(worker_state));
    memory.prepare(plan);
    shared.this_job = this_job;
    shared.plan = plan;
    shared.layout = where;
    shared.common_made = common_made_;
    shared.own_made = own_made_;
    shared.table_bytes = table_bytes_;
    shared.order_at = order_.empty() ? 0 : sizeof(std::uint64_t) * n_begins + 1;
    shared.task_bytes = begins_.empty() && !in_chunks ? tasks.task_bytes() : 0;
    shared.in_chunks = in_chunks;
    shared.argument_bytes = in_chunks ? tasks.most_chunk_bytes(n_tasks) : arguments_->size();
    return owner<pool_call>(
        new pool_call(number_, this_job, plan, memory, number, opts, report, called_at));
  }

  /// Gives memory back that the next call will probably not need.
  void clear(pool_call const& call) noexcept {
    constexpr std::uint32_t often_used = 4;  // call slots are taken lowest number first
    bool const often = number_ < often_used;
    auto const arenas = layout_->arenas(number_);
    for (std::uint32_t k = 0; k != call.plan.n_workers; ++k) {
      auto const used = static_cast<std::size_t>(call.used_arena(k));
      auto const kept = kept_arenas_[k].after(used, often);
      if (kept < used) file_->give_back(arenas.begin(k) + kept, used - kept);
    }
    auto const kept_own = round_up(kept_own_.after(own_bytes_, often), map_grain);
    if (kept_own < own_bytes_) {
      for (std::uint32_t k = 0; k != call.plan.n_workers; ++k) {
        file_->give_back(layout_->own(number_) + k * layout_->each_worker() + kept_own,
                         own_bytes_ - kept_own);
      }
      ++own_made_;
    }
    trim(common_, common_present_, kept_common_.after(common_bytes_, often));
    common_used_ = std::min(common_used_, common_present_);
    trim(table_, table_present_, kept_table_.after(table_bytes_, often));
    arguments_->trim(kept_arguments_.after(static_cast<std::size_t>(arguments_->size()), often));
  }

 private:
  /// Where each task, or each chunk of tasks, begins.
  std::uint64_t* table() noexcept { return reinterpret_cast<std::uint64_t*>(table_.data()); }

  [[noreturn]] static void refuse(std::size_t bytes) {
    throw_system_error(ENOMEM, "shared memory of a pool for a call,",
                       std::to_string(bytes) + " bytes");
  }

  /// Maps the first bytes of a region and prefaults them.
  /// Returns: whether the region got new memory.
  bool make_present(mapping& map, std::uint64_t offset, std::size_t bytes, std::size_t& present) {
    if (bytes > layout_->part_bytes()) refuse(bytes);
    if (map.size() < bytes) {
      map = file_->map(offset, round_up(bytes, map_grain), PROT_READ | PROT_WRITE);
      map.keep_from_children();
      present = 0;
    }
    if (present >= bytes) return false;
    if (!populate_for_writing(map.data(), bytes)) {
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for a call,",
                  std::to_string(bytes) + " bytes");
    }
    present = bytes;
    return true;
  }
  static void trim(mapping& map, std::size_t& present, std::size_t kept) noexcept {
    kept = round_up(kept, map_grain);
    if (kept >= present) return;
    ::madvise(map.data() + kept, map.size() - kept, MADV_REMOVE);
    present = kept;
  }

  /// Maps the begin of each worker's own part, once.
  void map_heads(std::size_t head_bytes) {
    for (auto k = static_cast<std::uint32_t>(head_maps_.size()); k != layout_->n_workers; ++k) {
      auto head = file_->map(layout_->own(number_) + k * layout_->each_worker(), head_bytes,
                             PROT_READ | PROT_WRITE);
      head.keep_from_children();
      heads_.push_back(head.data());
      head_maps_.push_back(std::move(head));
    }
  }

  pool_layout const* layout_ = nullptr;
  shared_file const* file_ = nullptr;
  std::uint32_t number_ = 0;
  mapping common_{}, table_{};
  std::vector<mapping> head_maps_{};
  std::vector<std::byte*> heads_{};
  std::size_t common_present_ = 0, table_present_ = 0;  // prefaulted bytes
  std::uint64_t common_made_ = 0, own_made_ = 0;        // as in call_control
  std::size_t common_used_ = 0;                         // bytes of common_ that may not be zero
  std::size_t common_bytes_ = 0, own_bytes_ = 0, table_bytes_ = 0;  // of the last call
  owner<argument_writer> arguments_{};
  std::vector<std::uint64_t> begins_{};  // of the tasks, if their sizes may differ
  std::vector<std::uint32_t> order_{};   // of the batches, if their costs are known
  kept_bytes kept_common_{}, kept_own_{}, kept_table_{}, kept_arguments_{};
  std::vector<kept_bytes> kept_arenas_{};
};

}  // namespace forkmap::detail
