#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Files that are no image, and images that cannot replace the running TDX
# module: each is refused while that runs on, nothing is asked of it or of
# P-SEAMLDR that changes anything, and the log says what is wrong. Needs the
# simulator.
#
# vm: --sim profile=connect
# vm: --sim profile=connect --sim platform=seamldr-2.0

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
use_seed

make_image good --profile connect-next
make_image good.0x100 --profile connect-next --format 0x100
# Where there is none yet, it takes long to make.
other_key=/etc/tdx-host/other-key.pem
if [ ! -r "$other_key" ]; then
	other_key=$work/other-key.pem
	tdximage keygen "$other_key"
fi

names=() errors=() patterns=() makers=()

# refuse NAME ERROR PATTERN COMMAND...: COMMAND makes $work/bad, which is
# refused with ERROR and a line that matches PATTERN.
refuse() {
	names+=("$1")
	errors+=("$2")
	patterns+=("$3")
	shift 3
	makers+=("$(printf '%q ' "$@")")
}

# wrong NAME PATTERN ARGUMENT...: an image with this wrong with it.
wrong() {
	local name=$1 pattern=$2
	shift 2
	refuse "$name" firmware-invalid "$pattern" make_image bad --profile connect-next "$@"
}

# first BYTES FILE; longer BYTES FILE; zeros BYTES
first() {
	head -c "$1" "$work/$2" >"$work/bad"
}

longer() {
	cat "$work/$2" <(head -c "$1" /dev/zero) >"$work/bad"
}

make_noise() {
	noise "$1" >"$work/bad"
}

zeros() {
	head -c "$1" /dev/zero >"$work/bad"
}

signed_by_another() {
	tdximage make --key "$other_key" --output "$work/bad" --profile connect-next
}

not_trusted() {
	cp "$work/good" "$work/bad"
	echo >"$device/trusted_signer"
}

# The rule of P-SEAMLDR that the new module breaks is signed along with it, so
# that nothing else is wrong.
re=(--resign --rechecksum)

# Files
refuse 'one byte' invalid-file-size 'size: 1 bytes, shorter than the header' zeros 1
refuse 'a header cut short' invalid-file-size 'size: 4095 bytes, shorter' first 4095 good
refuse 'a header alone' invalid-file-size 'size: 4096 bytes, but the header says' first 4096 good
refuse 'no module page' invalid-file-size 'size: 8192 bytes, but the header says' first 8192 good
refuse 'a module page missing' invalid-file-size 'size: .* but the header says' first $((17 * 4096)) good
refuse 'a byte missing' invalid-file-size 'size: .* but the header says' first $((18 * 4096 - 1)) good
refuse 'a byte too many' invalid-file-size 'size: .* but the header says' longer 1 good
refuse 'a page too many' invalid-file-size 'size: .* but the header says' longer 4096 good
refuse 'larger than any image' invalid-file-size 'size: .* longer than' zeros $((499 * 4096))
refuse 'cut short, format 0x100' invalid-file-size 'size: .* but the header says' first $((17 * 4096)) good.0x100
refuse 'zeros' firmware-invalid 'format version: 0(x0)?,' zeros 65536
refuse 'noise' firmware-invalid '(format version|signature|sigstruct pages|reserved|module)' make_noise 65536

# The header
wrong 'format version' 'format version: 0x300' --corrupt header.version=0x300 --rechecksum
wrong 'signature word' 'signature: not .TDX-BLOB.' --corrupt header.signature=hex:5444582d424c4f43 --rechecksum
wrong 'no sigstruct page' 'sigstruct pages: 0' --corrupt header.sigstruct_pages=0 --rechecksum
wrong 'two sigstruct pages' 'sigstruct pages: 2' --sigstruct-pages 2
wrong 'sigstruct pages overflow' 'sigstruct pages: ' --corrupt header.sigstruct_pages=0xffffffff --rechecksum
wrong 'no module pages' 'module pages: 0' --corrupt header.module_pages=0 --rechecksum
wrong 'too many module pages' 'module pages: 497' --corrupt header.module_pages=497 --rechecksum
wrong 'module pages overflow' 'module pages: ' --corrupt header.module_pages=0xffffffff --rechecksum
wrong 'reserved bytes' 'reserved: byte' --corrupt-at 4095=01 --rechecksum
wrong 'checksum' 'checksum: ' --corrupt header.checksum=flip
wrong 'a bit in the module' 'checksum: ' --corrupt-at 70000=01
wrong 'module offset, format 0x100' 'module offset: 0x2001' --format 0x100 --corrupt header.module_offset=0x2001 --rechecksum
wrong 'module offset in the header, format 0x100' '(module offset|sigstruct pages)' --format 0x100 --corrupt header.module_offset=0x1000 --rechecksum
wrong 'signature word, format 0x100' 'signature: not' --format 0x100 --corrupt header.signature=hex:0000000000000000 --rechecksum

