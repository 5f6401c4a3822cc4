# Separate projects that use forkmap as users do: by find_package, or by add_subdirectory.
set(consumer_dir "${CMAKE_CURRENT_BINARY_DIR}/consumer")
set(consumer_prefix "${consumer_dir}/prefix")

add_test(NAME "consumer: install" COMMAND "${CMAKE_COMMAND}"
  -D "build=${PROJECT_BINARY_DIR}" -D "prefix=${consumer_prefix}"
  -P "${CMAKE_CURRENT_SOURCE_DIR}/consumer/install.cmake")
set_tests_properties("consumer: install" PROPERTIES TIMEOUT 60 FIXTURES_SETUP forkmap_installed)

# consumer_test(<name> <folder> <option>...): configures, builds and runs tests/consumer/<folder>.
function(consumer_test name folder)
  add_test(NAME "consumer: ${name}" COMMAND "${CMAKE_CTEST_COMMAND}" --build-and-test
    "${CMAKE_CURRENT_SOURCE_DIR}/consumer/${folder}" "${consumer_dir}/${name}"
    --build-generator "${CMAKE_GENERATOR}" --build-makeprogram "${CMAKE_MAKE_PROGRAM}"
    --build-noclean --build-options
      "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}" "-DCMAKE_CXX_FLAGS=${CMAKE_CXX_FLAGS}"
      ${ARGN}
    --test-command program)
  set_tests_properties("consumer: ${name}" PROPERTIES
    TIMEOUT 300 ENVIRONMENT "TMPDIR=${test_tmp}")
endfunction()

consumer_test(find_package find_package "-DCMAKE_PREFIX_PATH=${consumer_prefix}"
  "-Dforkmap_VERSION_WANTED=${PROJECT_VERSION}")
set_tests_properties("consumer: find_package" PROPERTIES FIXTURES_REQUIRED forkmap_installed)
consumer_test(add_subdirectory add_subdirectory "-Dforkmap_SOURCE=${PROJECT_SOURCE_DIR}")
consumer_test(standard_errors standard_errors "-Dforkmap_SOURCE=${PROJECT_SOURCE_DIR}")
consumer_test(one_definition one_definition "-Dforkmap_SOURCE=${PROJECT_SOURCE_DIR}")
set_tests_properties("consumer: one_definition" PROPERTIES TIMEOUT 900)

# The same with libc++, if it is installed.
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  include(CheckCXXSourceCompiles)
  # Before version 20, std::stop_token needs -fexperimental-library.
  set(libcxx "-stdlib=libc++ -fexperimental-library")
  block()
    set(CMAKE_CXX_STANDARD 20)
    set(CMAKE_REQUIRED_FLAGS "${libcxx}")
    check_cxx_source_compiles("#include <stop_token>
      int main() { return std::stop_token().stop_possible(); }" FORKMAP_HAVE_LIBCXX)
  endblock()
  if(FORKMAP_HAVE_LIBCXX)
    consumer_test(libcxx standard_errors "-Dforkmap_SOURCE=${PROJECT_SOURCE_DIR}"
      "-DCMAKE_CXX_FLAGS=${CMAKE_CXX_FLAGS} ${libcxx}")
  endif()
endif()
