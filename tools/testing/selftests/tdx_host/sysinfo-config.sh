#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Features change the system information, so it is read again when the TDX module
# is configured, and KVM sees what was read last. For the difference to show, the
# simulator gave 0 for what KVM goes by (from attributes_fixed0 to the number of
# CPUID leaves and of vCPUs) when boot read it. With tdx_config=boot nobody reads
# it again, and KVM cannot do anything with it. Needs the simulator, and a machine
# on which the driver was not loaded yet.
#
# vm: --sim profile=connect --sim "control=fault add leaf=TDH.SYS.RD nth=13 count=6 status=0"
# vm: --sim profile=connect --sim "control=fault add leaf=TDH.SYS.RD nth=13 count=6 status=0" --append tdx_config=boot

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
if grep -qw tdx_config=boot /proc/cmdline; then
	need_no_driver
else
	need_unconfigured
fi

boot_read_0() {
	# The three fields of each CPUID leaf are not read when there are no leaves.
	matches "$fault" ' nth=13 count=6 status=0 seen=18$'
}

KVM_sees_what_was_read_after_the_configuration() {
	load_driver
	load_kvm
	equal "$(tdbuild types)" 'ok types 0x21'
	matches "$(tdbuild caps)" '^ok caps attributes 0x[0-9a-f]*[1-9a-f][0-9a-f]* xfam 0x[0-9a-f]*[37bf] cpuid 1$'
	matches "$(tdbuild whole)" '^ok whole'
}

without_that_KVM_has_only_what_boot_read() {
	fails 'Invalid argument' modprobe kvm_intel tdx=1
	matches "$(sim module)" SYS_READY
}

fault=$(tdxsimctl fault list)
if grep -qw tdx_config=boot /proc/cmdline; then
	run_tests \
		boot_read_0 \
		without_that_KVM_has_only_what_boot_read
else
	run_tests \
		boot_read_0 \
		KVM_sees_what_was_read_after_the_configuration
fi
