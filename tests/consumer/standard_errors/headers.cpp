// SPDX-License-Identifier: MIT
#include <forkmap/future_error.hpp>
#include <forkmap/regex_error.hpp>
