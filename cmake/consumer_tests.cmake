# Programs of their own that use forkmap as others do: installed and found, or as a subdirectory.
set(consumer_dir "${CMAKE_CURRENT_BINARY_DIR}/consumer")
set(consumer_prefix "${consumer_dir}/prefix")

add_test(NAME "consumer: install" COMMAND "${CMAKE_COMMAND}"
  -D "build=${PROJECT_BINARY_DIR}" -D "prefix=${consumer_prefix}"
  -P "${CMAKE_CURRENT_SOURCE_DIR}/consumer/install.cmake")
set_tests_properties("consumer: install" PROPERTIES TIMEOUT 60 FIXTURES_SETUP forkmap_installed)

# consumer_test(<folder> <option>...): configures, builds and runs tests/consumer/<folder>.
function(consumer_test folder)
  add_test(NAME "consumer: ${folder}" COMMAND "${CMAKE_CTEST_COMMAND}" --build-and-test
    "${CMAKE_CURRENT_SOURCE_DIR}/consumer/${folder}" "${consumer_dir}/${folder}"
    --build-generator "${CMAKE_GENERATOR}" --build-makeprogram "${CMAKE_MAKE_PROGRAM}"
    --build-noclean --build-options
      "-DCMAKE_CXX_COMPILER=${CMAKE_CXX_COMPILER}" "-DCMAKE_CXX_FLAGS=${CMAKE_CXX_FLAGS}"
      ${ARGN}
    --test-command program)
  set_tests_properties("consumer: ${folder}" PROPERTIES
    TIMEOUT 300 ENVIRONMENT "TMPDIR=${test_tmp}")
endfunction()

consumer_test(find_package "-DCMAKE_PREFIX_PATH=${consumer_prefix}"
  "-Dforkmap_VERSION_WANTED=${PROJECT_VERSION}")
set_tests_properties("consumer: find_package" PROPERTIES FIXTURES_REQUIRED forkmap_installed)
consumer_test(add_subdirectory "-Dforkmap_SOURCE=${PROJECT_SOURCE_DIR}")
consumer_test(standard_errors "-Dforkmap_SOURCE=${PROJECT_SOURCE_DIR}")
