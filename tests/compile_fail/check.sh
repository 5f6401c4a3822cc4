#!/usr/bin/env bash
# check.sh gcc|clang <file> <compiler> [option...]: whether the file fails to compile as it should.
#
# A file looks like this:
#
#   // expect: regular expression      the first line with "error:" must match (several: all of them)
#   // expect-gcc: regular expression  the same, for one compiler only; expect-clang: likewise
#   // mention: regular expression     must occur before the second line with "error:"
#   #ifdef CONTROL
#   ...                               must compile: the nearest right program
#   #else
#   ...                               must not compile
#   #endif
#
# Without the control any typing error would pass. One test compiles all of them together.
set -u
kind=$1 file=$2
shift 2
compile=("$@" -x c++ -fsyntax-only -fdiagnostics-color=never)
export LC_ALL=C

fail() {
  printf '%s: %s\n' "$file" "$1"
  printf -- '--- the compiler said ---\n%s\n' "$output"
  exit 1
}

# expectations <keyword>...: the regular expressions of the lines "// keyword: ..."
expectations() {
  local keyword
  for keyword; do sed -n "s|^// $keyword: *||p" "$file"; done
}

# The rest of the first error is notes: where none is asked for, that error is the last.
grep -q '^// mention:' "$file" || compile+=(-Wfatal-errors)
output=$("${compile[@]}" "$file" 2>&1) && fail 'compiles, but must not'

first=$(grep -m 1 'error:' <<<"$output") || fail 'failed without an error'
block=$(awk '/error:/ && seen++ {exit} {print}' <<<"$output")

mapfile -t expected < <(expectations expect "expect-$kind")
[ ${#expected[@]} -gt 0 ] || fail "has no line '// expect: ...' for $kind"
for regex in "${expected[@]}"; do
  grep -qE -e "$regex" <<<"$first" || fail "the first error does not match: $regex"
done
mapfile -t mentioned < <(expectations mention)
for regex in ${mentioned[@]+"${mentioned[@]}"}; do
  grep -qE -e "$regex" <<<"$block" || fail "the first error does not mention: $regex"
done
