// A caller can read the results of a call, whatever bytes are in its shared memory: no access is
// out of bounds, no memory is allocated for results that do not exist, no loop is endless, and no
// unpublished result is returned. If only results and control words are overwritten, each value
// that is returned is the one that its task returned.
//
// To fuzz: clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude -DFORKMAP_FUZZ
//            tests/unit/engine/shared_results_fuzz.cpp -ldl -o /tmp/fuzz && /tmp/fuzz -max_len=512
// The tests run it with random damage.
// SPDX-License-Identifier: MIT
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

#include <forkmap/detail/engine/fork_join_results.hpp>
#include <forkmap/detail/engine/reporting.hpp>
#include <forkmap/detail/engine/task_outcomes.hpp>
#include <forkmap/detail/engine/worker_exit.hpp>
#include <forkmap/detail/job/collect.hpp>
#include <forkmap/detail/serialize/codec.hpp>
#include <forkmap/options.hpp>

using namespace forkmap::detail;

namespace {

void must_hold(bool condition, int line = __builtin_LINE()) {
  if (condition) return;
  std::fprintf(stderr, "line %d: does not hold\n", line);
  std::abort();
}

/// Reads numbers from the input, and zeros after its end.
class fuzz_bytes {
 public:
  fuzz_bytes(std::uint8_t const* data, std::size_t size) : at_(data), end_(data + size) {}

  bool empty() const { return at_ == end_; }
  std::uint64_t number(std::size_t bytes) {
    std::uint64_t value = 0;
    auto const n = std::min(bytes, static_cast<std::size_t>(end_ - at_));
    if (n != 0) std::memcpy(&value, at_, n);
    at_ += n;
    return value;
  }
  std::uint64_t below(std::uint64_t n) { return number(1) % n; }
  std::string bytes(std::size_t n) {
    n = std::min(n, static_cast<std::size_t>(end_ - at_));
    std::string taken(reinterpret_cast<char const*>(at_), n);
    at_ += n;
    return taken;
  }

 private:
  std::uint8_t const* at_;
  std::uint8_t const* end_;
};

/// A writer into a buffer of its own, aligned like the content of a blob: 4 bytes after the begin
/// of a cache line.
class content_writer final : public forkmap::writer {
 public:
  content_writer() {
    cursor_ = room_ + 4;
    end_ = room_ + sizeof room_;
  }
  std::string content() const {
    return {reinterpret_cast<char const*>(room_ + 4),
            static_cast<std::size_t>(cursor_ - room_ - 4)};
  }

 private:
  void grow(std::size_t) override { throw std::bad_alloc(); }

