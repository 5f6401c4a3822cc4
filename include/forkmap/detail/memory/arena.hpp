// The arena: one worker's part of the call's shared memory for blobs, which may have any size.
//
// A blob is a 32-bit checksum followed by bytes; blobs follow each other. The checksum also covers
// the numbers of the result and the call, so that the caller can tell a blob from other bytes and
// from blobs of earlier calls. The checksum of a large blob does not cover its content. The worker
// instead unmaps a large blob when it is complete, so that tasks can no longer write it.
//
// A worker needs no descriptor to write. It writes through a window that it moves and extends with
// mremap(), so a task that closes descriptors, or opens other files under their numbers, does no
// harm. The caller copies a small blob, checks the copy and decodes the copy. It maps large blobs.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <span>
#include <string>
#include <utility>

#include <forkmap/detail/os/guarded_memory.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/plan/published.hpp>
#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// The positions of a call's arenas in its shared file: worker k writes in [begin(k), begin(k +
/// 1)). The file is sparse, so a large stride costs nothing; it is bounded only by the largest
/// possible file.
struct arena_map {
  std::uint64_t first = 0;
  std::uint64_t stride = 0;

  std::uint64_t begin(std::size_t worker) const { return first + worker * stride; }
};

/// The name of a blob: its offset in the arena and its size, packed in one word, which one store
/// can publish. 0: no blob. The name of a blob of `large_name` bytes or more does not fit in the
/// word. It is stored in a second blob, and the word names that blob.
struct blob_name {
  static constexpr unsigned offset_bits = 48;
  static constexpr std::uint64_t large_name = 0xffff;

  std::uint64_t offset;
  std::uint64_t bytes;  // including the checksum

  static constexpr std::uint64_t pack(std::uint64_t offset, std::uint64_t bytes) {
    return offset | bytes << offset_bits;
  }
  static constexpr blob_name unpack(std::uint64_t name) {
    return {name & ((std::uint64_t{1} << offset_bits) - 1), name >> offset_bits};
  }
};

/// What a blob belongs to.
struct blob_owner {
  std::uint64_t call = 0;    // the call's number
  std::uint64_t number = 0;  // the result's number
  enum kind_of_blob : std::uint64_t { result = 1, failure = 2, long_blob = 3 } kind = result;
};

/// Blobs of this size or more are large: the worker unmaps them when they are complete.
inline constexpr std::size_t large_blob_bytes = std::size_t{256} << 10U;

/// The checksum of a blob. `bytes`: the content, which follows the checksum. Of a large blob, which no
/// process can write any more, only a word of every 4 KiB counts: enough to notice that another blob
/// was written over it.
inline std::uint32_t blob_checksum(blob_owner const& whose, std::byte const* bytes,
                                   std::size_t n) noexcept {
  auto sum = digest_term(whose.number, 5) + digest_term(whose.call * 4 + whose.kind, 6) +
             digest_term(n, 7);
  if (n < large_blob_bytes) {
    sum += digest_of(bytes, n, 8);
  } else {
    constexpr std::size_t step = 4096;
    std::uint64_t word = 0;
    for (std::size_t at = 0; at + sizeof word <= n; at += step) {
      std::memcpy(&word, bytes + at, sizeof word);
      sum += digest_term(word, 8 + at / step);
    }
  }
  return static_cast<std::uint32_t>(sum ^ sum >> 32U);
}

/// Appends blobs to a worker's arena. A blob is published when its name is. If a worker is killed
/// while it writes a blob, the bytes are never read.
///
/// Cost: three system calls per window; windows double in size up to 1 MiB, or fit the blob.
class arena_writer final : public writer {
 public:
  using checksum = std::uint32_t;

  /// The first blob begins at `next` in an arena of `limit` bytes. `window`: a mapping of `bytes`
  /// bytes of the arena, a multiple of map_grain, from window_begin() on. The writer does not own
  /// its address space.
  arena_writer(std::byte* window, std::size_t bytes, std::uint64_t next,
               std::uint64_t limit) noexcept
      : window_(window),
        window_bytes_(bytes),
        window_begin_(window_begin(next, limit)),
        limit_(limit),
        next_(next) {}
  static std::uint64_t window_begin(std::uint64_t next, std::uint64_t limit) noexcept {
    return std::min(next / map_grain * map_grain, limit - map_grain);
  }

  /// Begins a blob. Writes the place of its checksum, so that there is a window and the alignment
  /// of the content is known.
  void begin_blob() {
    blob_ = next_;
    cursor_ = end_ = nullptr;
    if (next_ >= window_begin_ && next_ - window_begin_ < window_bytes_) {
      cursor_ = window_ + (next_ - window_begin_);
      end_ = window_ + window_bytes_;
    }
    checksum const none = 0;
    write(&none, sizeof none);
  }

