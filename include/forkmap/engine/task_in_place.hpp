// One task of a range that workers see where it is, since they were forked after it was made.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include <forkmap/engine/pool_tasks.hpp>
#include <forkmap/transfer/job.hpp>
#include <forkmap/transfer/remote_tasks.hpp>
#include <forkmap/transfer/shared_arguments.hpp>

namespace forkmap::detail {

class task_in_place final : public pool_tasks {
 public:
  /// The range, whatever its type, and the task's number in it.
  struct place {
    void* tasks;
    std::uint64_t which;
  };

  /// `what`: its `run` finds its task with sent_place.
  task_in_place(place where, job const& what) : where_(where), what_(what) {}

  std::uint64_t send(argument_writer& out, std::vector<std::uint64_t>& begins) override {
    begins.push_back(out.size());
    std::memcpy(out.take(sizeof where_), &where_, sizeof where_);
    begins.push_back(out.size());
    return 1;
  }
  std::uint64_t expected() const override { return 1; }
  job describe(std::uint64_t) override { return what_; }

  /// In a worker, from what job::run is given there.
  static place sent_place(void const* erased) {
    auto const& tasks = *static_cast<remote_tasks const*>(erased);
    place where;
    std::memcpy(&where, tasks.arguments->at(tasks.begin_of(0)), sizeof where);
    return where;
  }

 private:
  place where_;
  job what_;
};

}  // namespace forkmap::detail
