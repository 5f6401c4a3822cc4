// Digests of a call's inputs, the same in each run of the program.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include <forkmap/writer.hpp>

namespace forkmap::detail {

/// A 64-bit hash of bytes and numbers. It is not cryptographic: it does not resist forged inputs.
class digest {
 public:
  void number(std::uint64_t n) noexcept {
    value_ = (value_ ^ n) * 0x9fb2'1c65'1e98'df25;
    value_ ^= value_ >> 29U;
  }
  void bytes(void const* data, std::size_t n) noexcept {
    number(n);
    auto const* from = static_cast<std::byte const*>(data);
    for (; n >= sizeof(std::uint64_t); n -= sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, from, sizeof word);
      number(word);
      from += sizeof word;
    }
    if (n == 0) return;
    std::uint64_t last = 0;
    std::memcpy(&last, from, n);
    number(last);
  }
  std::uint64_t value() const noexcept { return value_; }

 private:
  std::uint64_t value_ = 0x2545'f491'4f6c'dd1d;
};

/// Digests of a call's inputs, one after the other. A large block that many inputs refer to is
/// hashed once.
class input_digest {
 public:
  /// Digests of blocks with fewer bytes are not kept.
  static constexpr std::size_t worth_keeping = 4096;

  digest sum{};

  /// The digest of the n bytes at `at`: a kept one, else what `hash()` returns. The bytes must not
  /// change during the lifetime of this object.
  template <class Hash> std::uint64_t of_shared(void const* at, std::size_t n, Hash const& hash) {
    for (auto const& kept : seen_) {
      if (kept.at == at && kept.bytes == n) return kept.value;
    }
    auto& slot = seen_[next_++ % n_seen];
    auto const value = hash();
    slot = {at, n, value};
    return value;
  }

 private:
  struct block {
    void const* at = nullptr;
    std::size_t bytes = 0;
    std::uint64_t value = 0;
  };
  static constexpr std::size_t n_seen = 8;
  block seen_[n_seen]{};
  std::size_t next_ = 0;
};

/// Hashes the bytes that a user's serializer writes. The buffer is aligned to 64 bytes, the largest
/// alignment of writer::align, so that the padding is the same each time.
class digest_writer final : public writer {
 public:
  digest_writer() = default;
  ~digest_writer() {
    if (begin_ != nullptr) ::operator delete(begin_, grain);
  }
  void add_to(digest& sum) const { sum.bytes(begin_, static_cast<std::size_t>(cursor_ - begin_)); }

 private:
  static constexpr std::align_val_t grain{64};

  void grow(std::size_t n) override {
    auto const used = static_cast<std::size_t>(cursor_ - begin_);
    auto const size = 2 * (used + n) + 256;
    auto* const larger = static_cast<std::byte*>(::operator new(size, grain));
    if (used != 0) std::memcpy(larger, begin_, used);
    if (begin_ != nullptr) ::operator delete(begin_, grain);
    begin_ = larger;
    cursor_ = larger + used;
    end_ = larger + size;
  }

  std::byte* begin_ = nullptr;
};

}  // namespace forkmap::detail
