// Any bytes are refused or read as an archive whose arrays lie inside it without overlap: see
// fuzzing.hpp.
// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <forkmap/detail/array/array_reader.hpp>
#include <forkmap/detail/mapped/formats.hpp>
#include <forkmap/detail/owner.hpp>

#include "fuzzing.hpp"

namespace {

using namespace forkmap::detail;
using fuzzing::refused, fuzzing::require;

constexpr std::size_t most_arrays = 16;  // arrays that are checked; a limit keeps runs short

/// Checks that an array lies inside its member.
void check_place(stored_array const& found, std::size_t size) {
  auto const& section = found.packed;
  require(section.offset <= size && section.bytes <= size - section.offset);
  if (section.method == compression::none) {
    require(found.offset >= section.offset && found.offset - section.offset <= section.bytes &&
            found.bytes <= section.bytes - (found.offset - section.offset));
  } else {
    require(found.offset <= section.unpacked_bytes &&
            found.bytes <= section.unpacked_bytes - found.offset);
  }
  std::size_t count = 0;
  require(found.dims.try_count(count) && count * found.type.item_bytes == found.bytes);
  require(!found.writable && section.crc32);
}

}  // namespace

int fuzz_npz(std::uint8_t const* data, std::size_t size) {
  std::string_view const bytes(reinterpret_cast<char const*>(data), size);
  if (!begins_npz(bytes)) return 0;
  std::filesystem::path const file = "fuzzed.npz";
  fuzzing::bytes_in_memory const source(file, bytes);
  owner<array_directory> directory;
  if (refused([&] { directory = read_directory(source); })) return 0;

  auto names = directory->names();
  std::vector<std::pair<std::size_t, std::size_t>> places;
  for (auto const& name : std::vector(
           names.begin(),
           names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), most_arrays)))) {
    stored_array found;
    if (refused([&] { found = directory->find(source, name); })) continue;
    check_place(found, size);
    places.emplace_back(found.packed.offset, found.packed.bytes);
    refused([&] {
      array_reader reader(source, found);
      std::string read(std::min(found.bytes, std::size_t{1} << 16U), '\0');
      reader.read(read);
      if (read.size() == found.bytes) reader.finish();
    });
  }
  std::sort(places.begin(), places.end());
  for (std::size_t i = 1; i < places.size(); ++i) {
    require(places[i - 1].first + places[i - 1].second <= places[i].first);
  }
  std::sort(names.begin(), names.end());
  require(std::adjacent_find(names.begin(), names.end()) == names.end());
  return 0;
}
