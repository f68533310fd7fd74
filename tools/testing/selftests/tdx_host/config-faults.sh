#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Every kind of failure of every SEAMCALL up to TDH.SYS.CONFIG, on machines of
# different shapes: the driver does not load, nothing is lost, and the machine
# runs on; in the end the driver loads as if nothing had been. What fails after
# TDH.SYS.CONFIG ends a machine's life as a TDX host and is in config-lost.sh.
# Needs the simulator, and a machine on which the driver was not loaded yet.
#
# vm: --cpus 1 --sim profile=connect
# vm: slow --cpus 8 --sockets 2 --sim profile=tdx-1.5.16
# vm: slow --cpus 4 --numa 4 --mem 8G --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured

file=$(driver_file)

# What is worth a second try is not tried for ever.
leaves=(TDH.SYS.RD TDH.SYS.CONFIG)
classes=(
	'OPERAND_INVALID status=OPERAND_INVALID|1'
	'an_unknown_status status=0xC000FFFF12345678'
	'SYS_BUSY status=SYS_BUSY'
	'RND_NO_ENTROPY status=0x8000020300000000'
	'VMfailInvalid vmfailinvalid'
	'general_protection gp'
	'undefined_instruction ud'
)

# The driver makes 100 calls, and for want of entropy the core ten of each, unless it
# is one that returns registers.
calls_until_it_fails() {
	case $1,$2 in
	*,status=SYS_BUSY | TDH.SYS.RD,status=0x8000020300000000) echo 100 ;;
	*,status=0x8000020300000000) echo 1000 ;;
	*) echo 1 ;;
	esac
}

# loading_fails LEAF FAULT: without consequences.
loading_fails() {
	tdxsimctl counters reset
	tdxsimctl fault add "leaf=$1" "$2" count=all
	mark_log
	fails 'Input/output error' insmod "$file"
	matches "$(driver_log)" "^$1: .* \\(0x[0-9a-f]{16}\\).* loading the driver again may help\$"
	not is_loaded
	[ ! -e "$device" ]
	equal "$(sim module)" SYSINIT_DONE
	equal "$(calls "$1")" "$(calls_until_it_fails "$1" "$2")"
	equal "$(calls TDH.SYS.KEY.CONFIG)" 0
	equal "$(calls TDH.SYS.TDMR.INIT)" 0
}

CPUs_go_off_and_online() {
	local cpu
	for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
		[ -e "$cpu" ] || continue
		echo 0 >"$cpu"
		echo 1 >"$cpu"
	done
	equal "$(nproc)" "$(grep -c ^processor /proc/cpuinfo)"
}

then_the_driver_loads() {
	insmod "$file"
	equal "$(cat "$device/state")" ready
	equal "$(calls TDH.SYS.CONFIG)" 1
	equal "$(calls TDH.SYS.TDMR.INIT)" $((256 * $(sed -n 's/.* initialized \([0-9]*\) GiB for TDX in.*/\1/p' <<<"$(dmesg)")))
	load_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

begin_tests $((${#leaves[@]} * ${#classes[@]} + 2))
for leaf in "${leaves[@]}"; do
	for class in "${classes[@]}"; do
		run_test "$leaf ${class%% *}" loading_fails "$leaf" "${class#* }"
	done
done
run_test "CPUs go off and online" CPUs_go_off_and_online
run_test "then the driver loads" then_the_driver_loads
end_tests
