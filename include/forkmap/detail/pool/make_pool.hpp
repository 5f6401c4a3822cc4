// Making of a pool's engine: the border between a pool's calls and its engine. See engine/run.hpp.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>

#include <forkmap/detail/pool/pool_interface.hpp>
#include <forkmap/options.hpp>

#ifndef FORKMAP_COMPILED
#include <forkmap/detail/pool/pool_engine.hpp>
#endif

namespace forkmap::detail {

/// Forks the workers of a pool.
/// Errors: std::system_error if the system refuses processes, memory or descriptors.
template <class = void> pool_interface* make_pool(options const& opts, std::uint32_t n_workers);

#ifdef FORKMAP_COMPILED
extern template pool_interface* make_pool<>(options const& opts, std::uint32_t n_workers);
#else
template <class> pool_interface* make_pool(options const& opts, std::uint32_t n_workers) {
  return new pool_engine<>(opts, n_workers);
}
#endif

}  // namespace forkmap::detail
