# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the tests of the tdx-host driver share. To be sourced.
#
# A test program says first what it needs (need_*), and then hands functions to
# run_tests. Each function is a test: it runs in a shell of its own with
# errexit, and what it breaks is mended afterwards. Without what it needs, a
# program is skipped with a reason, as kselftests are.
#
# Where TDX_HOST_DRIVER is set, to "c" or "rust", the driver is
# /lib/modules/RELEASE/$TDX_HOST_DRIVER/tdx-host.ko. Otherwise it is the one
# that modprobe knows. Where TDX_HOST_TESTS is set, run_tests leaves those tests
# out whose function does not match this shell pattern. What is done at random
# can be had again by SEED, which begin_tests prints.

tests_dir=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
helpers=$tests_dir/../kselftest/ktap_helpers.sh
# Built outside of a kernel tree, by "make KSRC=... run_tests".
[ -r "$helpers" ] || helpers=${KSRC-}/tools/testing/selftests/kselftest/ktap_helpers.sh
if [ ! -r "$helpers" ]; then
	echo "1..0 # SKIP there is no kselftest/ktap_helpers.sh of a kernel tree beside $tests_dir, nor KSRC"
	exit 4
fi
# shellcheck source=/dev/null
. "$helpers"
# Behind the system's commands, one of which is called kexec too.
PATH=$PATH:$tests_dir
# Messages are compared.
export LC_ALL=C

device=/sys/devices/faux/tdx_host
# shellcheck disable=SC2034 # for those who source this
firmware=/sys/class/firmware/tdx_module
test_key=/etc/tdx-host/test-key
kmemleak=/sys/kernel/debug/kmemleak
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What a kernel that is well never says. KVM warns once when it finds the TDX
# module gone that its TDs were in, and leaks what is left of a TD that it cannot take
# down. A program that loses TDX may set these to leave that out. What kmemleak has
# found counts where it is asked for, and not that it says so.
splats='BUG:|WARNING:|Oops|general protection fault|INFO: task|lockup|detected stall|kmemleak: [A-Z]|SEAMCALL.*failed'
expected_splats='^$'
expected_leaks='^$'

skip_all() {
	ktap_print_header
	ktap_skip_all "$*"
	exit "$KSFT_SKIP"
}

need_root() {
	[ "$(id -u)" -eq 0 ] || skip_all "must be run as root"
}

# fail_all NAME COMPLAINT: one test, which fails.
fail_all() {
	ktap_print_header
	ktap_set_plan 1
	# shellcheck disable=SC2001 # every line, not the first
	sed 's/^/# /' <<<"$2"
	log | tail -n 40 | sed 's/^/# dmesg: /'
	ktap_test_fail "$1"
	ktap_finished
}

# What a test may do to a simulated TDX host it may not to any other one, which
# may be somebody's production host.
on_simulator() {
	[ -n "$simulated" ]
}
simulated=''
! tdxsimctl state >/dev/null 2>&1 || simulated=1

# A simulated TDX host, whose firmware can be told to fail, and images for it.
need_simulator() {
	need_root
	on_simulator || skip_all "this is no simulated TDX host"
	[ -r "$test_key.pem" ] || skip_all "there is no key to sign images with ($test_key.pem)"
}

# On a host that is not simulated it is not loaded here: that would configure TDX
# until the next reboot, with features that nobody there has asked for.
need_driver() {
	local complaint
	need_root
	if on_simulator; then
		complaint=$(load_driver 2>&1) || fail_all "the driver loads" "$complaint"
	else
		is_loaded || skip_all "tdx-host is not loaded, and loading it is not for a test to do on this host"
		[ ! -e "$firmware" ] || upload_is_idle || skip_all "an upload is running"
	fi
	# An update that failed may have left none. The C driver has no state.
	cat "$device/version" >/dev/null 2>&1 || skip_all "no TDX module runs: $(cat "$device/state" 2>&1)"
}

