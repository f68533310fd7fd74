#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A TDX module that does not know how to protect TD builds refuses every update:
# nothing is tried beforehand or afterwards to get around that, and nothing is
# lost. Needs the simulator.
#
# vm: --sim profile=tdx-1.5.16

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
trust_test_key
make_image next.img --profile tdx-1.5.25 --hv 1 --min-hv 0 --svn 1.12

loading_says_so() {
	matches "$(dmesg)" 'tdx_host: .*TD builds'
}

an_update_is_refused() {
	equal "$(upload "$work/next.img")" transferring:hw-error
	matches "$(driver_log)" 'too old to protect TD'
	matches "$(driver_log)" 'TDH\.SYS\.SHUTDOWN: OPERAND_INVALID RCX \(0xc000010000000001\)'
	matches "$(driver_log)" 'TDX module 1.5.16 runs on'
	equal "$(cat "$device/version")" 1.5.16
	equal "$(cat "$device/state")" ready
	equal "$(sim module)" SYS_READY
	matches "$(cat "$device/last_update")" '^result=refused step=shutdown errno=-5 leaf=TDH.SYS.SHUTDOWN status=0xc000010000000001 name=OPERAND_INVALID '
}

the_shutdown_is_tried_once_and_with_the_flag() {
	equal "$(upload "$work/next.img")" transferring:hw-error
	equal "$(calls TDH.SYS.SHUTDOWN)" 1
	equal "$(last_call TDH.SYS.SHUTDOWN)" 'version=0 rcx=0x10000'
	equal "$(calls SEAMLDR.INSTALL)" 0
}

TDs_are_unharmed() {
	start_tds
	tds '0 init' '0 vcpu' '1 init' '1 vcpu' '1 mem' '1 finalize'
	equal "$(upload "$work/next.img")" transferring:hw-error
	tds '0 mem 2' '0 finalize' '0 fault' '1 fault' '0 destroy' '1 destroy'
}

run_tests \
	loading_says_so \
	an_update_is_refused \
	the_shutdown_is_tried_once_and_with_the_flag \
	TDs_are_unharmed
