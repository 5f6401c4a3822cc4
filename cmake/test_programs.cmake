# forkmap_tests(<folder> [NOT_SANITIZED <file>...]): every .cpp file in tests/<folder>, subfolders
# too, becomes part of the executable <folder>_tests, and each test case in it the test
# "<folder>/<its name>". With a sanitizer, whose processes are slow to start and to end, the cases
# of a file are one test; files that are NOT_SANITIZED have none then.
# A new file needs no change here, but one that may be empty: unit/mdspan in tests/CMakeLists.txt.
# Names must hold neither ; nor \, which CMake and Catch2 take for something else: such a test fails
# with "no test case of this name".
# Several files are compiled as one, which halves the compiler's time: what two of them name alike
# in their unnamed namespaces is an error, and what they share belongs into tests/support. A file
# that must be alone gets SKIP_UNITY_BUILD_INCLUSION.
find_package(Catch2 REQUIRED)
include(Catch)

set(test_timeout 300)  # seconds; thousands of calls take a third of it where forking is slow
if(FORKMAP_SANITIZE)
  set(test_timeout 900)  # for all cases of a file
endif()
# Tasks of tests die of signals: workers note how only where no sanitizer wants to. Each fork has to
# copy the page tables of what AddressSanitizer keeps of freed memory (256 MB by default).
set(sanitizer_options
  "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0:handle_sigtrap=0:use_sigaltstack=0:allocator_may_return_null=1")
set(test_tmp "${CMAKE_CURRENT_BINARY_DIR}/tmp")
file(MAKE_DIRECTORY "${test_tmp}")

# Catch2's main is compiled once, and so is its header: slow to read in version 2.
add_library(test_main OBJECT support/main.cpp support/leak_guard.cpp)
target_link_libraries(test_main PUBLIC forkmap::forkmap forkmap_dev Catch2::Catch2)
target_include_directories(test_main PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}")
target_compile_definitions(test_main PUBLIC
  FORKMAP_TEST_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
set(precompiled support/catch.hpp <chrono> <filesystem> <ranges>)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # It takes from there what it needs; g++ would do all again that instantiations are at the end.
  list(APPEND precompiled <forkmap/forkmap.hpp>)
endif()
target_precompile_headers(test_main PRIVATE ${precompiled})
# Catch2 itself is neither under test nor quick to compile: unoptimised, and without sanitizers but
# for that of threads, which must see every copy of an inline function that counts references.
set(main_options -O0)
if(NOT FORKMAP_SANITIZE MATCHES "thread")
  list(APPEND main_options -fno-sanitize=all)
endif()
set_source_files_properties(support/main.cpp PROPERTIES
  SKIP_PRECOMPILE_HEADERS ON COMPILE_OPTIONS "${main_options}")
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang" AND FORKMAP_SANITIZE MATCHES "address")
  target_sources(test_main PRIVATE support/quick_fork.cpp)
  set_source_files_properties(support/quick_fork.cpp PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  target_link_options(test_main INTERFACE
    LINKER:--wrap=_ZN11__sanitizer24StackDepotLockBeforeForkEv
    LINKER:--wrap=_ZN11__sanitizer25StackDepotUnlockAfterForkEb)
endif()

# forkmap_test_program(<name> <source>...): an executable of test cases, none registered.
function(forkmap_test_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE test_main)
  target_precompile_headers(${name} REUSE_FROM test_main)
endfunction()

function(forkmap_tests folder)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" NOT_SANITIZED)
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${folder}/*.cpp)
  if(FORKMAP_SANITIZE)
    list(TRANSFORM arg_NOT_SANITIZED PREPEND "${CMAKE_CURRENT_SOURCE_DIR}/")
    list(REMOVE_ITEM sources ${arg_NOT_SANITIZED})
  endif()
  if(NOT sources)
    return()
  endif()
  set(program ${folder}_tests)
  forkmap_test_program(${program} ${sources})
  set_target_properties(${program} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 12)
  if(NOT FORKMAP_SANITIZE)
    catch_discover_tests(${program} TEST_PREFIX "${folder}/"
      PROPERTIES TIMEOUT ${test_timeout} ENVIRONMENT "TMPDIR=${test_tmp}")
    return()
  endif()
  set(environment "TMPDIR=${test_tmp}" "ASAN_OPTIONS=quarantine_size_mb=32:${sanitizer_options}"
    "TSAN_OPTIONS=die_after_fork=0:${sanitizer_options}")
  set(names)
  set(no_file)
  foreach(source IN LISTS sources)
    file(STRINGS "${source}" cases REGEX "TEST_CASE\\(" LIMIT_COUNT 1)
    if(cases)
      cmake_path(GET source STEM LAST_ONLY name)
      list(APPEND names ${name})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES names)  # files of one name in several subfolders are one test
  foreach(name IN LISTS names)
    string(APPEND no_file "~[#${name}]")
    add_test(NAME "${folder}/${name}" COMMAND ${program} --filenames-as-tags "[#${name}]")
    set_tests_properties("${folder}/${name}" PROPERTIES
      TIMEOUT ${test_timeout} ENVIRONMENT "${environment}")
  endforeach()
  # A file that had no case when this was configured, or a header with one.
  add_test(NAME "${folder}: no case is left out" COMMAND ${program} --filenames-as-tags "${no_file}")
  set_tests_properties("${folder}: no case is left out" PROPERTIES
    TIMEOUT ${test_timeout} PASS_REGULAR_EXPRESSION "no test case of this name")
endfunction()