# updates_are_possible: what the simulator says of its TDX module, or the kernel
# of its CPU, and not the driver.
updates_are_possible() {
	[ $(($(sim features) & 2)) -ne 0 ] && ! grep -qw seamret_invd_vmcs /proc/cpuinfo
}

# On a simulated host the interface must be there if updates are possible.
need_updates() {
	if on_simulator; then
		updates_are_possible || skip_all "the TDX module or P-SEAMLDR cannot be updated at run time"
		[ -e "$firmware" ] || fail_all "there is an interface for updates" "there is no $firmware"
	fi
	[ -e "$firmware" ] || skip_all "the TDX module or P-SEAMLDR cannot be updated at run time"
}

# A machine on which no driver has configured TDX, at least none that is still there.
need_no_driver() {
	! is_loaded || skip_all "tdx-host is loaded"
}

# A machine whose TDX module nobody has configured. Without our patches boot does.
need_unconfigured() {
	need_no_driver
	[ "$(sim module)" = SYSINIT_DONE ] || skip_all "the TDX module was configured at boot"
}

# This driver, rather than the C driver of the same name.
need_our_driver() {
	need_driver
	[ -e "$device/state" ] || skip_all "the driver is the C driver, which cannot do this"
}

# The C driver has fewer attributes.
is_our_driver() {
	[ -e "$device/state" ]
}

driver_file() {
	if [ -n "${TDX_HOST_DRIVER-}" ]; then
		echo "/lib/modules/$(uname -r)/$TDX_HOST_DRIVER/tdx-host.ko"
	else
		modinfo --field filename tdx-host
	fi
}

# One that is built in has no folder there.
is_loaded() {
	[ -d /sys/module/tdx_host ] || [ -d "$device" ]
}

# load_driver: load it unless it is; says what insmod says when it cannot.
load_driver() {
	is_loaded || insmod "$(driver_file)"
}

unload_driver() {
	! is_loaded || rmmod tdx_host
}

# load_kvm: kvm_intel decides about TDX when it is loaded.
load_kvm() {
	if [ -d /sys/module/kvm_intel ]; then
		rmmod kvm_intel
	fi
	modprobe kvm_intel tdx=1
}

# have_kvm: with TDX, which there must be.
have_kvm() {
	kvm_has_TDX || load_kvm
}

kvm_has_TDX() {
	tdbuild types | grep -q 0x21
}

# sim KEY: a value of the simulator's state.
sim() {
	local word
	for word in $(tdxsimctl state); do
		[ "${word%%=*}" != "$1" ] || {
			echo "${word#*=}"
			return
		}
	done
	return 1
}

# calls LEAF: how many calls of it there were since "tdxsimctl counters reset".
calls() {
	local line
	line=$(tdxsimctl counters | grep "^leaf=$1 " || echo ' calls=0 ')
	line=${line#* calls=}
	echo "${line%% *}"
}

# last_call LEAF: its version and what was in the registers, those that were
# not zero.
last_call() {
	tdxsimctl last "$1" |
		sed 's/.*"version":\([0-9]*\),"in":{\([^}]*\)}.*/version=\1,\2/; s/"//g; s/:/=/g; s/,$//; s/,/ /g'
}

# mark_log, log: what the kernel has said since the mark, or all that it still
# knows if that is less.
mark_log() {
	log_mark="selftest $BASHPID.$RANDOM"
	echo "$log_mark" >/dev/kmsg
}

log() {
	dmesg | awk -v mark="$log_mark" '
		{ line[++lines] = $0 }
		index($0, mark) { lines = 0 }
		END { for (i = 1; i <= lines; i++) print line[i] }'
}

# splats_in_the_log: what a kernel that is well does not say, in it.
splats_in_the_log() {
	log | bad=$splats expected=$expected_splats awk '
		$0 ~ ENVIRON["bad"] && $0 !~ ENVIRON["expected"]'
}

# driver_log: the driver's lines in it, without their time and, where the kernel tells,
# who said it.
driver_log() {
	log | sed -n 's/^\[[^]]*\]\(\[[^]]*\]\)\{0,1\} tdx_host: //p' | grep -v 'taint' || :
}

# equal GOT WANTED, matches GOT PATTERN, below GOT LIMIT
equal() {
	[ "$1" = "$2" ] || {
		printf 'got:    %s\nwanted: %s\n' "$1" "$2"
		return 1
	}
}

matches() {
	[[ $1 =~ $2 ]] || {
		printf 'got:              %s\nwanted a match of: %s\n' "$1" "$2"
		return 1
	}
}

below() {
	[ "$1" -lt "$2" ] || {
		printf 'got:          %s\nwanted below: %s\n' "$1" "$2"
		return 1
	}
}

# fails PATTERN COMMAND...: COMMAND fails, and says this.
fails() {
	local output pattern=$1
	shift
	if output=$("$@" 2>&1); then
		echo "succeeded: $*"
		return 1
	fi
	matches "$output" "$pattern"
}

# not COMMAND...: COMMAND fails. "!" would not end a test.
not() {
	if "$@"; then
		echo "succeeded: $*"
		return 1
	fi
}

# within SECONDS COMMAND...: COMMAND succeeds before so much time is over.
within() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		if [ "$SECONDS" -gt "$end" ]; then
			echo "in vain: $*"
			return 1
		fi
		sleep 0.05
	done
}

