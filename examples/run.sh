#!/usr/bin/env bash
# Builds the example optimised and runs it at full size; arguments are passed on to it:
#
#   examples/run.sh --n-jobs 4
set -euo pipefail
cd "$(dirname "$0")/.."

tests/support/install_missing.sh compiler cmake ninja boost

folder=build/examples${CXX:+-$(basename "$CXX")}
mkdir -p "$folder"
log=$folder/run.log
{
  cmake --preset release -B "$folder" -D FORKMAP_BUILD_TESTS=OFF -D FORKMAP_BUILD_BENCH=OFF &&
    cmake --build "$folder" --target sliding_window_mean
} >"$log" 2>&1 || {
  sed -n '/^FAILED:\|^CMake Error/,$p' "$log" | head -n 100
  echo "the example does not build; all of it: $log"
  exit 1
}
exec "$folder/examples/sliding_window_mean/sliding_window_mean" "$@"
