// Tasks that a pool is to run, their types erased.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/shared_arguments.hpp>

namespace forkmap::detail {

class pool_tasks {
 public:
  virtual ~pool_tasks() = default;
  /// Writes each task, and where it begins; last of all where the last one ends. None of that where
  /// each takes task_bytes().
  /// Returns: how many there are.
  virtual std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) = 0;
  virtual std::uint64_t task_bytes() const { return 0; }
  /// How many there will be, if that is likely before they are sent; else 0.
  virtual std::uint64_t expected() const { return 0; }
  /// How many there are, if that is certain and they can be sent in chunks; else 0.
  virtual std::uint64_t task_count() const { return 0; }
  /// Writes n of them so, as long as they are wanted: `places` gets the place of each chunk.
  virtual void send_chunks(argument_writer& out, std::uint64_t n, std::uint64_t* places) {
    static_cast<void>(out);
    static_cast<void>(n);
    static_cast<void>(places);
  }
  /// What that takes at most.
  virtual std::uint64_t most_chunk_bytes(std::uint64_t n) const {
    static_cast<void>(n);
    return 0;
  }
  /// What the call is, of that many tasks. Its `tasks` pointer is for workers to set.
  virtual job describe(std::uint64_t n_tasks) = 0;

  /// Workers have all that they need: time for what will be needed after them.
  virtual void look_ahead() noexcept {}
  /// The first n results lie in a row at `slots`, while workers make the others: time to take them.
  /// Returns: false if that is not done.
  virtual bool take_ahead(std::byte* slots, std::uint64_t n) noexcept {
    static_cast<void>(slots);
    static_cast<void>(n);
    return false;
  }

  std::uint64_t first_index = 0;  // where they are part of a larger range

 protected:
  pool_tasks() = default;
  pool_tasks(pool_tasks const&) = default;
  pool_tasks& operator=(pool_tasks const&) = default;
};

}  // namespace forkmap::detail
