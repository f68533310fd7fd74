#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# /dev/tdx_host: checks of images, and updates that succeed, are refused, wait,
# meet each other, or whose caller is killed. Needs the simulator.
#
# alone: it loses TDX in the end
# vm: --sim profile=connect
# vm: slow --cpus 4 --sockets 2 --sim profile=tdx-1.5.25

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
trust_test_key
load_kvm

# KVM warns once when a TDX module is gone that it has TDs in.
expected_splats='WARNING: .*\[kvm_intel\]|kvm_intel: SEAMCALL'
expected_leaks='\[kvm_intel\]'
profile=$(sim profile)
profile=${profile%-next}

# check: what the ioctl says of next.img; the answer is kept.
check() {
	answer=$(ioctl check "$work/next.img")
}

# update [OPTION...]: whether or not it succeeds.
update() {
	answer=$(ioctl "$@" update "$work/next.img" || :)
}

# start_update; end_update: in the background meanwhile, waiting for a TD build.
start_update() {
	ioctl --wait 60000 update "$work/next.img" >"$work/update" 2>&1 &
	update_pid=$!
	within 20 an_update_waits
}

end_update() {
	wait "$update_pid" || :
	answer=$(cat "$work/update")
}

# end_update_by SIGNAL: kill the caller, which ends long before its time is up.
end_update_by() {
	local began=$SECONDS
	kill -s "$1" "$update_pid"
	not wait "$update_pid"
	below $((SECONDS - began)) 30
}

info_says_what_the_simulator_says() {
	answer=$(ioctl info)
	equal "$(field module_version)" "$(sim version)"
	equal $(($(field features_configured))) $(($(sim configured)))
	equal "$(field cpus_online) $(field cpus_present)" "$(nproc) $(nproc)"
	tdxsimctl updates 7
	equal "$(answer=$(ioctl info) && field updates_left)" 7
	equal "$(field handoff_version)" 1
	# What runs then is what was in the image.
	next_image
	update
	answer=$(ioctl info)
	equal "$(field module_version)" "$version"
	equal "$(field svn)" "$((0x$(in_sigstruct 949 1))).$((0x$(in_sigstruct 948 1)))"
	equal "$(field module_hash)" "$(in_sigstruct 900 48)"
	# The simulated platform's own signer, as Intel is elsewhere, is not named.
	equal "$(field valid) $(field module_signer)" "0x1ef $(printf '%096d' 0)"
}

# in_sigstruct OFFSET LENGTH: those bytes of next.img's, in hexadecimal.
in_sigstruct() {
	dd if="$work/next.img" bs=1 skip=$((4096 + $1)) count="$2" 2>/dev/null |
		od -v -A n -t x1 | tr -d ' \n'
}

info_makes_no_SEAMCALL_but_reads() {
	tdxsimctl counters reset
	ioctl info
	equal "$(leaves_called)" 'SEAMLDR.INFO TDH.SYS.RD '
}

# leaves_called: since the counters were reset, in order.
leaves_called() {
	tdxsimctl counters | sed -n 's/^leaf=\([^ ]*\) calls=[1-9].*/\1/p' | sort | tr '\n' ' '
}

info_says_how_many_CPUs_are_online() {
	set_online 1 0
	answer=$(ioctl info)
	equal "$(field cpus_online) $(field cpus_present)" "$(($(nproc --all) - 1)) $(nproc --all)"
}

a_good_image_passes_every_check_and_nothing_changes() {
	remember
	next_image
	tdxsimctl counters reset
	mark_log
	check
	equal "$(field errno) $(field error) $(field nr_results)" '0 0 15'
	equal "$(sed -n 's/^check=[0-9]* \([^ ]*\) pass 0 text=$/\1/p' <<<"$answer" | tr '\n' ' ')" \
		'image host sigstruct production signer signature hash cpu svn handoff same cpus-online no-other-update seamldr updates-left '
	equal "$(sed -n 's/^check=\([0-9]*\) .*/\1/p' <<<"$answer" | tr '\n' ' ')" \
		'1 2 3 4 5 6 7 8 9 10 11 12 15 13 14 '
	equal "$(leaves_called)" 'SEAMLDR.INFO TDH.SYS.RD '
	equal "$(driver_log)" ''
	nothing_has_changed
}

