#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# CPUs that go and come around a loaded driver, and what the kernel refuses as
# it does without the driver: to lose a package that TDs need. Needs the
# simulator, and a machine on which the driver was not loaded yet, with two
# packages of two CPUs.
#
# vm: --cpus 4 --sockets 2 --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured
[ "$(cat /sys/devices/system/cpu/cpu*/topology/physical_package_id | tr '\n' ' ')" = '0 0 1 1 ' ] ||
	skip_all "the machine does not have two packages of two CPUs"

make_image next.img --profile connect --version 1.5.99

# on CPU COMMAND...: run it there.
on() {
	local cpu=$1
	shift
	taskset "$(printf '%x' $((1 << cpu)))" "$@"
}

# A SEAMCALL without VMX operation would be #UD, and one on a CPU that was not
# initialized TDX_SYS_LP_INIT_NOT_DONE.
TDs_can_be_built_on() {
	have_kvm
	matches "$(on "$1" tdbuild whole)" '^ok whole'
}

# A machine that has loaded it stays as it is.
load_driver_while_CPUs_are_offline() {
	! is_loaded || return 0
	set_online 1 0
	set_online 2 0
	load_driver
}

the_driver_loads_while_a_CPU_is_offline() {
	load_driver_while_CPUs_are_offline
	equal "$(cat "$device/state")" ready
	equal "$(sim module)" SYS_READY
	equal "$(sim keys)" 2
}

a_CPU_that_was_offline_then_can_be_used() {
	local cpu
	load_driver_while_CPUs_are_offline
	set_online 1 1
	set_online 2 1
	for cpu in 0 1 2 3; do
		TDs_can_be_built_on $cpu
	done
}

# The TDX module initializes an LP once.
a_CPU_that_goes_and_comes_can_be_used() {
	local cpu
	load_driver
	tdxsimctl counters reset
	for cpu in 1 2 3; do
		set_online $cpu 0
		equal "$(cat "$device/state")" ready
		set_online $cpu 1
		TDs_can_be_built_on $cpu
	done
	equal "$(calls TDH.SYS.LP.INIT)" 0
}

a_TD_survives_the_CPU_that_it_was_built_on() {
	load_driver
	start_tds
	taskset -p 2 "$tds_pid"
	tds init vcpu 'mem 2'
	taskset -p 9 "$tds_pid"
	set_online 1 0
	tds finalize fault destroy
}

a_package_keeps_its_last_CPU_while_there_are_TDs() {
	load_driver
	start_tds
	tds init
	set_online 2 0
	fails 'Device or resource busy' set_online 3 0
	matches "$(log)" 'TDX requires all packages to have an online CPU'
	set_online 2 1
	set_online 3 0
	set_online 3 1
	tds destroy
}

without_TDs_it_may_go() {
	load_driver
	set_online 2 0
	set_online 3 0
	equal "$(cat "$device/state")" ready
	set_online 3 1
	set_online 2 1
	TDs_can_be_built_on 3
}

an_update_is_refused_while_a_CPU_is_offline() {
	load_driver
	trust_test_key
	tdxsimctl counters reset
	set_online 3 0
	matches "$(upload "$work/next.img")" 'device-busy'
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
	equal "$(last_update step) $(last_update attempts)" 'preflight 0'
	set_online 3 1
	equal "$(upload "$work/next.img")" ''
	equal "$(calls TDH.SYS.LP.INIT)" 4
}

after_an_update_CPUs_go_and_come_as_before() {
	load_driver
	trust_test_key
	equal "$(upload "$work/next.img")" ''
	tdxsimctl counters reset
	set_online 1 0
	set_online 1 1
	TDs_can_be_built_on 1
	equal "$(calls TDH.SYS.LP.INIT)" 0
}

the_driver_can_be_reloaded_while_a_CPU_is_offline() {
	load_driver
	set_online 1 0
	unload_driver
	load_driver
	equal "$(cat "$device/state")" ready
	set_online 1 1
	TDs_can_be_built_on 1
}

run_tests \
	the_driver_loads_while_a_CPU_is_offline \
	a_CPU_that_was_offline_then_can_be_used \
	a_CPU_that_goes_and_comes_can_be_used \
	a_TD_survives_the_CPU_that_it_was_built_on \
	a_package_keeps_its_last_CPU_while_there_are_TDs \
	without_TDs_it_may_go \
	an_update_is_refused_while_a_CPU_is_offline \
	after_an_update_CPUs_go_and_come_as_before \
	the_driver_can_be_reloaded_while_a_CPU_is_offline
