#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The initialization of TDMRs takes long where there is much memory: the log says
# how far it is, but not too often. Needs the simulator, and a machine on which
# the driver was not loaded yet.
#
# vm: slow --mem 8G --sim profile=connect
# vm: slow --cpus 4 --numa 4 --mem 8G --sim profile=connect

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_unconfigured

# A call initializes 4 MiB. The time is that which all of them take at the least.
gib=$(($(awk '$1 == "MemTotal:" { print $2 }' /proc/meminfo) >> 20))
seconds=24
tdxsimctl latency TDH.SYS.TDMR.INIT "$((seconds * 1000000 / (gib * 256)))us"
load_driver
tdxsimctl latency clear
calls=$(calls TDH.SYS.TDMR.INIT)
lines=$(log | grep 'tdx_host: initialized ')
progress=$(grep ' of ' <<<"$lines")
last=$(tail -n 1 <<<"$lines")
ms=${last##* in } ms=${ms% ms}

there_are_some_lines() {
	matches "$progress" 'initialized [0-9]+ of [0-9]+ GiB for TDX'
}

there_is_one_in_five_seconds_at_most() {
	below "$(wc -l <<<"$progress")" $((ms / 5000 + 1))
}

# numbers BEFORE AFTER: those between these words in the lines of the progress.
numbers() {
	grep -o "$1 [0-9]* $2" <<<"$progress" | grep -o '[0-9]*'
}

they_say_more_and_more() {
	equal "$(numbers initialized of | sort -n -u)" "$(numbers initialized of)"
}

the_last_line_says_how_long_it_took() {
	local total=${last#*initialized }
	total=${total%% *}
	matches "$last" 'initialized [0-9]+ GiB for TDX in [0-9]+ ms$'
	equal "$calls" $((total * 256))
	equal "$(numbers of GiB | sort -u)" "$total"
	below $((seconds * 1000 / $(sim tdmrs))) "$ms"
}

run_tests \
	there_are_some_lines \
	there_is_one_in_five_seconds_at_most \
	they_say_more_and_more \
	the_last_line_says_how_long_it_took