the_running_module_is_worth_a_note() {
	next_image
	update
	check
	equal "$(field error)" 0
	equal "$(verdict same)" 'note 0 text=the same TDX module is loaded already'
}

# finds CHECK ERRNO PATTERN ARGUMENT...: that alone fails in such an image, and
# an update fails in the same way.
finds() {
	local name=$1 errno=$2 pattern=$3
	shift 3
	make_image next.img --profile "$profile" "$@"
	tdxsimctl counters reset
	check
	equal "$(field error)" "$errno"
	matches "$(verdict "$name")" "^fail $errno text=.*$pattern"
	equal "$(grep -c '^check=.* fail ' <<<"$answer")" 1
	update
	equal "$(field error)" "$errno"
	matches "$(field text)" "$pattern"
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
}

each_check_finds_what_it_is_for() {
	local re=(--resign --rechecksum)
	finds sigstruct -22 "the sigstruct's vendor must be 0x8086" --corrupt sigstruct.vendor=0x1022 "${re[@]}"
	finds production -22 debugging --corrupt sigstruct.module_type=0x80000000 "${re[@]}"
	finds signature -22 'does not verify' --corrupt sigstruct.signature=flip --rechecksum
	finds hash -22 'not those that were signed' --corrupt-at 70000=01 --rechecksum
	finds cpu -22 '0x806f' --cpu 0xA06D0
	finds svn -22 'lower than 1\.' --svn 1.1
	finds handoff -22 '2 to 3' --hv 3 --min-hv 2
	finds image -22 'checksum' --corrupt header.checksum=flip
	echo >"$device/trusted_signer"
	if [ "$(verdict_of_signer)" != pass ]; then
		finds signer -22 'unknown signer'
	fi
	trust_test_key
	tdxsimctl updates 0
	finds updates-left -28 'no updates are left'
	tdxsimctl updates 10
	set_online 1 0
	finds cpus-online -16 "only $(($(nproc --all) - 1)) of $(nproc --all) CPUs are online"
	set_online 1 1
}

# The running module may have been signed by the test key, too.
verdict_of_signer() {
	local word
	make_image next.img --profile "$profile"
	check
	word=$(verdict signer)
	echo "${word%% *}"
}

all_that_is_wrong_is_found_at_once() {
	make_image next.img --profile "$profile" --cpu 0xA06D0 --svn 1.1 --hv 0 \
		--corrupt sigstruct.vendor=1 --rechecksum
	check
	equal "$(sed -n 's/^check=[0-9]* \([^ ]*\) fail -22 .*/\1/p' <<<"$answer" | tr '\n' ' ')" \
		'sigstruct signature cpu svn handoff '
	equal "$(field error)" -22
	# The error is that of the first.
	tdxsimctl updates 0
	check
	tdxsimctl updates 7
	matches "$(verdict updates-left)" '^fail -28 '
	equal "$(field error)" -22
}

firmware_that_cannot_be_asked_is_named() {
	next_image
	tdxsimctl fault add leaf=SEAMLDR.INFO status=SEAMLDR_EUNSPECERR count=all
	check
	equal "$(field errno) $(field error)" '0 -5'
	matches "$(verdict host)" '^fail -5 text=.*SEAMLDR.INFO'
	equal "$(grep -c '^check=.* skip 0 text=not checked, as the host check failed$' <<<"$answer")" 13
	# What it would have said is not known, the rest is.
	answer=$(ioctl info)
	equal "$(field errno) $(field valid)" '0 0xe1'
	equal "$(field module_version) $(field seamldr_version)" "$(sim version) 0.0.00"
}

