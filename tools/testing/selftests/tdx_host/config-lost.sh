#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What follows TDH.SYS.CONFIG fails. From there on there is no way back: the driver does
# not load, says in one line what failed and that only a reboot helps, gives
# back the memory, and the machine runs on without TDX. Needs the simulator,
# and a machine on which the driver was not loaded yet: one for each failure,
# which TDX_HOST_FAULT names.
#
# vm: --append TDX_HOST_FAULT=TDH.SYS.KEY.CONFIG,cpu=1,status=KEY_GENERATION_FAILED,count=all --sockets 2
# vm: --append TDX_HOST_FAULT=TDH.SYS.TDMR.INIT,nth=300,status=0xC0000A0200000000
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.KEY.CONFIG,cpu=0,status=0x80000200000000BB,count=all --sockets 2
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.KEY.CONFIG,cpu=1,status=0x8000020300000000,count=all --sockets 2
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.KEY.CONFIG,cpu=0,status=0xC000050700000000 --sockets 2
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.KEY.CONFIG,cpu=0,vmfailinvalid --sockets 2
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.KEY.CONFIG,cpu=1,gp --sockets 2
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.KEY.CONFIG,cpu=4,ud --sockets 2 --cpus 8
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.TDMR.INIT,nth=1,status=0x8000020000000001,count=all
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.TDMR.INIT,nth=1,status=0x8000020300000000,count=all
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.TDMR.INIT,nth=1,vmfailinvalid
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.TDMR.INIT,nth=512,gp
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.TDMR.INIT,nth=512,status=0xC000010000000001
# vm: slow --append TDX_HOST_FAULT=TDH.SYS.TDMR.INIT,nth=2000,ud --mem 8G --numa 2 --cpus 8

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured
[ -n "${TDX_HOST_FAULT-}" ] || skip_all "no TDX_HOST_FAULT in the environment"

leaf=${TDX_HOST_FAULT%%,*}
file=$(driver_file)
# The core says when it could not read the system information.
[ "$leaf" != TDH.SYS.RD ] || expected_splats='virt/tdx: SEAMCALL \(0x0*22\) failed'

pamt=$(dmesg | sed -n 's/.*virt\/tdx: \([0-9]*\) KB allocated for PAMT/\1/p')
free_before=$(free_kib)
tdxsimctl fault add "leaf=${TDX_HOST_FAULT//,/ }"
tdxsimctl counters reset
mark_log
insmod_says=$(insmod "$file" 2>&1)
# How far it got may be said as well.
driver_says=$(driver_log | grep -v '^initialized ' || :)
tdxsimctl fault clear
tdxsimctl counters >"$work/counters"
tdmrs=$(sim tdmrs)

loading_fails_with_EIO() {
	matches "$insmod_says" 'Input/output error'
	not is_loaded
	[ ! -e "$device" ]
}

the_log_says_what_failed_and_what_helps_in_one_line() {
	local what="$leaf: .* \(0x[0-9a-f]{16}\)"
	# It is the core that makes these calls, and it keeps their status.
	[ "$leaf" != TDH.SYS.RD ] || what='reading the system information again failed'
	matches "$driver_says" "$what.* until the next reboot"
	equal "$(grep -c 'until the next reboot' <<<"$driver_says")" 1
	not grep -q configured <<<"$driver_says"
}

# What may pass is tried 100 times, and each time ten times by the core for want of
# entropy, unless the call returns registers; the core's reading of the system
# information is tried three times. TDMRs are initialized at the same time, so each
# may see as many failures.
it_is_not_tried_for_ever() {
	local failed tries=1
	failed=$(sed -n "s/^leaf=$leaf calls=[0-9]* failed=\([0-9]*\) .*/\1/p" "$work/counters")
	case $TDX_HOST_FAULT in
	TDH.SYS.KEY.CONFIG,*status=0x8000020300000000*,count=all) tries=1000 ;;
	*status=0x8000020[023]*,count=all | *status=KEY_GENERATION_FAILED,count=all) tries=100 ;;
	esac
	case $TDX_HOST_FAULT in
	TDH.SYS.RD,*status=0x8000020300000000*) tries=30 ;;
	TDH.SYS.RD,*) tries=3 ;;
	esac
	below $((tries - 1)) "$failed"
	[ "$leaf" = TDH.SYS.TDMR.INIT ] || tdmrs=1
	below "$failed" $((tries * tdmrs + 1))
}

# Free memory goes up and down a little, and some is freed later; the PAMT's is
# 4 MiB a GiB, and does not come back by itself.
is_given_back() {
	below $((free_before + pamt - $(free_kib))) $((1024 + 384 * $(nproc)))
}

the_memory_is_given_back() {
	below 0 "$pamt"
	within 15 is_given_back
}

KVM_has_no_TDX() {
	load_kvm
	equal "$(tdbuild types)" 'ok types 0x1'
}

loading_it_again_does_not_help() {
	mark_log
	fails 'No such device' insmod "$file"
	equal "$(driver_log | wc -l)" 1
}

CPUs_go_off_and_online() {
	if [ "$(nproc)" -gt 1 ]; then
		set_online 1 0
		set_online 1 1
	fi
	equal "$(nproc)" "$(grep -c ^processor /proc/cpuinfo)"
}

# The PAMT's memory is ordinary memory again.
memory_can_be_used() {
	mkdir "$work/memory"
	mount -t tmpfs -o size=80m memory "$work/memory"
	dd if=/dev/zero of="$work/memory/file" bs=1M count=64 2>/dev/null
	umount "$work/memory"
}

# A kernel with KASAN and kmemleak takes more memory for itself meanwhile than the
# PAMTs have, and keeps what is freed. It finds leaks of smaller things.
memory=(the_memory_is_given_back)
[ ! -e "$kmemleak" ] || memory=()

run_tests \
	loading_fails_with_EIO \
	it_is_not_tried_for_ever \
	the_log_says_what_failed_and_what_helps_in_one_line \
	${memory[@]+"${memory[@]}"} \
	KVM_has_no_TDX \
	loading_it_again_does_not_help \
	CPUs_go_off_and_online \
	memory_can_be_used
