#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory that is not in a TDMR must not go online as long as TDX can be used,
# because every page may become a TD's; mainline's rule, with a driver that
# configures TDX later. Needs the simulator, and a machine on which the driver
# was not loaded yet and whose kernel was told to leave memory alone (mem=).
#
# vm: --mem 2G --append mem=1G --sim profile=connect
# vm: --mem 2G --append mem=1G --append TDX_HOST_FAULT=TDH.SYS.TDMR.INIT,gp --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured
probe=/sys/devices/system/memory/probe
[ -w "$probe" ] || skip_all "the kernel cannot be told about memory (CONFIG_ARCH_MEMORY_PROBE)"
below "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)" $((1 << 20)) >/dev/null ||
	skip_all "there is no memory that the kernel leaves alone"

# A block that RAM is behind, and that the kernel does not know of.
address=0x60000000
block=/sys/devices/system/memory/memory$((address / 0x$(cat /sys/devices/system/memory/block_size_bytes)))

tell_of_memory() {
	[ -e "$block" ] || echo $address >$probe
}

the_kernel_learns_of_memory() {
	tell_of_memory
	equal "$(cat "$block/state")" offline
}

go_online() {
	echo online >"$block/state"
}

it_stays_offline() {
	tell_of_memory
	fails '.' go_online
	equal "$(cat "$block/state")" offline
}

it_stays_offline_before_the_driver_is_loaded() {
	it_stays_offline
}

it_stays_offline_with_the_driver() {
	load_driver
	equal "$(cat "$device/state")" ready
	it_stays_offline
}

it_stays_offline_when_the_driver_is_gone() {
	load_driver
	unload_driver
	it_stays_offline
}

TDs_can_be_built_all_the_same() {
	load_driver
	load_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

loading_the_driver_fails_for_good() {
	tdxsimctl fault add "leaf=${TDX_HOST_FAULT//,/ }"
	tell_of_memory
	fails 'Input/output error' load_driver
	matches "$(driver_log)" 'until the next reboot'
}

it_goes_online_now_that_there_is_no_TDX() {
	local before
	tdxsimctl fault add "leaf=${TDX_HOST_FAULT//,/ }"
	tell_of_memory
	not load_driver
	before=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
	go_online
	equal "$(cat "$block/state")" online
	below "$before" "$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)"
}

if [ -n "${TDX_HOST_FAULT-}" ]; then
	run_tests \
		the_kernel_learns_of_memory \
		it_stays_offline_before_the_driver_is_loaded \
		loading_the_driver_fails_for_good \
		it_goes_online_now_that_there_is_no_TDX
else
	run_tests \
		the_kernel_learns_of_memory \
		it_stays_offline_before_the_driver_is_loaded \
		it_stays_offline_with_the_driver \
		it_stays_offline_when_the_driver_is_gone \
		TDs_can_be_built_all_the_same
fi