# The sigstruct
wrong 'header type' 'header type must be 6' --corrupt sigstruct.header_type=7 "${re[@]}"
wrong 'header length' 'header length must be' --corrupt sigstruct.header_length=0xe0 "${re[@]}"
wrong 'header version' 'header version must be' --corrupt sigstruct.header_version=0x20000 "${re[@]}"
wrong 'module type' 'module type must be' --corrupt sigstruct.module_type=1 "${re[@]}"
wrong 'vendor' 'vendor must be 0x8086' --corrupt sigstruct.vendor=0x1022 "${re[@]}"
wrong 'size' 'size must be' --corrupt sigstruct.size=0x201 "${re[@]}"
wrong 'key size' 'key size must be' --corrupt sigstruct.key_size=0x40 "${re[@]}"
wrong 'modulus size' 'modulus size must be' --corrupt sigstruct.modulus_size=0x40 "${re[@]}"
wrong 'exponent size' 'exponent size must be' --corrupt sigstruct.exponent_size=2 "${re[@]}"
wrong 'exponent' 'exponent must be' --corrupt sigstruct.exponent=3 "${re[@]}"
wrong 'reserved bytes at 40' 'reserved bytes must be 0' --corrupt-at $((4096 + 127))=01 "${re[@]}"
wrong 'reserved bytes at 978' 'reserved bytes must be 0' --corrupt-at $((4096 + 978))=01 "${re[@]}"
wrong 'reserved byte at 989' 'reserved bytes must be 0' --corrupt sigstruct.reserved_989=1 "${re[@]}"
wrong 'version and build, on a P-SEAMLDR that takes none' 'bytes 1000 to 1023 must be 0' \
	--corrupt sigstruct.reserved_1000=hex:"$(printf '%048d' 1)" "${re[@]}"
wrong 'attributes' 'attributes must be 0' --corrupt sigstruct.attributes=1 "${re[@]}"
wrong 'handoff versions in the wrong order' 'lowest handoff version' --min-hv 2
wrong 'entry point outside' 'entry point must be' --corrupt sigstruct.rip_offset=0x10000 "${re[@]}"
wrong 'GDT outside' 'GDT and IDT must be' --corrupt sigstruct.gdt_idt_offset=0x10000 "${re[@]}"
wrong 'GDT not on a page' 'GDT and IDT must be' --corrupt sigstruct.gdt_idt_offset=0x1004 "${re[@]}"
wrong 'fault wrapper outside' 'fault wrapper must be' --corrupt sigstruct.fault_wrapper_offset=0x10000 "${re[@]}"
wrong 'no CPUs' 'number of CPUs must be' --no-cpus
wrong 'too many CPUs' 'number of CPUs must be' --corrupt sigstruct.cpu_count=256 "${re[@]}"

# Who signed it, and what
wrong 'a bit in the module, checksum right' 'hash failed: .*not those that were signed' --corrupt-at 70000=01 --rechecksum
wrong 'a bit in the signature' 'signature failed: .*does not verify' --corrupt sigstruct.signature=flip --rechecksum
wrong 'a bit in the module hash' '(signature|hash) failed' --corrupt sigstruct.module_hash=flip --rechecksum
wrong 'debug-signed' 'production failed: .*debugging' --corrupt sigstruct.module_type=0x80000000 "${re[@]}"
refuse 'an unknown signer' firmware-invalid 'signer failed: .*unknown signer' signed_by_another
refuse 'a signer that is not trusted any more' firmware-invalid 'signer failed: .*unknown signer' not_trusted

