#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The interface that this driver and the C driver share: paths, modes and
# strings (Documentation/ABI/testing/sysfs-devices-faux-tdx-host). Safe on a
# production TDX host: nothing is uploaded but what both drivers refuse by its
# header.
#
# vm: --sim profile=connect
# vm: slow --sim profile=connect --append tdx_config=boot --append TDX_HOST_DRIVER=c
# vm: --sim profile=connect --kernel stock
# vm: slow --sim profile=no-preserving --kernel stock

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_driver
use_seed

# TDX_VERSION_FMT of asm/tdx.h
a_version='^[0-9]+\.[0-9]+\.([0-9]{2}|[1-9][0-9]{2,})$'

# attribute FILE MODE PATTERN
attribute() {
	equal "$(stat -c %a "$1")" "$2"
	matches "$(cat "$1")" "$3"
}

version() {
	attribute "$device/version" 444 "$a_version"
}

# Neither half of the interface for updates is there without the other.
updates_are_offered_or_not() {
	local file there=''
	for file in "$firmware" "$device/seamldr_version" "$device/num_remaining_updates"; do
		[ ! -e "$file" ] || there+="$file "
	done
	if [ -e "$firmware" ]; then
		equal "$there" "$firmware $device/seamldr_version $device/num_remaining_updates "
	else
		equal "$there" ''
	fi
	# Calls to P-SEAMLDR break KVM on such a CPU.
	! grep -qw seamret_invd_vmcs /proc/cpuinfo || equal "$there" ''
	if on_simulator; then
		equal "$([ -z "$there" ] || echo offered)" "$(! updates_are_possible || echo offered)"
	fi
}

seamldr_version() {
	attribute "$device/seamldr_version" 400 "$a_version"
}

num_remaining_updates() {
	attribute "$device/num_remaining_updates" 400 '^[0-9]+$'
}

upload_interface() {
	equal "$(readlink -f "$firmware")" "$device/firmware/tdx_module"
	attribute "$firmware/status" 444 '^idle$'
	# What is left of an upload that failed stays.
	attribute "$firmware/remaining_size" 444 '^[0-9]+$'
	attribute "$firmware/loading" 644 '^0$'
	equal "$(stat -c %a "$firmware/data")" 644
	equal "$(stat -c %a "$firmware/error")" 444
	equal "$(stat -c %a "$firmware/cancel")" 200
}

there_is_nothing_to_cancel() {
	fails 'No such device' bash -c "echo 1 >$firmware/cancel"
	fails 'Invalid argument' bash -c "echo 0 >$firmware/cancel"
}

# before, unchanged: what no refused file may change.
before() {
	version=$(cat "$device/version")
	updates=$(cat "$device/num_remaining_updates")
}

unchanged() {
	equal "$(cat "$firmware/status") $(cat "$firmware/loading")" 'idle 0'
	equal "$(cat "$device/version")" "$version"
	equal "$(cat "$device/num_remaining_updates")" "$updates"
}

an_upload_can_be_given_up() {
	local error
	before
	error=$(cat "$firmware/error")
	echo 1 >"$firmware/loading"
	equal "$(cat "$firmware/loading")" 1
	head -c 8192 /dev/zero >"$firmware/data"
	echo -1 >"$firmware/loading"
	equal "$(cat "$firmware/error")" "$error"
	unchanged
}

an_upload_of_nothing_changes_nothing() {
	before
	echo 1 >"$firmware/loading"
	echo 0 >"$firmware/loading"
	within 20 upload_is_idle
	unchanged
}

# refused ERROR: $work/file is, for this. All of it remains.
refused() {
	before
	equal "$(upload "$work/file")" "transferring:$1"
	equal "$(cat "$firmware/remaining_size")" "$(stat -c %s "$work/file")"
	unchanged
}

# refused_by_size: the C driver does not tell that from the rest.
refused_by_size() {
	if is_our_driver; then
		refused invalid-file-size
	else
		refused firmware-invalid
	fi
}

# number WIDTH VALUE: of so many bytes, little-endian.
number() {
	local byte
	for ((byte = 0; byte < $1; byte++)); do
		# shellcheck disable=SC2059 # it is all escapes
		printf "\\x$(printf %x $(($2 >> 8 * byte & 255)))"
	done
}

# header [VERSION [SIGNATURE [RESERVED [SIGSTRUCT_PAGES [MODULE_PAGES]]]]]: that of an
# image of one and two pages, struct tdx_image_header of arch/x86/virt/vmx/tdx/seamldr.c.
header() {
	number 2 "${1:-0x200}"
	number 2 0
	printf %-8.8s "${2:-TDX-BLOB}"
	number 4 "${4:-1}"
	number 4 "${5:-2}"
	head -c $((4096 - 21)) /dev/zero
	number 1 "${3:-0}"
}

# with_pages NUMBER: what comes on stdin and so many pages of zeros, as $work/file.
with_pages() {
	{
		cat
		head -c $(($1 * 4096)) /dev/zero
	} >"$work/file"
}

noise_is_refused() {
	noise $((3 * 4096)) >"$work/file"
	refused firmware-invalid
}

less_than_a_header_is_refused() {
	header | head -c 4095 >"$work/file"
	refused_by_size
}

a_file_cut_short_is_refused() {
	header | with_pages 2
	refused_by_size
}

a_file_that_is_too_long_is_refused() {
	header | with_pages 4
	refused_by_size
}

another_format_is_refused() {
	header 0x300 | with_pages 3
	refused firmware-invalid
}

another_signature_is_refused() {
	header 0x200 TDX-GLOB | with_pages 3
	refused firmware-invalid
}

a_reserved_byte_is_refused() {
	header 0x200 TDX-BLOB 1 | with_pages 3
	refused firmware-invalid
}

two_sigstruct_pages_are_refused() {
	header 0x200 TDX-BLOB 0 2 2 | with_pages 4
	refused firmware-invalid
}

# Such a file is longer than any image.
too_many_module_pages_are_refused() {
	header 0x200 TDX-BLOB 0 1 497 | with_pages 498
	refused_by_size
}

tests=(version updates_are_offered_or_not)
[ ! -e "$firmware" ] || tests+=(
	seamldr_version
	num_remaining_updates
	upload_interface
	there_is_nothing_to_cancel
	an_upload_can_be_given_up
	an_upload_of_nothing_changes_nothing
	noise_is_refused
	less_than_a_header_is_refused
	a_file_cut_short_is_refused
	a_file_that_is_too_long_is_refused
	another_format_is_refused
	another_signature_is_refused
	a_reserved_byte_is_refused
	two_sigstruct_pages_are_refused
	too_many_module_pages_are_refused
)
run_tests "${tests[@]}"
