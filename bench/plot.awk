# Draws the rows of rows.awk as an SVG: a bar from 1 to each ratio on a logarithmic axis, and a tick
# at its target. A bar with a point continues beyond the axis; a tick beyond the axis is left out.
# The background is white, so that the picture can be read on a dark page too.
# SPDX-License-Identifier: MIT
function max(a, b) { return a > b ? a : b }
function escaped(text) {
  gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); gsub(/>/, "\\&gt;", text)
  return text
}
function x_of(ratio) { return left + plot_width * log(ratio / axis_min) / log(axis_max / axis_min) }
function rectangle(x, y, w, h, fill) {
  printf "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, w, h, fill
}
function vertical(x, from, to, color, width) {
  printf "<path d=\"M%.1f %.1fV%.1f\" stroke=\"%s\" stroke-width=\"%s\"/>\n", x, from, to, color, width
}
function words(x, y, anchor, attributes, text) {
  printf "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>%s</text>\n", x, y, anchor, attributes,
         escaped(text)
}
function axis_labels(y,   ratio) {
  for (ratio = axis_min; ratio <= axis_max; ratio *= 2) words(x_of(ratio), y, "middle", grey, ratio "")
}
function bar(y, ratio, color,   from, to, tip) {
  from = x_of(1)
  if (ratio > axis_max || ratio < axis_min) {
    to = ratio > 1 ? left + plot_width : left
    tip = ratio > 1 ? 8 : -8
    printf "<path d=\"M%.1f %.1fH%.1fl%d %.1fl%d %.1fH%.1fz\" fill=\"%s\"/>\n",
           from, y - bar_height / 2, to - tip, tip, bar_height / 2, -tip, bar_height / 2, from, color
    return
  }
  to = x_of(ratio)
  if (to < from) rectangle(to, y - bar_height / 2, max(from - to, 2), bar_height, color)
  else rectangle(from, y - bar_height / 2, max(to - from, 2), bar_height, color)
}
function legend_entry(x, color, text) {
  rectangle(x, 38, 12, 12, color)
  words(x + 18, 48, "start", "", text)
}

BEGIN {
  FS = "\t"
  axis_min = 0.25; axis_max = 16
  row_height = 34; bar_height = 14; plot_width = 420; top = 88; margin = 16
  grey = " font-size=\"11\" fill=\"#555\""
  color["ok"] = "#3b75af"; color["over"] = "#c0392b"; color["-"] = "#8a8f98"
}
{
  # The text is "what / floor", on two lines.
  slash = index($1, " / ")
  what[NR] = slash ? substr($1, 1, slash - 1) : $1
  floor[NR] = slash ? substr($1, slash + 1) : ""
  longest = max(longest, max(length(what[NR]), length(floor[NR])))
  ratio[NR] = $4; target[NR] = $5; verdict[NR] = $6; target_ratio[NR] = $7
}
END {
  # 7 units are more than the mean width of a letter, also in wide fonts.
  left = margin + max(longest, 30) * 7 + 10
  ratio_x = left + plot_width + 66
  target_x = ratio_x + 72
  verdict_x = target_x + 12
  width = verdict_x + 32 + margin
  bottom = top + NR * row_height
  height = bottom + 32

  printf "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\"",
         width, height, width, height
  print " role=\"img\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#111\">"
  print "<title>Benchmarks of forkmap: ratio of forkmap to the floor</title>"
  rectangle(0, 0, width, height, "#fff")
  words(margin, 26, "start", " font-size=\"15\" font-weight=\"bold\"",
        "forkmap / floor: 1 equals the floor, smaller is better")
  legend_entry(margin, color["ok"], "target met")
  legend_entry(margin + 110, color["over"], "target missed")
  legend_entry(margin + 240, color["-"], "no target")
  vertical(margin + 350, 36, 52, "#111", 2)
  words(margin + 360, 48, "start", "", "target")

  for (value = axis_min; value <= axis_max; value *= 2) vertical(x_of(value), top, bottom, "#ddd", 1)
  axis_labels(top - 8)
  axis_labels(bottom + 18)
  words(ratio_x, top - 8, "end", grey, "ratio")
  words(target_x, top - 8, "end", grey, "target")

  for (i = 1; i <= NR; ++i) {
    y = top + (i - 0.5) * row_height
    if (floor[i] == "") {
      words(left - 10, y + 4, "end", "", what[i])
    } else {
      words(left - 10, y - 2, "end", "", what[i])
      words(left - 10, y + 12, "end", grey, floor[i])
    }
    if (ratio[i] != "-") bar(y, ratio[i], color[verdict[i]])
    words(ratio_x, y + 4, "end", "", ratio[i])
    words(target_x, y + 4, "end", "", target[i])
    if (verdict[i] == "over") words(verdict_x, y + 4, "start", " fill=\"" color["over"] "\"", "over")
  }
  vertical(x_of(1), top, bottom, "#111", 1)
  for (i = 1; i <= NR; ++i) {
    if (target_ratio[i] == "-" || target_ratio[i] < axis_min || target_ratio[i] > axis_max) continue
    y = top + (i - 0.5) * row_height
    vertical(x_of(target_ratio[i]), y - bar_height / 2 - 4, y + bar_height / 2 + 4, "#111", 2)
  }
  print "</svg>"
}
