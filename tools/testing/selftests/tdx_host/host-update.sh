#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An update of any TDX host, by an image that its operator names:
#
#	TDX_HOST_IMAGE=/path/to/image [TDX_HOST_IMAGE_VERSION=1.5.99] ./host-update.sh
#
# It is made twice, and the second one is of the same image. With the C driver an
# image that does not suit costs every TD on the host, and a TD that is being built
# meanwhile has a wrong measurement. Where there is the simulator, an image is made.
#
# vm: --sim profile=connect
# vm: --sim profile=connect --kernel stock

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_driver
need_updates
if on_simulator; then
	have_kvm
	trust_test_key
	profile=connect next_image
	TDX_HOST_IMAGE=$work/next.img
	TDX_HOST_IMAGE_VERSION=$version
fi
[ -n "${TDX_HOST_IMAGE-}" ] || skip_all "TDX_HOST_IMAGE names no image to update by"
[ "$(cat "$device/num_remaining_updates")" -ge 2 ] || skip_all "less than two updates are left"

# upload_and_watch: the words in "status" while it runs, each once.
upload_and_watch() {
	local status last=''
	start_upload "$TDX_HOST_IMAGE"
	until [ "$last" = idle ]; do
		status=$(cat "$firmware/status")
		[ "$status" = "$last" ] || echo "$status"
		last=$status
	done
}

it_is_updated() {
	local updates words
	updates=$(cat "$device/num_remaining_updates")
	words=$(upload_and_watch)
	equal "$(cat "$firmware/error")" ''
	equal "$(cat "$firmware/remaining_size") $(cat "$firmware/loading")" '0 0'
	equal "$(grep -vxE 'receiving|preparing|transferring|programming|idle' <<<"$words" || :)" ''
	equal "$(cat "$device/num_remaining_updates")" $((updates - 1))
	equal "$(cat "$device/version")" "${TDX_HOST_IMAGE_VERSION:-$(cat "$device/version")}"
}

# What it is asked to do before and after that needs the TDX module.
a_TD_survives() {
	start_tds
	tds init vcpu 'mem 2' finalize
	equal "$(upload "$TDX_HOST_IMAGE")" ''
	tds 'fault 2' destroy
	matches "$(tdbuild whole)" '^ok whole'
}

a_TD_that_is_being_built_keeps_updates_off() {
	local version updates
	version=$(cat "$device/version")
	updates=$(cat "$device/num_remaining_updates")
	start_tds
	tds init vcpu
	equal "$(upload "$TDX_HOST_IMAGE")" transferring:device-busy
	equal "$(cat "$device/version")" "$version"
	equal "$(cat "$device/num_remaining_updates")" "$updates"
	tds 'mem 2' finalize 'fault 2' destroy
}

tests=(it_is_updated)
if kvm_has_TDX; then
	! is_our_driver || tests+=(a_TD_that_is_being_built_keeps_updates_off)
	tests+=(a_TD_survives)
fi
run_tests "${tests[@]}"
