// Damage that a faulty task can do: overwritten shared memory, closed and reused descriptors.
// SPDX-License-Identifier: MIT
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

namespace support {

enum class damage { word, few_bytes, page, whole_mapping, zeros, small_numbers, descriptors };
inline constexpr int n_kinds_of_damage = 7;

struct bytes_of_mapping {
  char* begin;
  char* end;
};

/// The mappings of forkmap's shared memory that this process can write.
inline std::vector<bytes_of_mapping> writable_shared_memory() {
  std::vector<bytes_of_mapping> mappings;
  auto* const file = std::fopen("/proc/self/maps", "re");
  if (file == nullptr) return mappings;
  char line[4096];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    unsigned long begin = 0;
    unsigned long end = 0;
    char rights[8]{};
    if (std::sscanf(line, "%lx-%lx %7s", &begin, &end, rights) != 3) continue;
    if (rights[1] != 'w' || rights[3] != 's' || std::strstr(line, "memfd:forkmap ") == nullptr)
      continue;
    mappings.push_back({reinterpret_cast<char*>(begin), reinterpret_cast<char*>(end)});
  }
  std::fclose(file);
  return mappings;
}

inline void damage_memory(damage kind, unsigned seed) {
  std::mt19937_64 random(seed);
  auto const all = writable_shared_memory();
  if (all.empty()) return;
  auto const& mapping = all[random() % all.size()];
  auto const bytes = static_cast<std::size_t>(mapping.end - mapping.begin);
  // Most of the control data is in the first pages: 3 of 4 calls damage only the first two.
  constexpr std::size_t page = 4096;
  auto const reach = random() % 4 != 0 ? std::min(bytes, 2 * page) : std::min(bytes, 64 * page);
  auto const somewhere = [&](std::size_t n) {
    return mapping.begin + random() % (reach - std::min(n, reach) + 1) / 8 * 8;
  };
  auto const fill = [&](char* at, std::size_t n) {
    for (std::size_t i = 0; i + 8 <= n; i += 8) {
      auto const word = random();
      std::memcpy(at + i, &word, sizeof word);
    }
  };
  switch (kind) {
    case damage::word:
      fill(somewhere(8), 8);
      break;
    case damage::few_bytes:
      fill(somewhere(64), 8 * (1 + random() % 8));
      break;
    case damage::page:
      fill(mapping.begin + random() % (reach / page + 1) * page % bytes, page);
      break;
    case damage::whole_mapping:
      for (auto const& m : all)
        fill(m.begin, std::min(static_cast<std::size_t>(m.end - m.begin), 64 * page));
      break;
    case damage::zeros:
      std::memset(mapping.begin, 0, std::min(bytes, 16 * page));
      break;
    case damage::small_numbers:
      for (int i = 0; i != 8; ++i) {
        auto const word = random() % 70;
        std::memcpy(somewhere(8), &word, sizeof word);
      }
      break;
    case damage::descriptors:
      break;
  }
}

/// Tries to truncate forkmap's shared memory through any open descriptor of it.
inline void truncate_shared_memory() {
  for (int fd = 3; fd != 1100; ++fd) {
    char link[64];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    char target[64]{};
    if (::readlink(link, target, sizeof target - 1) <= 0) continue;
    if (std::strncmp(target, "/memfd:forkmap ", 15) == 0) static_cast<void>(!::ftruncate(fd, 0));
  }
}

/// Closes every descriptor but the standard ones, and opens `file` under the same numbers.
inline void reuse_descriptors(char const* file) {
  std::vector<int> closed;
  for (int fd = 3; fd != 1100; ++fd) {
    if (::close(fd) == 0) closed.push_back(fd);
  }
  for (auto const fd : closed) {
    auto const opened = ::open(file, O_RDWR | O_CLOEXEC);
    if (opened >= 0 && opened != fd && ::dup2(opened, fd) == fd) ::close(opened);
  }
}

}  // namespace support
