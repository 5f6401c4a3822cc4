// Type-erased tasks for a pool to run.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <forkmap/detail/job/job.hpp>
#include <forkmap/detail/pool/send/arguments.hpp>
#include <forkmap/this_task.hpp>

namespace forkmap::detail {

class pool_tasks {
 public:
  virtual ~pool_tasks() = default;
  /// Writes each task, and to `begins` the offset of each and of the end of the last one. If each
  /// task takes task_bytes() bytes, writes nothing to `begins`.
  /// Returns: how many tasks there are.
  virtual std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) = 0;
  virtual std::uint64_t task_bytes() const { return 0; }
  /// How many tasks there will probably be, if that is known before they are sent; else 0.
  virtual std::uint64_t expected() const { return 0; }
  /// How many tasks there are, if that is certain and they can be sent in chunks; else 0.
  virtual std::uint64_t task_count() const { return 0; }
  /// Writes n tasks in chunks, as long as the listener wants them. `offsets` gets the offset of
  /// each chunk.
  virtual void send_chunks(argument_writer& out, std::uint64_t n, std::uint64_t* offsets) {
    static_cast<void>(out);
    static_cast<void>(n);
    static_cast<void>(offsets);
  }
  /// At most this many bytes are written by send_chunks().
  virtual std::uint64_t most_chunk_bytes(std::uint64_t n) const {
    static_cast<void>(n);
    return 0;
  }
  /// The job of a call of that many tasks. Workers set its `tasks` pointer.
  virtual job describe(std::uint64_t n_tasks) = 0;

  /// Called when all tasks are sent: prepares what is needed when workers have finished.
  virtual void look_ahead() noexcept {}
  /// Takes the next n results while workers compute the others.
  /// Returns: false if it does not take them.
  virtual bool take_ahead(std::byte* results, std::uint64_t n) noexcept {
    static_cast<void>(results);
    static_cast<void>(n);
    return false;
  }

  std::uint64_t first_index = 0;  // of the first task, in the range that the tasks are part of
  std::uint64_t outer = outer_path();

 protected:
  pool_tasks() = default;
  pool_tasks(pool_tasks const&) = default;
  pool_tasks& operator=(pool_tasks const&) = default;
};

}  // namespace forkmap::detail
