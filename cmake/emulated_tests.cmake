# The tests of cross-compiled programs, which qemu-user runs, and the reasons for leaving some out.
# All tests that are not named here are built and run.
option(FORKMAP_EMULATE_TESTS "Cross-compile all tests, not only the program that uses all parts" ON)

# Files that are not built. Forks and system calls take ten times as long under qemu, and the preset
# aarch64 has six minutes.
set(emulated_without
  promise/chaos.cpp               # minutes of random kills
  promise/forked_in_task.cpp      # MADV_WIPEONFORK, which qemu ignores
  promise/hazards.cpp             # OpenMP and OpenBLAS, which are not installed for the target
  promise/hooked_errors.cpp       # plain C++, expensive to compile
  promise/many_arrays.cpp         # thousands of files; tests the kernel more than forkmap
  promise/pool_later_library.cpp  # tests the dynamic linker
  promise/balance.cpp             # measures times
  promise/depth.cpp               # ten nested emulators
  promise/hostile.cpp             # ten thousand calls, and madvise flags for fork that qemu ignores
  promise/hostile_messages.cpp    # the same
  promise/locks_at_fork.cpp       # thousands of forks while threads call dlopen
  promise/started_programs.cpp    # RLIMIT_LOCKS, and /proc, which shows the emulator
  promise/user_threads.cpp        # OpenMP, which is not installed for the target
  promise/surroundings.cpp        # resource limits, OpenMP, and /proc, which shows the emulator
  unit/adapt/eigen.cpp            # plain C++, as the next two
  unit/adapt/mdspan.cpp
  unit/adapt/xtensor.cpp
  unit/archive.cpp                # .npz files need zlib, which is not installed for the target
  unit/array/decompressed_source.cpp  # the same
  unit/npz/zip.cpp              # the same
  unit/plan/explored_claim_table.cpp   # explores AArch64's memory model on any machine
  unit/os/marked_processes.cpp  # RLIMIT_LOCKS, and /proc, which shows the emulator
  unit/compress/codecs.cpp          # the same, and the other compression libraries
  unit/compress/library_abi.cpp     # the headers of those libraries
  unit/journal/journal_fuzz.cpp) # plain C++, takes long

# Test cases that are built but not run.
function(forkmap_list_cases_not_emulated)
  set(of_the_emulator "/proc and the memory of the process are those of the emulator")
  set(no_subreaper "qemu 7.2 has no PR_SET_CHILD_SUBREAPER: orphans of tasks are not found")
  set(no_memory_limit "qemu sets no RLIMIT_AS")
  set(no_other_memory "qemu has no process_vm_readv")
  set(no_advice "qemu accepts every madvise and does nothing")
  set(too_slow "hundreds of forks, which take a quarter of the time of all tests")
  set(no_mincore "qemu's mincore refuses pages without access rights")
  set(no_zlib "zlib is not installed for the target")

  forkmap_not_emulated(promise "failure: system_error keeps its code, filesystem_error its paths"
    "${no_other_memory}")
  forkmap_not_emulated(promise "memory_limit: an allocation beyond it fails only in its task"
    "${no_memory_limit}")
  forkmap_not_emulated(promise
    "pool: beyond its memory limit a task throws bad_alloc, or the call fails"
    "${no_memory_limit}")
  forkmap_not_emulated(promise
    "pool: each of 64 idle workers uses less than a megabyte of private memory"
    "${of_the_emulator}")
  forkmap_not_emulated(promise
    "pool: killing workers at random fails only the tasks that they were running"
    "${too_slow}")
  forkmap_not_emulated(promise "pool: each task of a call gets a worker while other workers retire"
    "${too_slow}")
  forkmap_not_emulated(promise "unsized: a range that ends at a predicate is read to its end"
    "${too_slow}")
  forkmap_not_emulated(promise
    "exits: a pool that cannot start a thread throws an error that names pthread_create"
    "qemu does not come back from the mmap of a stack of 64 TiB")
  forkmap_not_emulated(promise "long lines: lines from pools, streams and nested maps arrive whole"
    "qemu 7.2 fails an assertion of its own in children that are forked beside threads")
  forkmap_not_emulated(promise
    "unsized: tasks of a range that can be read only once arrive unchanged" "${too_slow}")
  forkmap_not_emulated(promise
    "unsized: failures of tasks and of the range are thrown at their position in a stream"
    "${too_slow}")
  forkmap_not_emulated(promise "timeout: trace() shows where the task was when it timed out"
    "${of_the_emulator}")
  forkmap_not_emulated(promise "timeout: processes that the task has started end with it"
    "${no_subreaper}")
  forkmap_not_emulated(unit "advise: the kernel gets the expected order of access" "${no_advice}")
  forkmap_not_emulated(unit
    "advise: for other memory, advice applies to the pages that lie wholly inside" "${no_advice}")
  forkmap_not_emulated(unit
    "page_prefaulter: each page is prefaulted once until its memory is replaced" "${no_advice}")
  forkmap_not_emulated(unit "arena: the writer of a large blob does not keep it mapped"
    "${no_mincore}")
  forkmap_not_emulated(unit "dump: containers can be compressed" "${no_zlib}")
  forkmap_not_emulated(unit "dump: a value that the format or Python cannot hold keeps the old file"
    "${no_zlib}")
  forkmap_not_emulated(unit
    "contents: all members of an archive are listed, even those with odd names" "${no_zlib}")
