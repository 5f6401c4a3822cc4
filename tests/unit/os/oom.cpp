// The kernel's counters of processes killed for lack of memory.
// SPDX-License-Identifier: MIT
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <forkmap/detail/os/oom.hpp>

#include "support/catch.hpp"
#include "support/file_bytes.hpp"
#include "support/temporary_directory.hpp"

using namespace forkmap::detail;

TEST_CASE("oom: the counters of both versions of cgroups are found and read", "[system]") {
  support::temporary_directory const root;
  auto const count = [&](std::string const& membership) {
    return oom_kills(oom_files(membership, root.path().native()));
  };
  support::write_deep(root.path() / "user/job/memory.events",
                      "low 0\nhigh 7\nmax 3\noom 5\noom_kill 4\n");
  REQUIRE(count("0::/user/job\n") == 4);
  support::write_deep(root.path() / "memory/job/memory.oom_control",
                      "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
  REQUIRE(count("5:cpu,cpuacct:/x\n4:memory:/job\n1:name=systemd:/\n") == 2);
  REQUIRE(count("4:memory:/job\n0::/user/job") == 6);
  // If the own cgroup is not visible, the nearest parent with a counter is used.
  REQUIRE(count("0::/user/job/unknown/deeper\n") == 4);
  REQUIRE(count("0::/\n") == 0);
  REQUIRE(count("") == 0);
  REQUIRE(count("nonsense\n:::\n\n") == 0);
}
