// The cores that this process may use.
// SPDX-License-Identifier: MIT
#pragma once

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/detail/made_once.hpp>
#include <forkmap/detail/os/file.hpp>

namespace forkmap::detail {

/// The number of cores, rounded up, in a quota of `quota` microseconds per `period`; 0 for no limit.
constexpr int cores_of_quota(long long quota, long long period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<int>(std::min((quota + period - 1) / period, 1LL << 20));
}

/// The quota set on one cgroup folder, in cores; 0 for none.
inline int quota_of_group(std::string const& folder, bool v2) {
  if (v2) {  // "max 100000" or "150000 100000"
    auto const text = read_text_file(folder + "/cpu.max");
    char* rest = nullptr;
    auto const quota = std::strtoll(text.c_str(), &rest, 10);
    return rest == text.c_str() ? 0 : cores_of_quota(quota, std::strtoll(rest, nullptr, 10));
  }
  auto const number = [&](char const* name) {
    return std::strtoll(read_text_file(folder + name).c_str(), nullptr, 10);
  };
  return cores_of_quota(number("/cpu.cfs_quota_us"), number("/cpu.cfs_period_us"));
}

/// The smallest quota of a process's own cgroups and all their parents, in cores; 0 for none.
/// `membership` is the text of /proc/self/cgroup, `root` the folder where cgroups are mounted.
/// Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cgroups.rst.
inline int tightest_quota(std::string_view membership, std::string const& root) {
  int tightest = 0;
  while (!membership.empty()) {
    auto const end = std::min(membership.find('\n'), membership.size());
    auto const line = membership.substr(0, end);
    membership.remove_prefix(std::min(end + 1, membership.size()));
    auto const first = line.find(':');
    auto const second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    auto const controllers = line.substr(first + 1, second - first - 1);
    bool const v2 = controllers.empty();
    bool const counts_cpu = [&] {
      for (std::size_t at = 0; at <= controllers.size();) {
        auto const comma = std::min(controllers.find(',', at), controllers.size());
        if (controllers.substr(at, comma - at) == "cpu") return true;
        at = comma + 1;
      }
      return false;
    }();
    if (!v2 && !counts_cpu) continue;
    std::string const base = v2 ? root : root + "/" + std::string(controllers);
    for (std::string group(line.substr(second + 1));; group.resize(group.rfind('/'))) {
      if (!group.empty() && group.back() == '/') group.pop_back();
      if (auto const cores = quota_of_group(base + group, v2); cores > 0) {
        tightest = tightest == 0 ? cores : std::min(tightest, cores);
      }
      if (group.rfind('/') == group.npos) break;
    }
  }
  return tightest;
}

/// The cores in this process's affinity mask; empty if the system does not tell.
class cpu_mask {
 public:
  cpu_mask() {
    for (std::size_t bits = CPU_SETSIZE; bits <= (std::size_t{1} << 20U); bits *= 4) {
      words_.assign(bits / (8 * sizeof(unsigned long)), 0);
      if (::sched_getaffinity(0, bytes(), set()) == 0) return;
      if (errno != EINVAL) break;  // EINVAL: the machine has more cores than the mask has bits
    }
    words_.clear();
  }

  int count() { return words_.empty() ? 0 : CPU_COUNT_S(bytes(), set()); }

  /// Lets this process use only the k-th of these cores.
  /// Returns: false if the system refuses, and errno is set.
  bool pin_to(int k) {
    std::size_t cpu = 0;
    for (;; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes(), set()) && k-- == 0) break;
    }
    CPU_ZERO_S(bytes(), set());
    CPU_SET_S(cpu, bytes(), set());
    return ::sched_setaffinity(0, bytes(), set()) == 0;
  }

 private:
  std::size_t bytes() const { return words_.size() * sizeof(unsigned long); }
  cpu_set_t* set() { return reinterpret_cast<cpu_set_t*>(words_.data()); }

  std::vector<unsigned long> words_{};
};

inline int usable_cpus() {
  static constinit std::atomic<int const*> cached_quota = nullptr;
  auto const quota = made_once(cached_quota, [] {
    return tightest_quota(read_text_file("/proc/self/cgroup"), "/sys/fs/cgroup");
  });
  auto const affinity = std::max(1, cpu_mask().count());
  return quota > 0 ? std::min(quota, affinity) : affinity;
}

}  // namespace forkmap::detail
