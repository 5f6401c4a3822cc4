# Tests that unsupported platforms and options are refused with one sentence: see
# include/forkmap/detail/requirements.hpp and tests/compile_fail/refused.sh. Include this file after
# compile_fail_tests.cmake, because it uses its variables.
set(refused_dir "${CMAKE_CURRENT_BINARY_DIR}/refused")
file(CONFIGURE OUTPUT "${refused_dir}/old_boost/boost/version.hpp"
  CONTENT "#define BOOST_VERSION 107400\n")
file(CONFIGURE OUTPUT "${refused_dir}/old_glibc/features.h"
  CONTENT "#define __GLIBC__ 2\n#define __GLIBC_MINOR__ 31\n")
file(CONFIGURE OUTPUT "${refused_dir}/no_glibc/features.h" CONTENT "")

# refused_test(<name> <regular expression> <option>...): these options must give that sentence.
function(refused_test name sentence)
  add_test(NAME "compile_fail: refused: ${name}"
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/refused.sh" "${sentence}"
      "${CMAKE_CXX_COMPILER}" ${ARGN} ${flags} -I "${PROJECT_SOURCE_DIR}/include" ${boost_include})
  set_tests_properties("compile_fail: refused: ${name}" PROPERTIES TIMEOUT 120)
endfunction()

refused_test("nothing that is right" "" -std=c++20)
refused_test("C++17" "needs C[+][+]20: compile with -std=c[+][+]20" -std=c++17)
refused_test("no RTTI" "needs RTTI.*compile without -fno-rtti" -std=c++20 -fno-rtti)
refused_test("no exceptions" "needs exceptions: compile without -fno-exceptions"
  -std=c++20 -fno-exceptions)
refused_test("another system than Linux" "needs Linux" -std=c++20 -U__linux__)
refused_test("an old glibc" "needs the GNU C library [(]glibc[)] 2.32"
  -std=c++20 -isystem "${refused_dir}/old_glibc")
refused_test("another C library" "needs the GNU C library [(]glibc[)] 2.32"
  -std=c++20 -isystem "${refused_dir}/no_glibc")
refused_test("an old Boost" "needs Boost 1.75 or newer; an older one"
  -std=c++20 -isystem "${refused_dir}/old_boost")
if(NOT boost_include)
  refused_test("no Boost" "needs the headers of Boost 1.75" -std=c++20 -nostdinc)
endif()
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64")
  # Refused before any system header, because 32-bit headers may not be installed.
  refused_test("32 bits" "needs a 64-bit program: .*without -m32" -std=c++20 -m32)
endif()
if(compiler_kind STREQUAL "gcc")
  refused_test("an old compiler" "needs g[+][+] 12 or newer" -std=c++20 -U__GNUC__ -D__GNUC__=11)
else()
  refused_test("an old compiler" "needs clang 16 or newer"
    -std=c++20 -Wno-builtin-macro-redefined -U__clang_major__ -D__clang_major__=15)
endif()
