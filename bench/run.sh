#!/usr/bin/env bash
# Builds the benchmarks optimised, runs them one after another and prints one table of them all:
#
#   bench/run.sh                  every question; a few minutes, best on a machine with nothing to do
#   bench/run.sh cold_call ...    these only
#
# floor and forkmap are medians of rounds in turns. "over" says that a target is missed.
set -euo pipefail
cd "$(dirname "$0")/.."

tests/support/install_missing.sh compiler cmake ninja boost benchmark

folder=build/bench${CXX:+-$(basename "$CXX")}
mkdir -p "$folder"
log=$folder/run.log
if [ $# -gt 0 ]; then questions=("$@"); else questions=($(basename -s .cpp bench/*.cpp)); fi
{
  cmake --preset release -B "$folder" -D FORKMAP_BUILD_TESTS=OFF -D FORKMAP_BUILD_EXAMPLES=OFF &&
    cmake --build "$folder" --target "${questions[@]/#/bench_}"
} >"$log" 2>&1 || {
  sed -n '/^FAILED:\|^CMake Error\|^ninja: error/,$p' "$log" | head -n 100
  echo "the benchmarks do not build; all of it: $log"
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

# One line per benchmark of Google Benchmark's JSON, which has one "name": value on each line.
awk '
  function amount(value,   unit) {  # seconds, unless the question says kB
    if (text ~ /\(kB\)/) return sprintf("%.0f kB", value)
    if (value < 1e-3) return sprintf("%.1f us", value * 1e6)
    if (value < 1) return sprintf("%.2f ms", value * 1e3)
    return sprintf("%.2f s", value)
  }
  function row(   target, verdict) {
    target = verdict = "-"
    if ("ratio_target" in field) {
      target = field["ratio_target"]
      verdict = field["ratio"] <= target ? "ok" : "over"
    } else if ("limit" in field) {
      target = amount(field["limit"])
      verdict = field["forkmap"] <= field["limit"] ? "ok" : "over"
    }
    printf "%-78s %10s %10s %7.3f %8s  %s\n", text, amount(field["floor"]), amount(field["forkmap"]),
           field["ratio"], target, verdict
  }
  BEGIN { printf "%-78s %10s %10s %7s %8s\n", "what / floor", "floor", "forkmap", "ratio", "target" }
  match($0, /^ *"[a-z_]+": /) {
    name = substr($0, RSTART, RLENGTH); gsub(/[ ":]/, "", name)
    value = substr($0, RSTART + RLENGTH); sub(/,$/, "", value)
    if (name == "name") { delete field; text = "" }
    field[name] = value ~ /^"/ ? value : value + 0
    if (name == "label") { text = value; gsub(/^"|"$/, "", text); }
  }
  /^ *}/ && text != "" { row(); text = "" }
' "${results[@]}"
