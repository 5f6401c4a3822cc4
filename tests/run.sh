#!/usr/bin/env bash
# Installs what is missing, then builds and runs the tests: plain, and under AddressSanitizer and
# UndefinedBehaviorSanitizer. All is kept in build/. With arguments: these presets instead.
#
#   tests/run.sh                     with the machine's compiler
#   CXX=clang++-19 tests/run.sh      with another; its build folders get its name
#   tests/run.sh dev                 the plain one only
set -euo pipefail
cd "$(dirname "$0")/.."

tests/support/install_missing.sh compiler cmake ninja boost catch2 benchmark qhull \
  numpy joblib zlib bzip2 lzma lz4 eigen xtensor

[ -z "${CXX:-}" ] || export FORKMAP_BUILD_SUFFIX="-$(basename "$CXX")"
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}
export CTEST_PARALLEL_LEVEL=${CTEST_PARALLEL_LEVEL:-$(($(nproc) + 1))}  # they wait, too

presets=("$@")
[ $# -gt 0 ] || presets=(dev asan)

for preset in "${presets[@]}"; do
  folder=build/$preset${FORKMAP_BUILD_SUFFIX:-}
  mkdir -p "$folder"
  log=$folder/run.log
  begin=$SECONDS

  cmake --preset "$preset" >"$log" 2>&1 && cmake --build --preset "$preset" >>"$log" 2>&1 || {
    # From the first failed command on, so that the first error is seen.
    sed -n '/^FAILED:\|^CMake Error/,$p' "$log" | head -n 100
    echo "$folder: does not build; all of it: $log"
    exit 1
  }
  built=$((SECONDS - begin))

  ctest --preset "$preset" >"$log" 2>&1 || {
    grep -vE ' Passed +[0-9.]+ sec$|^ +Start ' "$log" || true
    echo "$folder: tests failed; all of it: $log"
    exit 1
  }
  echo "$folder: built in $built s, tested in $((SECONDS - begin - built)) s"
  sed -n '/tests passed/p' "$log"
done
