// Pages of shared memory that a worker prefaults before its tasks need them.
// SPDX-License-Identifier: MIT
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include <forkmap/detail/memory/prefault.hpp>
#include <forkmap/detail/os/shared_memory.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

namespace {

/// The number of pages of a mapping that are in memory.
std::size_t present_pages(mapping const& map) {
  auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> resident(map.size() / page);
  REQUIRE(::mincore(map.data(), map.size(), resident.data()) == 0);
  return static_cast<std::size_t>(
      std::count_if(resident.begin(), resident.end(),
                    [](unsigned char page_flags) { return (page_flags & 1U) != 0; }));
}

}  // namespace

TEST_CASE("page_prefaulter: each page is prefaulted once until its memory is replaced",
          "[worker]") {
  constexpr auto block = present_blocks::block_bytes;
  shared_file const file(8 * block);
  auto const map = file.map(0, 8 * block, PROT_READ | PROT_WRITE);
  present_blocks known;
  known.follow(map.data(), map.size(), 1);

  // Elements of 8 bytes, in the second half of the third block and in the fourth block.
  auto const prefault = [&] {
    page_prefaulter(map.data(), 8, &known).upcoming(5 * block / 16, 4 * block / 8, 4 * block / 8);
  };
  prefault();
  auto const pages = present_pages(map);
  CHECK(pages == 2 * block / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  CHECK(known.are_there(map.data() + 2 * block, map.data() + 4 * block));
  CHECK_FALSE(known.are_there(map.data() + block, map.data() + 4 * block));
  CHECK_FALSE(known.are_there(map.data() + 3 * block, map.data() + 4 * block + 1));

  file.give_back(0, 8 * block);
  prefault();
  CHECK(present_pages(map) == 0);
  known.follow(map.data(), map.size(), 2);
  prefault();
  CHECK(present_pages(map) == pages);
}

TEST_CASE("page_prefaulter: a mapping that grows keeps the known state of its first blocks",
          "[worker]") {
  constexpr auto block = present_blocks::block_bytes;
  shared_file const file(4 * block);
  auto const map = file.map(0, 4 * block, PROT_READ | PROT_WRITE);
  present_blocks known;
  known.follow(map.data(), block, 1);
  auto* begin = map.data() + 100;
  auto* end = begin + 1;
  known.add(begin, end);
  CHECK(begin == map.data());
  CHECK(end == map.data() + block);
  known.follow(map.data(), 4 * block, 1);
  CHECK(known.are_there(map.data(), map.data() + block));
  CHECK_FALSE(known.are_there(map.data() + block, map.data() + block + 1));
}
