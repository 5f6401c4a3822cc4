// An explorer of small concurrent programs on a weakly ordered machine. It runs a program many
// times. Each run has a different order of steps, different values where a load may read one of
// several stores, and different threads that are killed.
//
// The memory model is the view-based model of C++, without promises (stores that are performed
// before the thread reaches them). A view holds, for each location, the newest store that a thread
// knows.
//  - Each location has a history of its stores.
//  - A load reads any store that is not older than the one in its thread's view.
//  - A release store carries its thread's view. An acquire load of this store merges that view into
//    the view of the loading thread.
//  - A read-modify-write reads the last store. Its own store also carries the view of that store.
//  - seq_cst is treated as acq_rel.
// Source: Kang et al., "A Promising Semantics for Relaxed-Memory Concurrency", POPL 2017.
//
// The stores of a killed thread up to the step at which it is killed stay visible: the processor
// completes all instructions before the one at which the kernel stops the thread.
// SPDX-License-Identifier: MIT
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace support {

class explorer {
 public:
  /// Bounds of an exploration. All executions within them are tried, in at most `runs` runs.
  struct bounds {
    int preemptions = 2;  // switches away from a thread that could continue
    int stale_loads = 2;  // loads that read a store older than the last one
    int deaths = 1;       // threads that are killed
    std::size_t runs = 100'000;
    // 0: try all executions in order. Otherwise the seed of random runs, to which the bounds
    // `preemptions` and `stale_loads` do not apply.
    std::uint32_t random = 0;
  };
  struct summary {
    std::size_t runs = 0;
    bool all = false;     // all executions within the bounds have been tried
    std::string wrong{};  // the first failed check; empty if all passed
  };

  static explorer*& active() {
    static explorer* one = nullptr;
    return one;
  }

  /// Runs `program` once for each execution. It adds the threads of the run with start().
  summary explore(bounds const& limits, std::function<void()> const& program) {
    limits_ = limits;
    path_.clear();
    random_.seed(limits.random);
    summary result;
    active() = this;
    while (result.runs != limits.runs && wrong_.empty()) {
      begin_run();
      program();
      run();
      ++result.runs;
      if (limits_.random != 0) {
        path_.clear();
      } else if (!next_path()) {
        result.all = true;
        break;
      }
    }
    active() = nullptr;
    result.wrong = std::exchange(wrong_, {});
    return result;
  }

  // Called by the program.

  /// Adds a thread, which starts with the view of the thread that calls this. Only a mortal thread
  /// can be killed by the explorer.
  /// Returns: the number of the new thread.
  std::size_t start(bool mortal, std::function<void()> body) {
    auto const k = threads_.size();
    if (stacks_.size() == k) stacks_.emplace_back(new std::byte[stack_bytes]);
    threads_.push_back(std::make_unique<thread>());
    auto& added = *threads_.back();
    added.mortal = mortal;
    added.body = std::move(body);
    if (running_ != none) added.view = threads_[running_]->view;
    ::getcontext(&added.begin);
    added.begin.uc_stack.ss_sp = stacks_[k].get();
    added.begin.uc_stack.ss_size = stack_bytes;
    added.begin.uc_link = nullptr;
    ::makecontext(&added.begin, reinterpret_cast<void (*)()>(&explorer::enter), 0);
    return k;
  }
  bool has_ended(std::size_t k) const { return threads_[k]->ended; }
  bool has_died(std::size_t k) const { return threads_[k]->died; }
  /// Ends a thread at its current step.
  void kill(std::size_t k) { threads_[k]->died = threads_[k]->ended = true; }
  /// Waits until a thread has ended, as waitid() does. Merges its view into that of the calling
  /// thread.
  void join(std::size_t k) {
    wait_until([this, k] { return has_ended(k); });
    see(me().view, threads_[k]->view);
  }
  /// Blocks the calling thread until `condition()` is true.
  void wait_until(std::function<bool()> condition) {
    me().waits_for = std::move(condition);
    give_way();
  }
  /// A choice among n: all of 0, ..., n - 1 are tried, each in a run of its own.
  std::size_t choose(std::size_t n) {
    if (n < 2) return 0;
    if (limits_.random != 0) return random_() % n;
    if (depth_ == path_.size()) path_.push_back({0, n});
    return path_[depth_++].first;
  }
  void check(bool right, char const* what) {
    if (!right && wrong_.empty()) wrong_ = what;
  }

  // Called by explored_atomic. Each call is one step.

  template <class Value> std::uint64_t load(Value const* at, std::memory_order order) {
    give_way();
    auto& history = history_of(at);
    auto const oldest = known(me().view, history.number);
    auto last = history.stores.size() - 1;
    if (last != oldest && (limits_.random != 0 || stale_left_ != 0)) {
      auto const back = choose(last - oldest + 1);
      if (back != 0) --stale_left_;
      last -= back;
    }
    me().view[history.number] = last;
    if (acquires(order)) see(me().view, history.stores[last].view);
    return history.stores[last].value;
  }
  template <class Value> void store(Value const* at, std::uint64_t value, std::memory_order order) {
    give_way();
    append(history_of(at), value, order, nullptr);
  }
  /// `change` returns whether it has changed the value. If not, nothing is stored.
  template <class Value, class Change>
  std::uint64_t modify(Value const* at, Change const& change, std::memory_order order,
                       std::memory_order failure) {
    give_way();
    auto& history = history_of(at);
    auto const last = history.stores.back();
    auto value = last.value;
    bool const changes = change(value);
    me().view[history.number] = history.stores.size() - 1;
    if (acquires(changes ? order : failure)) see(me().view, last.view);
    if (changes) append(history, value, order, &last.view);
    return last.value;
  }
  /// Whether a load of that location in the calling thread must read the last store.
  template <class Value> bool sees_last(Value const* at) {
    auto& history = history_of(at);
    return known(me().view, history.number) + 1 == history.stores.size();
  }

 private:
  // A view: for each location, the index of the newest store that the thread knows.
  using knowledge = std::vector<std::size_t>;
  struct stored {
    std::uint64_t value;
    knowledge view;
  };
  struct location {
    std::size_t number;
    std::vector<stored> stores;
  };
  struct thread {
    ucontext_t begin;
    jmp_buf here;
    std::function<void()> body;
    std::function<bool()> waits_for;
    knowledge view;
    bool begun = false, ended = false, mortal = false, died = false;
  };
  static constexpr std::size_t none = ~std::size_t{0};
  static constexpr std::size_t stack_bytes = std::size_t{128} << 10U;

  static bool acquires(std::memory_order o) {
    return o != std::memory_order_relaxed && o != std::memory_order_release;
  }
  static bool releases(std::memory_order o) {
    return o != std::memory_order_relaxed && o != std::memory_order_acquire;
  }
  static std::size_t& known(knowledge& v, std::size_t number) {
    if (v.size() <= number) v.resize(number + 1);
    return v[number];
  }
  static void see(knowledge& into, knowledge const& from) {
    for (std::size_t i = 0; i != from.size(); ++i) {
      auto& newest = known(into, i);
      newest = std::max(newest, from[i]);
    }
  }
  void append(location& history, std::uint64_t value, std::memory_order order,
              knowledge const* before) {
    auto& mine = me().view;
    known(mine, history.number) = history.stores.size();
    knowledge handed_on;
    if (releases(order)) handed_on = mine;
    known(handed_on, history.number) = history.stores.size();
    if (before != nullptr) see(handed_on, *before);
    history.stores.push_back({value, std::move(handed_on)});
  }
  template <class Value> location& history_of(Value const* at) {
    auto const [entry, is_new] = locations_.try_emplace(at);
    if (is_new) {
      entry->second.number = locations_.size() - 1;
      std::uint64_t value = 0;
      std::memcpy(&value, at, sizeof *at);  // the value before the run
      entry->second.stores.push_back({value, {}});
    }
    known(me().view, entry->second.number);
    return entry->second;
  }
  thread& me() { return *threads_[running_]; }

  void begin_run() {
    threads_.clear();
    locations_.clear();
    depth_ = 0;
    running_ = none;
    preemptions_left_ = limits_.preemptions;
    stale_left_ = limits_.stale_loads;
    deaths_left_ = limits_.deaths;
  }

  void run() {
    constexpr int most_steps = 20'000;
    for (int step = 0; step != most_steps && wrong_.empty(); ++step) {
      // The possible next actions. The running thread comes first, so that the first run has no
      // preemption.
      std::vector<std::pair<std::size_t, bool>> actions;  // thread, whether it is killed
      bool any_left = false;
      auto const add = [&](std::size_t k) {
        auto const& candidate = *threads_[k];
        if (candidate.ended) return;
        any_left = true;
        if (candidate.waits_for && !candidate.waits_for()) return;
        actions.emplace_back(k, false);
        if (candidate.mortal && deaths_left_ != 0) actions.emplace_back(k, true);
      };
      auto const before = running_;
      if (before != none) add(before);
      bool const goes_on = !actions.empty();
      if (!goes_on || limits_.random != 0 || preemptions_left_ != 0) {
        for (std::size_t k = 0; k != threads_.size(); ++k) {
          if (k != before) add(k);
        }
      } else {
        any_left = true;
      }
      if (!any_left) return;
      if (actions.empty()) return check(false, "deadlock: every thread waits");
      auto chosen = choose(actions.size());
      // Most random choices to kill a thread are dropped, so that some threads are killed late.
      if (limits_.random != 0 && actions[chosen].second && random_() % 8 != 0) --chosen;
      auto const [k, dies] = actions[chosen];
      if (goes_on && k != before && !dies && limits_.random == 0) --preemptions_left_;
      if (dies) {
        --deaths_left_;
        kill(k);
        continue;
      }
      running_ = k;
      threads_[k]->waits_for = nullptr;
      go_on();
    }
    check(false, "the threads do not end within the limit of steps");
  }
  /// Runs one step of the running thread.
  [[gnu::noinline]] void go_on() {
    if (_setjmp(scheduler_) != 0) return;
    if (std::exchange(me().begun, true)) _longjmp(me().here, 1);
    ::setcontext(&me().begin);
  }
  static void enter() {
    auto& self = *active();
    self.me().body();
    self.me().ended = true;
    _longjmp(self.scheduler_, 1);
  }
  [[gnu::noinline]] void give_way() {
    if (_setjmp(me().here) == 0) _longjmp(scheduler_, 1);
  }

  bool next_path() {
    path_.resize(depth_);
    while (!path_.empty() && path_.back().first + 1 == path_.back().second) path_.pop_back();
    if (path_.empty()) return false;
    ++path_.back().first;
    return true;
  }

  bounds limits_{};
  std::vector<std::pair<std::size_t, std::size_t>> path_{};  // choices: taken, number of options
  std::size_t depth_ = 0;
  std::mt19937 random_{};
  std::string wrong_{};
  int preemptions_left_ = 0, stale_left_ = 0, deaths_left_ = 0;

  std::vector<std::unique_ptr<std::byte[]>> stacks_{};
  std::vector<std::unique_ptr<thread>> threads_{};
  std::unordered_map<void const*, location> locations_{};
  std::size_t running_ = none;
  jmp_buf scheduler_;
};

/// The interface of std::atomic. Each access is a step of the active exploration; without one, the
/// object is a plain value.
template <class T> class explored_atomic {
 public:
  static constexpr bool is_always_lock_free = true;
  static constexpr auto seq_cst = std::memory_order_seq_cst;

  explored_atomic() = default;
  explored_atomic(T value) noexcept : value_(value) {}
  explored_atomic(explored_atomic const&) = delete;
  explored_atomic& operator=(explored_atomic const&) = delete;

  T load(std::memory_order order = seq_cst) const noexcept {
    auto* const explored = explorer::active();
    return explored == nullptr ? value_ : static_cast<T>(explored->load(&value_, order));
  }
  void store(T value, std::memory_order order = seq_cst) noexcept {
    if (auto* const explored = explorer::active())
      explored->store(&value_, static_cast<std::uint64_t>(value), order);
    else
      value_ = value;
  }
  operator T() const noexcept { return load(); }
  T operator=(T value) noexcept {
    store(value);
    return value;
  }

  bool compare_exchange_strong(T& expected, T desired, std::memory_order order,
                               std::memory_order failure) noexcept {
    bool done = false;
    auto const was = modify(
        [&](std::uint64_t& value) {
          done = static_cast<T>(value) == expected;
          if (done) value = static_cast<std::uint64_t>(desired);
          return done;
        },
        order, failure);
    if (!done) expected = was;
    return done;
  }
  bool compare_exchange_strong(T& expected, T desired, std::memory_order order = seq_cst) noexcept {
    auto const failure = order == std::memory_order_acq_rel   ? std::memory_order_acquire
                         : order == std::memory_order_release ? std::memory_order_relaxed
                                                              : order;
    return compare_exchange_strong(expected, desired, order, failure);
  }
  template <class... Order>
  bool compare_exchange_weak(T& expected, T desired, Order... order) noexcept {
    return compare_exchange_strong(expected, desired, order...);
  }
  T exchange(T value, std::memory_order order = seq_cst) noexcept {
    return change([&](T) { return value; }, order);
  }
  T fetch_add(T more, std::memory_order order = seq_cst) noexcept {
    return change([&](T was) { return static_cast<T>(was + more); }, order);
  }
  T fetch_sub(T less, std::memory_order order = seq_cst) noexcept {
    return change([&](T was) { return static_cast<T>(was - less); }, order);
  }
  T fetch_or(T bits, std::memory_order order = seq_cst) noexcept {
    return change([&](T was) { return static_cast<T>(was | bits); }, order);
  }
  T fetch_and(T bits, std::memory_order order = seq_cst) noexcept {
    return change([&](T was) { return static_cast<T>(was & bits); }, order);
  }

 private:
  template <class Change>
  T modify(Change const& change, std::memory_order order, std::memory_order failure) noexcept {
    if (auto* const explored = explorer::active())
      return static_cast<T>(explored->modify(&value_, change, order, failure));
    auto value = static_cast<std::uint64_t>(value_);
    auto const was = value_;
    if (change(value)) value_ = static_cast<T>(value);
    return was;
  }
  template <class Change> T change(Change const& next, std::memory_order order) noexcept {
    return modify(
        [&](std::uint64_t& value) {
          value = static_cast<std::uint64_t>(next(static_cast<T>(value)));
          return true;
        },
        order, order);
  }

  T value_;
};

}  // namespace support
