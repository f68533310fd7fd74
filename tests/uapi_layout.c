// SPDX-License-Identifier: GPL-2.0
/*
 * What the C compiler makes of include/uapi/linux/tdx_host.h, for
 * uapi_kunit.rs to compare with the driver's structures.
 */
#include <linux/stddef.h>
#include <linux/types.h>

#include "../include/uapi/linux/tdx_host.h"

struct tdx_host_layout {
	const char *name;
	u64 value;
};

#define VALUE(name)		{ #name, name }
#define SIZE(type)		{ #type, sizeof(struct type) }
#define OFFSET(type, member)	{ #type "." #member, offsetof(struct type, member) }

const struct tdx_host_layout tdx_host_layout[] = {
	VALUE(TDX_HOST_INFO),
	VALUE(TDX_HOST_CHECK),
	VALUE(TDX_HOST_UPDATE),
	VALUE(TDX_HOST_IMAGE_MAX),
	VALUE(TDX_HOST_TEXT_SIZE),

	SIZE(tdx_host_version),
	OFFSET(tdx_host_version, major),
	OFFSET(tdx_host_version, minor),
	OFFSET(tdx_host_version, update),
	OFFSET(tdx_host_version, reserved),

	VALUE(TDX_HOST_STATE_ABSENT),
	VALUE(TDX_HOST_STATE_UNCONFIGURED),
	VALUE(TDX_HOST_STATE_READY),
	VALUE(TDX_HOST_STATE_INTERRUPTED),
	VALUE(TDX_HOST_STATE_LOST),
	VALUE(TDX_HOST_STATE_UPDATING),

	VALUE(TDX_HOST_INFO_MODULE_VERSION),
	VALUE(TDX_HOST_INFO_SEAMLDR_VERSION),
	VALUE(TDX_HOST_INFO_MODULE_SVN),
	VALUE(TDX_HOST_INFO_MODULE_HASH),
	VALUE(TDX_HOST_INFO_MODULE_SIGNER),
	VALUE(TDX_HOST_INFO_FEATURES_OFFERED),
	VALUE(TDX_HOST_INFO_FEATURES_CONFIGURED),
	VALUE(TDX_HOST_INFO_HANDOFF_VERSION),
	VALUE(TDX_HOST_INFO_UPDATES_LEFT),
	VALUE(TDX_HOST_CAP_UPDATE),

	SIZE(tdx_host_info),
	OFFSET(tdx_host_info, size),
	OFFSET(tdx_host_info, flags),
	OFFSET(tdx_host_info, valid),
	OFFSET(tdx_host_info, state),
	OFFSET(tdx_host_info, caps),
	OFFSET(tdx_host_info, module_version),
	OFFSET(tdx_host_info, seamldr_version),
	OFFSET(tdx_host_info, features_offered),
	OFFSET(tdx_host_info, features_configured),
	OFFSET(tdx_host_info, cpus_online),
	OFFSET(tdx_host_info, cpus_present),
	OFFSET(tdx_host_info, updates_left),
	OFFSET(tdx_host_info, handoff_version),
	OFFSET(tdx_host_info, svn_major),
	OFFSET(tdx_host_info, svn_minor),
	OFFSET(tdx_host_info, module_hash),
	OFFSET(tdx_host_info, module_signer),

	VALUE(TDX_HOST_CHECK_IMAGE),
	VALUE(TDX_HOST_CHECK_HOST),
	VALUE(TDX_HOST_CHECK_SIGSTRUCT),
	VALUE(TDX_HOST_CHECK_PRODUCTION),
	VALUE(TDX_HOST_CHECK_SIGNER),
	VALUE(TDX_HOST_CHECK_SIGNATURE),
	VALUE(TDX_HOST_CHECK_HASH),
	VALUE(TDX_HOST_CHECK_CPU),
	VALUE(TDX_HOST_CHECK_SVN),
	VALUE(TDX_HOST_CHECK_HANDOFF),
	VALUE(TDX_HOST_CHECK_SAME),
	VALUE(TDX_HOST_CHECK_CPUS_ONLINE),
	VALUE(TDX_HOST_CHECK_SEAMLDR),
	VALUE(TDX_HOST_CHECK_UPDATES_LEFT),
	VALUE(TDX_HOST_CHECK_NO_OTHER_UPDATE),

	VALUE(TDX_HOST_VERDICT_PASS),
	VALUE(TDX_HOST_VERDICT_FAIL),
	VALUE(TDX_HOST_VERDICT_SKIP),
	VALUE(TDX_HOST_VERDICT_NOTE),

	SIZE(tdx_host_check_result),
	OFFSET(tdx_host_check_result, check),
	OFFSET(tdx_host_check_result, verdict),
	OFFSET(tdx_host_check_result, error),
	OFFSET(tdx_host_check_result, reserved),
	OFFSET(tdx_host_check_result, name),
	OFFSET(tdx_host_check_result, text),

	SIZE(tdx_host_check),
	OFFSET(tdx_host_check, size),
	OFFSET(tdx_host_check, flags),
	OFFSET(tdx_host_check, image),
	OFFSET(tdx_host_check, image_size),
	OFFSET(tdx_host_check, results),
	OFFSET(tdx_host_check, result_size),
	OFFSET(tdx_host_check, nr_results),
	OFFSET(tdx_host_check, error),
	OFFSET(tdx_host_check, reserved),

	VALUE(TDX_HOST_OUTCOME_NONE),
	VALUE(TDX_HOST_OUTCOME_UPDATED),
	VALUE(TDX_HOST_OUTCOME_REFUSED),
	VALUE(TDX_HOST_OUTCOME_INTERRUPTED),
	VALUE(TDX_HOST_OUTCOME_LOST),

	VALUE(TDX_HOST_STEP_DONE),
	VALUE(TDX_HOST_STEP_START),
	VALUE(TDX_HOST_STEP_IMAGE),
	VALUE(TDX_HOST_STEP_PREFLIGHT),
	VALUE(TDX_HOST_STEP_SHUTDOWN),
	VALUE(TDX_HOST_STEP_WAIT),
	VALUE(TDX_HOST_STEP_INSTALL),
	VALUE(TDX_HOST_STEP_INIT),
	VALUE(TDX_HOST_STEP_CPU_INIT),
	VALUE(TDX_HOST_STEP_UPDATE),

	VALUE(TDX_HOST_REASON_NONE),
	VALUE(TDX_HOST_REASON_TD_BUILD),
	VALUE(TDX_HOST_REASON_MIGRATION),
	VALUE(TDX_HOST_REASON_OTHER),

	SIZE(tdx_host_update),
	OFFSET(tdx_host_update, size),
	OFFSET(tdx_host_update, flags),
	OFFSET(tdx_host_update, image),
	OFFSET(tdx_host_update, image_size),
	OFFSET(tdx_host_update, wait_ms),
	OFFSET(tdx_host_update, reserved),
	OFFSET(tdx_host_update, outcome),
	OFFSET(tdx_host_update, step),
	OFFSET(tdx_host_update, error),
	OFFSET(tdx_host_update, cpu),
	OFFSET(tdx_host_update, leaf),
	OFFSET(tdx_host_update, status),
	OFFSET(tdx_host_update, reason),
	OFFSET(tdx_host_update, count),
	OFFSET(tdx_host_update, attempts),
	OFFSET(tdx_host_update, reserved2),
	OFFSET(tdx_host_update, blackout_ns),
	OFFSET(tdx_host_update, total_blackout_ns),
	OFFSET(tdx_host_update, from),
	OFFSET(tdx_host_update, to),
	OFFSET(tdx_host_update, text),

	{ }
};
