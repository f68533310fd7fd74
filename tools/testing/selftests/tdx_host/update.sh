#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Updates of the TDX module that succeed, or that the TDX module refuses
# because TDs are being built. Needs the simulator.
#
# vm: --sim profile=connect
# vm: slow --cpus 4 --sockets 2 --sim profile=tdx-1.5.25

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
trust_test_key
load_kvm

profile=$(sim profile)
profile=${profile%-next}
features=$(($(sim configured)))

an_update() {
	remember
	next_image
	equal "$(upload "$work/next.img")" ''
	equal "$(cat "$device/version")" "$version"
	equal "$(cat "$device/num_remaining_updates")" $((updates - 1))
	equal "$(cat "$device/state")" ready
	equal "$(sim version)" "$version"
	equal "$(sim module)" SYS_READY
	matches "$(driver_log)" "TDX module updated from $old to $version, $(nproc) CPUs stopped for [0-9]+ us"
	matches "$(cat "$device/last_update")" \
		"^result=updated step=done errno=0 .* from=$old to=$version attempts=1 blackout_us=[0-9]+ total_blackout_us=[0-9]+ cpu=-$"
}

# The handoff version of the module and AVOID_COMPAT_SENSITIVE in bit 16; the
# features that are configured again; each CPU once.
its_SEAMCALLs_have_the_registers_that_they_should() {
	local update='version=0' params
	[ "$features" -eq 0 ] || update=$(printf 'version=1 r9=%#x' "$features")
	next_image
	tdxsimctl counters reset
	equal "$(upload "$work/next.img")" ''
	equal "$(last_call TDH.SYS.SHUTDOWN)" 'version=0 rcx=0x10001'
	equal "$(calls TDH.SYS.SHUTDOWN)" 1
	equal "$(calls SEAMLDR.INSTALL)" "$(nproc)"
	equal "$(calls TDH.SYS.INIT)" 1
	equal "$(calls TDH.SYS.LP.INIT)" "$(nproc)"
	equal "$(calls TDH.SYS.UPDATE)" 1
	equal "$(last_call TDH.SYS.UPDATE)" "$update"
	params=$(last_call SEAMLDR.INSTALL)
	equal $((${params#*rcx=} % 4096)) 0
	equal $(($(sim configured))) "$features"
}

a_TD_build_keeps_the_old_module() {
	remember
	next_image
	start_tds
	tds init vcpu
	equal "$(upload "$work/next.img")" transferring:device-busy
	nothing_has_changed
	equal "$(driver_log | grep -c 'refused')" 1
	matches "$(driver_log)" '1 TD is being built.*TDX module .* runs on'
	matches "$(cat "$device/last_update")" \
		"^result=refused step=shutdown errno=-16 .* reason=td-build count=1 from=$old to=$old attempts=1 "
	tds 'mem 2' finalize 'fault 2' destroy
}

the_same_upload_succeeds_when_the_build_is_done() {
	remember
	next_image
	start_tds
	tds init vcpu 'mem 2'
	equal "$(upload "$work/next.img")" transferring:device-busy
	tds finalize
	equal "$(upload "$work/next.img")" ''
	equal "$(cat "$device/version")" "$version"
	equal "$(cat "$device/num_remaining_updates")" $((updates - 1))
	tds 'fault 2' destroy
	equal "$(sim tds)" 0
}

TD_builds_are_counted() {
	remember
	next_image
	start_tds
	tds '0 init' '1 init' '2 init' '0 vcpu' '0 mem' '0 finalize'
	equal "$(upload "$work/next.img")" transferring:device-busy
	matches "$(driver_log)" '2 TDs are being built'
	equal "$(last_update count)" 2
	nothing_has_changed
}

TD_builds_need_not_be_counted() {
	remember
	next_image
	tdxsimctl fault add leaf=TDH.SYS.SHUTDOWN status=0x8000051200000000
	equal "$(upload "$work/next.img")" transferring:device-busy
	matches "$(driver_log)" 'update refused: TDs are being built, try again later'
	equal "$(last_update reason) $(last_update count)" 'td-build 0'
	nothing_has_changed
}

# One that says that it can protect TD builds is not told that it is too old to.
an_invalid_operand_is_taken_for_what_it_is() {
	local why='too old to protect TD'
	remember
	next_image
	! grep -q update-compat "$device/features_offered" || why='update refused: TDH.SYS.SHUTDOWN: OPERAND_INVALID RCX'
	tdxsimctl fault add leaf=TDH.SYS.SHUTDOWN status=0xC000010000000001
	equal "$(upload "$work/next.img")" transferring:hw-error
	matches "$(driver_log)" "$why"
	nothing_has_changed
}

a_half_built_TD_that_is_destroyed_no_longer_counts() {
	next_image
	start_tds
	tds '0 init' '1 init' '1 vcpu' '1 mem 4'
	equal "$(upload "$work/next.img")" transferring:device-busy
	tds '0 destroy' '1 destroy'
	equal "$(upload "$work/next.img")" ''
}

every_TD_survives() {
	next_image
	start_tds
	tds '0 init' '0 vcpu' '0 mem' '0 finalize' '0 fault'
	tds '1 init' '1 vcpu' '1 vcpu' '1 mem 8' '1 finalize'
	equal "$(upload "$work/next.img")" ''
	tds '1 fault 4' '1 destroy' '0 fault 4' '0 destroy'
	tds '2 init' '2 vcpu' '2 mem' '2 finalize' '2 destroy'
}

an_interrupted_migration_is_told_apart() {
	remember
	next_image
	tdxsimctl migrations 3
	equal "$(upload "$work/next.img")" transferring:device-busy
	matches "$(driver_log)" 'the migrations of 3 TDs were interrupted'
	equal "$(last_update reason) $(last_update count)" 'migration 3'
	nothing_has_changed
}

# As by sc_retry_prerr(): failures of the instruction have error codes of their own.
P_SEAMLDR_that_does_not_answer_is_said() {
	tdxsimctl fault add leaf=SEAMLDR.INFO status=SEAMLDR_EUNSPECERR count=all
	fails 'Input/output error' cat "$device/num_remaining_updates"
	matches "$(driver_log)" 'SEAMLDR\.INFO: EUNSPECERR \(0x8000000000010003\)'
	tdxsimctl fault clear
	tdxsimctl fault add leaf=SEAMLDR.INFO vmfailinvalid count=all
	mark_log
	fails 'No such device' cat "$device/num_remaining_updates"
	equal "$(driver_log)" ''
	tdxsimctl fault clear
}

the_published_format_does_as_well() {
	next_image
	make_image next.img --profile "$profile" --version "$version" --format 0x100
	equal "$(upload "$work/next.img")" ''
	equal "$(cat "$device/version")" "$version"
}

the_largest_image_does() {
	next_image
	make_image next.img --profile "$profile" --version "$version" --pages 496
	equal "$(upload "$work/next.img")" ''
	equal "$(cat "$device/version")" "$version"
}

the_same_image_again_is_said_and_not_refused() {
	next_image
	equal "$(upload "$work/next.img")" ''
	equal "$(upload "$work/next.img")" ''
	matches "$(driver_log)" 'same TDX module'
}

KVM_and_new_TDs_use_the_new_module() {
	next_image
	equal "$(upload "$work/next.img")" ''
	matches "$(tdbuild whole)" '^ok whole'
	load_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

a_uevent_tells_of_it() {
	catch_uevents
	remember
	next_image
	equal "$(upload "$work/next.img")" ''
	the_uevent_says updated "$old" "$version"
}

# Refused by a check, by the TDX module, and for being no image at all.
a_uevent_tells_of_a_refusal() {
	catch_uevents
	remember
	make_image next.img --profile "$profile" --svn 1.1
	equal "$(upload "$work/next.img")" transferring:firmware-invalid
	the_uevent_says refused "$old" "$old"
	next_image
	start_tds
	tds init
	equal "$(upload "$work/next.img")" transferring:device-busy
	the_uevent_says refused "$old" "$old"
	equal "$(upload "$(readlink -f "$0")")" transferring:firmware-invalid
	the_uevent_says refused "$old" "$old"
	nothing_has_changed
}

no_updates_left() {
	next_image
	tdxsimctl updates 0
	remember
	equal "$(upload "$work/next.img")" transferring:flash-wearout
	nothing_has_changed
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
	equal "$(last_update errno)" -28
}

the_last_update_that_is_left() {
	next_image
	tdxsimctl updates 1
	equal "$(upload "$work/next.img")" ''
	equal "$(cat "$device/num_remaining_updates")" 0
}

run_tests \
	an_update \
	its_SEAMCALLs_have_the_registers_that_they_should \
	a_TD_build_keeps_the_old_module \
	the_same_upload_succeeds_when_the_build_is_done \
	TD_builds_are_counted \
	TD_builds_need_not_be_counted \
	an_invalid_operand_is_taken_for_what_it_is \
	a_half_built_TD_that_is_destroyed_no_longer_counts \
	every_TD_survives \
	an_interrupted_migration_is_told_apart \
	P_SEAMLDR_that_does_not_answer_is_said \
	the_published_format_does_as_well \
	the_largest_image_does \
	the_same_image_again_is_said_and_not_refused \
	KVM_and_new_TDs_use_the_new_module \
	a_uevent_tells_of_it \
	a_uevent_tells_of_a_refusal \
	no_updates_left \
	the_last_update_that_is_left
