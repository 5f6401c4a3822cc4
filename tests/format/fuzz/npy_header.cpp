// Any bytes are refused or read as an array that lies inside them: see fuzzing.hpp.
// The test "format: the fuzzer's corpus is read or refused" runs it over the corpus.
// SPDX-License-Identifier: MIT
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <forkmap/detail/mapped/formats.hpp>

#include "fuzzing.hpp"

int fuzz_npy_header(std::uint8_t const* data, std::size_t size) {
  using namespace forkmap::detail;
  using fuzzing::bytes_in_memory, fuzzing::require;
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  if (!begins_npy(bytes)) return 0;  // other formats have their own targets
  std::filesystem::path const file = "fuzzed.npy";
  stored_array found;
  if (fuzzing::refused([&] { found = locate_array(bytes_in_memory(file, bytes)); })) return 0;
  require(found.offset <= size && found.bytes <= size - found.offset);
  std::size_t count = 0;
  require(found.dims.try_count(count) && count * found.type.item_bytes == found.bytes);

  // A header that was read can be written, and then reads as the same.
  auto const head = npy_head(found, found.dims, found.layout);
  require(head.size() % npy_alignment == 0);
  auto const again = locate_array(bytes_in_memory(file, head + std::string(found.bytes, '\0')));
  require(again.dims == found.dims && again.layout == found.layout && again.type == found.type &&
          again.fields == found.fields);
  require(again.offset == head.size() && again.bytes == found.bytes);
  return 0;
}