an_update() {
	local us
	remember
	next_image
	mark_log
	update
	equal "$(field errno) $(field error)" '0 0'
	# TDX_HOST_OUTCOME_UPDATED, TDX_HOST_STEP_DONE
	equal "$(field outcome) $(field step) $(field cpu)" '1 0 -1'
	equal "$(field leaf) $(field status) $(field reason) $(field count)" '0 0 0 0'
	equal "$(field from) $(field to) $(field attempts)" "$old $version 1"
	equal "$(field text)" ''
	equal "$(cat "$device/version")" "$version"
	equal "$(sim version)" "$version"
	equal "$(cat "$device/num_remaining_updates")" $((updates - 1))
	us=$(($(field blackout_ns) / 1000))
	equal "$(cat "$device/last_update")" "result=updated step=done errno=0 leaf=- status=0x0 name=- reason=- count=0 from=$old to=$version attempts=1 blackout_us=$us total_blackout_us=$us cpu=-"
	matches "$(driver_log)" "TDX module updated from $old to $version, $(nproc) CPUs stopped for $us us"
}

the_largest_image_does() {
	next_image --pages 496
	update
	equal "$(field errno) $(field to)" "0 $version"
}

an_upload_follows_and_sees_the_same() {
	remember
	next_image
	equal "$(upload "$work/next.img")" ''
	equal "$(last_update from) $(last_update to)" "$old $version"
	equal "$(answer=$(ioctl info) && field module_version)" "$version"
}

a_uevent_tells_of_it() {
	catch_uevents
	remember
	next_image
	update
	the_uevent_says updated "$old" "$version"
}

a_TD_build_is_EBUSY_and_then_it_succeeds() {
	remember
	next_image
	start_tds
	tds '0 init' '1 init' '0 vcpu'
	# A check does not look at TD builds.
	check
	equal "$(field error)" 0
	tdxsimctl counters reset
	update
	equal "$(field errno) $(field error)" 'EBUSY -16'
	# TDX_HOST_OUTCOME_REFUSED, TDX_HOST_STEP_SHUTDOWN, TDX_HOST_REASON_TD_BUILD
	equal "$(field outcome) $(field step) $(field reason) $(field count)" '2 4 1 2'
	equal "$(field leaf) $(field status)" '0x34 0x8000051200020000'
	equal "$(field from) $(field to) $(field attempts)" "$old $old 1"
	equal "$(field text)" '2 TDs are being built, try again later'
	matches "$(cat "$device/last_update")" \
		"^result=refused step=shutdown errno=-16 .* reason=td-build count=2 from=$old to=$old attempts=1 "
	nothing_has_changed
	tds '1 destroy' '0 mem' '0 finalize'
	update
	equal "$(field errno) $(field to)" "0 $version"
	tds '0 fault' '0 destroy'
}

an_interrupted_migration_is_told_apart() {
	next_image
	tdxsimctl migrations 3
	update
	equal "$(field errno) $(field reason) $(field count)" 'EBUSY 2 3'
}

it_waits_until_the_build_is_done() {
	next_image
	start_tds
	tds init vcpu
	start_update
	# TDX_HOST_STATE_UPDATING
	equal "$(answer=$(ioctl info) && field state)" 5
	it_goes_on_waiting
	tds mem finalize
	end_update
	equal "$(field errno) $(field to)" "0 $version"
	[ "$(field attempts)" -ge 2 ]
	tds fault destroy
}

after_the_time_it_gives_up() {
	local began
	next_image
	start_tds
	tds init
	# That is for uploads.
	echo 60000 >"$device/update_wait_ms"
	began=${EPOCHREALTIME/./}
	update --wait 1000
	[ $((${EPOCHREALTIME/./} - began)) -ge 1000000 ]
	equal "$(field errno) $(field reason) $(field count)" 'ETIMEDOUT 1 1'
	equal "$(field attempts)" "$(calls TDH.SYS.SHUTDOWN)"
	matches "$(field text)" 'the time to wait is up'
	equal "$(cat "$device/state")" ready
}

a_killed_caller_ends_its_wait_and_nothing_else() {
	local signal
	remember
	next_image
	start_tds
	tds init
	start_update
	# Neither of these kills: they are ignored from the start, or no signals
	# that end a process.
	for signal in CONT WINCH URG CHLD; do
		kill -s "$signal" "$update_pid"
	done
	it_goes_on_waiting
	end_update_by KILL
	nothing_has_changed
	equal "$(last_update result) $(last_update step) $(last_update errno)" 'refused wait -125'
	matches "$(driver_log)" "update refused: canceled while .* being built; TDX module $old runs on"
	tds destroy
	update
	equal "$(field errno) $(field to)" "0 $version"
}

