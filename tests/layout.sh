#!/usr/bin/env bash
# Checks the layout of the headers: includes go one way, headers are short, namespaces are few.
# Prints each breach. Usage: layout.sh [<include folder>]; default: ../include.
set -euo pipefail

# Allowed includes:
#   forkmap/*.hpp, forkmap/adapt/   public: may include anything
#   forkmap/detail/<room>/          internal: detail/ and vocabulary
#   forkmap/detail/*.hpp            base: other base headers
# Vocabulary headers are public headers that include only vocabulary and base headers. A room is a
# folder of detail/ with its subfolders. No two rooms include each other.
namespaces='forkmap forkmap::detail forkmap::cluster forkmap::this_task'
macros='^FORKMAP_(VERSION|INLINE|COMPILED)'
boost_interprocess='^detail/mapped/'
longest=301  # lines, one of them the licence
# A public header includes this first; version.hpp is read by CMake and needs nothing.
first_include='forkmap/detail/requirements.hpp'
# Atomics in shared memory have at least 32 bits: smaller ones need libatomic on riscv64.
small_atomic='atomic(_ref)?<(bool|char|signed char|unsigned char|short|unsigned short|std::byte|std::u?int(8|16)_t)>'

cd "${1:-$(dirname "$0")/../include}/forkmap"
mapfile -t headers < <(find . -name '*.hpp' -printf '%P\n' | sort)

breaches=$(awk -v namespaces="$namespaces" -v macros="$macros" \
  -v boost="$boost_interprocess" -v longest="$longest" -v first_include="$first_include" \
  -v small_atomic="$small_atomic" '
  BEGIN {
    for (n = split(namespaces, names, " "); n > 0; --n) namespace_known[names[n]] = 1
  }
  function is_public(header) { return header !~ /^detail\// }
  function breach(message) { print "  " FILENAME ":" FNR ": " message }
  function current_namespace(   i, full) {
    for (i = 1; i <= depth; ++i) full = full (i > 1 ? "::" : "") open[i]
    return full
  }
  function report_no_include() {
    if (includes_nothing) print "  " file ": includes nothing; the first must be " first_include
  }
  FNR == 1 { report_no_include(); file = FILENAME
             depth = 0
             includes_nothing = is_public(FILENAME) && FILENAME != "version.hpp" }
  FNR == longest + 1 { breach("more than " longest - 1 " lines: split it") }

  includes_nothing && /^ *# *include/ {
    includes_nothing = 0
    if (!index($0, "<" first_include ">")) breach("the first include must be " first_include)
  }
  $0 ~ small_atomic && $0 !~ /^ *\/\// { breach("an atomic of less than 32 bits") }
  /^ *# *include +"/ { breach("write #include <forkmap/...>, as users do") }
  /^ *# *include +<boost\/interprocess\// && FILENAME !~ boost {
    breach("Boost.Interprocess is allowed only in detail/mapped/")
  }
  /^ *# *define +/ {
    name = $0; sub(/^ *# *define +/, "", name)
    if (name !~ macros) breach("defines a macro: " name)
  }
  /^ *(inline +)?namespace( +[A-Za-z_:]+)? *\{/ {
    name = $0; sub(/^ *(inline +)?namespace */, "", name); sub(/ *\{.*/, "", name)
    open[++depth] = name
    if (!(current_namespace() in namespace_known)) breach("opens namespace " current_namespace())
    if ($0 ~ /\}[^{]*$/) --depth
  }
  /^ *\} *\/\/ *(inline +)?namespace/ { if (depth > 0) --depth }
  END { report_no_include() }
' "${headers[@]}")

# Each include of a forkmap header: "includer included".
edges=$(awk '/^ *# *include +["<]forkmap\// {
    match($0, /forkmap\/[^">]+/)
    print FILENAME, substr($0, RSTART + 8, RLENGTH - 8)
  }' "${headers[@]}")

breaches+=$'\n'$(awk '
  function is_public(header) { return header !~ /^detail\// }
  function is_base(header) { return header ~ /^detail\/[^\/]+$/ }
  function room(header) { split(header, parts, "/"); return parts[2] }
  { from[NR] = $1; to[NR] = $2; headers[$1]; headers[$2] }
  END {
    for (h in headers) if (is_public(h)) vocabulary[h]
    do {
      changed = 0
      for (i = 1; i <= NR; ++i) {
        if (from[i] in vocabulary && !(to[i] in vocabulary) && !is_base(to[i])) {
          delete vocabulary[from[i]]
          changed = 1
        }
      }
    } while (changed)
    for (i = 1; i <= NR; ++i) {
      if (is_base(from[i]) && !is_base(to[i]))
        print "  " from[i] ": a header of detail/ itself must not include " to[i]
      if (!is_public(from[i]) && is_public(to[i]) && !(to[i] in vocabulary))
        print "  " from[i] ": an internal header must not include " to[i] ", which is not a vocabulary header"
      if (is_public(from[i]) || is_public(to[i]) || is_base(from[i]) || is_base(to[i])) continue
      if (room(from[i]) == room(to[i])) continue
      first[room(from[i]) " " room(to[i])] = from[i] " includes " to[i]
    }
    for (pair in first) {
      split(pair, rooms, " ")
      if (rooms[1] < rooms[2] && (rooms[2] " " rooms[1]) in first)
        print "  two rooms include each other: " first[pair] ", " first[rooms[2] " " rooms[1]]
    }
  }' <<<"$edges")

# Headers that a narrow header must not include, even indirectly.
reaches() {  # <header> <regular expression of headers>
  awk -v start="$1" '
    { to[$1] = to[$1] " " $2 }
    END {
      queue[n = 1] = start
      for (at = 1; at <= n; ++at) {
        if (seen[queue[at]]++) continue
        print queue[at]
        for (i = split(to[queue[at]], next_ones, " "); i > 0; --i) queue[++n] = next_ones[i]
      }
    }' <<<"$edges" | grep -E "$2" | sed "s|.*|  $1 must not include &, even indirectly|" || true
}
breaches+=$'\n'$(reaches parallel.hpp '^detail/(pool|array|mapped|npy|npz|joblib|compress)/|^(pool|future|arrays|memmap)[.]hpp$')
breaches+=$'\n'$(reaches arrays.hpp '^detail/(job|plan|memory|worker|engine|pool|journal|crash|failure)/|^(parallel|pool)[.]hpp$')

circle=$(tsort <<<"$edges" 2>&1 >/dev/null | sed 's/^tsort: -: /  /; s/^tsort:/ /') || true

while read -r header; do
  breaches+=$'\n'"  $header: no #pragma once"
done < <(grep -L '^#pragma once$' "${headers[@]}")

breaches=$(sed '/^$/d' <<<"$breaches")
if [ -n "$breaches$circle" ]; then
  printf 'include/forkmap breaks the layout (the rules are in %s):\n' "$0"
  [ -z "$breaches" ] || printf '%s\n' "$breaches"
  [ -z "$circle" ] || printf '%s\n' "$circle"
  exit 1
fi
