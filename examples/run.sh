#!/usr/bin/env bash
# Builds an example optimised and runs it. Default: sliding_window_mean at full size. Arguments are
# passed to the example:
#
#   examples/run.sh --n-jobs 4
#   examples/run.sh crashing_parser
set -euo pipefail
cd "$(dirname "$0")/.."

name=sliding_window_mean
if [ $# -gt 0 ] && [ -f "examples/$1/CMakeLists.txt" ]; then
  name=$1
  shift
elif [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  echo "examples/run.sh: no example '$1'; choose one of:" $(basename -a $(dirname examples/*/CMakeLists.txt)) >&2
  exit 1
fi
tests/support/install_missing.sh compiler cmake ninja boost
[ "$name" != not_thread_safe ] || tests/support/install_missing.sh qhull

folder=build/examples${CXX:+-$(basename "$CXX")}
mkdir -p "$folder"
log=$folder/run.log
{
  cmake --preset release -B "$folder" -D FORKMAP_BUILD_TESTS=OFF -D FORKMAP_BUILD_BENCH=OFF &&
    cmake --build "$folder" --target "$name"
} >"$log" 2>&1 || {
  sed -n '/^FAILED:\|^CMake Error/,$p' "$log" | head -n 100
  echo "the example does not build; full log: $log"
  exit 1
}
exec "$folder/examples/$name/$name" "$@"
