# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the scripts of this folder share: where things are, how they fail, how
# they take turns. To be sourced. The host needs bash, coreutils, util-linux
# and mmdebstrap; everything else runs in the build root.

set -euo pipefail
umask 022
# What a make that called us wants of other makes, and what cd would print.
unset MAKEFLAGS MFLAGS MAKELEVEL CDPATH

vm=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
project=$(cd "$vm/../../.." && pwd -P)
cache=${TDX_HOST_CACHE-}
if [ -z "$cache" ]; then
	cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
	cache=${cache:+$cache/tdx-host}
fi

# die TEXT...: say what is wrong and what to do about it, and stop.
die() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
	exit "${failure_status:-1}"
}

# say TEXT...: progress, on stderr because stdout belongs to results.
say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# slow, thorough: whether SPEED, as of "check", asks for tests that take long, and
# for all there are.
slow() {
	[ "${SPEED:-quick}" != quick ]
}

thorough() {
	[ "${SPEED:-quick}" = thorough ]
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

# lock NAME [WHAT]: wait for the turn at NAME, which WHAT may have, and keep it
# until this shell ends.
# shellcheck disable=SC2094 # the lock file holds nothing
lock() {
	local fd
	mkdir -p "$cache/lock"
	exec {fd}>"$cache/lock/$1"
	if ! flock --nonblock "$fd"; then
		say "waiting for ${2:-another $1} to end"
		flock "$fd"
	fi
}

# build_all WHAT...: build all of that now, and keep other commands of this copy
# of the project waiting until this shell ends. Whoever called us may have done
# so already.
build_all() {
	local what
	[ -z "${TDX_HOST_BUILT-}" ] || return 0
	lock "project-$mine" "another command in $project"
	for what; do
		# shellcheck disable=SC2086 # a program and its argument
		"$vm"/$what >/dev/null
	done
	TDX_HOST_BUILT=$(printf '%s\n' "$@")
	export TDX_HOST_BUILT
}

# is_built WHAT: whether one of those who called this has built that.
is_built() {
	grep -qxF "$1" <<<"${TDX_HOST_BUILT-}"
}

# work_folder NAME: make a folder in the cache until this shell ends, $work. Those
# of shells that were killed are removed: nobody has them locked.
work_folder() {
	local fd
	mkdir -p "$cache/tmp"
	find "$cache/tmp" -mindepth 1 -maxdepth 1 -mmin +5 -exec flock --nonblock {} rm -rf {} \;
	work=$(mktemp -d "$cache/tmp/$1.XXXXXX")
	exec {fd}<"$work"
	flock "$fd"
	trap 'rm -rf "$work"' EXIT
}

# built_from OUTPUT PATTERN...: what is in OUTPUT was built from files that match, and from
# those in folders that do. Make and cargo go by times; a file with another content than
# when it was built that is not newer, as an unpacked archive has, is one that they would
# not see. OUTPUT is emptied then.
built_from() {
	local output=$1 list file is_trusted=1
	shift
	# shellcheck disable=SC2068 # patterns
	list=$(cd "$project" && find $@ -name target -prune -o -type f -print0 | xargs -0 sha256sum | LC_ALL=C sort)
	mkdir -p "$output"
	if [ -e "$output/built-from" ]; then
		while read -r _ file; do
			[ "$project/$file" -nt "$output/built-from" ] || is_trusted=''
		done < <(LC_ALL=C comm -13 "$output/built-from" - <<<"$list")
		[ -n "$is_trusted" ] || find "$output" -mindepth 1 -maxdepth 1 -exec rm -rf {} +
	fi
	printf '%s\n' "$list" >"$output/built-from"
}

# keep N PATTERN: of what has such a name in the cache, keep the N that were used
# last.
keep() {
	find "$cache" -maxdepth 1 -name "$2" -printf '%T@ %p\n' | sort -rn |
		tail -n "+$(($1 + 1))" | cut -d' ' -f2- | xargs -r rm -rf
}

# check_paths: what shells, make, kbuild, QEMU or the build root cannot have.
check_paths() {
	local path
	for path in "$project" "$cache"; do
		case $path in
		*[[:space:][:cntrl:]]* | *[]\[:,=\;\&\|\<\>\(\){}$\`\"\'\\*?!#%^]*)
			die "the path $path has a character that breaks builds: use letters, digits and . _ + - @ only"
			;;
		/usr | /usr/* | /etc | /etc/*)
			die "$path is in a folder that the build root has its own of: keep the project and the cache out of /usr and /etc"
			;;
		esac
	done
	case $cache/ in
	"$project"/*) die "the cache $cache is inside of the project: set TDX_HOST_CACHE to another folder" ;;
	esac
}

# mark_cache: what backups leave out, and "make distclean" removes, has this file.
# Caches had none at first.
mark_cache() {
	local tag=$cache/CACHEDIR.TAG
	[ ! -e "$tag" ] || return 0
	[ -e "$cache/buildroot.log" ] ||
		[ -z "$(find "$cache" -mindepth 1 -maxdepth 1 ! -name lost+found -print -quit)" ] ||
		die "the cache $cache has files of somebody else: set TDX_HOST_CACHE to an empty or a new folder"
	printf '%s\n' 'Signature: 8a477f597d28d172789f06886806bc55' '# Made by tdx_host; "make distclean" removes it.' >"$tag"
}

[ -n "$cache" ] || die "there is no HOME to keep a cache in: set TDX_HOST_CACHE to a folder that you may write to"
mkdir -p "$cache" 2>/dev/null ||
	die "cannot create the cache $cache: set TDX_HOST_CACHE to a folder that you may write to"
cache=$(cd "$cache" && pwd -P)
# What is only of this copy of the project has this in its name.
# shellcheck disable=SC2034 # for those who source this
mine=$(digest <<<"$project")
check_paths
mark_cache
