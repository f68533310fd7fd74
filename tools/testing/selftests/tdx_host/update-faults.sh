#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The fault matrix of updates: every SEAMCALL of an update fails with every
# status that it is known to have, and as an instruction, on the first CPU that
# makes it, on another one and on the last. After each exactly one thing is
# true, and all interfaces say the same: the old TDX module runs, the new one
# runs, the update is interrupted, so that a good image saves every TD, or TDX
# is lost. Needs the simulator.
#
#	update-faults.sh [STEP [FROM]]
#
# STEP is shutdown, install, init, cpu-init or update; without it, it is all of
# them. A case that loses TDX is the last one that a machine can run, so those
# come last, and what is left after one is skipped. FROM is the number of the
# case to begin with, for another machine to go on from there:
# "# next N" in the output says where.
#
# tools/testing/vm/suites/update-faults does so.
#
# vm: none

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

step=${1-all} from=${2-1}
need_simulator
need_our_driver
trust_test_key
load_kvm
cpus=$(nproc)

# KVM warns once when a TDX module is gone that it builds or has TDs in.
expected_splats='WARNING: .*\[kvm_intel\]|kvm_intel: SEAMCALL'

# How long an update may take, in seconds.
LIMIT=10

names=() outcomes=() faults=()

# add OUTCOME FAULT...: what is left when the calls fail so.
add() {
	local outcome=$1
	shift
	outcomes+=("$outcome")
	faults+=("$*")
	names+=("$* -> $outcome")
}

# Statuses that may pass, and those that say something else is wrong.
transient='SYS_BUSY RND_NO_ENTROPY'

shutdown_cases() {
	local leaf=leaf=TDH.SYS.SHUTDOWN status
	for status in $transient; do
		add new $leaf "status=$status"
		add new $leaf "status=$status" count=5
		add old $leaf "status=$status" count=all
	done
	for status in OPERAND_INVALID\|1 UPDATE_COMPAT_SENSITIVE\|0x10000 \
		UPDATE_COMPAT_SENSITIVE\|0x20001 UPDATE_COMPAT_SENSITIVE\|0xFFFF0007 \
		0xC000050600000000 0xC000010000000000 0xC000FFFF00000000; do
		add old $leaf "status=$status"
	done
	for status in vmfailinvalid gp ud; do
		add old $leaf $status
	done
	add new $leaf hang=300ms
}

install_cases() {
	local leaf=leaf=SEAMLDR.INSTALL nth status
	for nth in 1 2 "$cpus"; do
		for status in ENOMEM EINTERRUPT ENOENTROPY; do
			add new $leaf "nth=$nth" "status=SEAMLDR_$status" rdx=0
		done
		for status in EBADPARAM EBADCALL EBADHANDOFF ECLEANUPREQ EUNSUPPORTED EUNSPECERR \
			EUNSUPCPU EBADSIG EBADHASH; do
			add interrupted $leaf "nth=$nth" "status=SEAMLDR_$status" rdx=0
		done
		add new $leaf "nth=$nth" vmfailinvalid
		add new $leaf "nth=$nth" vmfailinvalid count=20
		add interrupted $leaf "nth=$nth" vmfailinvalid count=all
		add interrupted $leaf "nth=$nth" gp
		add interrupted $leaf "nth=$nth" ud
		add new $leaf "nth=$nth" hang=300ms
	done
	for status in ENOMEM ENOENTROPY; do
		add interrupted $leaf nth="$cpus" "status=SEAMLDR_$status" rdx=0 count=all
	done
	for nth in 1 2 "$cpus"; do
		for status in EBADPARAM EBADHANDOFF ECLEANUPREQ EUNSUPPORTED ENOMEM EUNSPECERR EUNSUPCPU \
			EBADSIG EBADHASH EINTERRUPT ENOENTROPY; do
			add lost $leaf "nth=$nth" "status=SEAMLDR_$status" rdx=1
		done
	done
}

init_cases() {
	local leaf=leaf=TDH.SYS.INIT status
	for status in $transient; do
		add new $leaf "status=$status"
	done
	add new $leaf no-entropy
	add new $leaf hang=300ms
	add lost $leaf status=SYS_BUSY count=all
	for status in OPERAND_INVALID\|1 0xC000050000000000 0xC000050D00000000 0xC000050A00000000; do
		add lost $leaf "status=$status"
	done
	for status in vmfailinvalid gp ud; do
		add lost $leaf $status
	done
}

cpu_init_cases() {
	local leaf=leaf=TDH.SYS.LP.INIT cpu status
	for cpu in 0 1 $((cpus - 1)); do
		add new $leaf "cpu=$cpu" status=SYS_BUSY
		add new $leaf "cpu=$cpu" hang=300ms
	done
	add new $leaf status=SYS_BUSY count=10
	for cpu in 0 1 $((cpus - 1)); do
		add lost $leaf "cpu=$cpu" status=SYS_BUSY count=all
		for status in status=0xC000050B00000000 status=0xC000050300000000 vmfailinvalid gp ud; do
			add lost $leaf "cpu=$cpu" $status
		done
	done
	add lost $leaf status=0xC000050B00000000 count=all
}

