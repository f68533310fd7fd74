#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An update is tried at every stage of a TD's life, as KVM leads it: between two
# of its ioctls, and in the middle of each, between two SEAMCALLs. While the TD
# is being built the update is refused, with the right number of builds; before
# and after that it succeeds. Neither does any harm: the build goes on, its
# measurement is what it would have been, and the TD lives on. Needs the
# simulator.
#
# vm: slow --sim profile=connect
# vm: slow --sim profile=tdx-1.5.25

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
[ "$(nproc)" -eq 2 ] || skip_all "the machine does not have two CPUs"
trust_test_key
load_kvm

profile=$(sim profile)
profile=${profile%-next}

# A TD's life, in orders to tdbuild.
build=(init vcpu 'mem 4' 'mem 2' finalize)
life=("${build[@]}" 'fault 2' destroy)

# measurement: of the only TD there is.
measurement() {
	tdxsimctl builds | sed -n 's/.* mrtd=\([0-9a-f]*\)$/\1/p'
}

start_tds
tds "${build[@]}"
right=$(measurement)
tds destroy
end_tds

# refused_for COUNT: an update is refused for so many TD builds, and by nothing
# but the shutdown.
refused_for() {
	tdxsimctl counters reset
	equal "$(upload "$work/next.img")" transferring:device-busy
	says_refused_for "$1"
	nothing_has_changed
	equal "$(calls TDH.SYS.SHUTDOWN)" 1
}

says_refused_for() {
	equal "$(last_update result) $(last_update step) $(last_update errno)" 'refused shutdown -16'
	equal "$(last_update reason) $(last_update count)" "td-build $1"
	equal "$(last_update status)" "$(shutdown_status "$1")"
}

# shutdown_status COUNT: that of a shutdown that meets so many builds.
shutdown_status() {
	printf '0x80000512%04x0000' "$1"
}

# succeeds: an update does.
succeeds() {
	equal "$(upload "$work/next.img")" ''
	equal "$(last_update result) $(last_update count)" 'updated 0'
	equal "$(cat "$device/version") $(sim version)" "$version $version"
	remember
	next_image
}

begin() {
	remember
	next_image
	start_tds
}

between_any_two_stages_of_a_build_it_is_refused() {
	local order
	begin
	succeeds
	for order in "${build[@]}"; do
		tds "$order"
		[ "$order" = finalize ] || refused_for 1
	done
	equal "$(measurement)" "$right"
	succeeds
	tds 'fault 2'
	succeeds
	equal "$(measurement)" "$right"
	tds 'fault 2' destroy
	succeeds
	equal "$(sim tds)" 0
}

a_build_that_is_given_up_at_any_stage_no_longer_counts() {
	local last order
	begin
	for last in "${build[@]}"; do
		[ "$last" != finalize ] || break
		for order in "${build[@]}"; do
			tds "$order"
			[ "$order" != "$last" ] || break
		done
		refused_for 1
		tds destroy
		succeeds
	done
	equal "$(sim tds)" 0
}

# One TD at each stage; then each goes on, one at a time.
TDs_at_all_stages_are_told_apart() {
	begin
	tds '0 init' '0 vcpu' '0 mem 4' '0 mem 2' '0 finalize' '0 fault 2'
	tds '1 init'
	tds '2 init' '2 vcpu'
	tds '3 init' '3 vcpu' '3 mem 4'
	tds '4 init' '4 vcpu' '4 mem 4' '4 finalize'
	tds '5 init' '5 vcpu' '5 mem 4' '5 destroy'
	tds '6 init' '6 vcpu' '6 mem 4' '6 finalize' '6 destroy'
	refused_for 3
	tds '1 vcpu' '2 mem 4'
	refused_for 3
	tds '3 finalize'
	refused_for 2
	tds '7 init'
	refused_for 3
	tds '1 mem 4' '2 finalize' '7 destroy'
	refused_for 1
	tds '1 finalize'
	succeeds
	tds '0 fault 2' '1 fault 2' '2 fault 2' '3 fault 2' '4 fault 2'
	# That of TD 0; the others have less memory.
	equal "$(measurement | grep -cx "$right")" 1
	equal "$(measurement | sort -u | wc -l)" 2
	tds '0 destroy' '1 destroy' '2 destroy' '3 destroy' '4 destroy'
	equal "$(sim tds) $(sim builds)" '0 0'
}

as_many_builds_are_counted_as_there_are_KeyIDs() {
	local td
	begin
	for ((td = 0; td < 63; td++)); do
		tds "$td init"
	done
	refused_for 63
	matches "$(td 63 init)" '^error'
	refused_for 63
	for ((td = 0; td < 63; td++)); do
		tds "$td destroy"
	done
	succeeds
}

# Every attempt of an update that waits meets the build, whatever its stage.
an_update_waits_through_all_stages() {
	local order
	begin
	tds "${build[0]}"
	echo 600000 >"$device/update_wait_ms"
	start_upload "$work/next.img"
	for order in "${build[@]:1}"; do
		it_goes_on_waiting
		equal "$(status_of_last TDH.SYS.SHUTDOWN)" "$(shutdown_status 1)"
		tds "$order"
	done
	equal "$(end_upload)" ''
	equal "$(last_update result) $(last_update attempts)" "updated $(calls TDH.SYS.SHUTDOWN)"
	equal "$(measurement)" "$right"
	tds 'fault 2' destroy
}

status_of_last() {
	tdxsimctl last "$1" | sed -n 's/.*"status":"\(0x[0-9a-f]*\)".*/\1/p'
}

