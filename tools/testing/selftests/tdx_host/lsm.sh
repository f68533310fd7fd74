#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A security module that wants firmware to come from a certain file system: what an
# ioctl brings comes from none. Needs the simulator.
#
# vm: --sim profile=connect --append lsm=loadpin --append loadpin.enforce=1

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
grep -qw loadpin.enforce=1 /proc/cmdline || skip_all "no security module refuses firmware"
need_our_driver
trust_test_key
profile=$(sim profile)

an_update_is_refused() {
	remember
	next_image
	fails '^errno=EPERM' ioctl update "$work/next.img"
	matches "$(log)" 'LoadPin: firmware old-api-denied'
	nothing_has_changed
	equal "$(cat "$device/last_update")" result=none
}

what_changes_nothing_is_not() {
	ioctl info
	next_image
	ioctl check "$work/next.img"
}

run_tests \
	an_update_is_refused \
	what_changes_nothing_is_not
