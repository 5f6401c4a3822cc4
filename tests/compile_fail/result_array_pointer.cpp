// expect: cannot serialize to send it to the caller
// SPDX-License-Identifier: MIT
#include <memory>

#include <forkmap/forkmap.hpp>

#ifdef CONTROL
std::unique_ptr<int> three_numbers() { return std::make_unique<int>(3); }
#else
std::unique_ptr<int[]> three_numbers() { return std::make_unique<int[]>(3); }
#endif

int main() { CALLS(three_numbers); }
