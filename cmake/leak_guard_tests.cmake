# Tests of the leak guard. A guard that detects nothing would make all tests look clean. Each test
# case of the program leaves something behind, or fails in a forked process.
forkmap_test_program(leak_guard_check support/leak_guard_check.cpp)

# leak_guard_test(<test case> <exit status> <expected output>)
function(leak_guard_test case status said)
  add_test(NAME "leak guard: ${case}" COMMAND sh -c "\"$0\" \"$1\" 2>&1; echo \"exit status $?\""
    $<TARGET_FILE:leak_guard_check> "${case}")
  set_tests_properties("leak guard: ${case}" PROPERTIES
    TIMEOUT 60 ENVIRONMENT "TMPDIR=${test_tmp}"
    PASS_REGULAR_EXPRESSION "${said}(.|\n)*exit status ${status}")
endfunction()

leak_guard_test("leaves nothing" 0 "passed")
leak_guard_test("loses a child to a signal" 0 "passed")
leak_guard_test("leaves a running child" 1 "left a running child")
leak_guard_test("leaves a zombie" 1 "left a child that was not waited for")
leak_guard_test("leaves an orphan" 1 "left an orphan")
leak_guard_test("leaves a descriptor" 1 "left an open descriptor")
leak_guard_test("closes a descriptor that it did not open" 1 "closed a descriptor")
leak_guard_test("leaves a name in /dev/shm" 1 "left a name in /dev/shm")
# Other tests would see that name.
set_tests_properties("leak guard: leaves a name in /dev/shm" PROPERTIES RUN_SERIAL TRUE)
leak_guard_test("leaves a file" 1 "left a file")
leak_guard_test("leaves a signal blocked" 1 "left a changed signal mask")
leak_guard_test("fails a CHECK in a child" 1 "failed in a forked process: assertion failed: 1 == 2")
leak_guard_test("fails a REQUIRE in a child" 1 "failed in a forked process: assertion failed: 1 == 2")
leak_guard_test("runs on in a child" 1 "failed in a forked process: it ran on")
leak_guard_test("a name that no test case has" 1 "no test case of this name")
