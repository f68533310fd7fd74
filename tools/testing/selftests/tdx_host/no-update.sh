#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A TDX module that cannot preserve TDs, or a CPU whose P-SEAMLDR must not be
# called: the driver loads, but has no interface for updates, like the C driver.
# Needs the simulator.
#
# vm: --sim profile=no-preserving
# vm: --sim platform=seamret-erratum
# vm: slow --sim profile=no-preserving --kernel stock
# vm: slow --sim platform=seamret-erratum --kernel stock

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_driver
! [ -e "$firmware" ] || skip_all "updates are possible here"

the_version_can_be_read() {
	equal "$(cat "$device/version")" "$(sim version)"
}

there_is_nothing_to_update_with() {
	[ ! -e "$device/seamldr_version" ]
	[ ! -e "$device/num_remaining_updates" ]
	[ ! -e "$device/last_update" ]
}

P_SEAMLDR_is_not_called() {
	equal "$(calls SEAMLDR.INFO)" 0
	equal "$(calls SEAMLDR.INSTALL)" 0
}

the_log_says_why() {
	! is_our_driver || matches "$(dmesg)" 'tdx_host: no updates: '
}

kvm_has_TDX_all_the_same() {
	load_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

run_tests \
	the_version_can_be_read \
	there_is_nothing_to_update_with \
	P_SEAMLDR_is_not_called \
	the_log_says_why \
	kvm_has_TDX_all_the_same
