#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The fault matrix of updates: every SEAMCALL of an update fails with every
# status that it is known to have, one that it is not, and as an instruction, and
# takes long, on the first CPU that makes it, on another one and on the last.
# After each exactly one thing is true, and all interfaces say the same: the old
# TDX module runs, the new one runs, the update is interrupted, so that a good
# image saves every TD, or TDX is lost. Needs the simulator.
#
#	update-faults.sh [STEP [FROM]]
#
# STEP is read, shutdown, install, init, cpu-init or update; without it, it is all
# of them. A case that loses TDX is the last one that a machine can run, so those
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

# KVM warns once when a TDX module is gone that it builds or has TDs in, and the
# core says that it could not read the system information, before it is asked
# again.
expected_splats='WARNING: .*\[kvm_intel\]|kvm_intel: SEAMCALL|virt/tdx: SEAMCALL \(0x0*22\) failed'
expected_leaks='\[kvm_intel\]'

# How long an update may take, in seconds.
LIMIT=10

names=() outcomes=() faults=()

# add OUTCOME FAULT[ + FAULT]...: what is left when the calls fail so.
add() {
	local outcome=$1
	shift
	outcomes+=("$outcome")
	faults+=("$*")
	names+=("$* -> $outcome")
}

# What calls are known to fail with, by the published sources of the TDX module
# and of P-SEAMLDR, and one that nobody knows.
unknown=0xC000FFFF12345678
transient=(SYS_BUSY RND_NO_ENTROPY)
operands=('OPERAND_INVALID|0' 'OPERAND_INVALID|1')
sensitive=('UPDATE_COMPAT_SENSITIVE|0x10000' 'UPDATE_COMPAT_SENSITIVE|0x20001'
	'UPDATE_COMPAT_SENSITIVE|0xFFFF0007')
# SYS_NOT_READY; SYS_SHUTDOWN
of_shutdown=(0xC000050500000000 0xC000050600000000 "$unknown")
# SYS_INIT_NOT_PENDING; INCOMPATIBLE_SEAM_CAPABILITIES; SYS_INCOMPATIBLE_SIGSTRUCT
of_init=(0xC000050000000000 0xC000050D00000000 0xC000050A00000000 "$unknown")
# SYS_LP_INIT_NOT_PENDING; SYS_LP_INIT_DONE
of_cpu_init=(0xC000050B00000000 0xC000050300000000 "$unknown")
# SYS_STATE_INCORRECT
of_update=(0xC000050800000000 "$unknown")
invalid_handoff=0xC000050900000000
# SYS_LP_INIT_NOT_DONE; METADATA_FIELD_ID_INCORRECT; _NOT_READABLE
of_read=(0xC000050200000000 0xC0000C0000000000 0xC0000C0200000000 "$unknown")
transient_install=(SEAMLDR_ENOMEM SEAMLDR_EINTERRUPT SEAMLDR_ENOENTROPY)
of_install=(SEAMLDR_EBADPARAM SEAMLDR_EBADCALL SEAMLDR_EBADHANDOFF SEAMLDR_ECLEANUPREQ
	SEAMLDR_EUNSUPPORTED SEAMLDR_EUNSPECERR SEAMLDR_EUNSUPCPU SEAMLDR_EBADSIG SEAMLDR_EBADHASH
	"$unknown")
instructions=(vmfailinvalid gp ud)

# statuses STATUS...: as faults.
statuses() {
	printf 'status=%s\n' "$@"
}

# each OUTCOME "FAULT..." PLACE...: each fault at each place.
each() {
	local outcome=$1 all=$2 fault place
	shift 2
	while read -r fault; do
		for place; do
			# shellcheck disable=SC2086 # several words
			add "$outcome" $leaf $place $fault
		done
	done <<<"$all"
}

