#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tdxctl: each command, each exit status, and the JSON of each against its
# schema. Needs the simulator. The first boot is with this project's driver, by
# its ioctls and without them; the others with the C driver, which has none.
#
# vm: --sim profile=connect
# vm: slow --sim profile=connect --append tdx_config=boot --append TDX_HOST_DRIVER=c
# vm: slow --sim profile=connect --kernel stock

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
# A kernel without patches has no other driver.
[ -e "/lib/modules/$(uname -r)/rust/tdx-host.ko" ] || TDX_HOST_DRIVER=c
[ -n "$(command -v tdxctl)" ] || skip_all "there is no tdxctl"
need_no_driver

node=/dev/tdx_host
# The last test loses TDX; see lib.sh.
expected_splats='WARNING: .*\[kvm_intel\]|kvm_intel: SEAMCALL'
expected_leaks='\[kvm_intel\]'
[ "${TDX_HOST_DRIVER-}" != c ] || expected_splats+='|virt/tdx: SEAMCALL|seamldr: '

profile=connect-next

# exits STATUS COMMAND...: COMMAND's exit status is this. What it says is in
# $said, what it says on stderr in $complaint.
exits() {
	local wanted=$1 status=0
	shift
	said=$("$@" 2>"$work/complaint") || status=$?
	complaint=$(<"$work/complaint")
	printf '%s\n%s\n' "$said" "$complaint"
	equal "$status" "$wanted"
}

# json STATUS SHAPE COMMAND...: the same of "tdxctl COMMAND... --json", whose
# output is of this shape.
json() {
	local wanted=$1 shape=$2
	shift 2
	exits "$wanted" tdxctl "$@" --json
	jsonshape "$work/schema" "$shape" <<<"$said"
}

