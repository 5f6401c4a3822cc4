// Any bytes are refused or read as a compressed array, and use no more memory than their
// decompressed data: see fuzzing.hpp. The first byte chooses the method, so that the fuzzer mutates
// streams. Then all bytes are read as a file.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>

#include <forkmap/detail/array/array_reader.hpp>
#include <forkmap/detail/mapped/formats.hpp>

#include "fuzzing.hpp"

namespace {

using namespace forkmap::detail;
using fuzzing::refused, fuzzing::require;

constexpr std::size_t most_bytes = std::size_t{1}
                                   << 16U;  // decompressed bytes; a limit keeps runs short

/// Checks that a second read, in other pieces, gives the same bytes.
void check_reads(byte_source const& source, compressed_section const& section) {
  refused([&] {
    decompressed_source const unpacked(source, section);
    auto const first = unpacked.first();
    std::string whole(first);
    std::string piece(1000, '\0');
    while (whole.size() < most_bytes) {
      auto const offset = whole.size();
      if (refused([&] { unpacked.read(offset, piece); })) break;
      whole += piece;
    }
    if (whole.size() <= 10) return;
    // Reading backwards starts over from the begin.
    std::string again(whole.size() - 5, '\0');
    unpacked.read(5, again);
    require(again == whole.substr(5));
  });
}

}  // namespace

int fuzz_packed(std::uint8_t const* data, std::size_t size) {
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  std::filesystem::path const file = "fuzzed";
  if (size == 0) return 0;

  auto const& method = compression_methods[data[0] % std::size(compression_methods)].method;
  check_reads(fuzzing::bytes_in_memory(file, bytes), {method, 1, size - 1});

  auto const as_file = bytes.substr(1);
  if (compression_that_begins(as_file) == compression::none) return 0;
  fuzzing::bytes_in_memory const source(file, as_file);
  stored_array found;
  if (refused([&] { found = locate_array(source); })) return 0;
  require(found.packed.method != compression::none && found.packed.offset == 0 &&
          found.packed.bytes == as_file.size());
  refused([&] {
    array_reader reader(source, found);
    require(reader.expected_bytes() <= std::max(std::size_t{1} << 22U, 4 * size));
    std::string read(std::min(found.bytes, most_bytes), '\0');
    reader.read(read);
    if (read.size() == found.bytes) reader.finish();
  });
  return 0;
}
