// Libraries that have threads of their own: OpenMP, OpenBLAS, MKL, BLIS. Found where the program has
// them, without needing any.
#pragma once

#include <dlfcn.h>

#include <cstdint>

namespace forkmap::detail {

/// A function that the program may have; null if it has not.
template <class Function> Function* function_of_program(char const* name) noexcept {
  return reinterpret_cast<Function*>(::dlsym(RTLD_DEFAULT, name));
}

/// The functions that cap such a library's threads. Looked up in the caller, where it costs a
/// microsecond; called in a worker.
class thread_limits {
 public:
  thread_limits() noexcept {
    for (int i = 0; i != n_libraries; ++i) set_[i] = function_of_program<void(int)>(names[i]);
    set_blis_ = function_of_program<void(std::intptr_t)>("bli_thread_set_num_threads");
  }

  /// In a worker. Environment variables would come too late.
  void apply(int threads) const noexcept {
    for (auto* const set : set_) {
      if (set != nullptr) set(threads);
    }
    if (set_blis_ != nullptr) set_blis_(threads);
  }

 private:
  static constexpr int n_libraries = 4;
  /// MKL's and BLIS's functions of other spelling are for Fortran, or take another type.
  static constexpr char const* names[n_libraries] = {
      "omp_set_num_threads", "openblas_set_num_threads", "MKL_Set_Num_Threads",
      "flexiblas_set_num_threads"};

  void (*set_[n_libraries])(int) = {};
  void (*set_blis_)(std::intptr_t) = nullptr;
};

/// GNU OpenMP's threads do not survive a fork, and the child's first parallel region would wait for
/// them: the caller gives them back before it forks. They are made anew when they are next needed.
/// Returns: false if that was refused, because this thread is inside a parallel region.
/// Source: OpenMP 5.0, omp_pause_resource_all; omp_pause_hard is 2.
inline bool pause_openmp() noexcept {
  auto* const pause = function_of_program<int(int)>("omp_pause_resource_all");
  constexpr int omp_pause_hard = 2;
  return pause == nullptr || pause(omp_pause_hard) == 0;
}

/// Whether this thread uses CUDA: its contexts are of no use in a child.
inline bool uses_cuda() noexcept {
  auto* const current = function_of_program<int(void**)>("cuCtxGetCurrent");
  void* context = nullptr;
  return current != nullptr && current(&context) == 0 && context != nullptr;
}

}  // namespace forkmap::detail
