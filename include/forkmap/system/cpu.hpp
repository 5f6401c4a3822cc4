// The cores that this process may use.
#pragma once

#include <fcntl.h>
#include <sched.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <forkmap/system/call.hpp>
#include <forkmap/system/descriptor.hpp>

namespace forkmap::detail {

/// A small text file's content; empty if it cannot be read.
inline std::string read_text_file(std::string const& path) {
  descriptor const file(
      retry_interrupted([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  std::string text;
  if (!file) return text;
  char buffer[4096];
  for (;;) {
    auto const n = retry_interrupted([&] { return ::read(file.get(), buffer, sizeof buffer); });
    if (n <= 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

/// Cores that a quota of `quota` microseconds per `period` amounts to; 0 for no limit.
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

/// The tightest quota on a process's own cgroups and all their parents, in cores; 0 for none.
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

/// The cores in this process's affinity mask; 0 if it cannot be told.
inline int cpus_in_affinity() {
  for (std::size_t bits = CPU_SETSIZE; bits <= (std::size_t{1} << 20U); bits *= 4) {
    std::vector<unsigned long> mask(bits / (8 * sizeof(unsigned long)));
    auto const bytes = mask.size() * sizeof(unsigned long);
    auto* set = reinterpret_cast<cpu_set_t*>(mask.data());
    if (::sched_getaffinity(0, bytes, set) == 0) return CPU_COUNT_S(bytes, set);
    if (errno != EINVAL) break;  // EINVAL: the machine has more cores than the mask has bits
  }
  return 0;
}

inline int usable_cpus() {
  static int const quota = tightest_quota(read_text_file("/proc/self/cgroup"), "/sys/fs/cgroup");
  auto const affinity = std::max(1, cpus_in_affinity());
  return quota > 0 ? std::min(quota, affinity) : affinity;
}

}  // namespace forkmap::detail
