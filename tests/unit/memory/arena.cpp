// SPDX-License-Identifier: MIT
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/detail/memory/arena.hpp>
#include <forkmap/detail/memory/arena_reader.hpp>
#include <forkmap/detail/worker/failure_log.hpp>
#include <forkmap/serializer.hpp>

#include "support/catch.hpp"

using namespace forkmap;
using namespace forkmap::detail;

namespace {

/// An arena, mapped as in a worker.
struct mapped_arena {
  mapping window;
  arena_writer out;
  mapped_arena(shared_file const& file, arena_map where, std::size_t k, std::uint64_t next = 0,
               std::uint64_t limit = 0)
      : window(file.map(
            where.begin(k) + arena_writer::window_begin(next, limit != 0 ? limit : where.stride),
            map_grain, PROT_READ | PROT_WRITE)),
        out(window.data(), window.size(), next, limit != 0 ? limit : where.stride) {}
};

blob_owner owner_of(std::uint64_t number) { return {.call = 3, .number = number}; }

}  // namespace

TEST_CASE("arena: blobs of all sizes can be read in any order", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{map_grain, std::uint64_t{1} << 40U};
  std::vector<std::uint64_t> names;
  std::uint64_t used[3]{};
  for (std::uint32_t k = 0; k != 3; ++k) {
    mapped_arena arena(file, where, k);
    for (std::size_t i = 0; i != 400; ++i) {
      arena.out.begin_blob();
      arena.out.put(std::string(i * i * 3 + k, 'x'));
      arena.out.put(i);
      names.push_back(arena.out.end_blob(owner_of(i)));
    }
    used[k] = arena.out.next();
  }
  arena_reader in(file, where, 3);
  for (auto at = names.size(); at-- != 0;) {
    auto const i = at % 400;
    auto const k = static_cast<std::uint32_t>(at / 400);
    auto blob = in.blob(k, names[at], owner_of(i), used[k]);
    REQUIRE(blob.get<std::string>().size() == i * i * 3 + k);
    REQUIRE(blob.get<std::size_t>() == i);
    REQUIRE(blob.left() == 0);
    in.release();
  }
}

