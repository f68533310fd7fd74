#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# /dev/tdx_host: what is returned, and requests that are wrong. Nothing here
# gets as far as to change anything, so it may run on a production host. What
# relies on that it does not, or is a burden, is for a simulated one.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_our_driver
on_simulator || [ -c /dev/tdx_host ] || skip_all "there is no /dev/tdx_host"
need_updates
use_seed

head -c 65536 /dev/zero >"$work/zeros"
version=$(cat "$device/version")

info_says_what_sysfs_says() {
	answer=$(ioctl info)
	equal "$(field errno)" 0
	equal "$(field module_version)" "$version"
	equal "$(field seamldr_version)" "$(cat "$device/seamldr_version")"
	equal "$(field updates_left)" "$(cat "$device/num_remaining_updates")"
	matches "$(cat "$device/features_offered")" "^$(field features_offered)( |$)"
	matches "$(cat "$device/features_configured")" "^$(field features_configured)( |$)"
	# TDX_HOST_STATE_READY
	equal "$(cat "$device/state") $(field state)" 'ready 2'
	equal "$(field cpus_online)" "$(getconf_cpus online)"
	equal "$(field cpus_present)" "$(getconf_cpus present)"
	equal "$(field caps)" 0x1
	# All but SVN, hash and signer, which P-SEAMLDR need not say, or as Intel.
	equal $(($(field valid) | 0x1c)) $((0x1ff))
	[ $(($(field valid) & 8)) -eq 0 ] || [ "$(field module_hash)" != "$(printf '%096d' 0)" ]
}

