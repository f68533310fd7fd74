#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The driver can be removed and loaded again: it then attaches to what is
# configured. Needs the simulator.
#
# vm: --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
make_image next.img --profile connect-next

it_can_be_removed_and_leaves_nothing() {
	load_driver
	unload_driver
	not is_loaded
	[ ! -e "$device" ]
	[ ! -e "$firmware" ]
	equal "$(sim module)" SYS_READY
}

loaded_again_it_attaches() {
	unload_driver
	mark_log
	load_driver
	equal "$(calls TDH.SYS.CONFIG)" 0
	equal "$(calls TDH.SYS.KEY.CONFIG)" 0
	equal "$(calls TDH.SYS.TDMR.INIT)" 0
	matches "$(driver_log)" 'attached to the TDX module'
	equal "$(cat "$device/state")" ready
	matches "$(cat "$device/features_configured")" ' tdx-connect$'
	equal "$(cat "$device/version")" "$(sim version)"
}

a_TD_being_built_survives() {
	load_driver
	start_tds
	tds init vcpu
	unload_driver
	load_driver
	tds 'mem 2' finalize fault destroy
}

an_update_knows_the_features_of_the_first_load() {
	unload_driver
	load_driver
	trust_test_key
	equal "$(upload "$work/next.img")" ''
	equal "$(last_call TDH.SYS.UPDATE)" 'version=1 r9=0x40'
}

# The upload waits for a TD build, so it is certain to run.
removal_is_refused_while_an_upload_runs() {
	load_driver
	trust_test_key
	start_tds
	tds init
	echo 20000 >"$device/update_wait_ms"
	start_upload "$work/next.img"
	fails 'in use' rmmod tdx_host
	is_loaded
	tds destroy
	equal "$(end_upload)" ''
	rmmod tdx_host
}

run_tests \
	it_can_be_removed_and_leaves_nothing \
	loaded_again_it_attaches \
	a_TD_being_built_survives \
	an_update_knows_the_features_of_the_first_load \
	removal_is_refused_while_an_upload_runs
