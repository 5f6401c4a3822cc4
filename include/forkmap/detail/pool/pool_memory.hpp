// The memory of a pool, apart from that of calls, in the caller's process.
// SPDX-License-Identifier: MIT
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include <forkmap/detail/os/call.hpp>
#include <forkmap/detail/os/shared_memory.hpp>
#include <forkmap/detail/pool/pool_control.hpp>

namespace forkmap::detail {

/// A pool's file, and the caller's mapping of its begin.
class pool_memory {
 public:
  /// Errors: std::system_error naming the operation that failed.
  explicit pool_memory(std::uint32_t n_workers)
      : layout_(n_workers),
        file_(layout_.file_bytes()),
        map_(file_.map(0, bytes(), PROT_READ | PROT_WRITE)) {
    file_.move_up();
    map_.keep_from_children();
    if (!populate_for_writing(map_.data(), bytes())) {
      throw_errno("madvise(MADV_POPULATE_WRITE): no shared memory for a pool,",
                  std::to_string(bytes()) + " bytes");
    }
  }

  pool_layout const& layout() const noexcept { return layout_; }
  shared_file const& file() const noexcept { return file_; }
  pool_control control() const noexcept {
    return {map_.data(), map_.data() + layout_.bells_at(), map_.data() + layout_.place_at(0),
            nullptr, layout_.n_workers};
  }

 private:
  std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(layout_.place_at(layout_.n_workers));
  }

  pool_layout layout_;
  shared_file file_;
  mapping map_;
};

}  // namespace forkmap::detail
