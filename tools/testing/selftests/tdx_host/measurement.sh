#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Why updates must not be in the way of TD builds: the TDX module keeps a TD's
# unfinished measurement in a layout of its own, and one with another layout
# makes something else of it. The C driver does not ask the TDX module to
# protect builds, and shows what happens then; this driver does. Needs the
# simulator.
#
# vm: --sim profile=connect
# vm: --sim profile=connect --append tdx_config=boot --append TDX_HOST_DRIVER=c

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_driver
trust_test_key
make_image next.img --profile connect-next --descriptor mrtd_context=2
make_image back.img --profile connect

# measurement: of the only TD there is.
measurement() {
	tdxsimctl builds | sed -n 's/.* mrtd=\([0-9a-f]*\)$/\1/p'
}

start_build() {
	start_tds
	tds init vcpu 'mem 2'
}

finish_build() {
	tds 'mem 2' finalize
	measurement
}

# What a build without an update gives.
right_measurement() {
	start_build
	finish_build
	end_tds
}

builds_are_measured_alike() {
	local first
	first=$(right_measurement)
	equal ${#first} 96
	equal "$(right_measurement)" "$first"
}

an_update_does_not_change_a_measurement_that_is_finished() {
	local right
	right=$(right_measurement)
	start_build
	equal "$(finish_build)" "$right"
	equal "$(upload "$work/next.img")" ''
	equal "$(measurement)" "$right"
	tds fault destroy
	equal "$(upload "$work/back.img")" ''
}

# The same upload at the same point of the same build.
with_this_driver_the_measurement_is_right() {
	local right
	right=$(right_measurement)
	start_build
	equal "$(upload "$work/next.img")" transferring:device-busy
	equal "$(finish_build)" "$right"
}

without_the_flag_the_measurement_is_wrong_and_nobody_notices() {
	local right wrong
	right=$(right_measurement)
	start_build
	equal "$(upload "$work/next.img")" ''
	matches "$(last_call TDH.SYS.SHUTDOWN)" '^version=0 rcx=0x1$'
	wrong=$(finish_build)
	equal ${#wrong} 96
	not equal "$wrong" "$right"
	tds fault destroy
	equal "$(upload "$work/back.img")" ''
}

if is_our_driver; then
	run_tests \
		builds_are_measured_alike \
		an_update_does_not_change_a_measurement_that_is_finished \
		with_this_driver_the_measurement_is_right
else
	run_tests \
		builds_are_measured_alike \
		an_update_does_not_change_a_measurement_that_is_finished \
		without_the_flag_the_measurement_is_wrong_and_nobody_notices
fi
