# PROTOCOL.md as refork-protocol(7): one text, two forms. Knows what of Markdown that file has: headings, paragraphs,
# code, tables. Its first heading and paragraph become NAME and the beginning of DESCRIPTION.
function escaped(text) {
  gsub(/\\/, "\\e", text)
  return text
}
# Prose: `code` in bold. A line of prose must not begin like a request.
function prose(text,    parts, n, i, out) {
  n = split(escaped(text), parts, "`")
  for (i = 1; i <= n; ++i) out = out (i % 2 == 0 ? "\\fB" parts[i] "\\fR" : parts[i])
  gsub(/\. /, ".\n", out)  # mdoc wants each sentence on a line of its own
  return (out ~ /^[.']/ ? "\\&" : "") out
}
function flush() {
  if (paragraph == "") return
  if (need_pp) print ".Pp"
  print prose(paragraph)
  paragraph = ""
  need_pp = 1
}
function heading(macro, text) {
  flush()
  print macro " " text
  need_pp = 0
}
function begin_display() {
  flush()
  print ".Bd -literal -offset indent"
  display = 1
}
function end_display() {
  if (!display) return
  print ".Ed"
  display = 0
  need_pp = 1
}
function literal(line) {
  line = escaped(line)
  gsub(/'/, "\\(aq", line)
  if (line ~ /^\./) line = "\\&" line
  print line
}
# A table by tbl(1): its last column takes what is left of the line.
function row(line,    cells, n, i, format, out) {
  sub(/^\| */, "", line)
  sub(/ *\|$/, "", line)
  n = split(line, cells, / +\| +|\|$/)
  if (!table) {
    flush()
    if (need_pp) print ".Pp"
    print ".TS"
    format = "l"
    for (i = 2; i < n; ++i) format = format " l"
    print format " lx."
    table = 1
  }
  out = cells[1]
  for (i = 2; i < n; ++i) out = out "\t" cells[i]
  gsub(/`/, "", out)
  gsub(/`/, "", cells[n])
  print escaped(out) "\tT{\n" escaped(cells[n]) "\nT}"
}
function end_table() {
  if (!table) return
  print ".TE"
  table = 0
  need_pp = 1
}

BEGIN {
  print "'\\\" t"
  print ".\\\" Made of PROTOCOL.md; change that."
  print ".Dd " date
  print ".Dt REFORK-PROTOCOL 7\n.Os\n.Sh NAME\n.Nm refork-protocol\n.Nd the channel and the flight recorder of a worker"
  print ".Sh DESCRIPTION"
}
/^```/ { if (fence) { fence = 0; end_display() } else { end_table(); begin_display(); fence = 1 }; next }
fence { literal($0); next }
/^    / { if (!display) begin_display(); literal(substr($0, 5)); next }
{ end_display() }
/^\|[- |]+$/ { next }
/^\|/ { row($0); next }
{ end_table() }
/^# / { next }
/^## / { heading(".Sh", toupper(substr($0, 4))); next }
/^### / { heading(".Ss", substr($0, 5)); next }
/^#### / { heading(".Ss", substr($0, 6)); next }
/^$/ { flush(); next }
{ paragraph = paragraph (paragraph == "" ? "" : " ") $0 }
END {
  flush(); end_display(); end_table()
  print ".Sh SEE ALSO\n.Xr librefork 3 ,\n.Xr refork.json 5 ,\n.Xr reforkd 8"
}
