#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What is done hundreds of times leaks nothing: loads that fail, loads, updates
# that are refused, updates. Needs the simulator, and a machine on which the
# driver was not loaded yet.
#
# vm: slow --timeout 2400 --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured

file=$(driver_file)
profile=$(sim profile)
make_image even --profile "${profile%-next}" --version 1.5.80
make_image odd --profile "${profile%-next}" --version 1.5.81

# leaks_nothing COMMAND...: it leaks no page each time. That would be 1200 KiB in each
# round. What the kernel keeps for later, such as caches of each CPU, it takes once,
# and what it frees later comes back after a while; it can be several 100 KiB. A debug
# kernel keeps far more, what KASAN has in quarantine. There kmemleak tells, to which
# a few times are as good; pages that are no object's it does not see.
leaks_nothing() {
	local before round
	if [ -w "$kmemleak" ]; then
		for _ in {1..20}; do
			"$@"
		done
		return
	fi
	for round in 1 2 3 4; do
		echo "round $round"
		before=$(free_kib)
		for _ in {1..300}; do
			"$@"
		done
		! within 3 little_is_gone "$before" || return 0
	done
	return 1
}

little_is_gone() {
	below $(($1 - $(free_kib))) 800
}

loads_that_fail() {
	tdxsimctl fault add leaf=TDH.SYS.CONFIG gp count=all
	leaks_nothing fails 'Input/output error' insmod "$file"
}

reload() {
	unload_driver
	insmod "$file"
}

loads() {
	leaks_nothing reload
}

refused_update() {
	equal "$(upload "$work/even")" transferring:device-busy
}

updates_that_are_refused() {
	load_driver
	trust_test_key
	start_tds
	tds init
	leaks_nothing refused_update
}

image=odd other=even
update() {
	tdxsimctl updates 10
	equal "$(upload "$work/$image")" ''
	read -r image other <<<"$other $image"
}

updates() {
	load_driver
	trust_test_key
	leaks_nothing update
}

begin_tests 4
for test in loads_that_fail loads updates_that_are_refused updates; do
	run_test "${test//_/ } leak nothing" "$test"
done
end_tests
