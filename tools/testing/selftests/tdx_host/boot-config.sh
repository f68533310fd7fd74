#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tdx_config=boot gives mainline's behaviour back: the kernel configures the
# TDX module without extra features, and either driver works with that. Needs
# the simulator. With TDX_HOST_DRIVER=c the driver is the one in C.
#
# vm: --sim profile=connect --append tdx_config=boot --append TDX_HOST_DRIVER=c
# vm: --sim profile=connect --append tdx_config=boot

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
grep -qw tdx_config=boot /proc/cmdline || skip_all "the TDX module was not configured at boot"
need_no_driver

make_image next.img --profile connect --version 1.5.99 --format 0x200
configured=$(last_call TDH.SYS.CONFIG)
configured_calls=$(calls TDH.SYS.CONFIG)

boot_has_configured_the_TDX_module() {
	equal "$configured_calls" 1
	matches "$configured" '^version=0 '
	equal "$(sim module)" SYS_READY
	equal $(($(sim configured))) 0
	matches "$(dmesg)" 'virt/tdx: TDX-Module initialized'
}

KVM_has_TDX_without_a_driver() {
	load_kvm
	equal "$(tdbuild types)" 'ok types 0x21'
	matches "$(tdbuild whole)" '^ok whole'
}

the_driver_attaches() {
	tdxsimctl counters reset
	load_driver
	equal "$(calls TDH.SYS.CONFIG)" 0
	equal "$(calls TDH.SYS.TDMR.INIT)" 0
	equal "$(cat "$device/version")" "$(sim version)"
	if is_our_driver; then
		equal "$(cat "$device/state")" ready
		matches "$(driver_log)" 'attached to the TDX module'
		equal "$(cat "$device/features_configured")" 0x0000000000000000
	fi
}

# The features that were configured are configured again: none.
the_driver_updates_the_TDX_module() {
	load_driver
	trust_test_key
	start_tds
	tds '0 init' '0 vcpu' '0 mem' '0 finalize' '0 fault'
	tdxsimctl counters reset
	equal "$(upload "$work/next.img")" ''
	equal "$(cat "$device/version")" 1.5.99
	equal "$(sim version)" 1.5.99
	equal "$(calls SEAMLDR.INSTALL)" "$(nproc)"
	equal "$(last_call TDH.SYS.UPDATE)" 'version=0'
	tds '0 fault 2' '0 destroy'
}

new_TDs_use_the_new_module() {
	load_driver
	trust_test_key
	equal "$(upload "$work/next.img")" ''
	have_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

CPUs_go_off_and_online() {
	have_kvm
	set_online 1 0
	set_online 1 1
	matches "$(taskset 2 tdbuild whole)" '^ok whole'
}

it_can_be_loaded_again() {
	load_driver
	unload_driver
	load_driver
	equal "$(cat "$device/state")" ready
	equal "$(cat "$device/features_configured")" 0x0000000000000000
}

tests=(
	boot_has_configured_the_TDX_module
	KVM_has_TDX_without_a_driver
	the_driver_attaches
	the_driver_updates_the_TDX_module
	new_TDs_use_the_new_module
	CPUs_go_off_and_online
)
# The driver in C cannot be removed.
[ "${TDX_HOST_DRIVER-}" = c ] || tests+=(it_can_be_loaded_again)
run_tests "${tests[@]}"