# began LEAF: when its last call did.
began() {
	tdxsimctl last "$1" | sed -n 's/.*"t_ns":\([0-9]*\).*/\1/p'
}

# was_too_late [LATER]: whether the update came behind the last call of it.
was_too_late() {
	[ -n "$1" ] && [ "$(began "$1")" -lt "$(began TDH.SYS.SHUTDOWN)" ]
}

was_called() {
	[ "$(calls "$1")" -ge "$2" ]
}

# in_the_middle ORDER LEAF NTH COUNT [LATER]: a TD for which there were the orders
# in $before already is given another one, and an update is tried when the order
# has made its NTHth call of LEAF. It is refused for COUNT builds, or succeeds if
# that is 0. The call takes long, so that the update can be ready to stop the CPUs
# as soon as it ends. If the order has gone on by then, to its last call of LATER,
# it is all done once more, with a call that takes longer.
in_the_middle() {
	local seconds error
	# The update is on CPU 0, and the TD on CPU 1.
	taskset -p 1 "$BASHPID"
	for seconds in 1 4 16; do
		end_tds
		begin
		taskset -p 2 "$tds_pid"
		tds "${before[@]}"
		tdxsimctl counters reset
		tdxsimctl fault add "leaf=$2" "nth=$3" "hang=${seconds}s"
		start_td "$1"
		within 20 was_called "$2" "$3"
		error=$(upload "$work/next.img")
		matches "$(end_td)" '^ok '
		tdxsimctl fault clear
		was_too_late "${5-}" || break
	done
	not was_too_late "${5-}"
	if [ "$4" -eq 0 ]; then
		equal "$error" ''
		equal "$(last_update result) $(last_update attempts)" 'updated 1'
		remember
	else
		equal "$error" transferring:device-busy
		says_refused_for "$4"
		nothing_has_changed
	fi
}

# The update and the rest of the TD's life, from the order on with this index.
a_life_with_an_update_in() {
	local index=$1 before=("${life[@]:0:$1}") rest
	in_the_middle "${life[index]}" "${@:2}"
	for rest in "${life[@]:index + 1}"; do
		[ "$rest" != 'fault 2' ] || equal "$(measurement)" "$right"
		tds "$rest"
	done
	equal "$(sim tds) $(sim builds)" '0 0'
	next_image
	equal "$(upload "$work/next.img")" ''
}

# A build that is given up.
the_end_of_a_build_with_an_update_in() {
	local before=(init vcpu 'mem 4')
	in_the_middle destroy "$@"
	equal "$(sim tds) $(sim builds)" '0 0'
	tds init vcpu 'mem 4' 'mem 2' finalize
	equal "$(measurement)" "$right"
	tds 'fault 2' destroy
}

# In the order of a TD's life. Calls that KVM makes on the first CPU of a package
# are left out: the update is there.
whole_lives=(
	'0 TDH.MNG.CREATE 1 0 TDH.MNG.INIT'
	'0 TDH.MNG.ADDCX 3 0 TDH.MNG.INIT'
	'0 TDH.MNG.INIT 1 1'
	'1 TDH.VP.CREATE 1 1 TDH.VP.INIT'
	'1 TDH.VP.ADDCX 2 1 TDH.VP.INIT'
	'1 TDH.VP.INIT 1 1 TDH.VP.WR'
	'2 TDH.MEM.SEPT.ADD 1 1 TDH.MEM.PAGE.ADD'
	'2 TDH.MEM.PAGE.ADD 2 1 TDH.MEM.PAGE.ADD'
	'2 TDH.MR.EXTEND 20 1 TDH.MEM.PAGE.ADD'
	'4 TDH.MR.FINALIZE 1 0'
	'5 TDH.MEM.PAGE.AUG 1 0 TDH.MEM.PAGE.AUG'
	'6 TDH.MEM.PAGE.REMOVE 2 0 TDH.MEM.PAGE.REMOVE'
	'6 TDH.VP.FLUSH 1 0 TDH.MNG.VPFLUSHDONE'
)
given_up=(
	'TDH.MEM.PAGE.REMOVE 2 1 TDH.MEM.PAGE.REMOVE'
	'TDH.VP.FLUSH 1 1 TDH.MNG.VPFLUSHDONE'
	'TDH.MNG.VPFLUSHDONE 1 0 TDH.MNG.KEY.FREEID'
	'TDH.MNG.KEY.FREEID 1 0 TDH.PHYMEM.PAGE.RECLAIM'
	'TDH.PHYMEM.PAGE.RECLAIM 3 0 TDH.PHYMEM.PAGE.RECLAIM'
)
tests=(
	between_any_two_stages_of_a_build_it_is_refused
	a_build_that_is_given_up_at_any_stage_no_longer_counts
	TDs_at_all_stages_are_told_apart
	as_many_builds_are_counted_as_there_are_KeyIDs
	an_update_waits_through_all_stages
)

begin_tests $((${#tests[@]} + ${#whole_lives[@]} + ${#given_up[@]}))
for test in "${tests[@]}"; do
	run_test "${test//_/ }" "$test"
done
for words in "${whole_lives[@]}"; do
	read -r -a arguments <<<"$words"
	run_test "an update in the middle of ${life[arguments[0]]}, at ${arguments[1]}" \
		a_life_with_an_update_in "${arguments[@]}"
done
for words in "${given_up[@]}"; do
	read -r -a arguments <<<"$words"
	run_test "an update in the middle of destroying a build, at ${arguments[0]}" \
		the_end_of_a_build_with_an_update_in "${arguments[@]}"
done
end_tests
