// The caller's side of the messages of a call: takes them from the rings of all workers, checks them
// and calls the handler.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <list>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <forkmap/detail/messages/ring.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/message_handler.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// What tasks have printed, by their indices.
using task_outputs = std::map<std::uint64_t, std::string>;

/// The messages of one call. The thread that waits for the call delivers them; a pool's supervisor
/// keeps those of workers that have ended, and of calls that are over.
class message_inbox {
 public:
  explicit message_inbox(message_handler const& handler) : handler_(handler) {}
  message_inbox(message_inbox const&) = delete;
  message_inbox& operator=(message_inbox const&) = delete;
  ~message_inbox() = default;

  /// Reads the rings of a call, which are new.
  template <class Memory> void attach(Memory const& memory, std::uint32_t n_workers) {
    std::lock_guard const lock(mutex_);
    sources_.resize(n_workers);
    for (std::uint32_t k = 0; k != n_workers; ++k)
      sources_[k].ring = ring_reader(memory.messages(k));
  }

  /// Keeps the messages of worker k, which has ended, and empties its ring for its replacement.
  void retire(std::uint32_t k) {
    std::lock_guard const lock(mutex_);
    if (k < sources_.size()) retire(sources_[k]);
  }
  /// Keeps all messages: the call is over, and its memory is used no more.
  void detach() {
    std::lock_guard const lock(mutex_);
    for (auto& each : sources_) retire(each);
    sources_.clear();
    is_detached_ = true;
  }
  /// Drops all messages from now on.
  void close() noexcept {
    std::lock_guard const lock(mutex_);
    is_closed_ = true;
    kept_.clear();
  }

  /// Keeps the output of a task.
  void note_output(std::uint64_t task, std::string text) {
    std::lock_guard const lock(mutex_);
    outputs_[task] = std::move(text);
  }
  /// Takes the output of all tasks, by their indices.
  task_outputs take_outputs() {
    std::lock_guard const lock(mutex_);
    return std::move(outputs_);
  }

  /// Keeps the messages of the inboxes whose handlers run on this thread and now wait for something else:
  /// their tasks might wait for room, and keep their workers from what this thread waits for.
  /// Returns: whether there are such inboxes.
  static bool keep_outer() {
    for (auto const* each = innermost; each != nullptr; each = each->outer) each->inbox.keep();
    return innermost != nullptr;
  }
  /// Whether a handler of this inbox runs on this thread.
  bool is_in_delivery_here() const noexcept {
    for (auto const* each = innermost; each != nullptr; each = each->outer) {
      if (&each->inbox == this) return true;
    }
    return false;
  }

  /// Delivers the messages that are there, at most one ring of each worker. In a handler of this inbox it
  /// does nothing.
  /// Returns: whether there were any.
  /// Errors: what the handler throws; std::runtime_error if a task has overwritten messages. Then no
  ///   more messages are delivered.
  bool deliver() {
    if (is_in_delivery_here()) return false;
    bool any = false;
    std::size_t k = 0;
    std::string batch;
    while (next(k, batch)) {
      any = true;
      delivery const in_delivery(*this);
      try {
        handle(batch);
      } catch (...) {
        close();
        throw;
      }
    }
    return any;
  }
  /// Delivers all messages. Precondition: the workers have ended or have left the call.
  void deliver_all() {
    while (deliver()) {
    }
  }

  /// Whether there are messages to deliver.
  bool has_any() const {
    std::lock_guard const lock(mutex_);
    return has_any_now();
  }
  /// Whether all messages have been handled, and no more will come.
  bool is_finished() const {
    std::lock_guard const lock(mutex_);
    return is_closed_ || (is_detached_ && n_in_delivery_ == 0 && !has_any_now());
  }
  /// Asks for a wake-up when there are messages.
  /// Returns: false if there are some already.
  bool may_sleep() {
    std::lock_guard const lock(mutex_);
    if (is_closed_) return true;
    bool may = kept_.empty() && !is_damaged_;
    for (auto& each : sources_) may = each.ring.may_sleep() && may;
    return may;
  }

 private:
  struct source {
    ring_reader ring{};
    std::string bytes{};         // taken from the ring, not delivered
    std::uint64_t position = 0;  // of their begin
  };