# What fails before the old module is shut down leaves it as it is.
shutdown_cases() {
	local leaf=leaf=TDH.SYS.SHUTDOWN
	each new "$(statuses "${transient[@]}")" '' count=5
	each new hang=300ms ''
	each old "$(statuses "${transient[@]}")" count=all
	each old "$(statuses "${operands[@]}" "${sensitive[@]}" "${of_shutdown[@]}")" ''
	each old "$(printf '%s\n' "${instructions[@]}")" ''
	# What does not say that the module is gone is no reason to think so.
	add old "$leaf gp + leaf=TDH.SYS.RD nth=2 status=SYS_BUSY"
	add old "$leaf gp + leaf=TDH.SYS.RD nth=2 status=$unknown"
}

# While P-SEAMLDR has wiped nothing, the old one can be saved, and with rdx=1
# nothing can. EBADCALL is for a CPU that has called already.
install_cases() {
	local leaf=leaf=SEAMLDR.INSTALL places=(nth=1 nth=2 "nth=$cpus")
	each new "$(statuses "${transient_install[@]/%/ rdx=0}")" "${places[@]}"
	each new vmfailinvalid "${places[@]}"
	each new 'vmfailinvalid count=20' "${places[@]}"
	each new hang=300ms "${places[@]}"
	each interrupted "$(statuses "${of_install[@]/%/ rdx=0}")" "${places[@]}"
	each interrupted 'vmfailinvalid count=all' "${places[@]}"
	each interrupted $'gp\nud' "${places[@]}"
	each interrupted "$(statuses "${transient_install[@]/%/ rdx=0 count=all}")" "nth=$cpus"
	# P-SEAMLDR does not say, in the second round, whether it has installed anything.
	add new "$leaf nth=$cpus status=SEAMLDR_ENOMEM rdx=0 + leaf=SEAMLDR.INFO nth=2 vmfailinvalid count=all"
	each lost "$(statuses "${of_install[@]/%/ rdx=1}" "${transient_install[@]/%/ rdx=1}")" "${places[@]}"
}

# Once the new module is installed, its failure leaves the handoff data: another
# image, be it the same, takes the TDs over. That needs one more update.
init_cases() {
	local leaf=leaf=TDH.SYS.INIT
	each new "$(statuses "${transient[@]}")"$'\nno-entropy\nhang=300ms' ''
	each interrupted "$(statuses "${transient[@]}")" count=all
	each interrupted "$(statuses "${operands[@]}" "${of_init[@]}")" ''
	each interrupted "$(printf '%s\n' "${instructions[@]}")" ''
	add interrupted "$leaf gp + leaf=SEAMLDR.INFO nth=2 vmfailinvalid count=all"
	add lost-for-want-of-updates "$leaf status=${of_init[0]}"
}

cpu_init_cases() {
	local leaf=leaf=TDH.SYS.LP.INIT places=(cpu=0 cpu=1 "cpu=$((cpus - 1))")
	each new "$(statuses "${transient[@]}")"$'\nhang=300ms' "${places[@]}"
	each new "$(statuses "${transient[@]}")" count=10
	each interrupted "$(statuses "${transient[@]/%/ count=all}")" "${places[@]}"
	each interrupted "$(statuses "${operands[@]}" "${of_cpu_init[@]}")" "${places[@]}"
	each interrupted "$(printf '%s\n' "${instructions[@]}")" "${places[@]}"
	each interrupted "$(statuses "${of_cpu_init[@]}")" count=all
	add lost-for-want-of-updates "$leaf status=${of_cpu_init[0]}"
}

update_cases() {
	local leaf=leaf=TDH.SYS.UPDATE
	each new "$(statuses "${transient[@]}")"$'\nhang=300ms' ''
	each new-without-features "$(statuses 'OPERAND_INVALID|0' 'OPERAND_INVALID|9' 'OPERAND_INVALID|10')" ''
	each interrupted "$(statuses "${transient[@]}" 'OPERAND_INVALID|0' 'OPERAND_INVALID|9')" count=all
	each interrupted "$(statuses 'OPERAND_INVALID|1' "${of_update[@]}")" ''
	each interrupted "$(printf '%s\n' "${instructions[@]}")" ''
	add lost-for-want-of-updates "$leaf status=${of_update[0]}"
	# There is nothing left to take over.
	add lost "$leaf status=$invalid_handoff"
}