  alignas(64) std::byte room_[4096]{};
};

struct three_words {
  std::uint64_t a, b, c;
  bool operator==(three_words const&) const = default;
};
/// A type whose members are identified by addresses or hold other values.
struct address_holder {
  std::error_code code;
  std::type_index type = typeid(int);
  std::vector<std::string> texts;
  bool operator==(address_holder const&) const = default;
};

template <class R> R expected_value(std::uint64_t task) {
  if constexpr (std::is_same_v<R, three_words>)
    return {task, ~task, task * task};
  else if constexpr (std::is_same_v<R, std::string>)
    return std::string(task % 50 + 1, static_cast<char>('a' + task % 26)) + std::to_string(task);
  else if constexpr (std::is_same_v<R, address_holder>)
    return {{static_cast<int>(task), std::generic_category()},
            typeid(long),
            {"a", std::to_string(task)}};
  else
    return static_cast<R>(task * 3 + 1);
}

constexpr std::uint32_t most_fuzzed_workers = 3;

struct call_shape {
  job work{};
  dispatch_plan plan{};
};

template <class R> call_shape shape_of(fuzz_bytes& in) {
  call_shape shape;
  auto& work = shape.work;
  work.n_tasks = 1 + in.below(48);
  work.batch_tasks = 1 + in.below(4);
  auto const flags = in.number(1);
  work.stop_at_failure = (flags & 1U) != 0;
  work.race = (flags & 6U) == 6;
  work.whole_batches = !work.race && (flags & 24U) == 24;
  // Only streams and submitted tasks have a first index, and those do not use outcomes.
  work.first_index = work.stop_at_failure && (flags & 32U) != 0 ? 1000 : 0;
  work.forked = slot_of_forked<R>();
  work.flat = std::is_void_v<R> || inline_result_type<R>;
  shape.plan =
      make_plan(work.n_tasks, static_cast<std::uint32_t>(1 + in.below(most_fuzzed_workers)),
                work.batch_tasks);
  work.n_results = work.whole_batches ? shape.plan.n_batches : work.n_tasks;
  return shape;
}

/// The memory of a call after its workers have exited, then damaged.
template <class R> class damaged_call {
 public:
  explicit damaged_call(fuzz_bytes& in)
      : in_(in),
        shape_(shape_of<R>(in)),
        results_(new fork_join_results(work(), plan(), {}, false)),
        owned_(results_),
        outcomes_(work(), plan(), *results_),
        published_(work().n_results),
        next_blob_(plan().n_workers) {
    must_hold(memory().layout().own_bytes <= memory().layout().head_bytes);
    for (std::uint32_t k = 0; k != plan().n_workers; ++k)
      range_writers_.emplace_back(
          memory().state(k), memory().log(k), memory().layout().log_capacity, 0,
          work().flat ? work().forked.bytes : 0, work().whole_batches ? work().batch_tasks : 1);
  }

  void run() {
    for (std::uint64_t batch = 0; batch != plan().n_batches; ++batch) run_batch(batch);
    for (std::uint32_t k = 0; k != plan().n_workers; ++k) {
      if (crashed_[k]) continue;
      range_writers_[k].close();
      memory().state(k).current.store(nothing_running);
    }
    while (!in_.empty()) damage();
    if (!work().race && work().flat && !work().whole_batches && in_damage_ % 2 == 0)
      read_as_stream();
    read_all();
  }

 private:
  job const& work() const { return shape_.work; }
  dispatch_plan const& plan() const { return shape_.plan; }
  call_memory const& memory() const { return results_->memory; }
  arena_map const& arenas() const { return memory().layout().arenas; }

  // The workers: they write what correct workers write.

  void run_batch(std::uint64_t batch) {
    auto const choice = in_.number(1);
    auto const k = static_cast<std::uint32_t>(choice % plan().n_workers);
    if (crashed_[k]) return;
    auto& range = range_writers_[k];
    auto& state = memory().state(k);
    auto const tasks = plan().tasks_of(batch, batch + 1);
    range.moves_to(tasks.begin);
    state.batch_end.store(tasks.end);
    memory().lanes().word(batch).fetch_or(std::uint64_t{k + 1U}
                                          << (batch % claim_table::entries_per_word * 16));
    memory().hints()[k].claimed.fetch_add(1);
    for (auto task = tasks.begin; task != tasks.end; ++task) {
      state.current.store(as_current(task));
      if ((choice & 0xf0U) == 0x80U) {
        crashed_[k] = true;
        return;
      }
      if ((choice & 0xf0U) == 0x40U && task == tasks.begin)
        fail(k, task);
      else if (!work().whole_batches || task + 1 == tasks.end)
        succeed(k, task);
    }
    range.extends_to(tasks.end);
  }

  void succeed(std::uint32_t k, std::uint64_t task) {
    auto const result = work().whole_batches ? task / plan().batch_tasks : task;
    published_[result] = true;
    if constexpr (std::is_void_v<R>) {
      return;
    } else {
      auto* const slot = memory().results(k) + result * work().forked.bytes;
      if constexpr (inline_result_type<R>) {
        ::new (static_cast<void*>(slot)) R(expected_value<R>(result));
        range_writers_[k].add(digest_of_result<R>(slot, result));
      } else {
        content_writer out;
        encode<R>(out, expected_value<R>(result));
        auto const name = append_blob(k, {.call = 0, .number = result}, out.content());
        std::memcpy(slot, &name, sizeof name);
      }
    }
  }

  void fail(std::uint32_t k, std::uint64_t task) {
    log_failure(k, task, memory().state(k).failures.load());
    range_writers_[k].add(digest_of_failure(task));
  }
  void log_failure(std::uint32_t k, std::uint64_t task, std::uint64_t before) {
    content_writer out;
    out.put(before);
    out.put(task);
    out.put(std::int64_t{1});
    out.put(0);
    thrown failure;
    failure.type_name = failure.message = "text";
    failure.save(out);
    auto const name =
        append_blob(k, {.call = 0, .number = 0, .kind = blob_owner::failure}, out.content());
    memory().state(k).failures.store(name);
  }

  /// Writes a blob with a correct checksum. If `claimed` is not 0, the blob claims that size in
  /// bytes: it is a large one, filled with zeros, or not written beyond its content if the machine
  /// may not have the memory.
  std::uint64_t append_blob(std::uint32_t k, blob_owner const& owner_of_blob, std::string content,
                            std::uint64_t claimed = 0) {
    auto n = content.size();
    if (claimed != 0) {
      n = std::max(static_cast<std::size_t>(claimed), large_blob_bytes);
      if (n <= 2 * large_blob_bytes) content.resize(n);
    }
    std::uint32_t sum = 0;
    if (content.size() == n)
      sum = blob_checksum(owner_of_blob, reinterpret_cast<std::byte const*>(content.data()), n);
    auto const offset = next_blob_[k];
    std::string bytes(sizeof sum, '\0');
    std::memcpy(bytes.data(), &sum, sizeof sum);
    bytes += content;
    write_arena(k, offset, bytes);
    next_blob_[k] = round_up(static_cast<std::size_t>(offset) + bytes.size(), 64);
    memory().state(k).arena_next.store(next_blob_[k]);
    if (claimed == 0) return blob_name::pack(offset, bytes.size());
    blob_name const large{offset, n + sizeof sum};
    auto link = owner_of_blob;
    link.kind = static_cast<blob_owner::kind_of_blob>(owner_of_blob.kind | blob_owner::long_blob);
    auto const name = append_blob(k, link, {reinterpret_cast<char const*>(&large), sizeof large});
    return blob_name::unpack(name).offset | blob_name::large_name << blob_name::offset_bits;
  }

  void write_arena(std::uint32_t k, std::uint64_t offset, std::string const& bytes) {
    auto const at = static_cast<off_t>(arenas().begin(k) + offset);
    must_hold(::pwrite(memory().file().get(), bytes.data(), bytes.size(), at) ==
              static_cast<ssize_t>(bytes.size()));
  }

  // The damage: the input overwrites shared memory.

  void damage() {
    auto const k = static_cast<std::uint32_t>(in_.below(plan().n_workers));
    auto& state = memory().state(k);
    auto const kind = in_.below(10);
    in_damage_ = kind;
    switch (kind) {
      case 0:  // words that every worker can write
        write(memory_of(&memory().header()), memory().layout().common_bytes);
        break;
      case 1:  // results; the digests of their worker stay correct
        write(memory().results(k),
              std::max<std::size_t>(1, work().n_results * work().forked.bytes));
        break;
      case 2:
        is_forged_ = true;
        write(memory_of(&state), sizeof state);
        break;
      case 3:
        is_forged_ = true;
        write(memory_of(memory().log(k)),
              static_cast<std::size_t>(memory().layout().log_capacity) * sizeof(published_range));
        break;
      case 4: {  // bytes of blobs
        is_forged_ = true;
        auto const at = in_.number(2) % std::max<std::uint64_t>(1, next_blob_[k] + 64);
        write_arena(k, at, in_.bytes(in_.below(32)));
        break;
      }
      case 5: {  // a published range with a correct seal
        is_forged_ = true;
        published_range range{
            .begin = in_.number(1), .end = in_.number(1), .digest = in_.number(1), .seal = 0};
        if (in_.below(4) == 0) range.begin = in_.number(8);
        if (in_.below(4) == 0) range.end = in_.number(8);
        range.seal = range.right_seal(0);
        auto const at = in_.number(1) % memory().layout().log_capacity;
        memory().log(k)[at] = range;
        if (in_.below(2) != 0) state.n_ranges.store(at + 1);
        break;
      }
      case 6:
      case 7: {  // a blob with a correct checksum and any content
        is_forged_ = true;
        auto const result = in_.number(1) % (work().n_results + 1);
        auto const claimed = kind == 7 ? in_.number(6) : 0;
        auto const content = in_.bytes(in_.number(1));
        bool const is_failure = in_.below(3) == 0;
        blob_owner const owner_of_blob{
            .call = 0,
            .number = is_failure ? 0 : result,
            .kind = is_failure ? blob_owner::failure : blob_owner::result};
        if (next_blob_[k] > 1U << 20U) break;
        auto const name = append_blob(k, owner_of_blob, content, claimed);
        if (is_failure)
          state.failures.store(name);
        else if (!work().flat && result < work().n_results)
          std::memcpy(memory().results(k) + result * sizeof name, &name, sizeof name);
        break;
      }
      case 8:  // a failure of any task number
        is_forged_ = true;
        log_failure(k, in_.number(1 + 7 * in_.below(2)),
                    in_.below(2) != 0 ? state.failures.load() : in_.number(8));
        break;
      default: {  // a worker's backtrace
        write(memory_of(&memory().backtrace(k)), sizeof(raw_backtrace));
        break;
      }
    }
  }

  void write(std::byte* at, std::size_t bytes) {
    auto const offset = in_.number(2) % bytes;
    auto const n = std::min<std::size_t>(1 + in_.below(16), bytes - offset);
    auto const written = in_.bytes(n);
    std::memcpy(at + offset, written.data(), written.size());
  }
  static std::byte* memory_of(void* object) { return static_cast<std::byte*>(object); }

  // The caller: it reads the damaged memory.

  void read_as_stream() {
    if constexpr (inline_result_type<R>) {
      ranges_so_far so_far(memory(), plan(), 0);
      known_range found;
      for (std::uint64_t next = 0; next != plan().n_tasks && so_far.next(next, found);
           next = found.end) {
        must_hold(found.begin == next && found.begin < found.end && found.end <= plan().n_tasks);
        auto const* const copy = results_->copy_range(found);
        if (copy == nullptr) break;
        for (auto i = found.begin; i != found.end; ++i) {
          R value;
          std::memcpy(&value, copy + (i - found.begin) * sizeof(R), sizeof(R));
          must_hold(is_forged_ || value == expected_value<R>(i));
        }
      }
    }
  }

  void read_all() {
    for (std::uint32_t k = 0; k != plan().n_workers; ++k) {
      process_end const end{.known = true, .signal = SIGSEGV, .exit_status = -1, .max_rss = 0};
      ended_process process{1, end, crash_report::of(1, end, memory().backtrace(k))};
      auto const last = outcomes_.last_task_of(k);
      if (last.was_running || last.ended) must_hold(last.task < plan().n_tasks);
      must_hold(last.remaining.end <= plan().n_tasks);
      if (last.was_running) {
        auto failure = death_of(last.task + work().first_index, std::move(process));
        results_->failures.add(std::move(failure));
      }
      outcomes_.leave(k, last.remaining);
    }
    static_cast<void>(results_->ranges.contradict());
    static_cast<void>(outcomes_.all_claimed());
    forkmap::options opts;
    opts.max_failures = in_damage_ % 5 == 0 ? 1 : 0;
    outcomes_.collect(in_damage_ % 3 == 0 ? ended_call::by_deadline : ended_call::by_nothing, opts);
    forkmap::map_report report;
    call_report(report, 0).publish(work(), plan(), *results_, true);
    must_hold(results_->blob_bytes() <= arenas().stride * plan().n_workers);
    try {
      take_results();
    } catch (std::exception const&) {  // damaged results may be refused
    }
  }

  void take_results() {
    if constexpr (std::is_void_v<R>) {
      if (!work().race) static_cast<void>(take_outcomes<R>(*results_, work().n_results));
    } else if (work().race) {
      auto const won = take_winner<R>(*results_);
      check(won.index, won.value);
    } else if (work().stop_at_failure || work().whole_batches) {
      if (!results_->failures.empty()) results_->failures.throw_first();
      auto const all = collect_all<R>(*results_, work().n_results, {});
      for (std::uint64_t i = 0; i != all.size(); ++i) check(i, all[i]);
    } else {
      auto const all = take_outcomes<R>(*results_, work().n_results);
      must_hold(all.size() == work().n_results);
      for (std::uint64_t i = 0; i != all.size(); ++i) {
        if (all[i]) check(i, *all[i]);
      }
    }
  }

  template <class T> void check(std::uint64_t result, T const& value) {
    must_hold(result < work().n_results);
    if (!is_forged_) must_hold(published_[result] && value == expected_value<R>(result));
  }

  fuzz_bytes& in_;
  call_shape shape_;
  fork_join_results* results_;
  owner<call_results> owned_;
  task_outcomes outcomes_;
  std::vector<published_range_writer> range_writers_{};
  std::vector<bool> published_;
  std::vector<std::uint64_t> next_blob_;
  bool crashed_[most_fuzzed_workers]{};
  // True if the worker's own statements about its results may be wrong, with a correct checksum.
  bool is_forged_ = false;
  std::uint64_t in_damage_ = 0;
};

int fuzz_shared_results(std::uint8_t const* data, std::size_t size) {
  fuzz_bytes in(data, size);
  switch (in.below(6)) {
    case 0:
      damaged_call<double>(in).run();
      break;
    case 1:
      damaged_call<int>(in).run();
      break;
    case 2:
      damaged_call<three_words>(in).run();
      break;
    case 3:
      damaged_call<std::string>(in).run();
      break;
    case 4:
      damaged_call<address_holder>(in).run();
      break;
    default:
      damaged_call<void>(in).run();
      break;
  }
  return 0;
}

}  // namespace

#ifdef FORKMAP_FUZZ
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  return fuzz_shared_results(data, size);
}
#else
#include <random>

#include "support/catch.hpp"

TEST_CASE("shared_results: random damage is read or refused", "[hostile]") {
  std::mt19937 random(1);
  for (int round = 0; round != 5000; ++round) {
    std::string bytes(random() % 300, '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random() % 4 == 0 ? random() : random() % 16);
    fuzz_shared_results(reinterpret_cast<std::uint8_t const*>(bytes.data()), bytes.size());
  }
  SUCCEED();
}
#endif
