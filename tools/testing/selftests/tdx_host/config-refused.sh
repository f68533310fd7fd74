#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The TDX module refuses TDH.SYS.CONFIG, or something is wrong before it: the
# driver does not load and says why in one line, TDX stays off, nothing is
# lost, and the next load can succeed. Needs the simulator, and a machine on
# which the driver was not loaded yet.
#
# vm: --sockets 2 --sim profile=connect
# vm: --sim profile=connect-wall-clock
# vm: --sim profile=connect --sim config_version=0

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured

profile=$(sim profile)
file=$(driver_file)

# refused_with STRERROR LINE: loading fails so and says so, in one line, with
# nothing changed.
refused_with() {
	local free
	free=$(free_kib)
	mark_log
	fails "$1" insmod "$file"
	matches "$(driver_log)" "$2"
	equal "$(driver_log | wc -l)" 1
	not is_loaded
	[ ! -e "$device" ]
	equal "$(sim module)" SYSINIT_DONE
	equal "$(calls TDH.SYS.KEY.CONFIG)" 0
	equal "$(calls TDH.SYS.TDMR.INIT)" 0
	# 8 MiB of PAMT stay for the next attempt, and are not allocated again. The
	# kernel keeps some MiB for the text of modules, and KASAN takes its part;
	# leaks.sh finds what is small.
	below $((free - $(free_kib))) 8000
	below $(($(free_kib) - free)) 8000
	load_kvm
	equal "$(tdbuild types)" 'ok types 0x1'
	rmmod kvm_intel
}

# config_status STATUS STRERROR LINE: all calls of TDH.SYS.CONFIG fail so.
config_status() {
	tdxsimctl fault add leaf=TDH.SYS.CONFIG "$1" count=all
	refused_with "$2" "TDH\\.SYS\\.CONFIG: $3"
}

operand_of_version_0() {
	config_status status=OPERAND_INVALID\|1 'Input/output error' 'OPERAND_INVALID RCX \(0xc000010000000001\)'
	equal "$(calls TDH.SYS.CONFIG)" 1
}

wall_clock_demanded() {
	config_status status=OPERAND_INVALID\|11 'Operation not supported' 'OPERAND_INVALID R11 \(0xc00001000000000b\)'
	matches "$(driver_log)" 'unsupported TDX module'
	equal "$(calls TDH.SYS.CONFIG)" 1
}

features_refused() {
	config_status status=OPERAND_INVALID\|9 'Operation not supported' 'OPERAND_INVALID R9 \(0xc000010000000009\)'
	matches "$(driver_log)" 'unsupported TDX module'
	equal "$(calls TDH.SYS.CONFIG)" 1
}

version_1_unknown() {
	config_status status=OPERAND_INVALID\|0 'Operation not supported' 'OPERAND_INVALID RAX \(0xc000010000000000\)'
	matches "$(driver_log)" 'unsupported TDX module'
	equal "$(calls TDH.SYS.CONFIG)" 1
}

a_TDMR_refused() {
	config_status status=0xC0000A0200000000 'Input/output error' 'TDMR_OUTSIDE_CMRS \(0xc0000a0200000000\)'
	equal "$(calls TDH.SYS.CONFIG)" 1
}

# As it is with a CPU that has never been online, but all of them are.
initialization_not_complete() {
	config_status status=0xC000050C00000000 'Input/output error' 'SYS_CONFIG_NOT_PENDING'
	not matches "$(driver_log)" 'bring them online'
}

an_unknown_status() {
	config_status status=0xC000FFFF12345678 'Input/output error' '.*\(0xc000ffff12345678\)'
	equal "$(calls TDH.SYS.CONFIG)" 1
}

# "within a bound": the driver makes 100 calls. For want of entropy the core makes
# ten of each.
busy_for_ever() {
	config_status status=SYS_BUSY 'Input/output error' 'SYS_BUSY \(0x8000020200000000\)'
	equal "$(calls TDH.SYS.CONFIG)" 100
}

no_entropy_for_ever() {
	config_status status=0x8000020300000000 'Input/output error' 'RND_NO_ENTROPY \(0x8000020300000000\)'
	equal "$(calls TDH.SYS.CONFIG)" 1000
}

VMfailInvalid() {
	config_status vmfailinvalid 'Input/output error' 'VMfailInvalid \(0x8000ff00ffff0000\)'
}

general_protection() {
	config_status gp 'Input/output error' '#GP \(0x8000ff000000000d\)'
}

undefined_instruction() {
	config_status ud 'Input/output error' '#UD \(0x8000ff0000000006\)'
}

features_cannot_be_read() {
	tdxsimctl fault add leaf=TDH.SYS.RD status=0xC0000C0000000000 count=all
	refused_with 'Input/output error' 'TDH\.SYS\.RD: METADATA_FIELD_ID_INCORRECT'
	equal "$(calls TDH.SYS.CONFIG)" 0
}

a_package_without_an_online_CPU() {
	set_online 1 0
	refused_with 'Device or resource busy' 'package 1 has no online CPU'
	equal "$(calls TDH.SYS.CONFIG)" 0
}

# This goes on from the failures before it, as an operator would.
the_next_load_succeeds() {
	insmod "$file"
	equal "$(cat "$device/state")" ready
	equal "$(sim module)" SYS_READY
	load_kvm
	matches "$(tdbuild whole)" '^ok whole'
}

this_module_is_unsupported() {
	local operand='R11 \(0xc00001000000000b\)'
	[ "$profile" != connect ] || operand='RAX \(0xc000010000000000\)'
	refused_with 'Operation not supported' \
		"unsupported TDX module: TDH\\.SYS\\.CONFIG: OPERAND_INVALID $operand"
	equal "$(calls TDH.SYS.CONFIG)" 1
}

and_stays_so() {
	this_module_is_unsupported
	tdxsimctl counters reset
	this_module_is_unsupported
}

if [ "$(nproc)" -eq 2 ] && [ "$(cat /sys/devices/system/cpu/cpu1/topology/physical_package_id)" = 1 ]; then
	run_tests \
		operand_of_version_0 \
		wall_clock_demanded \
		features_refused \
		version_1_unknown \
		a_TDMR_refused \
		initialization_not_complete \
		an_unknown_status \
		busy_for_ever \
		no_entropy_for_ever \
		VMfailInvalid \
		general_protection \
		undefined_instruction \
		features_cannot_be_read \
		a_package_without_an_online_CPU \
		the_next_load_succeeds
else
	run_tests \
		this_module_is_unsupported \
		and_stays_so
fi
