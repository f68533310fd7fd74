#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Loading the driver configures the TDX module. Needs the simulator, and a
# machine on which the driver was not loaded yet.
#
# vm: --sim profile=connect
# vm: --sockets 2 --sim profile=connect
# vm: --cpus 1 --sim profile=tdx-1.5.25
# vm: --sim profile=tdx-1.5.16
# vm: slow --cpus 8 --sockets 2 --numa 4 --mem 8G --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured

GiB=$((1 << 30))
TDX_CONNECT=$((1 << 6))

# What there was before.
module_before=$(sim module)
offered=$(sim features)
modprobe kvm_intel tdx=1
kvm_says=$(log)
types_before=$(tdbuild types)
rmmod kvm_intel
config_before=$(calls TDH.SYS.CONFIG)

tdxsimctl counters reset
tdxsimctl measure from=TDH.SYS.TDMR.INIT to=TDH.SYS.RD
mark_log
insmod_says=$(load_driver 2>&1)
tdxsimctl counters >"$work/counters"
read_again=$(tdxsimctl events)
driver_says=$(driver_log)
modprobe kvm_intel tdx=1

# counted LEAF: its calls while the driver was loaded.
counted() {
	sed -n "s/^leaf=$1 calls=\([0-9]*\) .*/\1/p" "$work/counters"
}

boot_leaves_the_TDX_module_unconfigured() {
	equal "$module_before" SYSINIT_DONE
	equal "$config_before" 0
	matches "$(dmesg)" 'virt/tdx: TDX-Module waits for the tdx-host driver'
}

kvm_has_no_TDX_before() {
	equal "$types_before" 'ok types 0x1'
}

# Whoever loads it too early is not told, as documented.
kvm_says_nothing_of_that() {
	equal "$(grep -iE 'kvm|tdx' <<<"$kvm_says" || :)" ''
}

the_driver_loads() {
	equal "$insmod_says" ''
	is_loaded
	equal "$(cat "$device/state")" ready
}

TDH_SYS_CONFIG_is_called_once() {
	equal "$(counted TDH.SYS.CONFIG)" 1
}

# The address of the array is any that is aligned.
TDH_SYS_CONFIG_has_the_registers_that_it_should() {
	local call rcx tdmrs
	call=$(last_call TDH.SYS.CONFIG)
	tdmrs=$(printf '%#x' "$(sim tdmrs)")
	rcx=${call#*rcx=}
	rcx=${rcx%% *}
	equal $((rcx % 512)) 0
	if [ $((offered & TDX_CONNECT)) -ne 0 ]; then
		equal "$call" "version=1 rcx=$rcx rdx=$tdmrs r8=0x40 r9=0x40"
	else
		# What mainline sends.
		equal "$call" "version=0 rcx=$rcx rdx=$tdmrs r8=0x40"
	fi
}

every_package_has_its_key() {
	local packages
	packages=$(cat /sys/devices/system/cpu/cpu*/topology/physical_package_id | sort -u | wc -l)
	equal "$(counted TDH.SYS.KEY.CONFIG)" "$packages"
	equal "$(sim keys)" "$packages"
	grep -q '^leaf=TDH.SYS.KEY.CONFIG .* max_inside=1 ' "$work/counters"
}

# 4 MiB a call, and TDMRs are multiples of 1 GiB. They cover the memory.
every_TDMR_is_initialized() {
	local calls memory
	calls=$(counted TDH.SYS.TDMR.INIT)
	memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) * 1024))
	equal $((calls % 256)) 0
	[ $((calls * 4 << 20)) -ge "$memory" ]
	below $((calls * 4 << 20)) $((memory + (2 + $(sim tdmrs)) * GiB))
	equal "$(sim module)" SYS_READY
}

the_system_information_is_read_again() {
	matches "$read_again" 'to_count=|instructions'
	[ "$(counted TDH.SYS.RD)" -gt 10 ]
}

the_log_says_what_is_configured_in_one_line() {
	if [ $((offered & TDX_CONNECT)) -ne 0 ]; then
		matches "$driver_says" 'TDX module configured.* tdx-connect'
	else
		matches "$driver_says" 'TDX module configured'
	fi
	equal "$(grep -c 'TDX module configured' <<<"$driver_says")" 1
}

the_attributes_say_what_is_offered_and_configured() {
	local names
	names=$(cat "$device/features_configured")
	equal $((${names%% *})) $((offered & TDX_CONNECT))
	names=$(cat "$device/features_offered")
	equal $((${names%% *})) $((offered))
	matches "$names" ' no-rbp-mod'
	equal "$(cat "$device/version")" "$(sim version)"
	equal "$(cat "$device/update_support")" yes
	equal $(($(sim configured))) $((offered & TDX_CONNECT))
}

kvm_offers_TDX_now() {
	equal "$(tdbuild types)" 'ok types 0x21'
	matches "$(tdbuild caps)" '^ok caps '
}

a_TD_lives_from_INIT_VM_to_its_end() {
	matches "$(tdbuild whole)" '^ok whole'
	equal "$(sim tds)" 0
	equal "$(sim builds)" 0
}

run_tests \
	boot_leaves_the_TDX_module_unconfigured \
	kvm_has_no_TDX_before \
	kvm_says_nothing_of_that \
	the_driver_loads \
	TDH_SYS_CONFIG_is_called_once \
	TDH_SYS_CONFIG_has_the_registers_that_it_should \
	every_package_has_its_key \
	every_TDMR_is_initialized \
	the_system_information_is_read_again \
	the_log_says_what_is_configured_in_one_line \
	the_attributes_say_what_is_offered_and_configured \
	kvm_offers_TDX_now \
	a_TD_lives_from_INIT_VM_to_its_end