# free_kib: the memory that is free, without caches where they can be dropped, and
# with the free pages that each CPU keeps for itself. These are tens of megabytes
# that come and go, and MemFree does not have them.
free_kib() {
	[ ! -w /proc/sys/vm/drop_caches ] || echo 3 >/proc/sys/vm/drop_caches
	awk '$1 == "MemFree:" { sum += $2 }
		$1 == "count:" { sum += 4 * $2 }
		END { print sum }' /proc/meminfo /proc/zoneinfo
}

# use_seed: what follows does something at random, by $seed.
use_seed() {
	seed=${SEED:-$RANDOM}
}

# noise BYTES: that depend on the seed alone.
noise() {
	# shellcheck disable=SC2059 # it is all escapes
	printf "$(awk -v seed="$seed" -v bytes="$1" 'BEGIN {
		srand(seed)
		for (i = 0; i < bytes; i++)
			printf "\\%03o", int(rand() * 256)
	}')"
}

# make_image NAME [ARGUMENT...]: an image signed by the test key, as
# $work/NAME; ARGUMENTs are those of "tdximage make".
make_image() {
	local name=$1
	shift
	tdximage make --key "$test_key.pem" --output "$work/$name" "$@"
}

# next_image [ARGUMENT...]: an image of a version that did not run yet and of the
# simulator's profile $profile, as $work/next.img; sets $version.
# shellcheck disable=SC2120,SC2154 # mostly none; whoever sources this sets it
next_image() {
	local running
	running=$(sim version)
	version=1.5.$((${running##*.} + 1))
	make_image next.img --profile "$profile" --version "$version" "$@"
}

# remember, nothing_has_changed: what must hold after a refusal is what held
# before. Sets $old, the version, and $updates, those that are left.
remember() {
	old=$(cat "$device/version")
	updates=$(cat "$device/num_remaining_updates")
}

nothing_has_changed() {
	equal "$(cat "$device/version")" "$old"
	equal "$(cat "$device/num_remaining_updates")" "$updates"
	equal "$(cat "$device/state")" ready
	equal "$(sim version)" "$old"
	equal "$(calls SEAMLDR.INSTALL)" 0
}

# trust_test_key: have the driver accept what the test key has signed.
trust_test_key() {
	if [ -e "$device/trusted_signer" ]; then
		cat "$test_key.signer" >"$device/trusted_signer"
	fi
}

upload_is_idle() {
	[ "$(cat "$firmware/status")" = idle ]
}

# start_upload FILE; end_upload: prints what the upload's "error" then says,
# nothing if it was successful.
start_upload() {
	echo 1 >"$firmware/loading"
	cat "$1" >"$firmware/data"
	echo 0 >"$firmware/loading"
}

end_upload() {
	within 20 upload_is_idle
	cat "$firmware/error"
}

upload() {
	start_upload "$1"
	end_upload
}

# an_update_runs; an_update_waits: it has met a TD build, and tries again.
an_update_runs() {
	[ "$(cat "$device/state")" = updating ]
}

an_update_waits() {
	an_update_runs && [ "$(calls TDH.SYS.SHUTDOWN)" -ge 2 ]
}

# it_goes_on_waiting: it makes another attempt. One is made at least once a second.
it_goes_on_waiting() {
	local before
	before=$(calls TDH.SYS.SHUTDOWN)
	within 20 more_calls_than "$before" TDH.SYS.SHUTDOWN
	an_update_runs
}

more_calls_than() {
	[ "$(calls "$2")" -gt "$1" ]
}

# catch_uevents: the device's "change" is kept from now on, until the test ends.
catch_uevents() {
	rm -rf "$work/uevents"
	mkdir "$work/uevents"
	cat >"$work/helper" <<-END
		#!/bin/sh
		[ "\$ACTION \$DEVPATH" = "change /devices/faux/tdx_host" ] || exit
		env >"$work/helper.\$SEQNUM"
		mv "$work/helper.\$SEQNUM" "$work/uevents/"
	END
	chmod +x "$work/helper"
	echo "$work/helper" >/sys/kernel/uevent_helper
}

# the_uevent_says RESULT FROM TO: that of an update, the only one since uevents
# are kept or since this was asked.
the_uevent_says() {
	within 20 a_uevent_is_there
	cat "$work"/uevents/*
	equal "$(cat "$work"/uevents/* | grep '^TDX_UPDATE_' | sort | tr '\n' ' ')" \
		"TDX_UPDATE_FROM=$2 TDX_UPDATE_RESULT=$1 TDX_UPDATE_TO=$3 "
	rm "$work"/uevents/*
}

a_uevent_is_there() {
	[ -n "$(ls "$work/uevents")" ]
}

# last_update KEY: a value of the driver's last_update.
last_update() {
	local word
	for word in $(<"$device/last_update"); do
		[ "${word%%=*}" != "$1" ] || {
			echo "${word#*=}"
			return
		}
	done
	return 1
}

# field KEY: a value in $answer, which is what "ioctl" printed.
field() {
	sed -n "s/^$1=//p" <<<"$answer"
}

# verdict CHECK: what came out of that check, in the same.
verdict() {
	sed -n "s/^check=[0-9]* $1 //p" <<<"$answer"
}

# Several TDs, each at its own stage, are held by a process that takes orders.
start_tds() {
	have_kvm
	rm -f "$work/orders" "$work/answers"
	mkfifo "$work/orders" "$work/answers"
	tdbuild serve <"$work/orders" >"$work/answers" &
	tds_pid=$!
	exec {tds_orders}>"$work/orders" {tds_answers}<"$work/answers"
}

# td [INDEX] ORDER [ARGUMENT]: one order; prints the answer.
td() {
	start_td "$@"
	end_td
}

# start_td, end_td: the same in two parts.
start_td() {
	echo "$*" >&"$tds_orders"
}

end_td() {
	local answer
	read -r -t 60 answer <&"$tds_answers"
	echo "$answer"
}

# tds ORDER...: orders that must succeed; "0 init" is one word here.
tds() {
	local order
	for order in "$@"; do
		# shellcheck disable=SC2086 # several words
		matches "$(td $order)" '^ok '
	done
}

end_tds() {
	[ -n "${tds_pid-}" ] || return 0
	exec {tds_orders}>&- {tds_answers}<&-
	wait "$tds_pid" || :
	tds_pid=''
}

# set_online CPU 0|1
set_online() {
	echo "$2" >"/sys/devices/system/cpu/cpu$1/online"
}

# Bring what a test may have changed back, whether or not it got to its end. On
# a host that is not simulated no test changes anything, and CPUs that are
# offline, a time to wait and an upload that runs are somebody else's.
mend() {
	local cpu online
	on_simulator || return 0
	if [ -e "$firmware/cancel" ] && ! upload_is_idle; then
		echo 1 >"$firmware/cancel" || :
		within 20 upload_is_idle || :
	fi
	end_tds
	for cpu in /sys/devices/system/cpu/cpu[0-9]*/online; do
		[ -e "$cpu" ] || continue
		read -r online <"$cpu"
		[ "$online" = 1 ] || echo 1 >"$cpu"
	done
	if [ -e "$device/update_wait_ms" ]; then
		echo 0 >"$device/update_wait_ms"
	fi
	if [ -e /sys/kernel/uevent_helper ]; then
		echo >/sys/kernel/uevent_helper
	fi
	tdxsimctl - <<-END
		fault clear
		latency clear
		next clear
		migrations 0
		updates 10
		counters reset
	END
}

# run_test NAME COMMAND...: COMMAND's success is the result; what it says is
# shown if it fails. It fails as well when the kernel says something bad.
run_test() {
	local name=$1 status bad
	shift
	mark_log
	# errexit would have no effect in a condition.
	(
		trap 'status=$?; set +e; mend >/dev/null 2>&1; exit $status' EXIT
		set -e
		"$@"
	) >"$work/output" 2>&1
	status=$?
	bad=$(splats_in_the_log)
	if [ "$status" -eq 0 ] && [ -z "$bad" ]; then
		ktap_test_pass "$name"
		return
	fi
	sed 's/^/# /' "$work/output"
	[ "$status" -eq 0 ] || echo "# exit status $status"
	log | tail -n 40 | sed 's/^/# dmesg: /'
	ktap_test_fail "$name"
}

# begin_tests [NUMBER]: so many are to come. Without it, the plan comes last.
# What the kernel has said from the beginning of the program on, be it before the
# first test or between two, is one test more, and leaks are another one where
# they are looked for.
begin_tests() {
	ktap_print_header
	[ -z "${seed-}" ] || ktap_print_msg "SEED=$seed"
	[ $# -eq 0 ] || ktap_set_plan $(($1 + 1 + leak_tests))
}

end_tests() {
	[ "$leak_tests" -eq 0 ] || run_test "nothing is leaked" nothing_is_leaked
	run_test "the kernel says nothing bad at any time" nothing_bad_is_said
	[ "$KSFT_NUM_TESTS" -ne 0 ] || ktap_set_plan $((KTAP_TESTNO - 1))
	ktap_finished
}

nothing_bad_is_said() {
	log_mark=$first_mark
	equal "$(splats_in_the_log)" ''
}

# What is only on its way somewhere at the first look is not a leak.
nothing_is_leaked() {
	echo scan >"$kmemleak"
	sleep 6
	echo scan >"$kmemleak"
	equal "$(leaks)" ''
}

# leaks: the objects that kmemleak tells of, but for what is expected.
leaks() {
	expected=$expected_leaks awk '
		function tell() {
			if (object !~ ENVIRON["expected"])
				printf "%s", object
			object = ""
		}
		/^unreferenced object/ { tell() }
		{ object = object $0 "\n" }
		END { tell() }' "$kmemleak"
}

# run_tests FUNCTION...: each is a test, whose name is the function's.
run_tests() {
	local test tests=()
	for test in "$@"; do
		# shellcheck disable=SC2053 # a pattern is what it is
		[[ $test != ${TDX_HOST_TESTS:-*} ]] || tests+=("$test")
	done
	begin_tests ${#tests[@]}
	for test in "${tests[@]}"; do
		run_test "${test//_/ }" "$test"
	done
	end_tests
}

# What a program does before its first test counts, such as to load the driver. Leaks
# are looked for on a simulated host: elsewhere what the kernel has found so far
# is not to be cleared.
log_mark=''
[ ! -w /dev/kmsg ] || mark_log
first_mark=$log_mark
leak_tests=0
if on_simulator && [ -w "$kmemleak" ]; then
	echo clear >"$kmemleak"
	leak_tests=1
fi
