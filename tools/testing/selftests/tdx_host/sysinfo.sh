#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# An update brings a TDX module that is not like the one before: it offers other
# features, and TDs are of another size or can be given something else. All who tell
# of the TDX module say so at once, and KVM goes by it without being loaded again.
# Needs the simulator.
#
# alone: features that were given up stay off
# vm: --sim profile=connect
# vm: --sim profile=connect --sim "cpuid_config=[[0x1, 0xFFFFFFFF, 0, 0, 0x1000, 0], [0x80000008, 0xFFFFFFFF, 0x00FF0000, 0, 0, 0]]"

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$(readlink -f "$0")")/lib.sh"

need_simulator
need_our_driver
[ "$(sim profile)" = connect ] || skip_all "the TDX module is not that of the profile connect"
trust_test_key
load_kvm

profile=connect
connect=0x40
offered=$(($(sim features)))
caps=$(tdbuild caps)
# What it does not offer yet, and what it offers.
quote=$((1 << 50)) fms_config=$((1 << 17))
others=$(((offered | quote) & ~fms_config))
# x87 and SSE alone.
different=(--descriptor "features=$others" --descriptor xfam_fixed0=3)
# Two leaves of CPUID instead of one, with the other one behind it or before it.
gpaw='0x80000008, 0xFFFFFFFF, 0x00FF0000, 0, 0, 0'
other='0x1, 0xFFFFFFFF, 0, 0, 0x1000, 0'
more_leaves=(--descriptor "cpuid_config=[[$gpaw], [$other]]")
other_places=(--descriptor "cpuid_config=[[$other], [$gpaw]]")
another='0x80000001, 0xFFFFFFFF, 0, 0, 1, 0'
places_and_more=(--descriptor "cpuid_config=[[$gpaw], [$other], [$another]]")
# A page more for a TD and for a vCPU. The TDX module has no use for TDs with less.
larger=(--descriptor tdcs_base_size=28672 --descriptor tdvps_base_size=28672)

# becomes [ARGUMENT...]: the TDX module does, by an update.
becomes() {
	remember
	next_image "$@"
	equal "$(upload "$work/next.img")" ''
}

# all_say VERSION FEATURES CONFIGURED: whoever can be asked.
all_say() {
	local text
	equal "$(sim version) $(($(sim features)))" "$1 $(($2))"
	equal "$(cat "$device/version")" "$1"
	text=$(cat "$device/features_offered")
	equal $((${text%% *})) $(($2))
	text=$(cat "$device/features_configured")
	equal $((${text%% *})) $(($3))
	equal "$(cat "$device/num_remaining_updates")" "$(sim updates_left)"
	answer=$(ioctl info)
	equal "$(field module_version) $(($(field features_offered)))" "$1 $(($2))"
	equal $(($(field features_configured))) $(($3))
	equal "$(field updates_left)" "$(sim updates_left)"
}

# a_td_has PAGES PAGES: so many of its own, without the first, and so many a vCPU.
a_td_has() {
	tdxsimctl counters reset
	matches "$(tdbuild whole)" '^ok whole'
	equal "$(calls TDH.MNG.ADDCX) $(calls TDH.VP.ADDCX)" "$1 $2"
}

other_features_are_offered_at_once() {
	becomes "${different[@]}"
	all_say "$version" "$others" $connect
	equal "$(cat "$device/num_remaining_updates")" $((updates - 1))
	becomes
	all_say "$version" "$offered" $connect
	equal "$(cat "$device/num_remaining_updates")" $((updates - 1))
}

KVM_goes_by_the_new_module() {
	a_td_has 6 5
	becomes "${different[@]}" "${larger[@]}"
	matches "$(tdbuild caps)" '^ok caps .* xfam 0x3 cpuid 1$'
	a_td_has 7 6
	becomes
	equal "$(tdbuild caps)" "$caps"
	a_td_has 6 5
}

