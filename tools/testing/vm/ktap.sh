# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# KTAP for tests that are shell functions. To be sourced after lib.sh.

tests=0

# try NAME COMMAND...: COMMAND's success is the result; its output is shown if
# it fails. COMMAND runs with errexit in a shell of its own.
try() {
	local name=$1 output status
	shift
	tests=$((tests + 1))
	# The shell option would have no effect in a condition.
	set +e
	output=$(
		set -e
		"$@" 2>&1
	)
	status=$?
	set -e
	if [ "$status" -eq 0 ]; then
		echo "ok $tests $name"
	else
		# shellcheck disable=SC2001 # every line, not the first
		sed 's/^/# /' <<<"$output"
		echo "# exit status $status"
		echo "not ok $tests $name"
	fi
}

# skip NAME REASON
skip() {
	tests=$((tests + 1))
	echo "ok $tests $1 # SKIP $2"
}

# skipped_is_failed: a copy of KTAP in which what was skipped has failed.
skipped_is_failed() {
	sed -u -E \
		-e 's/^1\.\.0+ # SKIP ?(.*)/1..1\nnot ok 1 all of it is skipped: \1/' \
		-e 's/^ok ([0-9]+ .*[^ ]) *# SKIP ?(.*)/not ok \1 is skipped: \2/'
}

# equal GOT WANTED: for use in tests.
equal() {
	[ "$1" = "$2" ] || {
		printf 'got:    %s\nwanted: %s\n' "$1" "$2"
		return 1
	}
}

# matches GOT PATTERN: the same with an extended regular expression.
matches() {
	[[ $1 =~ $2 ]] || {
		printf 'got:              %s\nwanted a match of: %s\n' "$1" "$2"
		return 1
	}
}

plan() {
	echo "1..$tests"
}