# Signals that end a process without a handler are fatal, too.
a_terminated_caller_does_too() {
	next_image
	start_tds
	tds init
	start_update
	end_update_by TERM
	equal "$(cat "$device/state")" ready
}

one_of_two_ioctls_runs() {
	next_image
	start_tds
	tds init
	start_update
	update
	equal "$(field errno) $(field outcome) $(field step)" 'EBUSY 2 1'
	equal "$(field reason) $(field attempts)" '0 0'
	equal "$(field text)" 'another update is running'
	# An image can be checked all the same.
	check
	equal "$(field errno) $(field error)" '0 -16'
	equal "$(verdict no-other-update)" 'fail -16 text=another update is running'
	an_update_runs
	tds vcpu mem finalize
	end_update
	equal "$(field errno) $(field to)" "0 $version"
	equal "$(last_update result)" updated
	tds destroy
}

an_upload_keeps_an_ioctl_out() {
	next_image
	start_tds
	tds init
	echo 60000 >"$device/update_wait_ms"
	start_upload "$work/next.img"
	within 20 an_update_waits
	update --wait 60000
	equal "$(field errno) $(field step) $(field text)" 'EBUSY 1 another update is running'
	an_update_runs
	tds vcpu mem finalize
	equal "$(end_upload)" ''
	equal "$(cat "$device/version")" "$version"
	tds destroy
}

# The upload is idle again then, and has nothing to cancel.
an_ioctl_keeps_an_upload_out() {
	next_image
	start_tds
	tds init
	start_update
	equal "$(upload "$work/next.img")" transferring:device-busy
	an_update_runs
	fails 'No such device' bash -c "echo 1 >$firmware/cancel"
	it_goes_on_waiting
	tds vcpu mem finalize
	end_update
	equal "$(field errno) $(field to)" "0 $version"
	tds destroy
}

# What was canceled before does not count for the next upload.
an_upload_can_be_canceled_and_the_next_one_is_not() {
	next_image
	start_tds
	tds init
	echo 60000 >"$device/update_wait_ms"
	start_upload "$work/next.img"
	within 20 an_update_waits
	echo 1 >"$firmware/cancel"
	equal "$(end_upload)" transferring:user-abort
	start_update
	it_goes_on_waiting
	end_update_by KILL
	tdxsimctl counters reset
	start_upload "$work/next.img"
	within 20 an_update_waits
	it_goes_on_waiting
	tds vcpu mem finalize
	equal "$(end_upload)" ''
	equal "$(cat "$device/version")" "$version"
	tds destroy
}

# Twenty callers that check, four that update: of those each is told that it
# has updated or that another one does.
many_callers() {
	local pids=() caller busy=0 updated=0
	next_image
	for caller in {1..20}; do
		ioctl check "$work/next.img" >"$work/caller.check.$caller" 2>&1 &
		pids+=($!)
	done
	for caller in {1..4}; do
		ioctl update "$work/next.img" >"$work/caller.update.$caller" 2>&1 &
		pids+=($!)
	done
	wait "${pids[@]}" || :
	for caller in {1..20}; do
		answer=$(cat "$work/caller.check.$caller")
		case $(field error) in
		-16) matches "$(verdict no-other-update)" '^fail' ;;
		*) equal "$(field error)" 0 ;;
		esac
		equal "$(field errno) $(field nr_results)" '0 15'
	done
	for caller in {1..4}; do
		answer=$(cat "$work/caller.update.$caller")
		case $(field errno) in
		0) updated=$((updated + 1)) ;;
		EBUSY) busy=$((busy + 1)) ;;
		esac
	done
	equal $((updated + busy)) 4
	[ "$updated" -ge 1 ]
	equal "$(cat "$device/version")" "$version"
}

# The driver cannot go while an ioctl runs, even if its file is closed.
removal_is_refused_while_an_ioctl_runs() {
	next_image
	start_tds
	tds init
	start_update
	fails 'in use' rmmod tdx_host
	end_update_by KILL
	unload_driver
	load_driver
	trust_test_key
}

