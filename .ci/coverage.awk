# Counts the covered lines of each room in the lcov output of `llvm-cov export`. Lines of tests do not count: files of
# tests, and modules of tests at the end of other files. If `uncovered` names a file, the uncovered lines are written to it.

function begin_file(path,    line, at, is_test) {
  room = ""
  path = substr(path, length(root) + 1)
  if (path ~ /(^|[\/_])tests(\/|\.rs$)/) return
  if (path ~ /^(log|replay)\/src\//) room = substr(path, 1, index(path, "/") - 1)
  else if (match(path, /^crates\/(access|billing|engine|hivehub|index|limits|service)\/src\//)) room = substr(path, 8, RLENGTH - 12)
  else return
  file = path
  end = 0
  while ((getline line < (root path)) > 0) {
    at++
    if (is_test && line ~ /^mod [a-z_]+ \{$/) { end = at; break }
    is_test = line ~ /^#\[cfg\(test\)\]$/
  }
  close(root path)
}

/^SF:/ { begin_file(substr($0, 4)) }

/^DA:/ && room != "" {
  split(substr($0, 4), it, ",")
  if (end && it[1] + 0 >= end) next
  lines[room]++
  if (it[2] + 0 > 0) covered[room]++
  else if (uncovered) print file ":" it[1] > uncovered
}

END {
  for (room in lines) {
    percent = 100 * covered[room] / lines[room]
    printf "%-8s %6d lines %6d covered %6.2f %%\n", room, lines[room], covered[room], percent | "sort"
    if (percent < 95) too_few = too_few " " room
  }
  close("sort")
  if (too_few != "") { print "less than 95 %:" too_few > "/dev/stderr"; exit 1 }
}