TEST_CASE("arena: a blob that was begun but not ended uses no memory", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{map_grain, std::uint64_t{1} << 40U};
  mapped_arena arena(file, where, 0);
  for (int i = 0; i != 10; ++i) {
    arena.out.begin_blob();
    arena.out.put(std::string(100'000, 'a'));  // as if the task were killed here
  }
  arena.out.begin_blob();
  arena.out.put(7);
  auto const name = arena.out.end_blob(owner_of(0));
  REQUIRE(blob_name::unpack(name).offset == 0);
  arena_reader in(file, where, 1);
  REQUIRE(in.blob(0, name, owner_of(0), arena.out.next()).get<int>() == 7);
}

TEST_CASE("arena: reading a blob of another owner, or at a wrong place, is an error",
          "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{map_grain, std::uint64_t{1} << 30U};
  for (std::size_t const size :
       {std::size_t{10}, std::size_t{100'000}, std::size_t{300'000}, std::size_t{3'000'000}}) {
    INFO(size);
    mapped_arena arena(file, where, 0);
    std::vector<std::uint64_t> names;
    for (std::uint64_t i = 0; i != 3; ++i) {
      arena.out.begin_blob();
      arena.out.put(std::string(size, 'a'));
      names.push_back(arena.out.end_blob(owner_of(i)));
    }
    auto const read = [&](std::uint64_t name, blob_owner whose) {
      arena_reader in(file, where, 1);
      return in.blob(0, name, whose, arena.out.next()).get<std::string>() == std::string(size, 'a');
    };
    REQUIRE(read(names[1], owner_of(1)));
    REQUIRE_THROWS_AS(read(names[0], owner_of(1)), damaged_results);  // of another owner
    REQUIRE_THROWS_AS(read(names[1], {.call = 4, .number = 1}), damaged_results);
    REQUIRE_THROWS_AS(read(names[1], {.call = 3, .number = 1, .kind = blob_owner::failure}),
                      damaged_results);
    for (auto const name :
         {names[1] + 1, names[1] + 64, ~std::uint64_t{0}, std::uint64_t{1} << 47U,
          (std::uint64_t{1} << 30U) - 8 + (std::uint64_t{20} << 48U), std::uint64_t{3} << 48U}) {
      REQUIRE_THROWS_AS(read(name, owner_of(1)), damaged_results);
    }
    if (size < large_blob_bytes) {  // larger blobs are not mapped any more
      auto const at = blob_name::unpack(names[0]).offset;
      auto const bytes =
          file.map(where.begin(0) + at / map_grain * map_grain, map_grain, PROT_READ | PROT_WRITE);
      bytes.data()[at % map_grain + 9] ^= std::byte{1};
      if (size < 100) REQUIRE_THROWS_AS(read(names[0], owner_of(0)), damaged_results);
    }
  }
}

TEST_CASE("arena: a large blob that was never written is an error", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{map_grain, std::uint64_t{1} << 43U};
  mapped_arena arena(file, where, 0);
  auto const bytes = std::size_t{1} << 41U;  // more than the memory of the machine
  // Only its checksum is written. The pages behind it must not be read to compare it.
  std::uint32_t const sum = 1;
  auto const begin = map_grain;
  REQUIRE(::pwrite(file.get(), &sum, sizeof sum, static_cast<off_t>(where.begin(0) + begin)) == 4);
  blob_name const large{begin, bytes + sizeof sum};
  arena.out.begin_blob();
  arena.out.write(&large, sizeof large);
  auto link = owner_of(0);
  link.kind = static_cast<blob_owner::kind_of_blob>(link.kind | blob_owner::long_blob);
  auto const name = arena.out.end_blob(link);
  arena_reader in(file, where, 1);
  auto const name_of_large = blob_name::pack(blob_name::unpack(name).offset, blob_name::large_name);
  REQUIRE_THROWS_AS(in.blob(0, name_of_large, owner_of(0), arena.out.next()), damaged_results);
}

TEST_CASE("arena: the blob of a failure that ends too early is an error", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{map_grain, std::uint64_t{1} << 40U};
  mapped_arena arena(file, where, 0);
  arena.out.begin_blob();
  arena.out.put(std::uint64_t{0});
  auto const name = arena.out.end_blob({.call = 3, .number = 0, .kind = blob_owner::failure});
  arena_reader in(file, where, 1);
  REQUIRE_THROWS_AS(read_failure(in, 0, name, 3), damaged_results);
}

TEST_CASE("arena: the writer of a large blob does not keep it mapped", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{map_grain, std::uint64_t{1} << 30U};
  mapped_arena arena(file, where, 0);
  arena.out.begin_blob();
  arena.out.put(std::string(5'000'000, 'a'));
  auto const place = arena.out.open_blob().data();
  arena.out.end_blob(owner_of(0));
  unsigned char resident = 0;
  auto const page = reinterpret_cast<std::uintptr_t>(place) / map_grain * map_grain + 2 * map_grain;
  // The addresses stay reserved without memory, so that no other mapping gets them.
  REQUIRE(::mincore(reinterpret_cast<void*>(page), 1, &resident) == 0);
  REQUIRE((resident & 1U) == 0);
}

TEST_CASE("arena: the addresses of a window that is no longer used stay reserved", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{map_grain, std::uint64_t{1} << 30U};
  mapped_arena arena(file, where, 0);
  auto* const first_window = arena.window.data();
  arena.out.begin_blob();
  arena.out.put(std::string(1'000'000, 'a'));
  REQUIRE(arena.out.open_blob().data() != first_window + 4);
  // Another mapping does not get these addresses, even if it asks for them.
  auto* const other =
      ::mmap(first_window, map_grain, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(other != MAP_FAILED);
  REQUIRE(other != first_window);
  ::munmap(other, map_grain);
}

TEST_CASE("arena: reading more than was written is an error", "[serialize]") {
  std::byte const bytes[4]{};
  reader in(bytes, bytes + 4);
  REQUIRE(in.get<int>() == 0);
  REQUIRE_THROWS_AS(in.get<char>(), std::runtime_error);
}

TEST_CASE("arena: a full arena throws bad_alloc", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 20U);
  arena_map const where{0, std::uint64_t{1} << 20U};
  mapped_arena arena(file, where, 0, 0, 2 * map_grain);
  arena.out.begin_blob();
  REQUIRE_THROWS_AS(arena.out.put(std::string(3 * map_grain, 'x')), std::bad_alloc);
  arena.out.begin_blob();
  arena.out.put(std::string(100, 'x'));
  REQUIRE(blob_name::unpack(arena.out.end_blob(owner_of(0))).offset == 0);
  mapped_arena full(file, where, 0, 2 * map_grain, 2 * map_grain);
  REQUIRE_THROWS_AS(full.out.begin_blob(), std::bad_alloc);
}

TEST_CASE("shared file: the end of the written data is found", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  auto const begin = std::uint64_t{1} << 30U;
  auto const end = std::uint64_t{1} << 40U;
  REQUIRE(file.end_of_data(begin, end) == begin);
  auto const map = file.map(begin, 8 * map_grain, PROT_READ | PROT_WRITE);
  map.data()[0] = std::byte{1};
  map.data()[5 * map_grain] = std::byte{1};
  auto const found = file.end_of_data(begin, end);
  REQUIRE(found > begin + 5 * map_grain);
  REQUIRE(found <= begin + 6 * map_grain);
}

TEST_CASE("shared file: it cannot be shortened through its descriptor", "[serialize]") {
  shared_file const file(map_grain);
  REQUIRE(::ftruncate(file.get(), 0) != 0);
}

TEST_CASE("arena: writer and reader align the same way, at any offset", "[serialize]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{65536, std::uint64_t{1} << 40U};
  std::vector<std::uint64_t> names;
  std::uint64_t next = 0;
  for (std::size_t i = 0; i != 50; ++i) {  // each blob is written by a new worker
    mapped_arena arena(file, where, 0, next);
    arena.out.begin_blob();
    arena.out.align(8);
    arena.out.put(std::vector<double>(i * 10, 0.5));
    arena.out.put(std::string(i, 'x'));
    names.push_back(arena.out.end_blob(owner_of(i)));
    next = arena.out.next();
  }
  arena_reader in(file, where, 1);
  for (std::size_t i = 0; i != 50; ++i) {
    auto blob = in.blob(0, names[i], owner_of(i), next);
    blob.align(8);
    REQUIRE(blob.get<std::vector<double>>() == std::vector<double>(i * 10, 0.5));
    REQUIRE(blob.get<std::string>() == std::string(i, 'x'));
    REQUIRE(blob.left() == 0);
  }
}
