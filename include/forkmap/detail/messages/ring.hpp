// A worker's messages on their way to the caller: a ring of bytes in the worker's own part of the
// memory of a call.
//
// The worker writes, the caller reads. Positions count bytes and never wrap. A message is a header
// (sent_header) and the bytes of the value. It may be longer than the ring: then the caller reads its
// begin while the worker still writes.
//
//   1. The worker copies as many bytes as there is room for, then stores `written` (seq_cst: the
//      caller that sees the position sees the bytes).
//   2. It loads reader_sleeps (seq_cst). If that is set, it resets it and wakes the caller.
//   3. The caller copies the bytes up to `written`, stores `read` (seq_cst: the worker that sees the
//      position may overwrite the bytes), and loads sender_waits (seq_cst). If that is set, it resets
//      it, adds 1 to `room` and wakes the worker.
//   4. Before the caller sleeps, it sets reader_sleeps and then loads `written` (both seq_cst): it
//      sleeps only if there is nothing new. So either the caller sees the bytes of step 1, or the
//      worker sees reader_sleeps in step 2.
//   5. If there is no room, the worker loads `room`, sets sender_waits and then loads `read` (seq_cst).
//      If there still is no room, it sleeps while `room` is unchanged. So either the worker sees the
//      position of step 3, or the caller sees sender_waits.
//
// A worker may be killed at any instruction: `written` then covers whole bytes, and the caller forgets
// a message that is not complete. Tasks may overwrite the ring. The caller therefore keeps its own
// position, and checks `written` against it and each message against two digests. The digests cover
// the position and the epoch, a number that differs for each worker and call, so that no older bytes can
// pass for a message. A lost wake-up costs time: both sides look again after a while.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>

#include <forkmap/detail/os/futex.hpp>
#include <forkmap/detail/plan/published.hpp>

namespace forkmap::detail {

struct message_ring {
  // Written by the worker.
  alignas(128) std::atomic<std::uint64_t> written;
  std::atomic<std::uint32_t> sender_waits;
  // Written by the caller, which also writes the bytes above that begin a new ring.
  alignas(128) std::atomic<std::uint64_t> read;
  std::atomic<std::uint32_t> room;           // a futex
  std::atomic<std::uint32_t> reader_sleeps;  // set by the caller, reset by the worker
  std::uint64_t epoch;                       // read by the worker once, before its first message
  alignas(128) std::byte bytes[std::size_t{128} << 10U];

  /// More than the output of a task that is kept: a submitted task must end although nobody reads.
  static constexpr std::uint64_t capacity = std::size_t{128} << 10U;

  /// Empties the ring, for a new call or a new worker. Precondition: no worker uses it.
  void reset(std::uint64_t new_epoch) noexcept {
    written.store(0);
    sender_waits.store(0);
    read.store(0);
    reader_sleeps.store(1);
    epoch = new_epoch;
  }
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free &&
                  std::atomic<std::uint32_t>::is_always_lock_free,
              "forkmap: these atomics must be lock-free, because a worker that is killed while it "
              "holds a lock never releases it");
static_assert((message_ring::capacity & (message_ring::capacity - 1)) == 0,
              "forkmap: positions are mapped to the ring by a mask");

/// Precedes the bytes of a message, or of the output of a task.
struct sent_header {
  static constexpr std::uint64_t is_output = std::uint64_t{1} << 63U;

  std::uint64_t task;  // perhaps | is_output
  std::uint64_t bytes;
  std::uint64_t digest;  // of the bytes
  std::uint64_t seal;    // of the members above, the epoch and the position

  std::uint64_t right_seal(std::uint64_t epoch, std::uint64_t position) const noexcept {
    return digest_term(task, 1) + digest_term(bytes, 2) + digest_term(digest, 3) +
           digest_term(epoch, 4) + digest_term(position, 5);
  }
};
static_assert(sizeof(sent_header) == 32);

/// How long each side sleeps before it looks again whether a wake-up was lost.
inline constexpr std::int64_t ring_look_again_ns = 200'000'000;

/// The worker's end of a ring. A thread may still write when the worker has gone on to another call,
/// because it outlives the task that started it: what it writes is dropped.
class ring_writer {
 public:
  explicit ring_writer(message_ring& ring) noexcept : ring_(ring), epoch_(ring.epoch) {}

  /// Begins a new epoch. Precondition: the caller has reset the ring.
  void reset() noexcept {
    std::lock_guard const lock(mutex_);
    written_ = 0;
    epoch_ = ring_.epoch;
  }
  std::uint64_t epoch() const noexcept {
    std::lock_guard const lock(mutex_);
    return epoch_;
  }

