#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Updates are tried again and again while others build TDs up to every stage,
# take CPUs off- and online, read the attributes, and remove the driver. No
# build may notice, no TD may be lost, and each attempt either succeeds or is
# refused for a reason that was there. Needs the simulator.
#
# TDX_HOST_TRIES says how many attempts each test makes.
#
# vm: slow --timeout 2400 --cpus 4 --sockets 2 --sim profile=connect --append TDX_HOST_TRIES=200
# vm: slow --timeout 2400 --cpus 2 --sim profile=tdx-1.5.25 --append TDX_HOST_TRIES=50

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
load_kvm

use_seed
tries=${TDX_HOST_TRIES:-20}
# On a debug kernel each takes ten times as long.
[ ! -w "$kmemleak" ] || tries=$((tries / 4))
profile=$(sim profile)
builders=2
make_image even --profile "${profile%-next}" --version 1.5.80
make_image odd --profile "${profile%-next}" --version 1.5.81

# in_the_background COMMAND...: again and again, until the test ends. What it
# says goes to a file of its own; it may say nothing.
in_the_background() {
	local complaints=$work/complaints.$RANDOM$RANDOM
	: >"$work/go_on"
	(
		# shellcheck disable=SC2030 # those who use it are here
		RANDOM=$seed
		while [ -e "$work/go_on" ]; do
			"$@" || :
		done >"$complaints" 2>&1
	) &
	background+=("$!")
}

stop_the_background() {
	rm -f "$work/go_on"
	wait "${background[@]}"
	background=()
	equal "$(cat "$work"/complaints.*)" ''
	rm -f "$work"/complaints.*
}

# TDs up to every stage, each destroyed again; it tells of a build that fails.
builder() {
	local answer
	answer=$(tdbuild race 2 --pages 32 --vcpus 2 --lock "$work/vm_list")
	matches "$answer" '^ok race .* failed 0$'
	echo "$answer" >>"$work/built"
}

# A reader sees one version or the other, and never an error.
reader() {
	matches "$(cat "$device/version")" '^1\.5\.[0-9][0-9]$'
	matches "$(cat "$device/state")" '^(ready|updating)$'
	matches "$(cat "$device/seamldr_version")" '^1\.5\.00$'
	matches "$(cat "$device/num_remaining_updates")" '^[0-9]+$'
	matches "$(cat "$device/last_update")" '^result=(none|updated|refused)'
	matches "$(cat "$device/features_configured")" '^0x'
}

# No TD is destroyed while a CPU comes online: KVM's kvm_online_cpu() walks vm_list
# without kvm_lock, and oopses when kvm_destroy_vm() takes a VM out (Linux 7.3,
# arch/x86/kvm/x86.c and virt/kvm/kvm_main.c).
hotplugger() {
	# shellcheck disable=SC2031
	local cpu=$((RANDOM % ($(nproc --all) - 1) + 1))
	set_online "$cpu" 0 2>/dev/null || :
	{
		flock 9
		set_online "$cpu" 1 || echo "CPU $cpu cannot come back"
	} 9>"$work/vm_list"
}

# attempt NUMBER: an update to the other version. Counts what comes of it.
attempt() {
	local image=even error version
	[ $(($1 % 2)) -eq 0 ] || image=odd
	version=$(cat "$device/version")
	tdxsimctl updates 10
	error=$(upload "$work/$image")
	case $error in
	'')
		succeeded=$((succeeded + 1))
		equal "$(cat "$device/version")" 1.5.8$(($1 % 2))
		;;
	transferring:device-busy)
		busy=$((busy + 1))
		equal "$(cat "$device/version")" "$version"
		equal "$(last_update result)" refused
		case $(last_update reason) in
		td-build)
			below 0 "$(last_update count)"
			below "$(last_update count)" $((builders + 1))
			;;
		-) equal "$may_be_offline" yes ;;
		*) matches "$(cat "$device/last_update")" 'reason=(td-build|-) ' ;;
		esac
		;;
	*) equal "$error" "nothing, or device-busy" ;;
	esac
	equal "$(cat "$device/state")" ready
}

# attempts: all of them, with a survivor that is there from the first to the
# last.
attempts() {
	local try
	succeeded=0 busy=0
	trust_test_key
	start_tds
	tds init vcpu 'mem 2' finalize
	for ((try = 0; try < tries; try++)); do
		attempt "$try"
	done
	stop_the_background
	echo "$tries attempts: $succeeded succeeded, $busy were refused" >>"$work/summary"
	equal $((succeeded + busy)) "$tries"
	# Once nobody is in the way, it goes through.
	equal "$(upload "$work/even")" ''
	tds 'fault 4' destroy
	equal "$(sim builds)" 0
}

background=()
may_be_offline=no

updates_against_TD_builds() {
	local i
	for ((i = 0; i < builders; i++)); do
		in_the_background builder
	done
	attempts
	[ "$busy" -gt 0 ]
	[ -s "$work/built" ]
}

updates_against_readers() {
	in_the_background reader
	in_the_background reader
	attempts
	equal "$busy" 0
}

updates_against_CPU_hotplug() {
	may_be_offline=yes
	in_the_background hotplugger
	attempts
}

updates_against_TD_builds_readers_and_CPU_hotplug() {
	may_be_offline=yes
	in_the_background builder
	in_the_background builder
	in_the_background reader
	in_the_background hotplugger
	attempts
}

# Only between uploads can the driver be removed, and it is back at once.
remover() {
	if rmmod tdx_host 2>/dev/null; then
		echo removed >>"$work/removed"
		load_driver || echo "the driver cannot be loaded again"
		trust_test_key
	fi
	sleep 0.1
}

# one_upload FILE: which may find that there is no driver at the moment. That
# an upload was on its way when the driver went is no failure either.
one_upload() {
	{
		echo 1 >"$firmware/loading" && cat "$1" >"$firmware/data" && echo 0 >"$firmware/loading"
	} 2>/dev/null || return 0
	until ! [ -e "$firmware/status" ] || upload_is_idle 2>/dev/null; do
		:
	done
}

updates_against_removals() {
	local try
	trust_test_key
	start_tds
	tds init vcpu 'mem 2' finalize
	in_the_background remover
	in_the_background builder
	for ((try = 0; try < tries; try++)); do
		tdxsimctl updates 10
		one_upload "$work/even"
		one_upload "$work/odd"
	done
	stop_the_background
	load_driver
	trust_test_key
	[ -s "$work/removed" ]
	equal "$(cat "$device/state")" ready
	equal "$(upload "$work/even")" ''
	tds 'fault 4' destroy
}

begin_tests 5
for test in updates_against_TD_builds updates_against_readers updates_against_CPU_hotplug \
	updates_against_TD_builds_readers_and_CPU_hotplug updates_against_removals; do
	rm -f "$work/summary"
	run_test "${test//_/ }" "$test"
	[ ! -e "$work/summary" ] || ktap_print_msg "$(cat "$work/summary")"
	rm -f "$work/go_on" "$work"/complaints.*
done
end_tests