# The reads before the stop must succeed; those in it and after it only tell
# what has come of it. The first is that of the handoff version, then come the
# version in the stop and the system information after it.
read_cases() {
	local leaf=leaf=TDH.SYS.RD
	each old "$(statuses "${of_read[@]}")"$'\n'"$(printf '%s\n' "${instructions[@]}")" nth=1
	each new "$(statuses "${of_read[@]}")"$'\n'"$(printf '%s\n' "${instructions[@]}")" nth=2 nth=5 nth=25
	each new hang=300ms nth=1 nth=2 nth=5
	leaf=leaf=SEAMLDR.INFO
	each old "$(statuses SEAMLDR_EBADPARAM "$unknown")"$'\n'"$(printf '%s\n' "${instructions[@]}")" nth=1
	each new hang=300ms nth=1
}

case $step in
all)
	for cases in read_cases shutdown_cases install_cases init_cases cpu_init_cases update_cases; do
		$cases
	done
	;;
read | shutdown | install | init | cpu-init | update) "${step/-/_}_cases" ;;
*)
	echo "there is no step $step" >&2
	exit "$KSFT_FAIL"
	;;
esac

# Those that lose TDX come last, or each would need a machine of its own.
order=()
for want in '^[^l]' '^l'; do
	for index in "${!outcomes[@]}"; do
		[[ ! ${outcomes[index]} =~ $want ]] || order+=("$index")
	done
done

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
	matches "$(driver_log)" 'update refused: '
	# Of one that has not answered the driver does not say so.
	if [[ $(last_update leaf) == TDH.SYS.RD && $(last_update name) =~ ^(VMfailInvalid|SYS_SHUTDOWN)$ ]]; then
		not matches "$(driver_log)" 'runs on'
	else
		matches "$(driver_log)" "TDX module $old runs on"
	fi
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
	answer=$(ioctl info)
	case $1 in
	interrupted) equal "$(field state)" 3 ;;
	lost) equal "$(field state)" 4 ;;
	esac
	equal "$(last_update result)" "$1"
	equal "$(last_update errno) $(last_update to)" '-5 -'
	fails 'No such device or address' cat "$device/version"
	not test "$(sim module)" = SYS_READY
	matches "$(td 1 init)" '^error'
}

interrupted() {
	no_module_runs interrupted
	matches "$(driver_log)" 'update interrupted: .*still saves their TDs'
	# A driver that is loaded now knows as well.
	if [ $(($1 % 2)) -eq 0 ]; then
		unload_driver
		load_driver
		equal "$(cat "$device/state")" interrupted
		trust_test_key
		answer=$(ioctl check "$work/next.img")
		equal "$(field error) $(verdict handoff)" "0 pass 0 text="
	fi
	equal "$(upload "$work/next.img")" ''
	equal "$(last_update result) $(last_update from)" "updated $old"
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
	local began all fault
	old=$(cat "$device/version")
	next_image
	updates=$(cat "$device/num_remaining_updates")
	start_tds
	tds init vcpu 'mem 2' finalize
	case ${outcomes[$1]} in
	lost-for-want-of-updates)
		tdxsimctl updates 1
		updates=1
		;;
	esac
	IFS=+ read -r -a all <<<"${faults[$1]}"
	for fault in "${all[@]}"; do
		# shellcheck disable=SC2086 # several words
		tdxsimctl fault add $fault
	done
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
	interrupted) interrupted "$1" ;;
	lost*) lost ;;
	esac
}

# One that has lost TDX, or its features, is not as the next case wants it.
begin_tests
for ((number = from; number <= ${#order[@]}; number++)); do
	index=${order[number - 1]}
	run_test "${names[index]}" update_case "$index"
	if [ "$(cat "$device/state")" != ready ] || [ $(($(sim configured))) -eq 0 ]; then
		[ "$number" -eq ${#order[@]} ] || echo "# next $((number + 1)) of ${#order[@]}"
		break
	fi
done
end_tests