  /// Seals a message by its header and writes it; waits for room. `wake`: wakes the caller. `epoch`: in
  /// which the message was begun. To be called by one thread at a time.
  template <class Wake>
  void write(sent_header& header, std::byte* from, std::size_t n, std::uint64_t epoch,
             Wake const& wake) {
    bool is_sealed = false;
    while (n != 0) {
      std::size_t part = 0;
      bool is_full = false;
      {
        std::lock_guard const lock(mutex_);
        if (epoch != epoch_) return;
        if (!is_sealed) {
          header.seal = header.right_seal(epoch, written_);
          std::memcpy(from, &header, sizeof header);
          is_sealed = true;
        }
        auto const room = room_after(ring_.read.load(std::memory_order_acquire));
        auto const at = static_cast<std::size_t>(written_ & (ring_.capacity - 1));
        part = std::min({n, room, static_cast<std::size_t>(ring_.capacity) - at});
        std::memcpy(ring_.bytes + at, from, part);
        from += part;
        n -= part;
        written_ += part;
        is_full = part == room;
        // If not, the rest is at the begin of the ring.
        if (part != 0 && (n == 0 || is_full)) ring_.written.store(written_);
      }
      if (n != 0 && !is_full) continue;
      if (ring_.reader_sleeps.load() != 0 && ring_.reader_sleeps.exchange(0) != 0) wake();
      if (n != 0) wait_for_room(epoch);
    }
  }

 private:
  void wait_for_room(std::uint64_t epoch) noexcept {
    auto const seen = ring_.room.load();
    ring_.sender_waits.store(1);
    {
      std::lock_guard const lock(mutex_);
      if (epoch != epoch_ || room_after(ring_.read.load()) != 0) return;
    }
    wait_while_equal(ring_.room, seen, ring_look_again_ns);
  }
  /// 0 also if a task has overwritten `read`: the caller stores it again when it next reads.
  std::size_t room_after(std::uint64_t read) const noexcept {
    auto const used = written_ - read;
    return used <= ring_.capacity ? static_cast<std::size_t>(ring_.capacity - used) : 0;
  }

  message_ring& ring_;
  mutable std::mutex mutex_;
  std::uint64_t written_ = 0;
  std::uint64_t epoch_ = 0;
};

/// The caller's end of a ring. To be used by one thread at a time.
class ring_reader {
 public:
  ring_reader() = default;
  /// Resets the ring. Precondition: no worker uses it.
  explicit ring_reader(message_ring& ring) noexcept : ring_(&ring) { reset(); }

  std::uint64_t epoch() const noexcept { return epoch_; }

  bool has_more() const noexcept { return ring_->written.load() != read_; }

  /// Appends all new bytes.
  /// Returns: false if a task has overwritten the ring.
  bool take(std::string& into) {
    auto const written = ring_->written.load();
    if (written - read_ > ring_->capacity) return false;
    if (written != read_) {
      auto const begin = static_cast<std::size_t>(read_ & (ring_->capacity - 1));
      auto const n = static_cast<std::size_t>(written - read_);
      auto const first = std::min(n, static_cast<std::size_t>(ring_->capacity) - begin);
      into.reserve(into.size() + n);  // if this throws, nothing has been taken
      into.append(reinterpret_cast<char const*>(ring_->bytes + begin), first);
      into.append(reinterpret_cast<char const*>(ring_->bytes), n - first);
      read_ = written;
    }
    ring_->read.store(read_);
    if (ring_->sender_waits.load() != 0 && ring_->sender_waits.exchange(0) != 0) {
      ring_->room.fetch_add(1);
      wake_all(ring_->room);
    }
    return true;
  }

  /// Asks for a wake-up when there are new bytes.
  /// Returns: false if there are some already.
  bool may_sleep() noexcept {
    ring_->reader_sleeps.store(1);
    return !has_more();
  }

  /// Begins a new epoch. Precondition: the worker has ended, or has left the call.
  void reset() noexcept {
    static constinit std::atomic<std::uint64_t> last_epoch{0};
    epoch_ = last_epoch.fetch_add(1, std::memory_order_relaxed) + 1;
    ring_->reset(epoch_);
    read_ = 0;
  }

 private:
  message_ring* ring_ = nullptr;
  std::uint64_t read_ = 0;
  std::uint64_t epoch_ = 0;
};

}  // namespace forkmap::detail
