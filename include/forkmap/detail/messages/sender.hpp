// The worker's side of messages: encodes them and writes them to the ring of its call.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include <forkmap/detail/crash/fault_handler.hpp>
#include <forkmap/detail/messages/ring.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/message_handler.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// Writes values to memory of this process. The memory is kept for the next value, unless it is large.
class memory_writer final : public writer {
 public:
  memory_writer() = default;

  std::byte* data() noexcept { return bytes_.data(); }
  std::size_t size() const noexcept {
    return cursor_ == nullptr ? 0 : static_cast<std::size_t>(cursor_ - bytes_.data());
  }
  void clear() {
    constexpr std::size_t kept_bytes = std::size_t{1} << 20U;
    if (bytes_.size() > kept_bytes) bytes_ = {};
    cursor_ = bytes_.data();
    end_ = bytes_.data() + bytes_.size();
  }

 private:
  void grow(std::size_t n) override {
    auto const before = size();
    constexpr std::size_t least = 256;
    bytes_.resize(std::max({least, 2 * bytes_.size(), before + n}));
    cursor_ = bytes_.data() + before;
    end_ = bytes_.data() + bytes_.size();
  }

  std::vector<std::byte> bytes_{};
};

/// The channel of a worker's tasks. Threads that tasks start may send, too.
class message_sender final : public message_channel {
 public:
  /// `wake(context)`: wakes the caller.
  message_sender(message_handler const& handler, message_ring& ring, void (*wake)(void*) noexcept,
                 void* context) noexcept
      : message_channel(handler), out_(ring), wake_(wake), context_(context) {}

  /// Begins call `number`. A worker that comes to a call again continues its ring.
  void begin_call(std::uint64_t number) noexcept {
    if (number == call_) return;
    call_ = number;
    out_.reset();
  }

  writer* begin() override {
    if (!is_this_process()) {
      throw std::logic_error(
          "forkmap: this_task::send is called in a process that a task has forked: send from the "
          "task's own process");
    }
    begin_message();
    return &message_;
  }
  void abandon() noexcept override { unlock(); }
  void end(std::size_t task) override { end_message(task); }

  /// Sends what a task has printed.
  void send_output(std::uint64_t task, std::string_view text) {
    begin_message();
    try {
      message_.write(text.data(), text.size());
    } catch (...) {
      abandon();
      throw;
    }
    end_message(task | sent_header::is_output);
  }
  void handle(std::size_t, void const*) override {}  // never called: begin() does not return null

 private:
  void begin_message() {
    auto const me = std::this_thread::get_id();
    if (sender_.load(std::memory_order_relaxed) == me)
      throw std::logic_error("forkmap: this_task::send is called while a message is serialized");
    mutex_.lock();
    sender_.store(me, std::memory_order_relaxed);
    try {
      epoch_ = out_.epoch();
      message_.clear();
      sent_header const none{};
      message_.write(&none, sizeof none);
    } catch (...) {
      unlock();
      throw;
    }
  }
  void end_message(std::uint64_t task) {
    auto const n = message_.size() - sizeof(sent_header);
    sent_header header{.task = task,
                       .bytes = n,
                       .digest = digest_of(message_.data() + sizeof header, n, 0),
                       .seal = 0};
    out_.write(header, message_.data(), message_.size(), epoch_, [this] { wake_(context_); });
    unlock();
  }
  void unlock() noexcept {
    sender_.store({}, std::memory_order_relaxed);
    mutex_.unlock();
  }

  ring_writer out_;
  void (*wake_)(void*) noexcept;
  void* context_;
  std::uint64_t call_ = 0;
  std::mutex mutex_;
  std::atomic<std::thread::id> sender_{};  // the thread that has locked it
  std::uint64_t epoch_ = 0;                // of the message
  memory_writer message_{};
};

}  // namespace forkmap::detail
