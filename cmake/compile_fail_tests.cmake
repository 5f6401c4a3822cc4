# Every tests/compile_fail/*.cpp is one test: it must not compile, and the compiler's first error
# must say what the file expects. tests/compile_fail/check.sh tells how such a file looks.
file(GLOB sources CONFIGURE_DEPENDS compile_fail/*.cpp)

if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  set(compiler_kind clang)
else()
  set(compiler_kind gcc)
endif()
# Not those that the compiler knows by itself: naming them would change their order.
get_target_property(boost_include Boost::headers INTERFACE_INCLUDE_DIRECTORIES)
list(REMOVE_ITEM boost_include ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
list(TRANSFORM boost_include PREPEND -isystem)

separate_arguments(flags NATIVE_COMMAND "${CMAKE_CXX_FLAGS}")
set(compile "${CMAKE_CXX_COMPILER}" ${flags} -std=c++20 -I "${PROJECT_SOURCE_DIR}/include"
  ${boost_include})
# They read forkmap's headers once, not each for itself.
set(header "${CMAKE_CURRENT_BINARY_DIR}/compile_fail/precompiled.hpp")
set(precompiled "${header}.gch")
file(CONFIGURE OUTPUT "${header}" CONTENT "#include <forkmap/forkmap.hpp>\n")
add_custom_command(OUTPUT "${precompiled}"
  COMMAND ${compile} -x c++-header "${header}" -o "${precompiled}" -MD -MF "${header}.d"
  DEPENDS "${header}" DEPFILE "${header}.d" VERBATIM)
add_custom_target(compile_fail_header ALL DEPENDS "${precompiled}")
list(APPEND compile -include "${header}")

# What must compile, all in one: with -DCONTROL each file is a right program.
add_library(compile_fail_controls OBJECT ${sources})
target_link_libraries(compile_fail_controls PRIVATE forkmap::forkmap)
target_compile_definitions(compile_fail_controls PRIVATE CONTROL)
target_compile_options(compile_fail_controls PRIVATE
  -O0 -g0 "SHELL:-include \"${header}\""  # as that was compiled; CXX_EXTENSIONS, too
  -Wno-return-type)                       # main needs none
add_dependencies(compile_fail_controls compile_fail_header)
set_target_properties(compile_fail_controls PROPERTIES
  CXX_EXTENSIONS OFF
  UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 12 UNITY_BUILD_UNIQUE_ID UNIQUE_ID
  UNITY_BUILD_CODE_BEFORE_INCLUDE "#define main UNIQUE_ID"
  UNITY_BUILD_CODE_AFTER_INCLUDE "#undef main")

foreach(source IN LISTS sources)
  cmake_path(GET source STEM name)
  add_test(NAME "compile_fail: ${name}"
    COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/check.sh" ${compiler_kind} "${source}"
      ${compile})
  set_tests_properties("compile_fail: ${name}" PROPERTIES TIMEOUT 120)
endforeach()
