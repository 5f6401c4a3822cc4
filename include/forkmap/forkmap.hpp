// forkmap: a parallel map in forked workers, for code that threads cannot help.
#pragma once

#include <forkmap/version.hpp>

// Calls and the map
#include <forkmap/collect.hpp>
#include <forkmap/cpu.hpp>
#include <forkmap/delayed.hpp>
#include <forkmap/future.hpp>
#include <forkmap/indexed.hpp>
#include <forkmap/options.hpp>
#include <forkmap/parallel.hpp>
#include <forkmap/pool.hpp>
#include <forkmap/report.hpp>
#include <forkmap/stream.hpp>
#include <forkmap/this_task.hpp>
#include <forkmap/time_limit.hpp>

// What comes back
#include <forkmap/error.hpp>
#include <forkmap/outcome.hpp>
#include <forkmap/serializer.hpp>
// The exceptions of slow headers, where the file has them already.
#if defined(_GLIBCXX_FUTURE) || defined(_LIBCPP_FUTURE)
#include <forkmap/future_error.hpp>
#endif
#if defined(_GLIBCXX_REGEX) || defined(_LIBCPP_REGEX)
#include <forkmap/regex_error.hpp>
#endif

// Arrays in files and in shared memory
#include <forkmap/access.hpp>
#include <forkmap/advice.hpp>
#include <forkmap/advise.hpp>
#include <forkmap/archive.hpp>
#include <forkmap/array_error.hpp>
#include <forkmap/array_traits.hpp>
#include <forkmap/content_entry.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/dump_value.hpp>
#include <forkmap/field_names.hpp>
#include <forkmap/fixed_string.hpp>
#include <forkmap/half.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>
#include <forkmap/load_value.hpp>
#include <forkmap/memmap.hpp>
#include <forkmap/named.hpp>
#include <forkmap/owned_array.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/shared_array.hpp>
#include <forkmap/slice.hpp>
#include <forkmap/write_guard.hpp>
