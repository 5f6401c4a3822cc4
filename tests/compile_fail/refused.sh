#!/usr/bin/env bash
# refused.sh <regular expression> <compiler> [option...]: whether forkmap's headers are refused by
# this compiler with these options in one sentence: the first line with "error:" must match, and
# nothing but the end of the compilation may follow. Some headers are tried: tests/layout.sh sees to it
# that all public ones begin alike.
# With an empty expression: whether they are not refused, which is the control.
set -euo pipefail
expected=$1
shift
export LC_ALL=C

headers=(forkmap.hpp parallel.hpp load.hpp)
# The control needs no header behind the one that refuses: other tests compile them all.
[ -n "$expected" ] || headers=(detail/requirements.hpp)

for header in "${headers[@]}"; do
  status=0
  output=$("$@" -x c++ -fsyntax-only -fdiagnostics-color=never - 2>&1 \
    <<<"#include <forkmap/$header>") || status=$?
  if [ -z "$expected" ]; then
    [ "$status" -eq 0 ] || { printf 'refused, but must not be:\n%s\n' "$output"; exit 1; }
    continue
  fi
  errors=$(grep 'error:' <<<"$output") || true
  if [ "$status" -eq 0 ] || ! head -n 1 <<<"$errors" | grep -qE -e "$expected" ||
    [ "$(sed -n '2,$p' <<<"$errors" | grep -vc 'see the error above')" -ne 0 ]; then
    printf '%s: is not refused by one error that matches %s:\n%s\n' "$header" "$expected" "$output"
    exit 1
  fi
done
