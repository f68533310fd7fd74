#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# However long all CPUs are stopped, none that waits for its turn is taken for one that
# hangs: the kernel's detectors may be told to panic. Needs the simulator.
#
# vm: slow --cpus 4 --sockets 2 --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
trust_test_key
make_image next.img --profile connect-next

# Each CPU in its turn takes a part of the 20 s that a soft lockup is, and of the 21 s that
# an RCU stall is; all of them together take longer.
waiting_is_not_taken_for_a_lockup() {
	tdxsimctl latency SEAMLDR.INSTALL 6s
	start_upload "$work/next.img"
	within 120 upload_is_idle
	equal "$(cat "$firmware/error")" ''
	below 22000000 "$(last_update blackout_us)"
}

run_tests waiting_is_not_taken_for_a_lockup
