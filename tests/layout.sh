#!/usr/bin/env bash
# Whether the headers keep to the layout: includes go one way, headers stay short, namespaces few.
# Prints each breach; layout.sh [<include folder>], by default the one beside this folder.
set -euo pipefail

# Who may include whom, one folder a line. A word is a folder of include/forkmap or one header in it;
# "user" is any header in include/forkmap itself but the umbrella. Edit here.
allowed='
system    system access.hpp advice.hpp array/packing.hpp
plan      plan
array     array system/lazily.hpp system/owner.hpp access.hpp advice.hpp array_error.hpp content_entry.hpp field_names.hpp fixed_string.hpp half.hpp shape.hpp slice.hpp transfer/aggregate.hpp system/call.hpp system/codecs.hpp system/crc32.hpp
transfer  transfer plan system error.hpp outcome.hpp indexed.hpp time_limit.hpp delayed.hpp
worker    worker transfer plan system error.hpp options.hpp this_task.hpp time_limit.hpp
engine    engine worker transfer plan system error.hpp options.hpp outcome.hpp report.hpp this_task.hpp cpu.hpp
mpi       mpi engine worker transfer plan system user
user      user engine worker transfer plan array system
mpi.hpp   user mpi engine worker transfer plan system
adapt     adapt user array
umbrella  user
'
namespaces='forkmap forkmap::detail forkmap::mpi forkmap::this_task'
macros='^FORKMAP_(VERSION|ASSERT)'  # "no macro but version and assertion"
boost_interprocess='^(system/|memmap\.hpp$)'
longest=300  # lines

cd "${1:-$(dirname "$0")/../include}/forkmap"
mapfile -t headers < <(find . -name '*.hpp' -printf '%P\n' | sort)

breaches=$(awk -v allowed="$allowed" -v namespaces="$namespaces" -v macros="$macros" \
  -v boost="$boost_interprocess" -v longest="$longest" '
  BEGIN {
    for (n = split(allowed, rows, "\n"); n > 0; --n) {
      words = split(rows[n], row, " ")
      for (w = 2; w <= words; ++w) may[row[1], row[w]] = 1
      if (words) known[row[1]] = 1
    }
    for (n = split(namespaces, names, " "); n > 0; --n) namespace_known[names[n]] = 1
  }
  function place(header) {  # the row of the table
    if (header ~ /\//) return substr(header, 1, index(header, "/") - 1)
    if (header == "forkmap.hpp") return "umbrella"
    return header in known ? header : "user"
  }
  function breach(what) { print "  " FILENAME ":" FNR ": " what }
  function current_namespace(   i, full) {
    for (i = 1; i <= depth; ++i) full = full (i > 1 ? "::" : "") open[i]
    return full
  }
  FNR == 1 { depth = 0; here = place(FILENAME)
             if (!(here in known)) breach("a folder that the table does not know: " here) }
  FNR == longest + 1 { breach("more than " longest " lines: more than one idea?") }

  /^ *# *include +["<]forkmap\// {
    match($0, /forkmap\/[^">]+/)
    other = substr($0, RSTART + 8, RLENGTH - 8)
    there = place(other)
    if (!((here, there) in may) && !((here, other) in may))
      breach((here == "user" ? "a public header" : here "/") " must not include " other)
  }
  /^ *# *include +"/ { breach("write #include <forkmap/...>, as users do") }
  /^ *# *include +<boost\/interprocess\// && FILENAME !~ boost {
    breach("Boost.Interprocess stays behind system/ and memmap.hpp")
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
' "${headers[@]}")

# A circle that stays within one row of the table.
circle=$(awk '/^ *# *include +["<]forkmap\// {
    match($0, /forkmap\/[^">]+/)
    print FILENAME, substr($0, RSTART + 8, RLENGTH - 8)
  }' "${headers[@]}" | tsort 2>&1 >/dev/null | sed 's/^tsort: -: /  /; s/^tsort:/ /') || true

while read -r header; do
  breaches+=$'\n'"  $header: no #pragma once"
done < <(grep -L '^#pragma once$' "${headers[@]}")

if [ -n "$breaches$circle" ]; then
  printf 'include/forkmap departs from the layout (the table stands in %s):\n' "$0"
  [ -z "$breaches" ] || printf '%s\n' "$breaches"
  [ -z "$circle" ] || printf '%s\n' "$circle"
  exit 1
fi
