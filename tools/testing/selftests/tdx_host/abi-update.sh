#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A TDX host from its boot to an update as user space does it today, with this
# driver and with the C driver: the same steps, the same answers. The C driver
# in a kernel without our patches also tells whether the simulator is right.
# Needs the simulator.
#
# vm: --sim profile=connect
# vm: slow --sim profile=connect --append tdx_config=boot --append TDX_HOST_DRIVER=c
# vm: --sim profile=connect --kernel stock
# vm: slow --cpus 8 --sockets 2 --sim profile=connect
# vm: slow --cpus 8 --sockets 2 --sim profile=connect --kernel stock
# vm: slow --cpus 32 --sockets 2 --mem 4G --sim profile=connect
# vm: slow --cpus 32 --sockets 2 --mem 4G --sim profile=connect --kernel stock
# vm: thorough --timeout 900 --cpus 64 --sockets 4 --mem 8G --sim profile=connect --kernel stock

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_driver
trust_test_key
make_image next.img --profile connect-next

the_driver_is_the_one_that_was_asked_for() {
	local release
	release=$(uname -r)
	if [ "${TDX_HOST_DRIVER-}" = c ] || [ ! -e "/lib/modules/$release/rust/tdx-host.ko" ]; then
		not is_our_driver
	else
		is_our_driver
	fi
}

both_drivers_match_the_same_machines() {
	local folder
	folder=/lib/modules/$(uname -r)
	if [ -e "$folder/rust/tdx-host.ko" ]; then
		equal "$(modinfo -F alias "$folder/rust/tdx-host.ko")" "$(modinfo -F alias "$folder/c/tdx-host.ko")"
		equal "$(modinfo -F name "$folder/rust/tdx-host.ko")" "$(modinfo -F name "$folder/c/tdx-host.ko")"
	else
		matches "$(modinfo -F alias tdx-host)" '^cpu:type:x86,ven'
	fi
}

a_TD_is_built_and_destroyed() {
	load_kvm
	matches "$(tdbuild whole --pages 64 --vcpus "$(nproc)")" "^ok whole pages 64 vcpus $(nproc)$"
	equal "$(sim tds)" 0
	equal "$(calls TDH.VP.INIT)" "$(nproc)"
	equal "$(calls TDH.MEM.PAGE.ADD)" 64
	equal "$(calls TDH.MR.FINALIZE)" 1
}

the_attributes_say_what_the_firmware_is() {
	equal "$(cat "$device/version")" "$(sim version)"
	equal "$(cat "$device/seamldr_version")" 1.5.00
	equal "$(cat "$device/num_remaining_updates")" "$(sim updates_left)"
}

# As Intel's script does it, which takes anything in "error" for a failure.
an_update() {
	local updates status
	updates=$(cat "$device/num_remaining_updates")
	echo 1 >"$firmware/loading"
	cat "$work/next.img" >"$firmware/data"
	echo 0 >"$firmware/loading"
	within 10 upload_is_idle
	status=$(cat "$firmware/error")
	equal "$status" ''
	equal "$(cat "$device/version")" 1.5.27
	equal "$(sim version)" 1.5.27
	equal "$(cat "$device/num_remaining_updates")" $((updates - 1))
}

a_TD_survives_an_update() {
	start_tds
	tds init vcpu 'mem 2' finalize
	make_image next.img --profile connect-next --version 1.5.28
	equal "$(upload "$work/next.img")" ''
	tds 'fault 2' destroy
	equal "$(sim tds)" 0
}

run_tests \
	the_driver_is_the_one_that_was_asked_for \
	both_drivers_match_the_same_machines \
	the_attributes_say_what_the_firmware_is \
	a_TD_is_built_and_destroyed \
	an_update \
	a_TD_survives_an_update
