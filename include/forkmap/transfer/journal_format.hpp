// A journal's bytes: see journal.hpp.
//
//   header  magic[8] | id[16] | n key bytes u32 | crc u32 of all before, and of the key | key
//   record  marker u64 | index u64 | size u64 | crc u32 of the payload | crc u32 of all before
//           | payload
//
// Numbers are the machine's: a journal is of one program on one machine. `id` is random, and part
// of every checksum of a record, so that nothing that lies in a payload (another journal, say)
// passes for a record of this one. Checksums are those of zlib, by Boost.CRC: about 0.4 GB/s.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include <boost/crc.hpp>

#include <forkmap/system/symbols.hpp>

namespace forkmap::detail {

/// What makes a call's results usable for another: the same number of them, of the same type, of
/// tasks with the same random numbers.
struct journal_key {
  std::uint64_t n_results = 0;
  std::string result_type{};       // mangled
  std::uint64_t result_bytes = 0;  // of a flat result
  std::uint64_t seed = 0;
  bool flat = true;  // results are objects; else records

  std::string bytes() const {
    std::string all(3 * sizeof(std::uint64_t) + 1, '\0');
    std::memcpy(all.data(), &n_results, 8);
    std::memcpy(all.data() + 8, &result_bytes, 8);
    std::memcpy(all.data() + 16, &seed, 8);
    all[24] = flat ? 1 : 0;
    return all + result_type;
  }

  /// In words, in what the key of another call differs from this.
  /// Precondition: it does.
  std::string difference(std::string const& other) const {
    constexpr std::size_t numbers = 25;
    if (other.size() < numbers) return "its begin is damaged";
    std::uint64_t n = 0;
    std::uint64_t bytes = 0;
    std::uint64_t its_seed = 0;
    std::memcpy(&n, other.data(), 8);
    std::memcpy(&bytes, other.data() + 8, 8);
    std::memcpy(&its_seed, other.data() + 16, 8);
    auto const type = other.substr(numbers);
    std::string text;
    auto const add = [&](char const* what, std::string const& its, std::string const& ours) {
      text += (text.empty() ? "" : ", ") + (what + its) + " (here " + ours + ')';
    };
    if (n != n_results)
      add("the number of results is ", std::to_string(n), std::to_string(n_results));
    if (type != result_type)
      add("their type is ", demangled(type.c_str()), demangled(result_type.c_str()));
    else if (bytes != result_bytes)
      add("their size is ", std::to_string(bytes), std::to_string(result_bytes));
    if (its_seed != seed) add("the seed is ", std::to_string(its_seed), std::to_string(seed));
    return text.empty() ? "its results are stored in another way" : text;
  }
};

using journal_id = std::array<unsigned char, 16>;

struct journal_header {
  static constexpr std::array<char, 8> right_magic{'f', 'o', 'r', 'k', 'm', 'a', 'p', '1'};

  std::array<char, 8> magic;  // the last character is the format's version
  journal_id id;
  std::uint32_t key_bytes, crc;

  std::uint32_t right_crc(std::string const& key) const {
    boost::crc_32_type all;
    all.process_bytes(this, offsetof(journal_header, crc));
    all.process_bytes(key.data(), key.size());
    return all.checksum();
  }
};
static_assert(sizeof(journal_header) == 32);

/// A checksum that is right in one journal alone.
inline boost::crc_32_type checksum_of(journal_id const& id) {
  boost::crc_32_type crc;
  crc.process_bytes(id.data(), id.size());
  return crc;
}

struct journal_record {
  static constexpr std::uint64_t right_marker = 0x6c61'6e72'756f'6a0a;  // "\njournal"

  std::uint64_t marker, index, size;
  std::uint32_t payload_crc, crc;

  std::uint32_t right_crc(journal_id const& id) const {
    auto all = checksum_of(id);
    all.process_bytes(this, offsetof(journal_record, crc));
    return all.checksum();
  }
};
static_assert(sizeof(journal_record) == 32);

}  // namespace forkmap::detail
