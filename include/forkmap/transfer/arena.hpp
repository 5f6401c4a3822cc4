// One worker's stretch of the call's shared memory: results of any size, one behind the other.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string>

#include <forkmap/plan/ledger.hpp>
#include <forkmap/system/per_worker.hpp>
#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/bytes.hpp>

namespace forkmap::detail {

/// Where the arenas of a call lie in its shared file: worker k writes in [begin(k), begin(k + 1)).
/// The file is sparse, so a stretch is a bound on nothing but the largest file there can be.
struct arena_map {
  std::uint64_t first = 0;
  std::uint64_t stride = 0;

  std::uint64_t begin(std::size_t worker) const { return first + worker * stride; }
  std::size_t owner(std::uint64_t offset) const {
    return static_cast<std::size_t>((offset - first) / stride);
  }
};

/// What names a record: its offset in the file and its size, in one word that can be published by
/// one store. 0 names none. A record of `large` bytes or more is named by a descriptor in the
/// arena.
struct record_name {
  static constexpr unsigned offset_bits = 48;
  static constexpr std::uint64_t large = 0xffff;

  std::uint64_t offset;
  std::uint64_t bytes;

  static constexpr std::uint64_t pack(std::uint64_t offset, std::uint64_t bytes) {
    return offset | bytes << offset_bits;
  }
  static constexpr record_name unpack(std::uint64_t name) {
    return {name & ((std::uint64_t{1} << offset_bits) - 1), name >> offset_bits};
  }
};

/// Appends records, contiguous bytes, to a worker's stretch. A record exists once somebody
/// publishes its name: a worker killed while writing leaves bytes that nobody looks at.
///
/// Cost: no system call but two per window; windows double up to 1 MiB, or fit the record.
class arena_writer final : public writer {
 public:
  /// A writer for [begin, limit) of the file.
  arena_writer(int fd, std::uint64_t begin, std::uint64_t limit) noexcept
      : fd_(fd), next_(begin), limit_(limit) {}

  /// Starts a record. There is a window then, so that the writer knows how its bytes are aligned.
  void begin_record() {
    record_ = next_;
    cursor_ = end_ = nullptr;
    if (window_.data() != nullptr && next_ - window_begin_ < window_.size()) {
      cursor_ = window_.data() + (next_ - window_begin_);
      end_ = window_.data() + window_.size();
    } else {
      grow(1);
    }
  }

  /// Ends the record.
  /// Returns: its name.
  std::uint64_t end_record() {
    record_name const done{record_, position() - record_};
    next_ = position();
    if (done.bytes < record_name::large) return record_name::pack(done.offset, done.bytes);
    begin_record();
    write(&done, sizeof done);
    next_ = position();
    return record_name::pack(record_, record_name::large);
  }

  /// The bytes of the record that has been begun and not ended. Valid until the next call.
  std::span<std::byte const> open_record() const noexcept {
    return {window_.data() + (record_ - window_begin_),
            static_cast<std::size_t>(position() - record_)};
  }

  /// Goes on at `next`, for another call. A large window is given up: whoever has read its records
  /// gives their memory back.
  void rewind(std::uint64_t next) noexcept {
    next_ = next;
    if (window_.size() > kept_bytes) window_ = mapping();
  }
  static constexpr std::size_t kept_bytes = std::size_t{16} << 20U;

  /// Where the next record will begin.
  std::uint64_t next() const noexcept { return next_; }

 private:
  std::uint64_t position() const noexcept {
    return cursor_ == nullptr
               ? record_
               : window_begin_ + static_cast<std::uint64_t>(cursor_ - window_.data());
  }