# Eight updates that are refused, and as many that are killed: of each, 16 MB of
# images. The rest is slack for what the kernel keeps of its own.
nothing_is_left_behind() {
	local before after
	once() {
		update
		equal "$(field errno)" EBUSY
		start_update
		end_update_by KILL
	}
	next_image --pages 496
	start_tds
	tds init
	once
	before=$(free_kib)
	for _ in {1..8}; do
		once
	done
	after=$(free_kib)
	below $((before - after)) 12000
}

# What follows takes TDX from this machine until it is booted again.

an_interrupted_update_can_be_finished() {
	remember
	next_image
	tdxsimctl fault add leaf=SEAMLDR.INSTALL status=SEAMLDR_EBADHASH rdx=0
	update
	equal "$(field errno) $(field outcome) $(field step)" 'EIO 3 6'
	equal "$(field leaf) $(field status)" '0x8000000000000001 0x8000000000020001'
	matches "$(field cpu)" '^[0-9]+$'
	equal "$(last_update cpu)" "$(field cpu)"
	matches "$(field text)" 'SEAMLDR.INSTALL'
	equal "$(field from) $(field to)" "$old 0.0.00"
	tdxsimctl fault clear
	answer=$(ioctl info)
	# TDX_HOST_STATE_INTERRUPTED
	equal "$(field state) $(field caps) $(field module_version)" '3 0x1 0.0.00'
	equal "$(field handoff_version) $(($(field valid) & 1))" '1 0'
	check
	equal "$(field error) $(verdict host)" '0 pass 0 text='
	update
	equal "$(field errno) $(field from) $(field to)" "0 $old $version"
	equal "$(answer=$(ioctl info) && field state)" 2
}

when_TDX_is_lost_everything_says_so() {
	next_image
	tdxsimctl fault add leaf=SEAMLDR.INSTALL status=SEAMLDR_EBADHASH rdx=1
	update
	equal "$(field errno) $(field outcome) $(field step)" 'EIO 4 6'
	tdxsimctl fault clear
	answer=$(ioctl info)
	# TDX_HOST_STATE_LOST
	equal "$(field errno) $(field state)" '0 4'
	check
	equal "$(field errno) $(field error) $(verdict host)" '0 -5 fail -5 text=TDX is lost'
	equal "$(verdict image)" 'pass 0 text='
	matches "$(verdict svn)" '^skip 0 text=not checked, as the host check failed$'
	update
	equal "$(field errno) $(field outcome) $(field step)" 'EIO 2 1'
	equal "$(field text)" 'TDX is lost'
	# The device is there for a driver that is loaded after the fact as well.
	unload_driver
	load_driver
	answer=$(ioctl info)
	equal "$(field errno) $(field state)" '0 4'
	update
	equal "$(field errno) $(field text)" 'EIO TDX is lost'
	[ ! -e "$firmware" ]
}

run_tests \
	info_says_what_the_simulator_says \
	info_makes_no_SEAMCALL_but_reads \
	info_says_how_many_CPUs_are_online \
	a_good_image_passes_every_check_and_nothing_changes \
	the_running_module_is_worth_a_note \
	each_check_finds_what_it_is_for \
	all_that_is_wrong_is_found_at_once \
	firmware_that_cannot_be_asked_is_named \
	an_update \
	the_largest_image_does \
	an_upload_follows_and_sees_the_same \
	a_uevent_tells_of_it \
	a_TD_build_is_EBUSY_and_then_it_succeeds \
	an_interrupted_migration_is_told_apart \
	it_waits_until_the_build_is_done \
	after_the_time_it_gives_up \
	a_killed_caller_ends_its_wait_and_nothing_else \
	a_terminated_caller_does_too \
	one_of_two_ioctls_runs \
	an_upload_keeps_an_ioctl_out \
	an_ioctl_keeps_an_upload_out \
	an_upload_can_be_canceled_and_the_next_one_is_not \
	many_callers \
	removal_is_refused_while_an_ioctl_runs \
	nothing_is_left_behind \
	an_interrupted_update_can_be_finished \
	when_TDX_is_lost_everything_says_so
