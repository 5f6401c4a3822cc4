#!/usr/bin/env bash
# Checks that each header includes the standard headers of the names it uses. The table below lists
# the names that forkmap's headers use. Prints each breach. Usage: includes.sh [<include folder>];
# default: ../include.
set -euo pipefail

# <header> <name>...: a name in std::, or a regular expression for such names. A word in parentheses
# is a name outside std::. Edit here.
table='
algorithm         (ranges::)?(all_of|any_of|clamp|copy|count|equal|fill|find|find_if|max|min|none_of|sort)
array             array
atomic            atomic atomic_ref memory_order_[a-z]+
bit               bit_cast bit_ceil bit_width countl_zero countr_zero endian has_single_bit popcount
cerrno            (errno)
charconv          from_chars to_chars
chrono            chrono
complex           complex
concepts          same_as integral signed_integral unsigned_integral floating_point convertible_to invocable constructible_from copy_constructible move_constructible default_initializable derived_from
cstddef           byte nullptr_t ptrdiff_t size_t
cstdint           u?int(8|16|32|64|ptr|max)_t
cstring           mem(chr|cmp|cpy|move|set) str(cmp|len|ncmp|error)
exception         exception exception_ptr current_exception make_exception_ptr nested_exception rethrow_exception terminate
filesystem        filesystem
functional        function hash invoke less plus reference_wrapper
initializer_list  initializer_list
iterator          advance back_inserter default_sentinel default_sentinel_t distance input_iterator_tag make_move_iterator next prev
limits            numeric_limits
list              list
memory            addressof destroy_at make_shared make_unique shared_ptr unique_ptr weak_ptr
mutex             call_once lock_guard mutex once_flag scoped_lock unique_lock
new               align_val_t bad_alloc bad_array_new_length launder nothrow
numeric           accumulate gcd iota reduce
optional          nullopt nullopt_t optional
random            mt19937 mt19937_64 seed_seq
ranges            views ranges::(begin|end|size|iterator_t|range_[a-z_]+|sentinel_t|view|range|[a-z]+_range)
span              span
stdexcept         domain_error invalid_argument length_error logic_error out_of_range overflow_error range_error runtime_error underflow_error
stop_token        stop_callback stop_source stop_token
string            string to_string
string_view       string_view
system_error      errc error_code generic_category system_category system_error
thread            this_thread thread
tuple             apply forward_as_tuple make_tuple tie tuple
type_traits       (common_type|conditional|decay|enable_if|invoke_result|remove_[a-z]+|underlying_type|void)_t is_[a-z_]+_v integral_constant true_type false_type
typeinfo          type_info (typeid)
utility           cmp_[a-z_]+ declval exchange forward in_place in_place_t in_range index_sequence index_sequence_for make_index_sequence move pair swap
variant           get_if holds_alternative monostate variant visit
vector            vector
'

cd "${1:-$(dirname "$0")/../include}/forkmap"
mapfile -t headers < <(find . -name '*.hpp' -printf '%P\n' | sort)

breaches=$(awk -v table="$table" '
  BEGIN {
    n_rows = split(table, rows, "\n")
    for (r = 1; r <= n_rows; ++r) {
      if (!(n = split(rows[r], row, " "))) continue
      names = others = ""
      for (w = 2; w <= n; ++w) {
        if (row[w] ~ /^\([a-z]+\)$/) others = others "|" substr(row[w], 2, length(row[w]) - 2)
        else names = names "|" row[w]
      }
      regex = names == "" ? "" : "std::(" substr(names, 2) ")"
      if (others != "") regex = (regex == "" ? "" : regex "|") "(^|[^A-Za-z0-9_:])(" substr(others, 2) ")"
      needs[row[1]] = "(" regex ")([^A-Za-z0-9_]|$)"
    }
  }
  function report(   header) {
    for (header in needs)
      if (named[header] != "" && !((file, header) in included))
        print "  " file ":" named[header] " needs <" header ">"
  }
  FNR == 1 { if (NR > 1) report(); file = FILENAME; split("", named) }
  /^ *# *include +</ { match($0, /<[^>]+>/); included[file, substr($0, RSTART + 1, RLENGTH - 2)] = 1; next }
  {
    line = $0
    gsub(/\\"/, "", line); gsub(/"[^"]*"/, "\"\"", line); sub(/\/\/.*/, "", line)
    if (line !~ /std::|errno|typeid/) next
    for (header in needs)
      if (named[header] == "" && match(line, needs[header]))
        named[header] = FNR ": " substr(line, RSTART, RLENGTH)
  }
  END { report() }
' "${headers[@]}")

if [ -n "$breaches" ]; then
  printf 'headers of include/forkmap that lack an include (the table is in %s):\n%s\n' "$0" "$breaches"
  exit 1
fi
