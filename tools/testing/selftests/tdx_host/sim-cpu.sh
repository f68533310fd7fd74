#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The simulator's CPUs: an MSR that does not exist is #GP, and the kernel never
# meets one where it does not expect that; SEAMCALL where it cannot be executed;
# MOVDIR64B, in a program and in the kernel. Needs the simulator. What runs in
# ring 0 is a module, ring0.ko, which is there for the stock kernel.
#
# vm: --cpus 4 --sockets 2 --sim profile=connect --kernel stock
# vm: --sim profile=connect
# vm: --sim seam=off --kernel stock

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
[ -c /dev/cpu/0/msr ] || skip_all "the kernel has no CONFIG_X86_MSR"

has_seam() {
	dmesg | grep -q 'virt/tdx: BIOS enabled'
}

# ring0 WHAT: what that does in ring 0; the first CPU, as VMX operation is a CPU's.
ring0() {
	local status=0
	taskset 1 insmod "$tests_dir/ring0.ko" what="$1" || return
	cat /sys/module/ring0/parameters/result || status=$?
	rmmod ring0
	return $status
}

is_stock() {
	[ ! -e "/lib/modules/$(uname -r)/rust/tdx-host.ko" ]
}

# Before KVM puts the CPUs into VMX operation, and without TDX, which does it too.
SEAMCALL_outside_of_VMX_operation_is_UD() {
	[ ! -d /sys/module/kvm_intel ] || rmmod kvm_intel
	equal "$(simcpu seamcall)" ud
	equal "$(ring0 seamcall)" ud
}

# In ring 0, where nothing but SEAM is missing. With SEAM the call is made.
SEAMCALL_in_ring_0() {
	if has_seam; then
		equal "$(ring0 seamcall)" 'done'
	else
		equal "$(ring0 seamcall-in-vmx)" gp
		equal "$(ring0 seamcall)" ud
	fi
}

VMXON_checks_in_order() {
	equal "$(ring0 vmxon-without-vmxe)" ud
	equal "$(ring0 vmxon-absent)" pf
	equal "$(ring0 vmxon-twice)" fail
}

# In ring 3 it is #GP with SEAM, too.
SEAMCALL_in_VMX_operation_is_GP_without_SEAM() {
	modprobe kvm_intel
	equal "$(simcpu seamcall)" gp
}

MOVDIR64B_in_a_program() {
	local where
	for where in used fresh zero shared; do
		equal "$where: $(simcpu movdir64b $where)" "$where: copied"
	done
	for where in unaligned not-canonical; do
		equal "$where: $(simcpu movdir64b $where)" "$where: gp"
	done
	# The kernel tells programs that its own addresses are absent.
	for where in absent kernel from-absent; do
		equal "$where: $(simcpu movdir64b $where)" "$where: absent"
	done
	equal "$(simcpu movdir64b read-only)" denied
}

MOVDIR64B_in_ring_0() {
	equal "$(ring0 movdir64b)" 'done'
	equal "$(ring0 movdir64b-absent)" pf
}

IA32_TSC_is_what_RDTSC_reads() {
	local cpu
	for cpu in 0 $(($(nproc) - 1)); do
		equal "$(simcpu tsc "$cpu")" between
	done
}

an_MSR_that_nobody_knows_is_GP() {
	local cpu number
	cpu=$(($(nproc) - 1))
	for number in 0x12345678 0x122 0xc0010117; do
		equal "$(simcpu rdmsr "$cpu" "$number")" fault
		equal "$(simcpu wrmsr "$cpu" "$number" 0)" fault
	done
	# One that is there can still be used afterwards.
	equal "$(simcpu rdmsr "$cpu" 0x3a)" 0x5
}

MSRs_that_kernels_use_are_there() {
	local number
	for number in 0x10 0x48 0xce 0x140 0x1d9 0xda0; do
		matches "$(simcpu rdmsr 0 "$number")" '^0'
	done
	equal "$(simcpu wrmsr 0 0x49 1)" 'done'
	equal "$(simcpu rdmsr 0 0x49)" fault
}

# From its boot on, through a TD's life if there is TDX.
the_kernel_never_meets_an_MSR_that_is_not_there() {
	if has_seam; then
		load_driver
		load_kvm
		matches "$(tdbuild whole --pages 16 --vcpus 2)" '^ok whole'
	fi
	equal "$(dmesg | grep 'unchecked MSR access' || :)" ''
}

tests=()
if is_stock; then
	[ -e "$tests_dir/ring0.ko" ] || skip_all "there is no ring0.ko for this kernel: build it in ring0/"
	has_seam || tests+=(SEAMCALL_outside_of_VMX_operation_is_UD VMXON_checks_in_order)
	tests+=(SEAMCALL_in_ring_0 MOVDIR64B_in_ring_0)
fi
tests+=(
	MOVDIR64B_in_a_program
	IA32_TSC_is_what_RDTSC_reads
	SEAMCALL_in_VMX_operation_is_GP_without_SEAM
	an_MSR_that_nobody_knows_is_GP
	MSRs_that_kernels_use_are_there
	the_kernel_never_meets_an_MSR_that_is_not_there
)
run_tests "${tests[@]}"
