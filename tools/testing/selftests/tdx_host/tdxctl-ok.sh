#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# tdxctl on hosts that cannot be TDX hosts, or not in every way: "ok" finds the
# one check that fails, and nothing else. Needs the simulator.
#
# vm: --sim tdx_keyids=0 --append TDXCTL_FINDS=keyids
# vm: --sim module_loaded=off --append TDXCTL_FINDS=tdx-module
# vm: slow --sim profile=no-preserving --append TDXCTL_FINDS=updates
# vm: slow --sim platform=seamret-erratum --append TDXCTL_FINDS=nothing

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
[ -n "$(command -v tdxctl)" ] || skip_all "there is no tdxctl"
[ -n "${TDXCTL_FINDS-}" ] || skip_all "this host has nothing that is to be found (TDXCTL_FINDS)"
load_driver >/dev/null 2>&1 || :
load_kvm

it_finds_the_check_that_fails() {
	local status=0
	tdxctl ok >"$work/said" || status=$?
	cat "$work/said"
	if [ "$TDXCTL_FINDS" = nothing ]; then
		equal "$status" 0
		equal "$(grep -c '^FAIL' "$work/said")" 0
		# What an operator cannot change is no failure.
		grep '^SKIP  updates  *not possible' "$work/said"
	else
		equal "$status" 1
		equal "$(sed -n 's/^FAIL  \([^ ]*\) .*/\1/p' "$work/said")" "$TDXCTL_FINDS"
	fi
}

its_JSON_says_the_same() {
	tdxctl generate schema >"$work/schema"
	tdxctl ok --json >"$work/said" || :
	jsonshape "$work/schema" ok <"$work/said"
	equal "$(grep -c '"verdict": "fail"' "$work/said")" "$([ "$TDXCTL_FINDS" = nothing ] && echo 0 || echo 1)"
}

# With no driver, or with one that cannot update.
an_update_is_not_possible() {
	make_image next.img --profile connect-next
	fails 'not loaded|cannot be updated on this host' tdxctl update --yes "$work/next.img"
	equal "$(calls TDH.SYS.SHUTDOWN)" 0
}

run_tests \
	it_finds_the_check_that_fails \
	its_JSON_says_the_same \
	an_update_is_not_possible
