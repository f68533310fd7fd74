# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts of this folder share: where things are, how they fail, how
# they take turns. To be sourced. The host needs bash, coreutils, util-linux
# and mmdebstrap; everything else runs in the build root.

set -euo pipefail
umask 022

vm=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
project=$(cd "$vm/../../.." && pwd -P)
cache=${TDX_HOST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tdx-host}

# die TEXT...: say what is wrong and what to do about it, and stop.
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit "${failure_status:-1}"
}

# say TEXT...: progress, on stderr because stdout belongs to results.
say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# digest: a short name for what stands on stdin.
digest() {
	sha256sum | cut -c1-12
}

# awk_by_line ARGUMENT...: awk that answers each line at once. mawk, Debian's
# awk, waits for a whole block otherwise; others do not know the option.
awk_by_line() {
	case $(awk -W version 2>/dev/null </dev/null) in
	mawk*) awk -W interactive "$@" ;;
	*) awk "$@" ;;
	esac
}

# lock NAME: wait for the turn at NAME and keep it until this shell ends.
# shellcheck disable=SC2094 # the lock file holds nothing
lock() {
	local fd
	mkdir -p "$cache/lock"
	exec {fd}>"$cache/lock/$1"
	if ! flock --nonblock "$fd"; then
		say "waiting for another $1 to end"
		flock "$fd"
	fi
}

mkdir -p "$cache" 2>/dev/null ||
	die "cannot create the cache $cache: set TDX_HOST_CACHE to a folder that you may write to"
cache=$(cd "$cache" && pwd -P)
case $cache:$project in
*[[:space:]]*) die "the paths of the project ($project) and the cache ($cache) must not contain spaces: kbuild does not support them" ;;
esac
