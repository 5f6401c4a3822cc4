// The caller's reader of blobs: small blobs are copied, checked and read from the copy; large blobs
// are mapped.
// SPDX-License-Identifier: MIT
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>
#include <utility>

#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/per_worker.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// A published result or failure was damaged: a task has overwritten it.
class damaged_results : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Reads the blobs of all workers of a call.
class arena_reader {
 public:
  arena_reader(shared_file const& file, arena_map arenas, std::size_t n_workers)
      : file_(&file), arenas_(arenas), windows_(n_workers) {}

  /// The content of worker k's blob with that name. Valid until the next call. `used`: the bytes in
  /// use in its arena according to the worker, used as a hint only.
  /// Errors: damaged_results if it is not an intact blob of `whose`. std::system_error naming pread
  /// or
  ///   mmap.
  reader blob(std::uint32_t k, std::uint64_t name, blob_owner whose, std::uint64_t used) {
    auto where = blob_name::unpack(name);
    if (where.bytes == blob_name::large_name) {
      where.bytes = sizeof(checksum) + sizeof(blob_name);
      auto link = whose;
      link.kind = static_cast<blob_owner::kind_of_blob>(whose.kind | blob_owner::long_blob);
      auto const* const at = checked(k, where, link, used);
      std::memcpy(&where, at, sizeof where);
      if (where.bytes < blob_name::large_name) throw_damaged();
    }
    auto const* const at = checked(k, where, whose, used);
    return {at, at + (where.bytes - sizeof(checksum))};
  }

  /// Frees the shared memory of the large blob that was read last, before the call ends. So results
  /// of many gigabytes need not all exist twice, in the caller and in shared memory.
  void release() noexcept {
    auto const first = round_up(mapped_from_, map_grain);
    auto const last = (mapped_from_ + mapped_bytes_) / map_grain * map_grain;
    map_ = mapping();
    if (first < last) file_->give_back(first, last - first);
    mapped_from_ = mapped_bytes_ = 0;
  }

  [[noreturn]] static void throw_damaged() {
    throw damaged_results("forkmap: a result was damaged after its worker published it");
  }

 private:
  using checksum = arena_writer::checksum;
  static constexpr std::size_t line = 64;

  /// A copy of a part of an arena.
  struct window {
    window() = default;
    window(window const&) = delete;
    window& operator=(window const&) = delete;
    ~window() { std::free(data); }

    std::byte* data = nullptr;
    std::size_t room = 0;
    std::uint64_t begin = 0;
    std::size_t bytes = 0;
    std::size_t next_bytes = std::size_t{4} << 10U;
  };

  /// The content of a blob, after its checksum has been verified.
  std::byte const* checked(std::uint32_t k, blob_name const& where, blob_owner const& whose,
                           std::uint64_t used) {
    if (where.bytes < sizeof(checksum) || where.bytes > arenas_.stride ||
        where.offset > arenas_.stride - where.bytes) {
      throw_damaged();
    }
    auto const n = static_cast<std::size_t>(where.bytes) - sizeof(checksum);
    if (n >= large_blob_bytes) {
      // Checked before it is mapped: reading pages that no worker has written would allocate them.
      auto const begin = arenas_.begin(k) + where.offset;
      if (!file_->is_written(begin, begin + where.bytes)) throw_damaged();
      auto const* const at = mapped(k, where);
      checksum sum = 0;
      std::memcpy(&sum, at, sizeof sum);
      if (blob_checksum(whose, at + sizeof sum, n) != sum) throw_damaged();
      return at + sizeof sum;
    }
    auto const* const at = copied(k, where, used);
    checksum sum = 0;
    std::memcpy(&sum, at, sizeof sum);
    if (blob_checksum(whose, at + sizeof sum, n) != sum) throw_damaged();
    return at + sizeof sum;
  }

  std::byte const* mapped(std::uint32_t k, blob_name const& where) {
    auto const begin = where.offset / map_grain * map_grain;
    auto const before = static_cast<std::size_t>(where.offset - begin);
    map_ = mapping();
    map_ = file_->map(arenas_.begin(k) + begin, before + static_cast<std::size_t>(where.bytes),
                      PROT_READ);
    populate_for_reading(map_.data(), map_.size());
    mapped_from_ = arenas_.begin(k) + where.offset;
    mapped_bytes_ = where.bytes;
    return map_.data() + before;
  }

  std::byte const* copied(std::uint32_t k, blob_name const& where, std::uint64_t used) {
    auto& copy = windows_[k];
    auto const end = where.offset + where.bytes;
    if (where.offset < copy.begin || end > copy.begin + copy.bytes) {
      // Aligned as in the worker.
      auto const begin = where.offset / line * line;
      auto const least = static_cast<std::size_t>(end - begin);
      auto const most = static_cast<std::size_t>(
          std::max<std::uint64_t>(end, std::min(used, arenas_.stride)) - begin);
      auto const bytes = std::min(std::max(least, copy.next_bytes), most);
      copy.next_bytes = std::min(copy.next_bytes * 4, large_blob_bytes);
      make_room(copy, bytes);
      copy.bytes = 0;
      file_->read(arenas_.begin(k) + begin, copy.data, bytes);
      copy.begin = begin;
      copy.bytes = bytes;
    }
    return copy.data + (where.offset - copy.begin);
  }

  static void make_room(window& copy, std::size_t bytes) {
    if (copy.room >= bytes) return;
    std::free(std::exchange(copy.data, nullptr));
    copy.room = 0;
    auto const room = round_up(bytes, line);
    copy.data = static_cast<std::byte*>(std::aligned_alloc(line, room));
    if (copy.data == nullptr) throw std::bad_alloc();
    copy.room = room;
  }

  shared_file const* file_;
  arena_map arenas_;
  per_worker<window> windows_;
  mapping map_{};  // of the large blob that was read last
  std::uint64_t mapped_from_ = 0;
  std::uint64_t mapped_bytes_ = 0;
};

}  // namespace forkmap::detail