TDs_of_either_module_live_on() {
	start_tds
	tds '0 init' '0 vcpu' '0 mem 2' '0 finalize'
	becomes "${different[@]}"
	tds '1 init' '1 vcpu' '1 mem 2' '1 finalize' '0 fault 2'
	becomes
	tds '2 init' '2 vcpu' '2 mem 2' '2 finalize' '1 fault 2' '0 fault 2'
	tds '1 destroy' '0 destroy' '2 destroy'
	equal "$(sim tds) $(tdxsimctl keys)" '0 keyid=64 state=global'
}

a_KVM_that_is_loaded_anew_goes_by_it_too() {
	becomes "${different[@]}"
	load_kvm
	matches "$(tdbuild caps)" '^ok caps .* xfam 0x3 cpuid 1$'
	becomes
	load_kvm
	equal "$(tdbuild caps)" "$caps"
}

# KVM could be in the middle of making a list of them.
more_leaves_of_CPUID_are_kept_from_KVM() {
	becomes "${more_leaves[@]}" --descriptor xfam_fixed0=3
	matches "$(tdbuild caps)" '^ok caps .* xfam 0x3 cpuid 1$'
	matches "$(log)" "virt/tdx: KVM is told of the first 1 of the new TDX module's 2 CPUID leaves"
	matches "$(tdbuild whole)" '^ok whole'
	becomes
	equal "$(tdbuild caps)" "$caps"
}

# KVM needs the leaf that is the second one now.
a_TD_that_needs_another_one_is_not_built_wrongly() {
	becomes "${other_places[@]}"
	matches "$(tdbuild caps)" ' cpuid 1$'
	matches "$(tdbuild whole 2>&1)" '^error .* errno EINVAL '
	becomes
	equal "$(tdbuild caps)" "$caps"
	matches "$(tdbuild whole)" '^ok whole'
}

# KVM goes by a leaf's place.
leaves_of_CPUID_have_the_places_that_the_new_module_has_them_in() {
	matches "$caps" ' cpuid 2$'
	matches "$(tdbuild whole)" '^ok whole'
	becomes "${places_and_more[@]}"
	equal "$(tdbuild caps)" "$caps"
	matches "$(tdbuild whole)" '^ok whole'
}

# Nothing that KVM has made room for is left over. There is no way back: that would
# be more of them.
fewer_leaves_of_CPUID_are_offered_at_once() {
	matches "$caps" ' cpuid 2$'
	becomes
	matches "$(tdbuild caps)" ' cpuid 1$'
	matches "$(tdbuild whole)" '^ok whole'
	load_kvm
	matches "$(tdbuild caps)" ' cpuid 1$'
	matches "$(tdbuild whole)" '^ok whole'
}

a_refused_update_changes_none_of_it() {
	remember
	next_image "${different[@]}"
	start_tds
	tds init
	equal "$(upload "$work/next.img")" transferring:device-busy
	all_say "$old" "$offered" $connect
	equal "$(tdbuild caps)" "$caps"
}

# The bitmap of TDH.SYS.CONFIG is then one that the new module does not take. From
# there on nothing is configured, whatever is offered.
features_that_are_gone_are_not_configured_any_more() {
	becomes --descriptor "features=$((offered & ~connect))"
	all_say "$version" $((offered & ~connect)) 0
	matches "$(driver_log)" 'takes no features, these are off: .*tdx-connect'
	equal "$(last_call TDH.SYS.UPDATE) $(sim configured)" 'version=0 0x0'
	matches "$(tdbuild whole)" '^ok whole'
	becomes
	all_say "$version" "$offered" 0
	equal "$(last_call TDH.SYS.UPDATE) $(sim configured)" 'version=0 0x0'
	matches "$(tdbuild whole)" '^ok whole'
}

if [[ $caps == *' cpuid 2' ]]; then
	run_tests \
		leaves_of_CPUID_have_the_places_that_the_new_module_has_them_in \
		fewer_leaves_of_CPUID_are_offered_at_once
	exit
fi
run_tests \
	other_features_are_offered_at_once \
	KVM_goes_by_the_new_module \
	TDs_of_either_module_live_on \
	a_KVM_that_is_loaded_anew_goes_by_it_too \
	more_leaves_of_CPUID_are_kept_from_KVM \
	a_TD_that_needs_another_one_is_not_built_wrongly \
	a_refused_update_changes_none_of_it \
	features_that_are_gone_are_not_configured_any_more
