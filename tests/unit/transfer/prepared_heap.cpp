// Room on the heap that is prepared and given back.
#include <malloc.h>

#include <cstddef>

#include <forkmap/transfer/prepared_heap.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

using forkmap::detail::prepared_heap;

namespace {

/// Bytes of the heap that are in use, as glibc counts them.
std::size_t used() { return ::mallinfo2().uordblks; }

constexpr std::size_t block_and_more = std::size_t{80} << 10U;

}  // namespace

TEST_CASE("prepared_heap: all blocks but the last are free again, and that one in the end",
          "[results]") {
  if (support::address_sanitizer || support::thread_sanitizer) return;  // their heap is another
  auto const before = used();
  {
    prepared_heap const heap(std::size_t{8} << 20U, 100);
    auto const held = used() - before;
    CHECK(held > 0);
    CHECK(held < block_and_more);
  }
  CHECK(used() == before);
}

TEST_CASE("prepared_heap: nothing is prepared for too few bytes, or too many", "[results]") {
  if (support::address_sanitizer || support::thread_sanitizer) return;
  auto const before = used();
  {
    prepared_heap const none(0, 1'000'000);
    prepared_heap const small(100, 100);
    prepared_heap const large(std::size_t{1} << 40U, 100);
    CHECK(used() == before);
  }
  CHECK(used() == before);
}
