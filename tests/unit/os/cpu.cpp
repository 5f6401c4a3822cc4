// SPDX-License-Identifier: MIT
#include <filesystem>
#include <fstream>
#include <string>

#include <forkmap/detail/os/cpu.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

using namespace forkmap::detail;

TEST_CASE("cpu: a quota is rounded up to cores", "[cpu]") {
  STATIC_REQUIRE(cores_of_quota(150'000, 100'000) == 2);
  STATIC_REQUIRE(cores_of_quota(100'000, 100'000) == 1);
  STATIC_REQUIRE(cores_of_quota(1'000, 100'000) == 1);
  STATIC_REQUIRE(cores_of_quota(-1, 100'000) == 0);
  STATIC_REQUIRE(cores_of_quota(5, 0) == 0);
}

TEST_CASE("cpu: the smallest quota of a group and its parents is used", "[cpu]") {
  support::temporary_directory const folder;
  auto const root = folder.path().native();
  REQUIRE(tightest_quota("0::/a/b\n", root) == 0);
  support::write_deep(folder.path() / "a/b/cpu.max", "max 100000\n");
  REQUIRE(tightest_quota("0::/a/b\n", root) == 0);
  support::write_deep(folder.path() / "a/cpu.max", "350000 100000\n");
  REQUIRE(tightest_quota("0::/a/b\n", root) == 4);
  support::write_deep(folder.path() / "a/b/cpu.max", "200000 100000\n");
  REQUIRE(tightest_quota("0::/a/b\n", root) == 2);
  REQUIRE(tightest_quota("0::/a\n", root) == 4);
  REQUIRE(tightest_quota("0::/\n", root) == 0);
  support::write_deep(folder.path() / "cpu.max", "100000 100000\n");
  REQUIRE(tightest_quota("0::/\n", root) == 1);
  // A path of another namespace that is not visible in this mount: the quota of its parent is used.
  REQUIRE(tightest_quota("0::/docker/0123\n", root) == 1);
}

TEST_CASE("cpu: version 1 groups are found by their controller", "[cpu]") {
  support::temporary_directory const folder;
  auto const root = folder.path().native();
  support::write_deep(folder.path() / "cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n");
  support::write_deep(folder.path() / "cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  support::write_deep(folder.path() / "cpuset/job/cpu.cfs_quota_us", "1\n");
  REQUIRE(tightest_quota("5:cpuset:/job\n3:cpu,cpuacct:/job\n", root) == 3);
  REQUIRE(tightest_quota("5:cpuset:/job\n", root) == 0);
}

TEST_CASE("cpu: invalid lines of the membership file are skipped", "[cpu]") {
  REQUIRE(tightest_quota("", "/nowhere") == 0);
  REQUIRE(tightest_quota("\n\n:\n::\nabc\n0::\n", "/nowhere") == 0);
  REQUIRE(usable_cpus() >= 1);
}
