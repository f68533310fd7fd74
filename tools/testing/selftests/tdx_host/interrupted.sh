#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What becomes of TDs, and of KVM's other VMs, while an update is interrupted and
# after it: TDs that nobody touches are saved, KVM loses those that it is asked to
# run or change, and it makes no new ones until there is a TDX module again. When
# TDX is lost it makes none any more. Needs the simulator.
#
# alone: it loses TDX in the end
# vm: --sim profile=connect
# vm: --sim profile=connect --append TDX_HOST_LEFT_BEHIND=1
# vm: slow --cpus 4 --sockets 2 --sim profile=tdx-1.5.25

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
trust_test_key
load_kvm

# KVM warns of each SEAMCALL that fails, as of a bug.
expected_splats='WARNING: .*\[kvm(_intel)?\]|kvm_intel: SEAMCALL'
expected_leaks='\[kvm_intel\]'
profile=$(sim profile)
profile=${profile%-next}

# interrupt: an update is, by an image that P-SEAMLDR finds bad after all.
interrupt() {
	local result=$1
	remember
	next_image
	case $result in
	interrupted) tdxsimctl fault add leaf=SEAMLDR.INSTALL nth=2 status=SEAMLDR_EBADHASH rdx=0 ;;
	lost) tdxsimctl fault add leaf=SEAMLDR.INSTALL nth=2 status=SEAMLDR_EBADHASH rdx=1 ;;
	esac
	equal "$(upload "$work/next.img")" transferring:hw-error
	tdxsimctl fault clear
	equal "$(cat "$device/state") $(last_update result)" "$result $result"
}

# recover: the same image, which is good.
recover() {
	equal "$(upload "$work/next.img")" ''
	equal "$(cat "$device/state") $(sim module) $(sim version)" "ready SYS_READY $version"
}

# begin: a process for TDs, beside those that earlier tests have left behind. It
# stays on a CPU: KVM makes a SEAMCALL when a vCPU's thread goes to another one.
begin() {
	start_tds
	taskset -p 1 "$tds_pid"
	tds_before=$(sim tds)
}

# there_are COUNT: so many TDs more than before, and none of them is being built.
there_are() {
	equal "$(sim tds) $(sim builds)" "$((tds_before + $1)) 0"
}

start_finished_td() {
	tds "$1 init" "$1 vcpu" "$1 mem 2" "$1 finalize" "$1 fault 2"
}

TDs_that_nobody_touches_are_saved() {
	begin
	start_finished_td 0
	start_finished_td 1
	interrupt interrupted
	recover
	tds '0 fault 4' '1 fault 4' '0 destroy' '1 destroy'
	there_are 0
}

# The TDX module does not answer the shutdown, nor whether it runs, for a while. To
# install another one over it would cost its TDs: there is no handoff data.
a_module_that_was_taken_for_gone_is_shut_down_first() {
	begin
	start_finished_td 0
	remember
	next_image
	tdxsimctl fault add leaf=TDH.SYS.SHUTDOWN vmfailinvalid
	# The first reading is the preflight's.
	tdxsimctl fault add leaf=TDH.SYS.RD nth=2 count=100 vmfailinvalid
	equal "$(upload "$work/next.img")" transferring:hw-error
	tdxsimctl fault clear
	equal "$(cat "$device/state") $(sim module)" 'interrupted SYS_READY'
	# It can be building a TD, too.
	tds '1 init'
	equal "$(upload "$work/next.img")" transferring:device-busy
	equal "$(cat "$device/state") $(sim module)" 'interrupted SYS_READY'
	tds '1 destroy'
	recover
	tds '0 fault 4' '0 destroy'
	there_are 0
}

# KVM says EIO for the call that fails, and for any later one.
a_TD_that_is_changed_meanwhile_is_lost_and_no_other() {
	begin
	start_finished_td 0
	start_finished_td 1
	interrupt interrupted
	matches "$(td 1 fault 2)" '^error pre_fault_memory errno EIO '
	matches "$(log)" 'kvm_intel: SEAMCALL TDH_MEM_[A-Z_]* failed: 0xc000050600000000'
	recover
	matches "$(td 1 fault 2)" '^error [a-z_]* errno EIO '
	tds '0 fault 4' '0 destroy' '1 destroy'
	# With a TDX module again, even that one can be taken down.
	there_are 0
	matches "$(tdbuild whole)" '^ok whole'
}