  /// Marks the inbox as one whose handler runs on this thread.
  struct delivery {
    explicit delivery(message_inbox& of) noexcept : inbox(of), outer(innermost) {
      innermost = this;
    }
    delivery(delivery const&) = delete;
    delivery& operator=(delivery const&) = delete;
    ~delivery() {
      innermost = outer;
      std::lock_guard const lock(inbox.mutex_);
      --inbox.n_in_delivery_;
    }
    message_inbox& inbox;
    delivery const* outer;
  };
  static inline thread_local constinit delivery const* innermost = nullptr;

  void keep() {
    std::lock_guard const lock(mutex_);
    if (is_closed_) return;
    for (auto& each : sources_) {
      std::string batch;
      take(each, batch);
      if (!batch.empty()) kept_.push_back(std::move(batch));
    }
  }

  bool has_any_now() const noexcept {
    if (is_closed_) return false;
    return !kept_.empty() || is_damaged_ ||
           std::any_of(sources_.begin(), sources_.end(),
                       [](source const& each) { return each.ring.has_more(); });
  }

  /// The next batch: kept ones, then one of each worker from k on.
  bool next(std::size_t& k, std::string& into) {
    std::lock_guard const lock(mutex_);
    if (is_closed_) return false;
    into.clear();
    if (!kept_.empty()) {
      into = std::move(kept_.front());
      kept_.pop_front();
    }
    for (; into.empty() && k < sources_.size(); ++k) take(sources_[k], into);
    if (into.empty() && !is_damaged_) return false;
    ++n_in_delivery_;
    return true;
  }

  void retire(source& from) {
    if (is_closed_) return;
    std::string batch;
    take(from, batch);
    if (!batch.empty()) kept_.push_back(std::move(batch));
    from.bytes.clear();  // the begin of a message that will not be completed
    from.position = 0;
    from.ring.reset();
  }

  /// Takes the whole messages of a worker.
  void take(source& from, std::string& into) {
    if (!from.ring.take(from.bytes)) is_damaged_ = true;
    auto const whole = whole_messages(from);
    if (whole == 0) return;
    from.position += whole;
    into = std::move(from.bytes);
    from.bytes.assign(into, whole);
    into.resize(whole);
  }

  /// The size of the whole messages at the begin of the bytes.
  std::size_t whole_messages(source const& from) {
    std::size_t at = 0;
    sent_header header{};
    while (from.bytes.size() - at >= sizeof header) {
      std::memcpy(&header, from.bytes.data() + at, sizeof header);
      if (header.seal != header.right_seal(from.ring.epoch(), from.position + at)) {
        is_damaged_ = true;
        break;
      }
      if (from.bytes.size() - at - sizeof header < header.bytes) break;
      at += sizeof header + static_cast<std::size_t>(header.bytes);
    }
    return at;
  }

  void handle(std::string const& batch) {
    sent_header header{};
    auto const* const begin = reinterpret_cast<std::byte const*>(batch.data());
    for (std::size_t at = 0; at != batch.size();) {
      std::memcpy(&header, begin + at, sizeof header);
      auto const* const bytes = begin + at + sizeof header;
      auto const n = static_cast<std::size_t>(header.bytes);
      if (digest_of(bytes, n, 0) != header.digest) throw_damaged();
      if ((header.task & sent_header::is_output) != 0) {
        note_output(header.task & ~sent_header::is_output,
                    std::string(reinterpret_cast<char const*>(bytes), n));
      } else {
        reader in(bytes, bytes + n);
        message_channel::call(handler_, static_cast<std::size_t>(header.task), in);
      }
      at += sizeof header + n;
    }
    if (batch.empty()) throw_damaged();
  }

  [[noreturn]] static void throw_damaged() {
    throw std::runtime_error(
        "forkmap: messages of tasks were damaged: a task has overwritten memory that forkmap "
        "shares "
        "with its workers (a stray pointer, an index out of bounds). AddressSanitizer may find the "
        "write");
  }

  message_handler const& handler_;
  mutable std::mutex mutex_;
  std::vector<source> sources_{};
  std::list<std::string> kept_{};  // of workers that have ended
  task_outputs outputs_{};
  int n_in_delivery_ = 0;
  bool is_damaged_ = false;
  bool is_detached_ = false;
  bool is_closed_ = false;
};

}  // namespace forkmap::detail