  void grow(std::size_t n) override {
    auto const at = position();
    auto const begin = record_ / map_grain * map_grain;
    auto const needed = static_cast<std::size_t>(at - begin) + n;
    if (limit_ - begin < needed) throw std::bad_alloc();
    // A record that outgrows its window gets one that is twice as large, so that a long one made of
    // small pieces is remapped a logarithmic number of times.
    next_window_bytes_ = std::min<std::size_t>(next_window_bytes_ * 2, std::size_t{1} << 20U);
    auto const bytes = std::min<std::uint64_t>(
        round_up(std::max(needed + needed / 2, next_window_bytes_), map_grain), limit_ - begin);
    window_ = mapping(fd_, begin, bytes, PROT_READ | PROT_WRITE);
    auto const soon = std::min(window_.size(), std::max(needed, next_window_bytes_));
    if (!populate_for_writing(window_.data() + (at - begin),
                              soon - static_cast<std::size_t>(at - begin))) {
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for a result,",
                  std::to_string(needed) + " bytes");
    }
    window_begin_ = begin;
    cursor_ = window_.data() + (at - begin);
    end_ = window_.data() + window_.size();
  }

  int fd_;
  std::uint64_t next_;
  std::uint64_t limit_;
  std::uint64_t record_ = 0;
  mapping window_;
  std::uint64_t window_begin_ = 0;
  std::size_t next_window_bytes_ = std::size_t{16} << 10U;
};

/// Reads records of all workers of a call, mapping each worker's stretch once.
class arena_reader {
 public:
  arena_reader(shared_file const& file, arena_map where, worker_slot const* slots,
               std::size_t n_workers)
      : file_(&file), where_(where), slots_(slots), maps_(n_workers) {}

  /// The record of that name. Valid until the next call.
  /// Precondition: the name was published.
  reader record(std::uint64_t name) {
    auto const where = locate(name);
    auto const* const data = mapped(where);
    return {data, data + where.bytes};
  }

  /// The bytes of all records of all workers.
  std::size_t written() const noexcept {
    std::size_t bytes = 0;
    for (std::size_t k = 0; k != maps_.size(); ++k) {
      bytes += slots_[k].arena_next.load(std::memory_order_acquire) - where_.begin(k);
    }
    return bytes;
  }

  /// Gives the memory of a large record back before the call ends: with results of many gigabytes
  /// the copies in the caller and in shared memory need not all exist at once.
  /// Precondition: the record was read.
  void release(std::uint64_t name) noexcept {
    constexpr std::uint64_t worth_a_call = std::uint64_t{1} << 20U;
    if (record_name::unpack(name).bytes < record_name::large) return;
    auto const where = locate(name);
    if (where.bytes < worth_a_call) return;
    auto const worker = where_.owner(where.offset);
    auto const at = static_cast<std::size_t>(where.offset - where_.begin(worker));
    auto const first = round_up(at, map_grain);
    auto const last = (at + where.bytes) / map_grain * map_grain;
    if (first < last) ::madvise(maps_[worker].data() + first, last - first, MADV_REMOVE);
  }

 private:
  record_name locate(std::uint64_t name) {
    auto where = record_name::unpack(name);
    if (where.bytes == record_name::large) {
      std::memcpy(&where, mapped({where.offset, sizeof where}), sizeof where);
    }
    return where;
  }

  std::byte const* mapped(record_name where) {
    auto const worker = where_.owner(where.offset);
    auto const at = static_cast<std::size_t>(where.offset - where_.begin(worker));
    ensure(worker, at + where.bytes);
    return maps_[worker].data() + at;
  }

  /// Maps what the worker has written by now, if more than when last asked.
  void ensure(std::size_t worker, std::size_t bytes) {
    auto& map = maps_[worker];
    if (map.size() >= bytes) return;
    auto const begin = where_.begin(worker);
    auto const written = slots_[worker].arena_next.load(std::memory_order_acquire) - begin;
    map = file_->map(begin, round_up(std::max<std::size_t>(bytes, written), page_bytes),
                     PROT_READ | PROT_WRITE);
    populate_for_reading(map.data(), map.size());
  }

  shared_file const* file_;
  arena_map where_;
  worker_slot const* slots_;
  per_worker<mapping> maps_;
};

}  // namespace forkmap::detail