no_TD_can_be_created_meanwhile_and_then_it_can() {
	begin
	interrupt interrupted
	matches "$(td 0 init)" '^error init_vm errno EIO hw_error '
	matches "$(td 1 init)" '^error init_vm errno EIO hw_error '
	recover
	tds '0 init' '0 vcpu' '0 mem 2' '0 finalize' '0 fault 2' '0 destroy'
	there_are 0
}

# What was loaded before knows of TDX, and what is loaded now has none.
a_KVM_that_is_loaded_meanwhile_has_no_TDX() {
	interrupt interrupted
	equal "$(tdbuild types)" 'ok types 0x21'
	load_kvm
	equal "$(tdbuild types)" 'ok types 0x1'
	matches "$(tdbuild ordinary)" '^ok ordinary'
	recover
	load_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

# KVM has to flush vCPUs from a CPU that goes offline, and does not look whether it
# could. The TD could never be taken down then.
no_CPU_goes_offline_meanwhile_and_then_it_does() {
	begin
	taskset -p 2 "$tds_pid"
	start_finished_td 0
	interrupt interrupted
	fails 'Device or resource busy' set_online 1 0
	matches "$(log)" 'virt/tdx: A TDX module update was interrupted. Finish it'
	recover
	taskset -p 1 "$tds_pid"
	set_online 1 0
	set_online 1 1
	tds '0 fault 2' '0 destroy'
	there_are 0
}

other_VMs_are_not_affected() {
	matches "$(tdbuild ordinary)" '^ok ordinary'
	interrupt interrupted
	matches "$(tdbuild ordinary)" '^ok ordinary'
	recover
	matches "$(tdbuild ordinary)" '^ok ordinary'
}

uevents_tell_of_it_and_of_the_recovery() {
	catch_uevents
	interrupt interrupted
	the_uevent_says interrupted "$old" -
	# What is refused meanwhile leaves it interrupted.
	make_image bad.img --profile "$profile" --cpu 0xA06D0
	equal "$(upload "$work/bad.img")" transferring:firmware-invalid
	the_uevent_says refused "$old" -
	recover
	the_uevent_says updated "$old" "$version"
}

# From here on there is no TDX until the next reboot.

when_TDX_is_lost_so_are_all_TDs() {
	catch_uevents
	begin
	start_finished_td 0
	interrupt lost
	the_uevent_says lost "$old" -
	matches "$(td 0 fault 2)" '^error pre_fault_memory errno EIO '
	matches "$(td 1 init)" '^error init_vm errno EIO hw_error '
	matches "$(tdbuild ordinary)" '^ok ordinary'
	tds '0 destroy'
	equal "$(upload "$work/next.img")" transferring:hw-error
	the_uevent_says refused - -
	equal "$(cat "$device/state")" lost
}

then_KVM_has_no_TDX_but_works() {
	[ "$(cat "$device/state")" = lost ] || interrupt lost
	load_kvm
	equal "$(tdbuild types)" 'ok types 0x1'
	matches "$(tdbuild ordinary)" '^ok ordinary'
}

# KVM gives its memory back to the kernel, although it is still the TD's as far as
# the TDX module knows. Any other TD that is given some of it later fails, so this
# is for a machine of its own, and none takes memory here afterwards. Updates are
# not kept from anything.
a_TD_that_is_destroyed_meanwhile_stays_behind() {
	begin
	start_finished_td 0
	start_finished_td 1
	interrupt interrupted
	tds '1 destroy'
	recover
	tds '0 destroy'
	there_are 1
	next_image
	equal "$(upload "$work/next.img")" ''
}

if [ -n "${TDX_HOST_LEFT_BEHIND-}" ]; then
	run_tests a_TD_that_is_destroyed_meanwhile_stays_behind
else
	run_tests \
		TDs_that_nobody_touches_are_saved \
		a_module_that_was_taken_for_gone_is_shut_down_first \
		a_TD_that_is_changed_meanwhile_is_lost_and_no_other \
		no_TD_can_be_created_meanwhile_and_then_it_can \
		a_KVM_that_is_loaded_meanwhile_has_no_TDX \
		no_CPU_goes_offline_meanwhile_and_then_it_does \
		other_VMs_are_not_affected \
		uevents_tell_of_it_and_of_the_recovery \
		when_TDX_is_lost_so_are_all_TDs \
		then_KVM_has_no_TDX_but_works
fi