  /// Ends the blob.
  /// Returns: its name.
  std::uint64_t end_blob(blob_owner whose) {
    seal(whose);
    blob_name const done{blob_, position() - blob_};
    next_ = position();
    if (done.bytes < blob_name::large_name) return blob_name::pack(done.offset, done.bytes);
    bool const is_large = done.bytes - sizeof(checksum) >= large_blob_bytes;
    // Only whole pages can be unmapped, so the next blob begins on a page of its own.
    if (is_large) next_ = round_up(next_, map_grain);
    begin_blob();
    write(&done, sizeof done);
    whose.kind = static_cast<blob_owner::kind_of_blob>(whose.kind | blob_owner::long_blob);
    seal(whose);
    next_ = position();
    if (is_large) unmap_before(blob_);
    return blob_name::pack(blob_, blob_name::large_name);
  }

  /// The content of the open blob so far. Valid until the next call.
  std::span<std::byte const> open_blob() const noexcept {
    auto const begin = blob_ + sizeof(checksum);
    return {window_ + (begin - window_begin_), static_cast<std::size_t>(position() - begin)};
  }

  /// Whether blobs can begin at `next` without a descriptor.
  bool reaches(std::uint64_t next) const noexcept {
    return next >= window_begin_ && next - window_begin_ <= window_bytes_;
  }
  /// Continues at `next`, for another call or after a predecessor.
  void rewind(std::uint64_t next) noexcept { next_ = next; }
  /// The same through another window, which maps the arena at `next`. `range`: its address space.
  void rewind(std::uint64_t next, address_range range, std::byte* window,
              std::size_t bytes) noexcept {
    range_ = std::move(range);
    window_ = window;
    window_bytes_ = bytes;
    window_begin_ = window_begin(next, limit_);
    next_ = next;
  }
  std::size_t window_bytes() const noexcept { return window_bytes_; }
  static constexpr std::size_t kept_bytes = std::size_t{16} << 20U;

  /// The offset at which the next blob begins.
  std::uint64_t next() const noexcept { return next_; }

 private:
  std::uint64_t position() const noexcept {
    return cursor_ == nullptr ? blob_
                              : window_begin_ + static_cast<std::uint64_t>(cursor_ - window_);
  }

  void seal(blob_owner const& whose) noexcept {
    auto* const begin = window_ + (blob_ - window_begin_);
    auto const sum = blob_checksum(whose, begin + sizeof(checksum),
                                   static_cast<std::size_t>(cursor_ - begin) - sizeof(checksum));
    std::memcpy(begin, &sum, sizeof sum);
  }

  void grow(std::size_t n) override {
    auto const at = position();
    auto const window_end = window_begin_ + window_bytes_;
    // The last pages of the window are always kept, because the new window extends them.
    auto const begin = std::min(blob_ / map_grain * map_grain, window_end - map_grain);
    auto const needed = static_cast<std::size_t>(at - begin) + n;
    if (limit_ - begin < needed || needed < n) throw std::bad_alloc();
    // A blob that outgrows its window gets a larger one, of twice the size, so that a long blob
    // written in small pieces is moved a logarithmic number of times.
    next_window_bytes_ = std::min<std::size_t>(next_window_bytes_ * 2, std::size_t{1} << 20U);
    auto const bytes = static_cast<std::size_t>(std::min<std::uint64_t>(
        round_up(std::max(needed + needed / 2, next_window_bytes_), map_grain), limit_ - begin));
    extend(begin, bytes);
    auto const prefault_end = std::min(bytes, std::max(needed, next_window_bytes_));
    if (!populate_for_writing(window_ + (at - begin),
                              prefault_end - static_cast<std::size_t>(at - begin))) {
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for a result,",
                  std::to_string(needed) + " bytes");
    }
    cursor_ = window_ + (at - begin);
    end_ = window_ + window_bytes_;
  }

  /// Replaces the window by [begin, begin + bytes) of the arena. The old window holds the first
  /// pages of the new one.
  void extend(std::uint64_t begin, std::size_t bytes) {
    address_range range(bytes + 2 * guard_bytes);
    auto* const from = window_ + (begin - window_begin_);
    auto const from_bytes = window_bytes_ - static_cast<std::size_t>(begin - window_begin_);
    if (!range) throw_errno("mmap of shared memory,", std::to_string(bytes) + " bytes");
    if (!range.put_copy(range.data() + guard_bytes, bytes, from, from_bytes))
      throw_errno("mremap of shared memory,", std::to_string(bytes) + " bytes");
    // The first window is not owned by this writer, and its owner unmaps it later. Until then no
    // other mapping may take its addresses.
    if (!range_) reserve_addresses(window_, window_bytes_);
    window_ = range.data() + guard_bytes;
    window_bytes_ = bytes;
    window_begin_ = begin;
    range_ = std::move(range);
  }

  /// Unmaps the whole pages of the window before `place`, and keeps their addresses as a guard.
  void unmap_before(std::uint64_t place) noexcept {
    auto const bytes = static_cast<std::size_t>(place - window_begin_) / map_grain * map_grain;
    if (bytes == 0) return;
    reserve_addresses(window_, bytes);
    window_ += bytes;
    window_bytes_ -= bytes;
    window_begin_ += bytes;
  }

  std::byte* window_;
  std::size_t window_bytes_;
  std::uint64_t window_begin_;
  std::uint64_t limit_;
  std::uint64_t next_;
  std::uint64_t blob_ = 0;
  std::size_t next_window_bytes_ = std::size_t{16} << 10U;
  address_range range_{};  // the window's address space; empty for the first window
};

}  // namespace forkmap::detail
