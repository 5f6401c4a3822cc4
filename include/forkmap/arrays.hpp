// All array headers, for programs that need arrays in files and in shared memory but no map.
// SPDX-License-Identifier: MIT
#pragma once

#include <forkmap/detail/requirements.hpp>

#include <forkmap/access.hpp>
#include <forkmap/advice.hpp>
#include <forkmap/advise.hpp>
#include <forkmap/archive.hpp>
#include <forkmap/array_traits.hpp>
#include <forkmap/content_entry.hpp>
#include <forkmap/dump.hpp>
#include <forkmap/dump_value.hpp>
#include <forkmap/error.hpp>
#include <forkmap/field_names.hpp>
#include <forkmap/fixed_string.hpp>
#include <forkmap/half.hpp>
#include <forkmap/inspect.hpp>
#include <forkmap/load.hpp>
#include <forkmap/load_value.hpp>
#include <forkmap/mapped_array.hpp>
#include <forkmap/memmap.hpp>
#include <forkmap/named.hpp>
#include <forkmap/owned_array.hpp>
#include <forkmap/shape.hpp>
#include <forkmap/shared_array.hpp>
#include <forkmap/slice.hpp>
#include <forkmap/version.hpp>
#include <forkmap/write_guard.hpp>
