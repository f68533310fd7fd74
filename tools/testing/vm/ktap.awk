# SPDX-License-Identifier: GPL-2.0
#
# Read KTAP (Documentation/dev-tools/ktap.rst) on stdin and print each result
# as one line, "pass NAME", "fail NAME" or "skip NAME: REASON", with the
# diagnostics that came before a failure. Results that only sum up the ones
# indented below them are not counted again.
#
# -v job=NAME is put before each name, and a line "# Job: NAME" has another name
# put there from then on; -v status=FILE names a file that has the exit status of
# what wrote the KTAP once its output has ended.

function result(word, name)
{
	if (word == "fail")
		printf "%s", notes
	notes = ""
	print word " " job ": " name
	fflush()
	results++
	if (word == "fail")
		failed++
}

{
	sub(/\r$/, "")
	match($0, /^[ \t]*/)
	depth = RLENGTH
	line = substr($0, depth + 1)
}

line ~ /^(not )?ok([ \t]|$)/ {
	bad = line ~ /^not /
	name = line
	sub(/^(not )?ok[ \t]*[0-9]*[ \t]*(- )?/, "", name)
	directive = ""
	if (match(name, /[ \t]*#[ \t]*(SKIP|TODO|XFAIL|TIMEOUT|ERROR)/)) {
		directive = substr(name, RSTART)
		name = substr(name, 1, RSTART - 1)
		sub(/^[ \t]*#[ \t]*/, "", directive)
	}
	# A result above the one before it sums up what was indented.
	if (depth < last_depth) {
		if (bad && failed == failed_before[depth])
			result("fail", name)
	} else if (directive ~ /^SKIP/) {
		reason = directive
		sub(/^SKIP[ \t]*/, "", reason)
		result("skip", name (reason == "" ? "" : ": " reason))
	} else {
		result(bad ? "fail" : "pass", name)
	}
	last_depth = depth
	for (d = depth; d <= 64; d++)
		failed_before[d] = failed
	if (depth == 0)
		top_level++
	next
}

line ~ /^1\.\.[0-9]+/ {
	number = substr(line, 4) + 0
	if (number == 0 && line ~ /SKIP/) {
		sub(/^.*SKIP[ \t]*/, "", line)
		result("skip", "all of it: " line)
	} else if (depth == 0) {
		planned += number
	}
	next
}

line ~ /^Bail out!/ {
	result("fail", line)
	next
}

line ~ /^(KTAP|TAP) version/ { next }

line ~ /^# Job: / {
	job = substr(line, 8)
	next
}

{
	notes = notes "      " $0 "\n"
	if (length(notes) > 4000)
		notes = substr(notes, length(notes) - 3000)
}

END {
	if ((getline code <status) <= 0)
		result("fail", "ended without an exit status")
	if (planned && planned != top_level + 0)
		result("fail", "planned " planned " tests, gave " top_level + 0 " results")
	else if (results == 0)
		result("fail", "no result (exit status " code ")")
	else if (code != 0 && code != 4 && failed == 0)
		result("fail", "ended with exit status " code)
}
