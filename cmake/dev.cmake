# The private target forkmap_dev: warnings and sanitizers for tests, examples and benchmarks. It is
# not installed, so users do not get these flags. CMAKE_COMPILE_WARNING_AS_ERROR, set by the
# presets, decides whether a warning is an error.
set(FORKMAP_SANITIZE "" CACHE STRING "Sanitizers for tests, as for -fsanitize=: address,undefined")

add_library(forkmap_dev INTERFACE)
target_compile_options(forkmap_dev INTERFACE
  -Wall -Wextra -Wpedantic
  -Wshadow -Wconversion -Wsign-conversion -Wold-style-cast -Wcast-qual
  -Wnon-virtual-dtor -Woverloaded-virtual -Wextra-semi
  $<$<CXX_COMPILER_ID:GNU>:-Wduplicated-cond -Wlogical-op>
  # g++ 12 warns wrongly of out-of-bounds copies in std::string's operator+ (GCC bugs 105329,
  # 105651). AddressSanitizer finds real ones.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds -Wno-restrict -Wno-stringop-overflow>)

# Makes g++ run its garbage collector less often: saves a tenth of its time, for at most 3 GB.
target_compile_options(forkmap_dev INTERFACE
  $<$<CXX_COMPILER_ID:GNU>:SHELL:--param ggc-min-heapsize=1000000>)

# Without optimisation clang compiles tests in half of the time. g++ does not get faster.
target_compile_options(forkmap_dev INTERFACE $<$<AND:$<CXX_COMPILER_ID:Clang>,$<CONFIG:Debug>>:-O0>)

if(FORKMAP_SANITIZE)
  set(sanitize -fsanitize=${FORKMAP_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # Checking null and alignment at each access takes a fifth of g++'s time. The build with clang
  # checks them.
  if(FORKMAP_SANITIZE MATCHES "undefined")
    list(APPEND sanitize $<$<CXX_COMPILER_ID:GNU>:-fno-sanitize=null,alignment>)
  endif()
  # AddressSanitizer's checks as function calls, in unoptimised code: g++ compiles this in two
  # thirds of the time.
  if(FORKMAP_SANITIZE MATCHES "address")
    list(APPEND sanitize
      "$<$<CXX_COMPILER_ID:GNU>:SHELL:-O0 --param asan-instrumentation-with-call-threshold=0>")
  endif()
  target_compile_options(forkmap_dev INTERFACE ${sanitize})
  target_link_options(forkmap_dev INTERFACE ${sanitize})
endif()

# A Debug build of examples and benchmarks only checks that they compile and run. They are not
# optimised, and share one precompiled header.
if(CMAKE_BUILD_TYPE STREQUAL "Debug" AND (FORKMAP_BUILD_EXAMPLES OR FORKMAP_BUILD_BENCH))
  set(source "${PROJECT_BINARY_DIR}/forkmap_read_once.cpp")
  file(CONFIGURE OUTPUT "${source}" CONTENT "")
  add_library(forkmap_read_once OBJECT "${source}")
  target_link_libraries(forkmap_read_once PRIVATE forkmap::forkmap forkmap_dev)
  target_compile_options(forkmap_read_once PRIVATE -O0)
  target_precompile_headers(forkmap_read_once PRIVATE <forkmap/forkmap.hpp>)
endif()

# forkmap_dev_program(<target>): an example or a benchmark.
function(forkmap_dev_program target)
  target_link_libraries(${target} PRIVATE forkmap::forkmap forkmap_dev)
  if(TARGET forkmap_read_once)
    target_compile_options(${target} PRIVATE -O0)
    target_precompile_headers(${target} REUSE_FROM forkmap_read_once)
  endif()
endfunction()