# getconf_cpus online|present: their number, from a list like "0-3,5".
getconf_cpus() {
	local part count=0 first last
	for part in $(tr , ' ' <"/sys/devices/system/cpu/$1"); do
		first=${part%-*} last=${part#*-}
		count=$((count + last - first + 1))
	done
	echo "$count"
}

only_root_can_use_it() {
	local others
	equal "$(stat -c %a /dev/tdx_host)" 600
	fails '^errno=EACCES$' ioctl --open-uid 1000 info
	# A file that was handed on.
	for others in 'raw 0' 'raw 1' 'raw 2' 'raw 77' info "check $work/zeros" "update $work/zeros"; do
		# shellcheck disable=SC2086 # several words
		fails '^errno=EPERM' ioctl --uid 1000 $others
	done
}

# CAP_SYS_RAWIO, which is 17.
an_update_takes_what_an_upload_takes() {
	fails '^errno=EPERM' ioctl --without-cap 17 update "$work/zeros"
	ioctl --without-cap 17 info
}

there_is_no_other_ioctl() {
	local number
	# Other numbers of its type, an info with a size and a direction in its
	# number, those of other types, and isatty().
	for number in 3 4 15 16 255 0x80a8da00 0xc0a8da00 0xdb00 0xda0000 0x5401; do
		fails '^errno=ENOTTY$' ioctl raw "$number"
	done
}

# structures SIZE: the commands, and the size of their first structure.
each_structure() {
	"$@" 168 info
	"$@" 48 check "$work/zeros"
	"$@" 336 update "$work/zeros"
}

sizes() {
	local first=$1 size
	shift
	for size in 0 1 3 4 8 $((first - 8)) $((first - 1)); do
		fails '^errno=EINVAL' ioctl --size "$size" "$@"
	done
	for size in 4097 4104 65536 0x7fffffff 0xffffffff; do
		fails '^errno=E2BIG' ioctl --size "$size" "$@"
	done
}

sizes_that_cannot_be_are_refused() {
	each_structure sizes
}

# The result is the same, with nothing written behind the known part.
newer() {
	local first=$1 size same
	shift
	same=$(ioctl "$@" || :)
	for size in $((first + 1)) $((first + 8)) 1000 4095 4096; do
		equal "$(ioctl --size "$size" "$@" || :)" "$same"
		fails '^errno=E2BIG' ioctl --size "$size" --tail 1 "$@"
	done
}

newer_structures_are_taken_if_the_rest_is_zero() {
	each_structure newer
}

# NULL, an address that nobody uses, the kernel's, and none at all.
bad_addresses='0 0x1000 0xffff888000000000 0xffffffffffffff00 0x8000000000000000'

bad_structure() {
	local address
	shift
	for address in $bad_addresses; do
		fails '^errno=EFAULT' ioctl --structure "$address" "$@"
	done
}

structures_that_are_not_there_are_refused() {
	each_structure bad_structure
}

nonzero() {
	local member number
	shift
	for member in flags reserved; do
		[ "$member-$1" != reserved-info ] || continue
		for number in 1 0x80000000 0xffffffff; do
			fails '^errno=EINVAL' ioctl "--$member" "$number" "$@"
		done
	done
}

flags_and_reserved_members_must_be_zero() {
	each_structure nonzero
}

images_that_are_not_there_are_refused() {
	local command address
	for command in check update; do
		for address in $bad_addresses; do
			fails '^errno=EFAULT' ioctl --image "$address" "$command" "$work/zeros"
		done
		# All but its last byte is there.
		fails '^errno=EFAULT' ioctl --image-size 65537 "$command" "$work/zeros"
	done
}

# The address is wrong as well, but is not looked at.
images_that_are_too_long_are_refused_unread() {
	local command size
	for command in check update; do
		for size in $((498 * 4096 + 1)) $((499 * 4096)) 0x80000000 0x100000000 \
			0xffffffffffff0000 0xfffffffffffffffe; do
			fails '^errno=EFBIG' ioctl --image 0 --image-size "$size" "$command" "$work/zeros"
		done
		fails '^errno=EFAULT' ioctl --image 0 --image-size $((498 * 4096)) "$command" "$work/zeros"
	done
}

arrays_of_results_that_cannot_be_are_refused() {
	local size address
	for size in 0 8 248 255 257 4100; do
		fails '^errno=EINVAL' ioctl --result-size "$size" check "$work/zeros"
	done
	for size in 4104 0x10000 0xfffffff8; do
		fails '^errno=E2BIG' ioctl --result-size "$size" check "$work/zeros"
	done
	for address in $bad_addresses; do
		fails '^errno=EFAULT' ioctl --results "$address" check "$work/zeros"
	done
	# What does not fit into an address.
	fails '^errno=EFAULT' ioctl --results 0xffffffffffffff00 --nr-results 0xffffffff check "$work/zeros"
}

a_file_that_is_no_image_is_named_as_such() {
	answer=$(ioctl check "$work/zeros")
	equal "$(field errno) $(field error) $(field nr_results)" '0 -22 15'
	equal "$(verdict image)" 'fail -22 text=not a TDX module image: format version: 0x0, neither 0x100 nor 0x200'
	matches "$(verdict host)" '^skip 0 text=not checked, as the image check failed$'
	equal "$(grep -c '^check=.* skip 0 text=not checked, as the image check failed$' <<<"$answer")" 14
	not grep -E '^check=.* (pass|none|unknown) ' <<<"$answer"

	: >"$work/empty"
	answer=$(ioctl check "$work/empty")
	matches "$(verdict image)" '^fail -22 text=.*size: 0 bytes, shorter than the header'
}

no_more_results_are_written_than_there_is_room_for() {
	local room
	answer=$(ioctl --nr-results 0 --results 0 --result-size 0 check "$work/zeros")
	equal "$(field error) $(field nr_results)" '-22 15'
	for room in 1 2 14 15 16; do
		answer=$(ioctl --nr-results "$room" check "$work/zeros")
		equal "$(field error) $(field nr_results)" '-22 15'
		equal "$(grep -c ^check= <<<"$answer")" $((room < 15 ? room : 15))
	done
}

newer_results_are_filled_up_with_zero() {
	local size same
	same=$(ioctl check "$work/zeros")
	for size in 264 512 4096; do
		equal "$(ioctl --result-size "$size" check "$work/zeros")" "$same"
	done
}

an_update_with_no_image_is_refused() {
	mark_log
	answer=$(ioctl update "$work/zeros" || :)
	# TDX_HOST_OUTCOME_REFUSED, TDX_HOST_STEP_IMAGE
	equal "$(field errno) $(field error)" 'EINVAL -22'
	equal "$(field outcome) $(field step) $(field cpu)" '2 2 -1'
	equal "$(field leaf) $(field status) $(field reason) $(field count)" '0 0 0 0'
	equal "$(field attempts) $(field reserved2) $(field blackout_ns)" '0 0 0'
	equal "$(field from) $(field to)" "$version $version"
	equal "$(field text)" 'not a TDX module image: format version: 0x0, neither 0x100 nor 0x200'
	matches "$(driver_log)" "update refused: $(field text); TDX module $version runs on"
	equal "$(last_update result) $(last_update step) $(last_update errno)" 'refused image -22'
	equal "$(cat "$device/version") $(cat "$device/state")" "$version ready"
}

# A request that is at fault is no update.
a_wrong_request_leaves_no_trace() {
	local before
	before=$(cat "$device/last_update")
	mark_log
	fails '^errno=EFAULT.outcome=0$' ioctl --image 0 update "$work/zeros"
	fails '^errno=EFBIG.outcome=0$' ioctl --image-size 0xffffffff update "$work/zeros"
	fails '^errno=EINVAL.outcome=0$' ioctl --flags 1 update "$work/zeros"
	equal "$(cat "$device/last_update")" "$before"
	equal "$(driver_log)" ''
}

anything_at_all_does_no_harm() {
	local caller pids=()
	for caller in {1..4}; do
		ioctl random $((10 * seed + caller)) 2000 >"$work/random.$caller" &
		pids+=("$!")
	done
	wait "${pids[@]}"
	cat "$work"/random.*
	# Some are right by chance.
	not grep -qx 'succeeded=0' "$work"/random.*
	equal "$(cat "$device/version") $(cat "$device/state")" "$version ready"
	# An update without an image is what may have come of it.
	matches "$(cat "$device/last_update")" '^result=refused step=image '
}

the_driver_stays_while_a_file_is_open() {
	local file
	exec {file}<>/dev/tdx_host
	fails 'in use' rmmod tdx_host
	exec {file}>&-
	[ -e "$device" ]
}

# Each has an image's worth of memory; 8 that are forgotten are 16 MB. The rest
# is slack for what the kernel keeps of its own.
nothing_is_left_behind() {
	local before after
	once() {
		ioctl check "$work/large" || :
		ioctl --results 0x1000 check "$work/large" || :
		ioctl --image 0x1000 check "$work/large" || :
		ioctl update "$work/large" || :
		ioctl info
	}
	head -c $((498 * 4096)) /dev/zero >"$work/large"
	once
	before=$(free_kib)
	for _ in {1..8}; do
		once
	done
	after=$(free_kib)
	below $((before - after)) 12000
}

tests=(
	info_says_what_sysfs_says
	only_root_can_use_it
	an_update_takes_what_an_upload_takes
	there_is_no_other_ioctl
	sizes_that_cannot_be_are_refused
	newer_structures_are_taken_if_the_rest_is_zero
	structures_that_are_not_there_are_refused
	flags_and_reserved_members_must_be_zero
	images_that_are_not_there_are_refused
	images_that_are_too_long_are_refused_unread
	arrays_of_results_that_cannot_be_are_refused
	a_file_that_is_no_image_is_named_as_such
	no_more_results_are_written_than_there_is_room_for
	newer_results_are_filled_up_with_zero
	an_update_with_no_image_is_refused
	a_wrong_request_leaves_no_trace
)
! on_simulator || tests+=(
	anything_at_all_does_no_harm
	the_driver_stays_while_a_file_is_open
	nothing_is_left_behind
)
run_tests "${tests[@]}"
