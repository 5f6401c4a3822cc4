# Reads the JSON files of Google Benchmark, which have one "name": value on each line. Prints one row
# per benchmark, its columns separated by tabs: what is measured, floor, forkmap, ratio, target,
# verdict, and the target as a ratio. "-" stands for a column that does not apply.
# SPDX-License-Identifier: MIT
function amount(value) {  # seconds, unless the text says kB
  if (text ~ /\(kB\)/) return sprintf("%.0f kB", value)
  if (value < 1e-3) return sprintf("%.1f us", value * 1e6)
  if (value < 1) return sprintf("%.2f ms", value * 1e3)
  return sprintf("%.2f s", value)
}
function row(   ratio, target, verdict, target_ratio) {
  ratio = field["floor"] > 0 ? sprintf("%.3f", field["ratio"]) : "-"
  target = verdict = target_ratio = "-"
  if ("ratio_target" in field) {
    target = target_ratio = field["ratio_target"]
    verdict = field["ratio"] <= target ? "ok" : "over"
  } else if ("limit" in field) {
    target = amount(field["limit"])
    verdict = field["forkmap"] <= field["limit"] ? "ok" : "over"
    if (field["floor"] > 0) target_ratio = field["limit"] / field["floor"]
  }
  print text, amount(field["floor"]), amount(field["forkmap"]), ratio, target, verdict, target_ratio
}
BEGIN { OFS = "\t" }
match($0, /^ *"[a-z_]+": /) {
  name = substr($0, RSTART, RLENGTH); gsub(/[ ":]/, "", name)
  value = substr($0, RSTART + RLENGTH); sub(/,$/, "", value)
  if (name == "name") { delete field; text = "" }
  field[name] = value ~ /^"/ ? value : value + 0
  if (name == "label") { text = value; gsub(/^"|"$/, "", text) }
}
/^ *}/ && text != "" { row(); text = "" }
