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
! updates_are_possible || skip_all "updates are possible here"
need_driver

the_version_can_be_read() {
	equal "$(cat "$device/version")" "$(sim version)"
}

there_is_nothing_to_update_with() {
	[ ! -e "$firmware" ]
	[ ! -e "$device/seamldr_version" ]
	[ ! -e "$device/num_remaining_updates" ]
	[ ! -e "$device/last_update" ]
}

P_SEAMLDR_is_not_called() {
	equal "$(calls SEAMLDR.INFO)" 0
	equal "$(calls SEAMLDR.INSTALL)" 0
}

the_log_and_an_attribute_say_why() {
	local why='calls to P-SEAMLDR lose the current VMCS on this CPU'
	[ $(($(sim features) & 2)) -ne 0 ] || why='the TDX module cannot preserve TDs'
	matches "$(dmesg)" "tdx_host: no updates: $why"
	equal "$(cat "$device/update_support")" "no: $why"
}

the_device_says_so() {
	answer=$(ioctl info)
	# TDX_HOST_STATE_READY
	equal "$(field errno) $(field state) $(field caps)" '0 2 0'
	equal "$(field module_version)" "$(sim version)"
	equal "$(field cpus_online)" "$(nproc)"
	: >"$work/image"
	fails '^errno=EOPNOTSUPP' ioctl check "$work/image"
	fails '^errno=EOPNOTSUPP.outcome=0$' ioctl update "$work/image"
	# It is not for TD preserving that updates are impossible: what only P-SEAMLDR
	# knows is not known then.
	if [ $(($(field features_offered) & 2)) -ne 0 ]; then
		equal "$(field seamldr_version) $(field updates_left)" '0.0.00 0'
		equal "$(field valid)" 0xe1
		equal "$(calls SEAMLDR.INFO)" 0
	fi
}

kvm_has_TDX_all_the_same() {
	load_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

tests=(
	the_version_can_be_read
	there_is_nothing_to_update_with
	P_SEAMLDR_is_not_called
	kvm_has_TDX_all_the_same
)
# The C driver does not.
! is_our_driver || tests+=(the_log_and_an_attribute_say_why the_device_says_so)
run_tests "${tests[@]}"
