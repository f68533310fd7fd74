#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What there is to see while the driver configures the TDX module, which takes
# long where there is much memory. Needs the simulator.
#
# vm: --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured

tdxsimctl latency TDH.SYS.TDMR.INIT 5ms
insmod "$(driver_file)" &
loading=$!
within 20 test -e "$device/state"
state=$(cat "$device/state")
version=$(cat "$device/version")
offered=$(cat "$device/features_offered")
configured=$(cat "$device/features_configured")
support=$(cat "$device/update_support")
seamldr_version=$(cat "$device/seamldr_version")
upload_exists=''
[ ! -e "$firmware" ] || upload_exists=1
still_loading=''
! kill -0 "$loading" || still_loading=1
wait "$loading"
tdxsimctl latency clear

it_takes_a_while_here() {
	[ -n "$still_loading" ]
}

the_state_says_that_it_runs() {
	equal "$state" unconfigured
	equal "$(cat "$device/state")" ready
}

what_is_known_is_said() {
	equal "$version" "$(sim version)"
	equal "$offered" "$(cat "$device/features_offered")"
	equal "$support" yes
	equal "$seamldr_version" "$(cat "$device/seamldr_version")"
}

what_is_not_configured_is_not_said_to_be() {
	equal "$configured" 0x0000000000000000
	matches "$(cat "$device/features_configured")" ' tdx-connect'
}

there_are_no_updates_yet() {
	equal "$upload_exists" ''
	[ -e "$firmware" ]
}

run_tests \
	it_takes_a_while_here \
	the_state_says_that_it_runs \
	what_is_known_is_said \
	what_is_not_configured_is_not_said_to_be \
	there_are_no_updates_yet
