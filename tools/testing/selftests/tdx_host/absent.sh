#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A machine without TDX: the driver refuses to load, says so in one line, and
# leaves nothing behind. Safe everywhere, and skipped where there is TDX.
#
# vm: --no-sim
# vm: --sim module_loaded=off
# vm: --sim profile=rbp-bug

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_root
file=$(driver_file) || skip_all "there is no driver"
! dmesg | grep -q 'virt/tdx: .*\(initialized\|waits for the tdx-host driver\)' ||
	skip_all "this machine has TDX"

loading_fails_with_ENODEV() {
	fails 'No such device' insmod "$file"
}

the_log_says_why_in_one_line() {
	fails 'No such device' insmod "$file"
	matches "$(driver_log)" 'no TDX module'
	equal "$(driver_log | wc -l)" 1
}

nothing_is_left() {
	fails 'No such device' insmod "$file"
	not is_loaded
	[ ! -e "$device" ]
	[ ! -e "$firmware" ]
}

run_tests \
	loading_fails_with_ENODEV \
	the_log_says_why_in_one_line \
	nothing_is_left
