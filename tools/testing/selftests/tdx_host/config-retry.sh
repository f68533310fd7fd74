#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What keeps a SEAMCALL of the configuration from succeeding may pass: the
# driver tries again. Needs the simulator, and a machine on which the driver
# was not loaded yet.
#
# vm: --sockets 2 --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured

tdxsimctl counters reset
tdxsimctl fault add leaf=TDH.SYS.CONFIG status=SYS_BUSY count=3
tdxsimctl fault add leaf=TDH.SYS.KEY.CONFIG cpu=0 status=KEY_GENERATION_FAILED count=2
tdxsimctl fault add leaf=TDH.SYS.KEY.CONFIG cpu=1 status=0x80000200000000BB
tdxsimctl fault add leaf=TDH.SYS.TDMR.INIT nth=1 status=0x8000020000000001
tdxsimctl fault add leaf=TDH.SYS.TDMR.INIT nth=100 status=SYS_BUSY
tdxsimctl fault add leaf=TDH.SYS.TDMR.INIT nth=514 no-entropy
load_driver
tdxsimctl fault clear

the_driver_loads() {
	equal "$(cat "$device/state")" ready
	equal "$(sim module)" SYS_READY
}

calls_are_repeated_as_often_as_needed() {
	equal "$(calls TDH.SYS.CONFIG)" 4
	equal "$(calls TDH.SYS.KEY.CONFIG)" 5
	equal "$(calls TDH.SYS.TDMR.INIT)" 514
}

TDX_works() {
	load_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

run_tests \
	calls_are_repeated_as_often_as_needed \
	the_driver_loads \
	TDX_works