# This platform, and what runs
wrong 'other CPUs' 'cpu failed: .*0x806f' --cpu 0xA06D0
wrong 'no security version' 'svn failed: ' --svn 0.12
wrong 'another major security version' 'svn failed: .*3\.12.*1\.12' --svn 3.12
wrong 'a lower security version' 'svn failed: .*1\.11.*lower than 1\.12' --svn 1.11
wrong 'a handoff version that is too high' 'handoff failed: .*2 to 3' --hv 3 --min-hv 2
wrong 'a handoff version that is too low' 'handoff failed: .*0' --hv 0

# refuse_case INDEX: one of these.
refuse_case() {
	local version updates said
	trust_test_key
	eval "${makers[$1]}"
	version=$(cat "$device/version")
	updates=$(cat "$device/num_remaining_updates")
	tdxsimctl counters reset
	equal "$(upload "$work/bad")" "transferring:${errors[$1]}"
	equal "$(cat "$device/version")" "$version"
	equal "$(cat "$device/num_remaining_updates")" "$updates"
	equal "$(cat "$device/state")" ready
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
	equal "$(calls SEAMLDR.INSTALL)" 0
	matches "$(cat "$device/last_update")" '^result=refused step=(image|preflight) errno=-22 .* attempts=0 '
	said=$(driver_log)
	matches "$said" "${patterns[$1]}"
	matches "$said" "update refused: .*; TDX module $version runs on"
	# What is no image at all is a matter of one line.
	[ "$(last_update step)" != image ] || equal "$(wc -l <<<"$said")" 1
}

all_problems_are_said_and_not_only_the_first() {
	trust_test_key
	make_image bad --profile connect-next --cpu 0xA06D0 --svn 1.11 --hv 0 --corrupt sigstruct.vendor=1 --rechecksum
	equal "$(upload "$work/bad")" transferring:firmware-invalid
	matches "$(driver_log)" 'check sigstruct failed'
	matches "$(driver_log)" 'check signature failed'
	matches "$(driver_log)" 'check cpu failed'
	matches "$(driver_log)" 'check svn failed'
	matches "$(driver_log)" 'check handoff failed'
}

# The first of them decides what the upload fails with.
the_image_counts_for_more_than_that_no_update_is_left() {
	local left
	left=$(sim updates_left)
	trust_test_key
	make_image bad --profile connect-next --svn 1.1
	tdxsimctl updates 0
	equal "$(upload "$work/bad")" transferring:firmware-invalid
	tdxsimctl updates "$left"
	equal "$(last_update errno)" -22
	matches "$(driver_log)" 'check svn failed'
	matches "$(driver_log)" 'check updates-left failed'
}

# The firmware class answers this by itself.
an_empty_file_changes_nothing() {
	local version
	version=$(cat "$device/version")
	: >"$work/bad"
	upload "$work/bad"
	equal "$(cat "$device/version")" "$version"
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
}

# Published images of the 2.0 line have them.
version_and_build_are_no_obstacle_to_P_SEAMLDR_2() {
	trust_test_key
	make_image build --profile connect-next --cpu 0xA06D0 \
		--corrupt sigstruct.reserved_1000=hex:"$(printf '%048d' 1)" "${re[@]}"
	equal "$(upload "$work/build")" ''
	equal "$(cat "$device/version")" 1.5.27
}

the_trusted_signer_can_be_set_and_read() {
	local signer
	signer=$(cat "$test_key.signer")
	echo "$signer" >"$device/trusted_signer"
	equal "$(cat "$device/trusted_signer")" "$signer"
	echo >"$device/trusted_signer"
	equal "$(cat "$device/trusted_signer")" ''
	fails 'Invalid argument' bash -c "echo ${signer%?} >$device/trusted_signer"
	fails 'Invalid argument' bash -c "echo ${signer}0 >$device/trusted_signer"
	fails 'Invalid argument' bash -c "echo ${signer%?}g >$device/trusted_signer"
	equal "$(stat -c %a "$device/trusted_signer")" 600
}

if [[ $(cat "$device/seamldr_version") == 2.* ]]; then
	run_tests version_and_build_are_no_obstacle_to_P_SEAMLDR_2
	exit
fi

begin_tests $((${#names[@]} + 4))
for index in "${!names[@]}"; do
	run_test "${names[$index]}" refuse_case "$index"
done
for test in all_problems_are_said_and_not_only_the_first \
	the_image_counts_for_more_than_that_no_update_is_left an_empty_file_changes_nothing \
	the_trusted_signer_can_be_set_and_read; do
	run_test "${test//_/ }" "$test"
done
end_tests
