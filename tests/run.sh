#!/usr/bin/env bash
# Installs missing packages, then builds and runs the tests: plain, and under AddressSanitizer and
# UndefinedBehaviorSanitizer. Build output goes to build/. Arguments name other presets to run.
#
#   tests/run.sh                     with the default compiler
#   CXX=clang++-19 tests/run.sh      with another compiler; its build folders have its name
#   tests/run.sh dev                 only the plain build
#   tests/run.sh aarch64 riscv64     cross-compiled, and run by qemu-user; cmake/emulated_tests.cmake
#                                    lists the tests that are left out
set -euo pipefail
cd "$(dirname "$0")/.."

presets=("$@")
[ $# -gt 0 ] || presets=(dev asan)

things=(compiler cmake ninja boost catch2)
for preset in "${presets[@]}"; do
  case $preset in
    aarch64 | riscv64) things+=("$preset") ;;
    *) things+=(benchmark qhull numpy joblib zlib bzip2 lzma lz4 eigen xtensor) ;;
  esac
done
tests/support/install_missing.sh "${things[@]}"

[ -z "${CXX:-}" ] || export FORKMAP_BUILD_SUFFIX="-$(basename "$CXX")"
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
export CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-$(($(nproc) + 1))}  # one more than cores, because tests also wait

for preset in "${presets[@]}"; do
  folder=build/$preset${FORKMAP_BUILD_SUFFIX:-}
  mkdir -p "$folder"
  log=$folder/run.log
  begin=$SECONDS

  cmake --preset "$preset" >"$log" 2>&1 && cmake --build --preset "$preset" >>"$log" 2>&1 || {
    # Print from the first failed command on, so that the first error is visible.
    sed -n '/^FAILED:\|^CMake Error/,$p' "$log" | head -n 100
    echo "$folder: does not build; full log: $log"
    exit 1
  }
  built=$((SECONDS - begin))

  ctest --preset "$preset" >"$log" 2>&1 || {
    grep -vE ' Passed +[0-9.]+ sec$|^ +Start ' "$log" || true
    echo "$folder: tests failed; full log: $log"
    exit 1
  }
  echo "$folder: built in $built s, tested in $((SECONDS - begin - built)) s"
  sed -n '/tests passed/p' "$log"
done
