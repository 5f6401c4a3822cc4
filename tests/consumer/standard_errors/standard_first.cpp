// SPDX-License-Identifier: MIT
#include <future>
#include <regex>

#include <forkmap/forkmap.hpp>