endfunction()

# forkmap_leave_out(<list>): removes the files that are not built from a list.
function(forkmap_leave_out list)
  set(left_out ${emulated_without})
  list(TRANSFORM left_out PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
  foreach(file IN LISTS left_out)
    if(NOT EXISTS "${file}")
      message(FATAL_ERROR "cmake/emulated_tests.cmake names a file that does not exist: ${file}")
    endif()
  endforeach()
  list(REMOVE_ITEM ${list} ${left_out})
  set(${list} "${${list}}" PARENT_SCOPE)
endfunction()

# forkmap_not_emulated(<folder> <test case> <reason>)
function(forkmap_not_emulated folder case reason)
  file(GLOB_RECURSE sources ${folder}/*.cpp)
  foreach(source IN LISTS sources)
    file(READ "${source}" text)
    string(FIND "${text}" "TEST_CASE(\"${case}\"" at)
    if(NOT at EQUAL -1)
      file(APPEND "${CMAKE_CURRENT_BINARY_DIR}/not_emulated_${folder}.cmake"
        "set_tests_properties([==[${folder}/${case}]==] PROPERTIES DISABLED TRUE)  # ${reason}\n")
      return()
    endif()
  endforeach()
  message(FATAL_ERROR "cmake/emulated_tests.cmake names a test case that does not exist: ${case}")
endfunction()

# forkmap_disable_cases(<folder>): disables the cases above. Call it after catch_discover_tests().
function(forkmap_disable_cases folder)
  set_property(DIRECTORY APPEND PROPERTY TEST_INCLUDE_FILES
    "${CMAKE_CURRENT_BINARY_DIR}/not_emulated_${folder}.cmake")
endfunction()

if(FORKMAP_EMULATE_TESTS)
  file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/not_emulated_unit.cmake" "")
  file(WRITE "${CMAKE_CURRENT_BINARY_DIR}/not_emulated_promise.cmake" "")
  forkmap_list_cases_not_emulated()
  forkmap_tests(unit)
  forkmap_tests(promise)
  forkmap_load_later(promise_tests)
endif()

# One program that uses all parts, linked with nothing but the C++ library, so that atomics that
# need libatomic are a link error. On AArch64 it also runs with larger pages, which some kernels
# use; programs for riscv64 are linked for pages of 4 KiB.
add_executable(everything support/everything.cpp)
target_link_libraries(everything PRIVATE forkmap::forkmap forkmap_dev)
set(pages 4096)
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  list(APPEND pages 16384 65536)
endif()
foreach(page_bytes IN LISTS pages)
  add_test(NAME "emulated: everything, in pages of ${page_bytes}"
    COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} -p ${page_bytes} $<TARGET_FILE:everything> ${page_bytes})
  set_tests_properties("emulated: everything, in pages of ${page_bytes}" PROPERTIES
    TIMEOUT ${test_timeout} ENVIRONMENT "TMPDIR=${test_tmp}")
endforeach()
