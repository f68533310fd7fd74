#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A machine without TDX: the driver refuses to load, says so in one line, and
# leaves nothing behind. Safe everywhere, and skipped where there may be TDX:
# there, to load the driver would be to configure it.
#
# vm: --no-sim
# vm: --sim module_loaded=off
# vm: --sim profile=rbp-bug
# vm: slow --no-sim --kernel stock

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_root
file=$(driver_file || :)
[ -f "$file" ] || skip_all "there is no module tdx-host"
if on_simulator; then
	# Without NO_RBP_MOD, Linux does not use it.
	! sim version >/dev/null || [ $(($(sim features) & 1 << 18)) -eq 0 ] || skip_all "this machine has TDX"
else
	need_no_driver
	! grep -qw tdx_host_platform /proc/cpuinfo || skip_all "this machine may have TDX"
fi

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

tests=(loading_fails_with_ENODEV nothing_is_left)
# The C driver does not say it.
[ "$(modinfo -F description "$file")" = 'TDX Host Services' ] || tests+=(the_log_says_why_in_one_line)
run_tests "${tests[@]}"
