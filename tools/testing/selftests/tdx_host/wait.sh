#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Waiting for TD builds to end, for a bounded time: update_wait_ms. Needs the
# simulator.
#
# vm: --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
trust_test_key
load_kvm

profile=connect-next

# For a TD that is being built.
start_an_upload_that_waits() {
	start_tds
	tds init vcpu
	echo 60000 >"$device/update_wait_ms"
	start_upload "$work/next.img"
	within 20 an_update_waits
}

by_default_there_is_no_wait() {
	equal "$(cat "$device/update_wait_ms")" 0
	equal "$(stat -c %a "$device/update_wait_ms")" 644
	next_image
	start_tds
	tds init
	equal "$(upload "$work/next.img")" transferring:device-busy
	equal "$(calls TDH.SYS.SHUTDOWN)" 1
}

what_is_no_number_is_refused() {
	local text
	for text in x -1 1.5 '1 2' 99999999999; do
		fails 'Invalid argument' bash -c "echo '$text' >$device/update_wait_ms"
	done
	equal "$(cat "$device/update_wait_ms")" 0
	# As a C program may write it.
	printf '7\0' >"$device/update_wait_ms"
	equal "$(cat "$device/update_wait_ms")" 7
	echo 0 >"$device/update_wait_ms"
}

the_update_goes_through_when_the_build_is_done() {
	next_image
	start_an_upload_that_waits
	not upload_is_idle
	tds mem finalize
	equal "$(end_upload)" ''
	equal "$(cat "$device/version")" "$version"
	matches "$(cat "$device/last_update")" '^result=updated step=done errno=0 '
	[ "$(last_update attempts)" -ge 2 ]
	tds fault destroy
}

after_the_time_it_gives_up() {
	local began
	next_image
	start_tds
	tds '0 init' '1 init'
	echo 1500 >"$device/update_wait_ms"
	began=${EPOCHREALTIME/./}
	equal "$(upload "$work/next.img")" transferring:timeout
	[ $((${EPOCHREALTIME/./} - began)) -ge 1500000 ]
	equal "$(last_update errno) $(last_update reason) $(last_update count)" '-110 td-build 2'
	matches "$(driver_log)" '2 TDs are being built, and the time to wait is up'
	equal "$(cat "$device/state")" ready
	# 10, 20, 40 … ms between the attempts: no more than these.
	below 0 "$(last_update attempts)"
	below "$(last_update attempts)" 10
	equal "$(calls TDH.SYS.SHUTDOWN)" "$(last_update attempts)"
	equal "$(calls SEAMLDR.INSTALL)" 0
	below "$(last_update blackout_us)" "$(last_update total_blackout_us)"
	tds '0 vcpu' '0 mem' '0 finalize' '0 destroy' '1 destroy'
}

it_can_be_cancelled() {
	next_image
	start_an_upload_that_waits
	echo 1 >"$firmware/cancel"
	equal "$(end_upload)" transferring:user-abort
	equal "$(last_update errno) $(last_update step) $(last_update reason) $(last_update count)" \
		'-125 wait td-build 1'
	matches "$(driver_log)" 'update: 1 TD is being built, waiting for up to 60000 ms'
	matches "$(driver_log)" 'update refused: canceled while 1 TD is being built; TDX module .* runs on'
	equal "$(cat "$device/state")" ready
	tds mem finalize destroy
}

what_else_is_wrong_is_not_waited_for() {
	next_image
	make_image next.img --profile connect-next --svn 1.1
	echo 60000 >"$device/update_wait_ms"
	equal "$(upload "$work/next.img")" transferring:firmware-invalid
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
}

# The build goes on, but it would be of no use any more to wait for its end.
the_host_is_looked_at_before_each_attempt() {
	local left
	left=$(sim updates_left)
	next_image
	start_an_upload_that_waits
	tdxsimctl updates 0
	equal "$(end_upload)" transferring:flash-wearout
	equal "$(last_update step) $(last_update errno)" 'preflight -28'
	[ "$(last_update attempts)" -ge 1 ]
	tdxsimctl updates "$left"
	tds mem finalize destroy
}

what_is_worth_a_note_is_noted_once() {
	next_image
	equal "$(upload "$work/next.img")" ''
	start_tds
	tds init vcpu
	echo 500 >"$device/update_wait_ms"
	equal "$(upload "$work/next.img")" transferring:timeout
	[ "$(last_update attempts)" -ge 2 ]
	equal "$(driver_log | grep -c 'update: the same TDX module is loaded already')" 1
	tds mem finalize destroy
}

run_tests \
	by_default_there_is_no_wait \
	what_is_no_number_is_refused \
	the_update_goes_through_when_the_build_is_done \
	after_the_time_it_gives_up \
	it_can_be_cancelled \
	the_host_is_looked_at_before_each_attempt \
	what_is_worth_a_note_is_noted_once \
	what_else_is_wrong_is_not_waited_for
