#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tdxctl shows what the driver's attributes say, with either driver. Safe on a
# production TDX host: nothing is uploaded, and what is checked is no image.
#
# vm: --sim profile=connect
# vm: slow --sim profile=connect --append tdx_config=boot --append TDX_HOST_DRIVER=c

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_driver
[ -n "$(command -v tdxctl)" ] || skip_all "there is no tdxctl"

# value KEY: of a key in what "status" says as JSON, without quotes.
value() {
	tdxctl status --json | sed -n "s/^  \"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p"
}

status_is_what_the_attributes_say() {
	equal "$(value module_version)" "$(<"$device/version")"
	equal "$(value cpus_online)" "$(grep -c ^processor /proc/cpuinfo)"
	if [ -e "$device/seamldr_version" ]; then
		equal "$(value seamldr_version)" "$(<"$device/seamldr_version")"
		equal "$(value updates_left)" "$(<"$device/num_remaining_updates")"
	fi
	if is_our_driver; then
		equal "$(value state)" "$(<"$device/state")"
	fi
}

ok_passes_or_says_what_to_do() {
	local status=0
	tdxctl ok >"$work/said" || status=$?
	cat "$work/said"
	equal "$status" "$(grep -c -m 1 '^FAIL' "$work/said")"
	# Behind each failure there is a line without a verdict.
	equal "$(grep -c '^FAIL' "$work/said")" "$(grep -A 1 '^FAIL' "$work/said" | grep -c '^  ')"
	grep '^PASS  cpu ' "$work/said"
	grep '^PASS  driver ' "$work/said"
}

what_is_no_image_is_refused() {
	local version
	version=$(<"$device/version")
	dd if=/dev/urandom of="$work/random" bs=4096 count=3 2>/dev/null
	fails 'not a TDX module image' tdxctl show "$work/random"
	fails 'not a TDX module image' tdxctl check "$work/random"
	fails 'not a TDX module image' tdxctl update --yes "$work/random"
	equal "$(<"$device/version")" "$version"
}

run_tests \
	status_is_what_the_attributes_say \
	ok_passes_or_says_what_to_do \
	what_is_no_image_is_refused
