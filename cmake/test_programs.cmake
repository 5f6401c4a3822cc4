# forkmap_tests(<folder> [NOT_SANITIZED <file>...]): builds every .cpp file in tests/<folder> and
# its subfolders into the executable <folder>_tests, and registers each test case as the test
# "<folder>/<its name>". With a sanitizer, processes start and exit slowly, so all cases of a file
# are one test; files listed as NOT_SANITIZED are then left out. A new file needs no change here,
# unless it may be empty: see unit/mdspan in tests/CMakeLists.txt. Names must contain neither ; nor
# \, which CMake and Catch2 treat as special: such a test fails with "no test case of this name".
# Several files are compiled as one, which halves the compile time. So names in the unnamed
# namespaces of two files must differ, and shared code belongs in tests/support. A file that must be
# compiled alone gets SKIP_UNITY_BUILD_INCLUSION.
if(NOT TARGET Catch2::Catch2)
  find_package(Catch2 REQUIRED)
endif()
include(Catch)

set(test_timeout 300)  # seconds; where forking is slow, thousands of calls take a third of it
if(FORKMAP_SANITIZE)
  set(test_timeout 900)  # for all cases of a file
endif()
# Tasks of tests crash on purpose, and workers write crash reports only if the sanitizer does not
# handle these signals. A small quarantine makes forks faster: each fork copies the page tables of
# the freed memory that AddressSanitizer keeps (256 MB by default).
set(sanitizer_options
  "handle_segv=0:handle_sigbus=0:handle_sigfpe=0:handle_sigill=0:handle_abort=0:handle_sigtrap=0:use_sigaltstack=0:allocator_may_return_null=1")
set(test_tmp "${CMAKE_CURRENT_BINARY_DIR}/tmp")
file(MAKE_DIRECTORY "${test_tmp}")

# Catch2's main is compiled once. Its header is precompiled, because version 2 is slow to parse.
add_library(test_main OBJECT EXCLUDE_FROM_ALL support/main.cpp support/leak_guard.cpp)
target_link_libraries(test_main PUBLIC forkmap::forkmap forkmap_dev Catch2::Catch2)
target_include_directories(test_main PUBLIC "${CMAKE_CURRENT_SOURCE_DIR}")
target_compile_definitions(test_main PUBLIC
  FORKMAP_TEST_DIR="${CMAKE_CURRENT_SOURCE_DIR}")
set(precompiled support/catch.hpp <chrono> <filesystem> <ranges>)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # clang reuses what it needs from it; g++ would repeat all instantiations at the end of each file.
  list(APPEND precompiled <forkmap/forkmap.hpp>)
endif()
target_precompile_headers(test_main PRIVATE ${precompiled})
# Catch2 itself is not under test and slow to compile, so it is unoptimised and not sanitized. The
# exception is ThreadSanitizer, which must see every copy of inline functions that count references.
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

# forkmap_test_program(<name> <source>...): builds an executable of test cases; registers none.
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
  if(CMAKE_CROSSCOMPILING)
    forkmap_leave_out(sources)
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
    if(CMAKE_CROSSCOMPILING)
      forkmap_disable_cases(${folder})
    endif()
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
  # Fails if a file had no case when CMake ran, or if a header contains a case.
  add_test(NAME "${folder}: no case is left out" COMMAND ${program} --filenames-as-tags "${no_file}")
  set_tests_properties("${folder}: no case is left out" PROPERTIES
    TIMEOUT ${test_timeout} PASS_REGULAR_EXPRESSION "no test case of this name")
endfunction()
