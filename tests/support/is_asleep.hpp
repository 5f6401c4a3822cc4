// A check whether a thread of this process sleeps in the kernel.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <fstream>
#include <iterator>
#include <string>

namespace support {

inline bool is_asleep(pid_t thread) {
  std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
  std::string const text{std::istreambuf_iterator<char>(file), {}};
  auto const state = text.rfind(") ");
  return state != text.npos && text[state + 2] == 'S';
}

}  // namespace support
