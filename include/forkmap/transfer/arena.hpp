// One worker's stretch of the call's shared memory: results of any size, one behind the other.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <forkmap/plan/ledger.hpp>
#include <forkmap/system/shared_memory.hpp>
#include <forkmap/transfer/bytes.hpp>
#include <new>
#include <vector>

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

/// Appends records to a worker's stretch. A record is [size: 8 bytes][bytes], contiguous; it is
/// known by the file offset of its size, and only once somebody publishes that offset: a worker
/// killed while writing leaves bytes that nobody looks at.
///
/// Cost: no system call but one mmap per window; windows double up to 1 MiB, or fit the record.
class arena_writer final : public writer {
 public:
  /// A writer for [begin, limit) of the file.
  arena_writer(int fd, std::uint64_t begin, std::uint64_t limit) noexcept
      : fd_(fd), next_(begin), limit_(limit) {}

  /// Starts a record.
  void begin_record() {
    record_ = next_;
    constexpr std::uint64_t to_come = 0;
    cursor_ = window_.data() == nullptr ? nullptr : window_.data() + (next_ - window_begin_);
    end_ = window_.data() == nullptr ? nullptr : window_.data() + window_.size();
    if (cursor_ >= end_) cursor_ = end_ = nullptr;
    write(&to_come, sizeof to_come);
  }

  /// Ends the record and returns the file offset that names it.
  std::uint64_t end_record() noexcept {
    std::uint64_t const bytes = position() - record_ - sizeof(std::uint64_t);
    std::memcpy(window_.data() + (record_ - window_begin_), &bytes, sizeof bytes);
    next_ = (position() + 7U) & ~std::uint64_t{7};
    return record_;
  }

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
    auto const begin = record_ / page_bytes * page_bytes;
    auto const needed = static_cast<std::size_t>(at - begin) + n;
    if (limit_ - begin < needed) throw std::bad_alloc();
    // A record that outgrows its window gets one that is twice as large, so that a long one made of
    // small pieces is remapped a logarithmic number of times.
    next_window_bytes_ = std::min<std::size_t>(next_window_bytes_ * 2, std::size_t{1} << 20U);
    auto const bytes = std::min<std::uint64_t>(
        round_up(std::max(needed + needed / 2, next_window_bytes_), page_bytes), limit_ - begin);
    window_ = mapping(fd_, begin, bytes, PROT_READ | PROT_WRITE);
    auto const soon = std::min(window_.size(), std::max(needed, next_window_bytes_));
    populate_for_writing(window_.data() + (at - begin),
                         soon - static_cast<std::size_t>(at - begin));
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

  /// The record with that offset. Valid until the next call.
  /// Precondition: the record was published.
  reader record(std::uint64_t offset) {
    auto const worker = where_.owner(offset);
    auto const begin = where_.begin(worker);
    auto const& map = maps_[worker];
    auto const at = static_cast<std::size_t>(offset - begin);
    std::uint64_t bytes = 0;
    ensure(worker, at + sizeof bytes);
    std::memcpy(&bytes, map.data() + at, sizeof bytes);
    ensure(worker, at + sizeof bytes + bytes);
    auto const* data = map.data() + at + sizeof bytes;
    return {data, data + bytes};
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
  void release(std::uint64_t offset) noexcept {
    constexpr std::size_t worth_a_call = std::size_t{1} << 20U;
    auto const worker = where_.owner(offset);
    auto const& map = maps_[worker];
    auto const at = static_cast<std::size_t>(offset - where_.begin(worker));
    std::uint64_t bytes = 0;
    std::memcpy(&bytes, map.data() + at, sizeof bytes);
    if (bytes < worth_a_call) return;
    auto const first = round_up(at + sizeof bytes, page_bytes);
    auto const last = (at + sizeof bytes + bytes) / page_bytes * page_bytes;
    if (first < last) ::madvise(map.data() + first, last - first, MADV_REMOVE);
  }

 private:
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
  std::vector<mapping> maps_;
};

}  // namespace forkmap::detail
