// All of forkmap but the adaptors: a parallel map in forked worker processes, and arrays in files.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <forkmap/version.hpp>

// Calls and the map
#include <forkmap/collect.hpp>
#include <forkmap/cpu.hpp>
#include <forkmap/delayed.hpp>
#include <forkmap/future.hpp>
#include <forkmap/options.hpp>
#include <forkmap/parallel.hpp>
#include <forkmap/pool.hpp>
#include <forkmap/report.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/this_task.hpp>

// Outcomes and errors
#include <forkmap/error.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/serializer.hpp>
// Exceptions of <future> and <regex>, only if the program has included these slow headers before.
#if defined(_GLIBCXX_FUTURE) || defined(_LIBCPP_FUTURE)
#include <forkmap/future_error.hpp>
#endif
#if defined(_GLIBCXX_REGEX) || defined(_LIBCPP_REGEX)
#include <forkmap/regex_error.hpp>
#endif

// Arrays in files and in shared memory
#include <forkmap/arrays.hpp>
