// The interface of a pool's engine, for its calls, streams and futures.
// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <forkmap/detail/engine/engine.hpp>
#include <forkmap/detail/owner.hpp>
#include <forkmap/detail/pool/send/pool_tasks.hpp>
#include <forkmap/detail/pool/submitted_call.hpp>
#include <forkmap/detail/pool/submitted_messages.hpp>
#include <forkmap/options.hpp>

namespace forkmap::detail {

/// Tasks of a stream that are dispatched and not yet consumed, at least, if options::pre_dispatch is 0.
inline constexpr std::size_t usual_window = 64;

/// The engine of a pool, whose only implementation is pool_engine. Its users include nothing of the
/// engine, which forkmap::compiled compiles once.
class pool_interface {
 public:
  pool_interface() = default;
  pool_interface(pool_interface const&) = delete;
  pool_interface& operator=(pool_interface const&) = delete;
  virtual ~pool_interface() = default;

  /// Deletes the engine in the process that made it; does nothing in others.
  static void remove(pool_interface* engine) {
    if (engine->is_ours()) delete engine;
  }

  virtual options const& opts() const noexcept = 0;

  /// Whether this process made the engine. Other processes must not use it.
  virtual bool is_ours() const noexcept = 0;
  /// Errors: std::logic_error in a process that did not make the engine.
  virtual void check_owner() const = 0;

  /// How many tasks of a stream may be dispatched and not yet consumed: options::pre_dispatch.
  virtual std::size_t window() const noexcept = 0;
  /// How many of these keep the workers busy; options::pre_dispatch if it is set.
  virtual std::size_t least_window() const noexcept = 0;

  /// Runs the tasks to their end, as run() of every engine does.
  /// Returns: null if there are no tasks.
  virtual owner<call_results> run(pool_tasks& tasks) = 0;

  /// Queues a call: it runs when a call slot is free. `called_at`: when its deadline begins to
  /// count.
  virtual void submit(std::shared_ptr<submitted_call> submitted, std::int64_t called_at) = 0;
  /// Waits until no submitted call is left.
  virtual void wait() = 0;
  /// Runs a task in every worker, now and in each replacement.
  virtual void everywhere(owner<pool_tasks> task) = 0;
  /// Forks a new fork server and new workers, after all calls have ended.
  virtual void refork() = 0;
  /// Ends a submitted call.
  virtual void cancel(submitted_call const& submitted, ended_call why) = 0;
  /// The messages of submitted tasks; null if the pool has no handler of messages.
  virtual submitted_messages* messages() const noexcept = 0;
  /// The number of the next task that is submitted to this pool.
  /// Errors: std::logic_error in a process that did not make the pool.
  virtual std::size_t next_submission() = 0;
};

static_assert(engine<pool_interface, pool_tasks>);

}  // namespace forkmap::detail
