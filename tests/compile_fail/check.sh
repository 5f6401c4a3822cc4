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
# Where CALLS stands, both forkmap::parallel(2) and forkmap::pool(2) are tried. A line "// own headers"
# leaves out the umbrella, which is else included before the file.
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

if grep -q '^// own headers' "$file"; then
  for i in "${!compile[@]}"; do
    [ "${compile[i]}" != -include ] || { unset "compile[i]" "compile[i + 1]"; break; }
  done
fi
# The rest of the first error is notes: where none is asked for, that error is the last.
grep -q '^// mention:' "$file" || compile+=(-Wfatal-errors)
mapfile -t expected < <(expectations expect "expect-$kind")
[ ${#expected[@]} -gt 0 ] || { output=; fail "has no line '// expect: ...' for $kind"; }
mapfile -t mentioned < <(expectations mention)

# check [<option>...]: compiles it with these options, too.
check() {
  output=$("${compile[@]}" "$@" "$file" 2>&1) && fail "compiles, but must not ($*)"

  local first block regex
  first=$(grep -m 1 'error:' <<<"$output") || fail "failed without an error ($*)"
  block=$(awk '/error:/ && seen++ {exit} {print}' <<<"$output")
  for regex in "${expected[@]}"; do
    grep -qE -e "$regex" <<<"$first" || fail "the first error does not match ($*): $regex"
  done
  for regex in ${mentioned[@]+"${mentioned[@]}"}; do
    grep -qE -e "$regex" <<<"$block" || fail "the first error does not mention ($*): $regex"
  done
}

if grep -qw CALLS "$file"; then
  check '-DCALLS=forkmap::parallel(2)'
  check '-DCALLS=forkmap::pool(2)'
else
  check
fi
