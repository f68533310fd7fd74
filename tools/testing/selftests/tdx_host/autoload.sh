#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The order of modules on real systems: udev loads what the CPU's features ask
# for, kvm_intel among them, and tools/modprobe.d/tdx-host.conf has the driver
# loaded before it. Needs the simulator, and a machine on which neither was
# loaded yet.
#
# vm: --copy tools/modprobe.d/tdx-host.conf:/etc/modprobe.d/tdx-host.conf
# vm: slow --append TDX_HOST_SOFTDEP=1 --copy tools/modprobe.d/tdx-host.conf:/etc/modprobe.d/tdx-host.conf
# vm:

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured
[ ! -d /sys/module/kvm_intel ] || skip_all "kvm_intel is loaded"

both_drivers_have_the_same_aliases() {
	local c
	c=$(modinfo --field alias "/lib/modules/$(uname -r)/c/tdx-host.ko")
	matches "$c" '^cpu:type:x86,'
	equal "$(modinfo --field alias "/lib/modules/$(uname -r)/rust/tdx-host.ko")" "$c"
}

the_features_of_this_CPU_ask_for_the_driver() {
	matches "$(modprobe --resolve-alias "$(cat /sys/devices/system/cpu/modalias)")" 'tdx_host'
}

# As udev does.
loading_what_they_ask_for_gives_KVM_with_TDX() {
	modprobe --all --use-blacklist "$(cat /sys/devices/system/cpu/modalias)"
	is_loaded
	equal "$(cat "$device/state")" ready
	equal "$(tdbuild types)" 'ok types 0x21'
	matches "$(tdbuild whole)" '^ok whole'
}

modprobe_kvm_intel_loads_the_driver_first() {
	modprobe kvm_intel
	is_loaded
	equal "$(cat "$device/state")" ready
	equal "$(tdbuild types)" 'ok types 0x21'
	matches "$(tdbuild whole)" '^ok whole'
}

without_TDX_kvm_intel_loads_all_the_same() {
	modprobe kvm_intel tdx=1
	not is_loaded
	equal "$(tdbuild types)" 'ok types 0x1'
}

the_driver_says_that_TDX_is_there_now() {
	modprobe kvm_intel tdx=1
	load_driver
	equal "$(cat "$device/state")" ready
	equal "$(tdbuild types)" 'ok types 0x1'
}

KVM_has_TDX_when_it_is_loaded_again() {
	modprobe kvm_intel tdx=1
	load_driver
	load_kvm
	equal "$(tdbuild types)" 'ok types 0x21'
	matches "$(tdbuild whole)" '^ok whole'
}

if [ ! -e /etc/modprobe.d/tdx-host.conf ]; then
	run_tests \
		without_TDX_kvm_intel_loads_all_the_same \
		the_driver_says_that_TDX_is_there_now \
		KVM_has_TDX_when_it_is_loaded_again
elif [ -n "${TDX_HOST_SOFTDEP-}" ]; then
	run_tests modprobe_kvm_intel_loads_the_driver_first
else
	run_tests \
		both_drivers_have_the_same_aliases \
		the_features_of_this_CPU_ask_for_the_driver \
		loading_what_they_ask_for_gives_KVM_with_TDX
fi
