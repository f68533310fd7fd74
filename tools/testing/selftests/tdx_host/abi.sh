#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The interface that this driver and the C driver share: paths, modes and
# strings (Documentation/ABI/testing/sysfs-devices-faux-tdx-host). Safe on a
# production TDX host: nothing is uploaded but what is no image.
#
# vm: --sim profile=connect
# vm: slow --sim profile=connect --append tdx_config=boot --append TDX_HOST_DRIVER=c
# vm: --sim profile=connect --kernel stock

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_driver
need_updates
use_seed

# attribute FILE MODE PATTERN
attribute() {
	equal "$(stat -c %a "$1")" "$2"
	matches "$(cat "$1")" "$3"
}

version() {
	attribute "$device/version" 444 '^[0-9]+\.[0-9]+\.[0-9]{2}$'
}

seamldr_version() {
	attribute "$device/seamldr_version" 400 '^[0-9]+\.[0-9]+\.[0-9]{2}$'
}

num_remaining_updates() {
	attribute "$device/num_remaining_updates" 400 '^[0-9]+$'
}

upload_interface() {
	equal "$(readlink -f "$firmware")" "$device/firmware/tdx_module"
	attribute "$firmware/status" 444 '^idle$'
	attribute "$firmware/remaining_size" 444 '^0$'
	attribute "$firmware/loading" 644 '^0$'
	equal "$(stat -c %a "$firmware/error")" 444
	equal "$(stat -c %a "$firmware/cancel")" 200
}

a_file_that_is_no_image_is_refused() {
	local version updates
	version=$(<"$device/version")
	updates=$(<"$device/num_remaining_updates")
	noise $((3 * 4096)) >"$work/random"
	equal "$(upload "$work/random")" transferring:firmware-invalid
	equal "$(<"$device/version")" "$version"
	equal "$(<"$device/num_remaining_updates")" "$updates"
}

run_tests \
	version \
	seamldr_version \
	num_remaining_updates \
	upload_interface \
	a_file_that_is_no_image_is_refused
