#!/usr/bin/env bash
# Builds the benchmarks optimised, runs them one after another and prints one table:
#
#   bench/run.sh                  all benchmarks; a few minutes, best on an idle machine
#   bench/run.sh cold_call ...    only these
#   bench/run.sh --keep           all, and copies results.md and results.svg to bench/
#   bench/run.sh --help           prints this text
#
# "floor" and "forkmap" are medians of alternating rounds. "over" means that a target is missed.
# The table and the machine are also written to build/bench/results.md, and a plot of the ratios to
# build/bench/results.svg. If CXX is set, its name is added to the folder: build/bench-clang++-19.
# The two files in bench/ are committed; only results of all benchmarks may be kept there.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C  # awk prints 0.5, not 0,5

keep=false
questions=()
for argument; do
  case $argument in
    --keep) keep=true ;;
    --help) sed -n '2,/^set /s/^# \{0,1\}//p' bench/run.sh; exit ;;
    -*) echo "unknown option: $argument; bench/run.sh --help prints the usage" >&2; exit 2 ;;
    *) questions+=("$argument") ;;
  esac
done
mapfile -t all < <(basename -s .cpp bench/*.cpp)
if [ ${#questions[@]} -eq 0 ]; then
  questions=("${all[@]}")
elif $keep && [ "$(printf '%s\n' "${questions[@]}" | sort)" != "$(printf '%s\n' "${all[@]}")" ]; then
  echo "only results of all benchmarks may be kept: run bench/run.sh --keep without names" >&2
  exit 2
fi

tests/support/install_missing.sh compiler cmake ninja boost benchmark

folder=build/bench${CXX:+-$(basename "$CXX")}
mkdir -p "$folder"
log=$folder/run.log
{
  cmake --preset release -B "$folder" -D FORKMAP_BUILD_TESTS=OFF -D FORKMAP_BUILD_EXAMPLES=OFF &&
    cmake --build "$folder" --target "${questions[@]/#/bench_}"
} >"$log" 2>&1 || {
  sed -n '/^FAILED:\|^CMake Error\|^ninja: error/,$p' "$log" | head -n 100
  echo "the benchmarks do not build; full log: $log"
  exit 1
}

TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/forkmap_bench.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
results=()
for question in "${questions[@]}"; do
  result=$folder/$question.json
  echo "$question ..." >&2
  "$folder/bench/$question" --benchmark_out="$result" --benchmark_out_format=json >"$log" 2>&1 || {
    cat "$log"
    exit 1
  }
  results+=("$result")
done

rows=$folder/results.tsv
awk -f bench/rows.awk "${results[@]}" >"$rows"

print_table() {
  awk -F '\t' '
    BEGIN { printf "%-78s %10s %10s %7s %8s\n", "benchmark / floor", "floor", "forkmap", "ratio", "target" }
    { printf "%-78s %10s %10s %7s %8s  %s\n", $1, $2, $3, $4, $5, $6 }
  ' "$rows"
}

first_line() { sed -n 1p | grep . || echo unknown; }

print_markdown() {
  local compiler model huge_pages
  compiler=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$folder/CMakeCache.txt")
  model=$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | first_line)
  huge_pages=$(
    { cat /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null || true; } |
      sed -n 's/.*\[\(.*\)\].*/\1/p' | first_line
  )
  cat <<END
# Benchmarks of forkmap

Floor and forkmap are medians of alternating rounds, measured in one run of \`bench/run.sh\`.

* Date: $(date +%Y-%m-%d)
* CPU: $model ($(uname -m)), cores: $(nproc)
* Kernel: $(uname -sr)
* Compiler: $("$compiler" --version | first_line)
* Transparent huge pages: $huge_pages

The ratio is forkmap / floor, and smaller is better. A target is the largest ratio allowed or, with a
unit, the largest value allowed for forkmap. "over" means that the target is missed.

![A bar for each ratio on a logarithmic axis; the table below has the same numbers](results.svg)

| what / floor | floor | forkmap | ratio | target | verdict |
|:--|--:|--:|--:|--:|:--|
END
  awk -F '\t' '{
    gsub(/\|/, "\\|")
    printf "| %s | %s | %s | %s | %s | %s |\n", $1, $2, $3, $4, $5, $6
  }' "$rows"
}

print_table
print_markdown >"$folder/results.md"
awk -f bench/plot.awk "$rows" >"$folder/results.svg"
if $keep; then cp "$folder/results.md" "$folder/results.svg" bench/; fi
