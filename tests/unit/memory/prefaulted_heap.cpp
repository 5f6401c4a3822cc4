// Heap memory that is prefaulted and freed again.
// SPDX-License-Identifier: MIT
#include <malloc.h>

#include <cstddef>

#include <forkmap/detail/memory/prefault.hpp>

#include "support/catch.hpp"
#include "support/sanitizers.hpp"

using forkmap::detail::prefaulted_heap;

namespace {

/// The bytes of the heap in use, as glibc counts them.
std::size_t used() { return ::mallinfo2().uordblks; }

constexpr std::size_t block_and_more = std::size_t{80} << 10U;

}  // namespace

TEST_CASE("prefaulted_heap: all blocks but the last are freed at once, the last one at the end",
          "[results]") {
  if (support::address_sanitizer || support::thread_sanitizer)
    return;  // the sanitizers replace the heap
  auto const before = used();
  {
    prefaulted_heap const heap(std::size_t{8} << 20U, 100);
    auto const held = used() - before;
    CHECK(held > 0);
    CHECK(held < block_and_more);
  }
  CHECK(used() == before);
}

TEST_CASE("prefaulted_heap: too few or too many bytes are not prefaulted", "[results]") {
  if (support::address_sanitizer || support::thread_sanitizer) return;
  auto const before = used();
  {
    prefaulted_heap const none(0, 1'000'000);
    prefaulted_heap const small(100, 100);
    prefaulted_heap const large(std::size_t{1} << 40U, 100);
    CHECK(used() == before);
  }
  CHECK(used() == before);
}