update_cases() {
	local leaf=leaf=TDH.SYS.UPDATE status
	for status in $transient; do
		add new $leaf "status=$status"
	done
	add new $leaf hang=300ms
	add new-without-features $leaf "status=OPERAND_INVALID|0"
	add lost $leaf status=SYS_BUSY count=all
	for status in 0xC000050800000000 0xC000050900000000 OPERAND_INVALID\|9 OPERAND_INVALID\|10; do
		add lost $leaf "status=$status"
	done
	add lost $leaf "status=OPERAND_INVALID|0" count=all
	for status in vmfailinvalid gp ud; do
		add lost $leaf $status
	done
}

case $step in
all)
	for cases in shutdown_cases install_cases init_cases cpu_init_cases update_cases; do
		$cases
	done
	;;
shutdown | install | init | cpu-init | update) "${step/-/_}_cases" ;;
*)
	echo "there is no step $step" >&2
	exit "$KSFT_FAIL"
	;;
esac

profile=connect-next

# What must hold in each of the four states. $old is the version before, $error
# what the upload's "error" says, $updates the number of updates before.

# a_module_runs VERSION: and serves the TDs.
a_module_runs() {
	equal "$(cat "$device/state")" ready
	equal "$(cat "$device/version")" "$1"
	equal "$(sim version) $(sim module)" "$1 SYS_READY"
	tds 'fault 2' destroy
	matches "$(tdbuild whole)" '^ok whole'
}

old_runs() {
	not test -z "$error"
	equal "$(last_update result)" refused
	equal "$(last_update to)" "$old"
	matches "$(driver_log)" "update refused: .*; TDX module $old runs on"
	equal "$(cat "$device/num_remaining_updates")" "$updates"
	a_module_runs "$old"
}

new_runs() {
	equal "$error" ''
	equal "$(last_update result)" updated
	equal "$(last_update to)" "$version"
	matches "$(driver_log)" "TDX module updated from $old to $version"
	equal "$(cat "$device/num_remaining_updates")" $((updates - 1))
	a_module_runs "$version"
}

# no_module_runs: neither interface claims that one does.
no_module_runs() {
	equal "$error" transferring:hw-error
	equal "$(cat "$device/state")" "$1"
	equal "$(last_update result)" "$1"
	equal "$(last_update errno) $(last_update to)" '-5 -'
	fails 'No such device or address' cat "$device/version"
	not test "$(sim module)" = SYS_READY
	matches "$(td 1 init)" '^error'
}

interrupted() {
	no_module_runs interrupted
	matches "$(driver_log)" 'update interrupted: .*TDs are intact'
	# A driver that is loaded now knows as well.
	if [ $((RANDOM % 2)) -eq 0 ]; then
		echo "the driver was loaded again"
		unload_driver
		load_driver
		equal "$(cat "$device/state")" interrupted
		trust_test_key
	fi
	equal "$(upload "$work/next.img")" ''
	equal "$(last_update result)" updated
	a_module_runs "$version"
}

lost() {
	no_module_runs lost
	matches "$(driver_log)" 'update failed: .* lost until the next reboot'
	equal "$(upload "$work/next.img")" transferring:hw-error
	equal "$(cat "$device/state")" lost
	td destroy
	unload_driver
	mark_log
	load_driver
	equal "$(cat "$device/state")" lost
	matches "$(driver_log)" 'TDX is lost until the next reboot'
	[ ! -e "$firmware" ]
	# A CPU does not need TDX to come online.
	set_online 1 0
	set_online 1 1
}

# update_case INDEX
update_case() {
	local began
	old=$(cat "$device/version")
	next_image
	updates=$(cat "$device/num_remaining_updates")
	start_tds
	tds init vcpu 'mem 2' finalize
	# shellcheck disable=SC2086 # several words
	tdxsimctl fault add ${faults[$1]}
	began=$SECONDS
	start_upload "$work/next.img"
	within "$LIMIT" upload_is_idle
	error=$(cat "$firmware/error")
	below $((SECONDS - began)) $((LIMIT + 1))
	tdxsimctl fault clear
	cat "$device/last_update"
	case ${outcomes[$1]} in
	old) old_runs ;;
	new) new_runs ;;
	new-without-features)
		new_runs
		equal $(($(sim configured))) 0
		matches "$(driver_log)" 'takes no features'
		;;
	interrupted) interrupted ;;
	lost) lost ;;
	esac
}

# One that has lost TDX, or its features, is not as the next case wants it.
begin_tests
for ((index = from - 1; index < ${#names[@]}; index++)); do
	run_test "${names[$index]}" update_case "$index"
	if [ "$(cat "$device/state")" != ready ] || [ "${outcomes[$index]}" = new-without-features ]; then
		[ $((index + 1)) -eq ${#names[@]} ] || echo "# next $((index + 2)) of ${#names[@]}"
		break
	fi
done
end_tests
