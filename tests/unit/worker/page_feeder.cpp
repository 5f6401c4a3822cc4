// Pages of shared memory that a worker makes present ahead of its tasks.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include <forkmap/system/shared_memory.hpp>
#include <forkmap/worker/page_feeder.hpp>

#include "support/catch.hpp"

using namespace forkmap::detail;

namespace {

/// Of the first bytes of a mapping, how many pages this file has.
std::size_t present_pages(mapping const& map) {
  auto const page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> there(map.size() / page);
  REQUIRE(::mincore(map.data(), map.size(), there.data()) == 0);
  return static_cast<std::size_t>(std::count_if(
      there.begin(), there.end(), [](unsigned char each) { return (each & 1U) != 0; }));
}

}  // namespace

TEST_CASE("page_feeder: what has been made present once is left alone until it is made anew",
          "[worker]") {
  constexpr auto block = present_blocks::block_bytes;
  shared_file const file(8 * block);
  auto const map = file.map(0, 8 * block, PROT_READ | PROT_WRITE);
  present_blocks known;
  known.follow(map.data(), map.size(), 1);

  // Items of 8 bytes: the second half of the third block, and the fourth.
  auto const feed = [&] {
    page_feeder(map.data(), 8, &known).upcoming(5 * block / 16, 4 * block / 8, 4 * block / 8);
  };
  feed();
  auto const pages = present_pages(map);
  CHECK(pages == 2 * block / static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  CHECK(known.are_there(map.data() + 2 * block, map.data() + 4 * block));
  CHECK_FALSE(known.are_there(map.data() + block, map.data() + 4 * block));
  CHECK_FALSE(known.are_there(map.data() + 3 * block, map.data() + 4 * block + 1));

  file.give_back(0, 8 * block);
  feed();
  CHECK(present_pages(map) == 0);
  known.follow(map.data(), map.size(), 2);
  feed();
  CHECK(present_pages(map) == pages);
}

TEST_CASE("page_feeder: a mapping that has grown keeps what is known of its begin", "[worker]") {
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