# has TEXT...: $said has each, wherever JSON puts spaces.
has() {
	local squeezed text
	squeezed=$(tr -d ' \n' <<<"$said")
	for text in "$@"; do
		text=${text// /}
		[[ $squeezed == *"$text"* ]] || {
			printf 'not in it: %s\n' "$text"
			return 1
		}
	done
}

# has_verdict NAME VERDICT: of a check in $said.
has_verdict() {
	has "\"name\":\"$1\",\"verdict\":\"$2\""
}

remember_firmware() {
	old=$(sim version) updates=$(sim updates_left)
}

firmware_has_not_changed() {
	equal "$(sim version)" "$old"
	equal "$(sim updates_left)" "$updates"
	equal "$(sim module)" SYS_READY
	equal "$(calls SEAMLDR.INSTALL)" 0
}

without_a_driver_it_says_so() {
	make_image some.img --profile connect-next
	json 1 error status
	matches "$complaint" 'driver is not loaded.*modprobe tdx-host'
	json 1 error update --yes "$work/some.img"
	matches "$complaint" 'driver is not loaded'
	json 0 check check "$work/some.img"
	has '"checked_by":"tdxctl"'
	json 0 show show "$work/some.img"
}

ok_says_what_to_do_before_the_driver() {
	json 1 ok ok
	has_verdict kvm fail
	has 'modprobe kvm_intel'
	if [ "${TDX_HOST_DRIVER-}" = c ]; then
		# The kernel has configured the TDX module without one.
		has_verdict driver skip
	else
		has_verdict driver fail
		has 'modprobe tdx-host'
	fi
}

have_driver() {
	load_driver
	trust_test_key
}

ok_finds_kvm_without_TDX() {
	have_driver
	[ ! -d /sys/module/kvm_intel ] || rmmod kvm_intel
	modprobe kvm_intel tdx=0
	json 1 ok ok
	has_verdict driver pass
	has_verdict kvm-tdx fail
	has_verdict td-vms skip
	rmmod kvm_intel
}

ok_has_nothing_to_say_about_a_host_that_works() {
	have_driver
	load_kvm
	json 0 ok ok
	has '{"ok":true,'
	has_verdict td-vms pass
	has_verdict updates-left pass
	not grep -q '"verdict":"fail"' <<<"${said// /}"
	exits 0 tdxctl ok
	if is_our_driver; then
		matches "$said" 'nothing is wrong with TDX on this host$'
	else
		# The C driver does not protect TD builds.
		matches "$said" 'nothing known is wrong with TDX on this host, but not all was checked$'
	fi
	matches "$said" 'PASS  updates-left +10 more until the next reboot'
}

ok_finds_an_offline_CPU() {
	have_driver
	set_online 1 0
	json 1 ok ok
	has_verdict cpus-online fail
}

ok_finds_that_no_updates_are_left() {
	have_driver
	tdxsimctl updates 0
	json 1 ok ok
	has_verdict updates-left fail
}

status_is_what_the_firmware_is() {
	have_driver
	json 0 status status
	has "\"module_version\":\"$(sim version)\"" "\"updates_left\":$(sim updates_left),"
	has '"state":"ready"' '"seamldr_version":"1.5.00"' '"cpus_online":2,"cpus_present":2'
	if is_our_driver; then
		has '"interface":"ioctl"'
		has '"module_svn":{"major":1,"minor":12}'
		has '"features_configured":{"bits":"0x0000000000000040","names":["tdx-connect"]}'
		has '"last_update":null,"unknown":{}'
	else
		has '"interface":"sysfs-mainline"'
		has '"module_svn":null' '"module_svn":"the C driver does not say'
	fi
	exits 0 tdxctl status
	matches "$said" "TDX module +$(sim version)"
	not grep -q "$(printf '\033')" <<<"$said"
}

# What only root may see is said to be unknown, and nothing fails for it.
status_for_those_who_are_not_root() {
	have_driver
	grep -q '^nobody:' /etc/passwd || echo 'nobody:x:65534:65534:nobody:/:/bin/sh' >>/etc/passwd
	exits 0 su nobody -s /bin/sh -c 'tdxctl status --json'
	jsonshape "$work/schema" status <<<"$said"
	has "\"module_version\":\"$(sim version)\""
	has '"updates_left":"onlyrootmay'
	next_image
	chmod 755 "$work"
	exits 1 su nobody -s /bin/sh -c "tdxctl update --yes $work/next.img"
	matches "$complaint" 'Permission denied|only root'
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
}

check_lets_a_good_image_pass() {
	have_driver
	next_image
	json 0 check check "$work/next.img"
	has '"possible":true'
	if is_our_driver; then
		has '"checked_by":"driver","possible":true,"complete":true'
		not grep -q skip <<<"$said"
	else
		has '"checked_by":"tdxctl","possible":true,"complete":false'
		has_verdict td-builds note
	fi
	exits 0 tdxctl check "$work/next.img"
	matches "$said" 'PASS  hash'
}

# Reads are TDH.SYS.RD and SEAMLDR.INFO.
check_changes_nothing() {
	local before
	have_driver
	have_kvm
	remember_firmware
	next_image
	make_image bad.img --profile connect-next --corrupt module=flip --rechecksum
	before=$(grep -s . "$device"/*) || :
	mark_log
	tdxsimctl counters reset
	exits 0 tdxctl check "$work/next.img"
	exits 1 tdxctl check "$work/bad.img"
	exits 0 tdxctl status
	exits 0 tdxctl ok
	equal "$(tdxsimctl counters | sed -n 's/^leaf=\([^ ]*\) .*/\1/p' |
		grep -vxE 'TDH\.SYS\.RD|SEAMLDR\.INFO' || :)" ''
	not equal "$(calls SEAMLDR.INFO)" 0
	firmware_has_not_changed
	equal "$(grep -s . "$device"/*)" "$before"
	equal "$(log | grep -i tdx || :)" ''
}

# finds CHECK ARGUMENT...: "check" and "update" refuse an image that is made so.
finds() {
	local check=$1
	shift
	next_image "$@"
	json 1 check check "$work/next.img"
	has_verdict "$check" fail
	exits 1 tdxctl update --yes "$work/next.img"
	matches "$complaint" "cannot replace the running TDX module now: $check: "
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
}

check_and_update_refuse_what_does_not_suit() {
	have_driver
	remember_firmware
	finds hash --corrupt module=flip --rechecksum
	finds signature --corrupt sigstruct.signature=flip --rechecksum
	finds cpu --cpu 0xA06D0
	finds production --corrupt sigstruct.module_type=0x80000000 --resign --rechecksum
	finds sigstruct --corrupt sigstruct.vendor=1 --resign --rechecksum
	if is_our_driver; then
		finds svn --svn 1.1
		finds handoff --hv 3 --min-hv 2
	fi
	firmware_has_not_changed
}

check_tells_what_can_change() {
	have_driver
	next_image
	set_online 1 0
	json 75 check check "$work/next.img"
	has_verdict cpus-online fail
	exits 75 tdxctl update --yes "$work/next.img"
	matches "$complaint" 'CPUs are online'
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
}

files_that_are_no_image() {
	have_driver
	: >"$work/empty"
	json 1 error check "$work/empty"
	matches "$complaint" 'empty is empty'
	exits 1 tdxctl update --yes "$work"
	matches "$complaint" 'is a folder'
	exits 1 tdxctl show "$work/nothing"
	matches "$complaint" 'No such file'
	exits 1 tdxctl update --yes "$(readlink -f "$0")"
	matches "$complaint" 'not a TDX module image'
}

wrong_usage() {
	have_driver
	next_image
	exits 2 tdxctl
	exits 2 tdxctl check
	exits 2 tdxctl update --yes --wait never "$work/next.img"
	# There is no terminal to ask on.
	exits 2 tdxctl update "$work/next.img"
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
}

an_update() {
	have_driver
	remember_firmware
	next_image
	json 0 update update --yes "$work/next.img"
	has '"result":"updated"' "\"from\":\"$old\",\"to\":\"$version\",\"attempts\":1"
	equal "$(sim version)" "$version"
	equal "$(sim updates_left)" $((updates - 1))
	json 0 status status
	has "\"module_version\":\"$version\""
	next_image
	exits 0 tdxctl update --yes "$work/next.img"
	matches "$said" "TDX module updated from .* to $version"
}

# The C driver does not take it, so tdxctl makes the other of it.
an_update_in_the_published_format() {
	have_driver
	next_image --format 0x100
	exits 0 tdxctl update --yes "$work/next.img"
	equal "$(sim version)" "$version"
}

a_TD_build_is_busy() {
	have_driver
	remember_firmware
	next_image
	start_tds
	tds '0 init' '1 init'
	json 75 update update --yes "$work/next.img"
	has '"result":"refused","step":"shutdown","errno":-16'
	has '"reason":"td-build","count":2'
	firmware_has_not_changed
	exits 75 tdxctl update --yes "$work/next.img"
	matches "$complaint" 'try again later: .*2 TDs are being built'
	tds '0 destroy' '1 destroy'
}

a_TD_build_is_waited_for() {
	have_driver
	next_image
	start_tds
	tds init vcpu
	tdxctl update --yes --wait 60s --json "$work/next.img" >"$work/ended" &
	within 20 more_calls_than 1 TDH.SYS.SHUTDOWN
	tds mem finalize
	wait $!
	jsonshape "$work/schema" update <"$work/ended"
	said=$(<"$work/ended")
	has '"result":"updated"'
	not grep -q '"attempts": 1,' "$work/ended"
	equal "$(sim version)" "$version"
	tds fault destroy
}

the_wait_ends() {
	have_driver
	next_image
	start_tds
	tds init
	json 75 update update --yes --wait 500ms "$work/next.img"
	has '"errno":-110'
	has 'thetimetowaitisup'
	has "\"attempts\":$(calls TDH.SYS.SHUTDOWN),"
	tds destroy
}

the_wait_can_be_canceled() {
	local status=0
	have_driver
	remember_firmware
	next_image
	start_tds
	tds init
	tdxctl update --yes --wait 1h "$work/next.img" 2>"$work/complaint" &
	within 20 more_calls_than 1 TDH.SYS.SHUTDOWN
	# In a shell without job control, SIGINT is ignored by what runs aside.
	kill -TERM $!
	wait $! || status=$?
	equal "$status" 130
	matches "$(<"$work/complaint")" 'canceled: 1 TD is being built'
	firmware_has_not_changed
	tds destroy
}

another_update_is_busy() {
	have_driver
	remember_firmware
	next_image
	start_tds
	tds init
	echo 60000 >"$device/update_wait_ms"
	start_upload "$work/next.img"
	json 75 update update --yes "$work/next.img"
	echo 1 >"$firmware/cancel"
	equal "$(end_upload)" transferring:user-abort
	firmware_has_not_changed
	tds destroy
}

it_works_without_the_device() {
	local device_number
	have_driver
	IFS=: read -r -a device_number <"/sys/class/misc/tdx_host/dev"
	rm "$node"
	json 0 status status
	has '"interface":"sysfs"'
	next_image
	json 0 check check "$work/next.img"
	has '"checked_by":"tdxctl"'
	json 0 update update --yes "$work/next.img"
	has '"result":"updated"' "\"to\":\"$version\""
	equal "$(sim version)" "$version"
	next_image
	start_tds
	tds init
	json 75 update update --yes --wait 200ms "$work/next.img"
	has '"reason":"td-build","count":1'
	tds destroy
	mknod -m 600 "$node" c "${device_number[@]}"
	json 0 status status
	has '"interface":"ioctl"'
}

a_SEAMCALL_that_fails() {
	have_driver
	remember_firmware
	next_image
	tdxsimctl fault add leaf=TDH.SYS.SHUTDOWN status=0xC000050600000000 count=all
	json 1 update update --yes "$work/next.img"
	has '"leaf":"TDH.SYS.SHUTDOWN","status":"0xc000050600000000","status_name":"SYS_SHUTDOWN"'
	firmware_has_not_changed
}

an_interrupted_update_can_be_saved() {
	local old
	have_driver
	old=$(cat "$device/version")
	start_tds
	tds init vcpu mem finalize
	next_image
	tdxsimctl fault add leaf=SEAMLDR.INSTALL nth=2 status=SEAMLDR_EBADHASH rdx=0
	json 4 update update --yes "$work/next.img"
	has '"result":"interrupted","step":"install"'
	json 0 status status
	has '"state":"interrupted"'
	json 1 ok ok
	has_verdict state fail
	# What is refused changes nothing about that.
	make_image bad.img --profile connect-next --cpu 0xA06D0
	exits 4 tdxctl update --yes "$work/bad.img"
	matches "$complaint" 'still interrupted, and this image cannot finish it'
	tdxsimctl fault clear
	json 0 update update --yes "$work/next.img"
	has "\"from\":\"$old\""
	tds fault destroy
}

lost() {
	have_driver
	next_image
	tdxsimctl fault add leaf=SEAMLDR.INSTALL nth=2 status=SEAMLDR_EBADHASH rdx=1
	json 3 update update --yes "$work/next.img"
	has '"result":"lost"'
	tdxsimctl fault clear
	json 0 status status
	has '"state":"lost"'
	json 1 ok ok
	has_verdict state fail
	exits 3 tdxctl update --yes "$work/next.img"
	matches "$complaint" 'lost until the next reboot'
}

tdxctl generate schema >"$work/schema"
tests=(
	without_a_driver_it_says_so
	ok_says_what_to_do_before_the_driver
	ok_finds_kvm_without_TDX
	ok_has_nothing_to_say_about_a_host_that_works
	ok_finds_an_offline_CPU
	ok_finds_that_no_updates_are_left
	status_is_what_the_firmware_is
	status_for_those_who_are_not_root
	check_lets_a_good_image_pass
	check_changes_nothing
	check_and_update_refuse_what_does_not_suit
	check_tells_what_can_change
	files_that_are_no_image
	wrong_usage
	an_update
	an_update_in_the_published_format
)
# The C driver does not look for TD builds, and has neither a way to wait nor
# back.
[ "${TDX_HOST_DRIVER-}" = c ] || tests+=(
	a_TD_build_is_busy
	a_TD_build_is_waited_for
	the_wait_ends
	the_wait_can_be_canceled
	another_update_is_busy
	it_works_without_the_device
	a_SEAMCALL_that_fails
	an_interrupted_update_can_be_saved
)
run_tests "${tests[@]}" lost
