#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# CPUs that come online for the first time after boot. The TDX module wants
# every CPU initialized before it is configured, so until then loading the
# driver changes nothing. Needs the simulator, and a machine on which the
# driver was not loaded yet, with CPUs that boot has left alone (maxcpus=).
#
# vm: --cpus 4 --sockets 2 --append maxcpus=1 --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured
[ "$(cat /sys/devices/system/cpu/online) $(cat /sys/devices/system/cpu/present)" = '0 0-3' ] ||
	skip_all "boot has not left CPUs 1 to 3 alone"

file=$(driver_file)

# "mend" brings CPUs online, which is for the tests to do here.
mend() {
	tdxsimctl counters reset
}

loading_is_refused_and_changes_nothing() {
	mark_log
	fails 'Input/output error|Device or resource busy' insmod "$file"
	matches "$(driver_log)" 'loading the driver again may help'
	equal "$(driver_log | wc -l)" 1
	equal "$(sim module)" SYSINIT_DONE
	equal "$(calls TDH.SYS.KEY.CONFIG)" 0
}

a_CPU_is_initialized_when_it_comes_online() {
	local cpu
	tdxsimctl counters reset
	for cpu in 1 2 3; do
		not grep "cpu$cpu=" <<<"$(tdxsimctl counters)"
		set_online $cpu 1
		matches "$(tdxsimctl counters)" "leaf=TDH.SYS.LP.INIT calls=$cpu .* cpu$cpu=1"
		equal "$(sim lps)" $((cpu + 1))
	done
}

# A CPU that fails to initialize would fail every SEAMCALL.
a_CPU_that_cannot_be_initialized_stays_offline() {
	tdxsimctl fault add leaf=TDH.SYS.LP.INIT cpu=1 gp
	fails '.' set_online 1 1
	equal "$(cat /sys/devices/system/cpu/cpu1/online)" 0
	tdxsimctl fault clear
}

bring_CPUs_online() {
	local cpu
	for cpu in 1 2 3; do
		set_online $cpu 1
	done
}

then_the_driver_loads() {
	bring_CPUs_online
	insmod "$file"
	equal "$(cat "$device/state")" ready
	equal "$(sim keys)" 2
}

every_CPU_can_be_used() {
	local cpu
	bring_CPUs_online
	load_driver
	have_kvm
	for cpu in 0 1 2 3; do
		matches "$(taskset "$((1 << cpu))" tdbuild whole)" '^ok whole'
	done
}

run_tests \
	loading_is_refused_and_changes_nothing \
	a_CPU_that_cannot_be_initialized_stays_offline \
	a_CPU_is_initialized_when_it_comes_online \
	then_the_driver_loads \
	every_CPU_can_be_used
