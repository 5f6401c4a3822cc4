#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <forkmap/serializer.hpp>
#include <forkmap/transfer/arena.hpp>

#include "support/catch.hpp"

using namespace forkmap;
using namespace forkmap::detail;

TEST_CASE("arena: records of all sizes, read in any order, by a reader that maps as it goes",
          "[transfer]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{4096, std::uint64_t{1} << 40U};
  auto const slots = std::make_unique<worker_slot[]>(3);
  std::vector<std::uint64_t> offsets;
  for (std::uint32_t k = 0; k != 3; ++k) {
    arena_writer out(file.get(), where.begin(k), where.begin(k + 1));
    for (std::size_t i = 0; i != 200; ++i) {
      out.begin_record();
      out.put(std::string(i * i * 3 + k, 'x'));
      out.put(i);
      offsets.push_back(out.end_record());
    }
    slots[k].arena_next = out.next();
  }
  arena_reader in(file, where, slots.get(), 3);
  for (auto at = offsets.size(); at-- != 0;) {
    auto const i = at % 200;
    auto record = in.record(offsets[at]);
    REQUIRE(record.get<std::string>().size() == i * i * 3 + at / 200);
    REQUIRE(record.get<std::size_t>() == i);
    REQUIRE(record.left() == 0);
    in.release(offsets[at]);
  }
}

TEST_CASE("arena: a record that was begun and given up leaves no trace", "[transfer]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{4096, std::uint64_t{1} << 40U};
  auto const slots = std::make_unique<worker_slot[]>(1);
  arena_writer out(file.get(), where.begin(0), where.begin(1));
  for (int i = 0; i != 10; ++i) {
    out.begin_record();
    out.put(std::string(100'000, 'a'));  // as if its task had been killed here
  }
  out.begin_record();
  out.put(7);
  auto const offset = out.end_record();
  REQUIRE(record_name::unpack(offset).offset == where.begin(0));
  slots[0].arena_next = out.next();
  arena_reader in(file, where, slots.get(), 1);
  REQUIRE(in.record(offset).get<int>() == 7);
}

TEST_CASE("arena: reading more than was written is an error", "[transfer]") {
  std::byte const bytes[4]{};
  reader in(bytes, bytes + 4);
  REQUIRE(in.get<int>() == 0);
  REQUIRE_THROWS_AS(in.get<char>(), std::runtime_error);
}

TEST_CASE("arena: a full stretch is bad_alloc", "[transfer]") {
  shared_file const file(std::uint64_t{1} << 20U);
  arena_writer out(file.get(), 4096, 3 * 4096);
  out.begin_record();
  REQUIRE_THROWS_AS(out.put(std::string(9000, 'x')), std::bad_alloc);
  out.begin_record();
  out.put(std::string(100, 'x'));
  REQUIRE(record_name::unpack(out.end_record()).offset == 4096);
}

TEST_CASE("arena: alignment is the same on both sides, wherever a writer begins", "[transfer]") {
  shared_file const file(std::uint64_t{1} << 44U);
  arena_map const where{65536, std::uint64_t{1} << 40U};
  auto const slots = std::make_unique<worker_slot[]>(1);
  std::vector<std::uint64_t> names;
  auto next = where.begin(0);
  for (std::size_t i = 0; i != 50; ++i) {  // each record by a replacement of the worker before
    arena_writer out(file.get(), next, where.begin(1));
    out.begin_record();
    out.align(8);
    out.put(std::vector<double>(i * 10, 0.5));
    out.put(std::string(i, 'x'));
    names.push_back(out.end_record());
    next = out.next();
  }
  slots[0].arena_next = next;
  arena_reader in(file, where, slots.get(), 1);
  for (std::size_t i = 0; i != 50; ++i) {
    auto record = in.record(names[i]);
    record.align(8);
    REQUIRE(record.get<std::vector<double>>() == std::vector<double>(i * 10, 0.5));
    REQUIRE(record.get<std::string>() == std::string(i, 'x'));
    REQUIRE(record.left() == 0);
  }
}
