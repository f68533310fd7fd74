/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * /dev/tdx_host: which TDX module runs, whether another one may replace it,
 * and replacing it.
 */
#ifndef _UAPI_LINUX_TDX_HOST_H
#define _UAPI_LINUX_TDX_HOST_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define TDX_HOST_IOC_TYPE 0xDA

/**
 * DOC: General ioctl format
 *
 * Every ioctl takes a pointer to a structure, whose first member is its size
 * as the caller knows it. Structures grow at the end only. Of a structure that
 * is larger than the kernel's, the part that the kernel does not know must be
 * zero, and stays so. Of a smaller one, the kernel takes what is missing as
 * zero, and fills in no more than there is.
 *
 * Members called @flags or @reserved must be zero. Those described as
 * "returned" are not read, whatever they hold.
 *
 * The following errors speak of the request. Nothing was done then, and the
 * outcome of an update is TDX_HOST_OUTCOME_NONE. The one exception is a structure
 * that can be read but not be written to in the end: what EFAULT keeps from its
 * caller then is in /sys/devices/faux/tdx_host/last_update.
 *
 *  - EPERM: The caller lacks CAP_SYS_ADMIN, or CAP_SYS_RAWIO as well for an
 *    update. Or, as EACCES does, it means that security modules have no such
 *    firmware loaded, as they do where they appraise it.
 *  - ENOTTY: There is no such ioctl.
 *  - EFAULT: The structure, the image or the array of results is not in memory
 *    that the caller can use.
 *  - EINVAL: The size is smaller than the first version of the structure was,
 *    or that of an element of the array of results is or is no multiple of 8, or
 *    a member that must be zero is not.
 *  - E2BIG: One of these sizes is larger than a page, or what the kernel does not
 *    know of the structure is not zero.
 *  - EFBIG: The image is larger than TDX_HOST_IMAGE_MAX.
 *  - EOPNOTSUPP: The TDX module cannot be replaced on this host at all.
 *  - ENOMEM: There is no memory for the image.
 */

/* Size in bytes of the largest image there can be. */
#define TDX_HOST_IMAGE_MAX	(498 * 4096)

/* Size in bytes of a text, with the zero byte at its end. */
#define TDX_HOST_TEXT_SIZE	224

/**
 * struct tdx_host_version - A version of the TDX module or of P-SEAMLDR
 * @major: Major version.
 * @minor: Minor version.
 * @update: Update version.
 * @reserved: Returned as zero.
 *
 * All zero stands for none.
 */
struct tdx_host_version {
	__u16 major;
	__u16 minor;
	__u16 update;
	__u16 reserved;
};

/**
 * enum tdx_host_state - What the host has of TDX
 * @TDX_HOST_STATE_ABSENT: No TDX module.
 * @TDX_HOST_STATE_UNCONFIGURED: A TDX module that is not configured.
 * @TDX_HOST_STATE_READY: A TDX module that runs.
 * @TDX_HOST_STATE_INTERRUPTED: A TDX module that was shut down for an update,
 *	and no other one runs. An update with a good image saves the TDs that
 *	nobody has run or changed meanwhile.
 * @TDX_HOST_STATE_LOST: No TDX module until the next reboot, and no TD.
 * @TDX_HOST_STATE_UPDATING: An update is running, or waits for TD builds.
 */
enum tdx_host_state {
	TDX_HOST_STATE_ABSENT		= 0,
	TDX_HOST_STATE_UNCONFIGURED	= 1,
	TDX_HOST_STATE_READY		= 2,
	TDX_HOST_STATE_INTERRUPTED	= 3,
	TDX_HOST_STATE_LOST		= 4,
	TDX_HOST_STATE_UPDATING		= 5,
};

/* Which members of struct tdx_host_info are known */
#define TDX_HOST_INFO_MODULE_VERSION		(1ULL << 0)
#define TDX_HOST_INFO_SEAMLDR_VERSION		(1ULL << 1)
#define TDX_HOST_INFO_MODULE_SVN		(1ULL << 2)
#define TDX_HOST_INFO_MODULE_HASH		(1ULL << 3)
#define TDX_HOST_INFO_MODULE_SIGNER		(1ULL << 4)
#define TDX_HOST_INFO_FEATURES_OFFERED		(1ULL << 5)
#define TDX_HOST_INFO_FEATURES_CONFIGURED	(1ULL << 6)
#define TDX_HOST_INFO_HANDOFF_VERSION		(1ULL << 7)
#define TDX_HOST_INFO_UPDATES_LEFT		(1ULL << 8)

/* The TDX module can be replaced on this host, as long as it is not lost. */
#define TDX_HOST_CAP_UPDATE			(1U << 0)

/**
 * struct tdx_host_info - ioctl(TDX_HOST_INFO)
 * @size: sizeof(struct tdx_host_info)
 * @flags: Must be zero.
 * @valid: Returned: TDX_HOST_INFO_* of the members that are known. The others
 *	are zero. Members without such a bit are always known.
 * @state: Returned: one of enum tdx_host_state.
 * @caps: Returned: TDX_HOST_CAP_*.
 * @module_version: Returned: version of the running TDX module.
 * @seamldr_version: Returned: version of P-SEAMLDR.
 * @features_offered: Returned: what the running TDX module offers, in the
 *	layout of the metadata field TDX_FEATURES0.
 * @features_configured: Returned: what it was configured with, in that layout.
 * @cpus_online: Returned: number of CPUs that are online. An update needs all
 *	that are present.
 * @cpus_present: Returned: number of CPUs that are present.
 * @updates_left: Returned: how many more updates P-SEAMLDR can record before
 *	the next reboot.
 * @handoff_version: Returned: version of the handoff data that the running TDX
 *	module writes when it is shut down, or has written.
 * @svn_major: Returned: major security version of the TDX module that is loaded,
 *	be it shut down.
 * @svn_minor: Returned: minor security version of that TDX module.
 * @module_hash: Returned: SHA-384 of the pages of that TDX module.
 * @module_signer: Returned: SHA-384 of the RSA modulus of its signer, if that
 *	is not Intel.
 *
 * Changes nothing. Returns 0 or one of the errors of the request; EOPNOTSUPP
 * and those about an image are none of them.
 *
 * What P-SEAMLDR would have to be asked for is not known where calling it would
 * lose the current VMCS.
 */
struct tdx_host_info {
	__u32 size;
	__u32 flags;
	__u64 valid;
	__u32 state;
	__u32 caps;
	struct tdx_host_version module_version;
	struct tdx_host_version seamldr_version;
	__u64 features_offered;
	__u64 features_configured;
	__u32 cpus_online;
	__u32 cpus_present;
	__u32 updates_left;
	__u16 handoff_version;
	__u8 svn_major;
	__u8 svn_minor;
	__u8 module_hash[48];
	__u8 module_signer[48];
};

/**
 * enum tdx_host_check_id - What a check of an image looks at
 * @TDX_HOST_CHECK_IMAGE: The file is an image.
 * @TDX_HOST_CHECK_HOST: The host has a TDX module that can be replaced.
 * @TDX_HOST_CHECK_SIGSTRUCT: The fields of the sigstruct by themselves.
 * @TDX_HOST_CHECK_PRODUCTION: The module is signed for production.
 * @TDX_HOST_CHECK_SIGNER: The signer is known.
 * @TDX_HOST_CHECK_SIGNATURE: The signature is the signer's.
 * @TDX_HOST_CHECK_HASH: The module pages are those that were signed.
 * @TDX_HOST_CHECK_CPU: The module runs on the CPUs of every package.
 * @TDX_HOST_CHECK_SVN: The module is no downgrade.
 * @TDX_HOST_CHECK_HANDOFF: The module takes the running one's handoff data over.
 * @TDX_HOST_CHECK_SAME: The module is another one than runs.
 * @TDX_HOST_CHECK_CPUS_ONLINE: Every present CPU is online.
 * @TDX_HOST_CHECK_SEAMLDR: P-SEAMLDR is ready.
 * @TDX_HOST_CHECK_UPDATES_LEFT: P-SEAMLDR can record another update.
 * @TDX_HOST_CHECK_NO_OTHER_UPDATE: No other update runs.
 */
enum tdx_host_check_id {
	TDX_HOST_CHECK_IMAGE		= 1,
	TDX_HOST_CHECK_HOST		= 2,
	TDX_HOST_CHECK_SIGSTRUCT	= 3,
	TDX_HOST_CHECK_PRODUCTION	= 4,
	TDX_HOST_CHECK_SIGNER		= 5,
	TDX_HOST_CHECK_SIGNATURE	= 6,
	TDX_HOST_CHECK_HASH		= 7,
	TDX_HOST_CHECK_CPU		= 8,
	TDX_HOST_CHECK_SVN		= 9,
	TDX_HOST_CHECK_HANDOFF		= 10,
	TDX_HOST_CHECK_SAME		= 11,
	TDX_HOST_CHECK_CPUS_ONLINE	= 12,
	TDX_HOST_CHECK_SEAMLDR		= 13,
	TDX_HOST_CHECK_UPDATES_LEFT	= 14,
	TDX_HOST_CHECK_NO_OTHER_UPDATE	= 15,
};

/**
 * enum tdx_host_verdict - What came out of a check
 * @TDX_HOST_VERDICT_PASS: It is fine.
 * @TDX_HOST_VERDICT_FAIL: An update would fail.
 * @TDX_HOST_VERDICT_SKIP: What is needed for the check is not known.
 * @TDX_HOST_VERDICT_NOTE: It does not hinder, but should be said.
 */
enum tdx_host_verdict {
	TDX_HOST_VERDICT_PASS	= 1,
	TDX_HOST_VERDICT_FAIL	= 2,
	TDX_HOST_VERDICT_SKIP	= 3,
	TDX_HOST_VERDICT_NOTE	= 4,
};

/**
 * struct tdx_host_check_result - What came out of one check
 * @check: One of enum tdx_host_check_id. Later kernels may have more.
 * @verdict: One of enum tdx_host_verdict.
 * @error: The negative error code that an update would fail with; 0 unless
 *	@verdict is TDX_HOST_VERDICT_FAIL.
 * @reserved: Zero.
 * @name: The check's name, as the kernel log has it, for example "cpus-online".
 * @text: What is to be said of it in words, without a line break; empty for
 *	TDX_HOST_VERDICT_PASS.
 */
struct tdx_host_check_result {
	__u32 check;
	__u32 verdict;
	__s32 error;
	__u32 reserved;
	char name[16];
	char text[TDX_HOST_TEXT_SIZE];
};

/**
 * struct tdx_host_check - ioctl(TDX_HOST_CHECK)
 * @size: sizeof(struct tdx_host_check)
 * @flags: Must be zero.
 * @image: Pointer to the image.
 * @image_size: Its size in bytes.
 * @results: Pointer to an array of struct tdx_host_check_result, which the
 *	kernel fills in.
 * @result_size: sizeof(struct tdx_host_check_result). May be smaller or larger
 *	than the kernel's; of a larger one the rest is filled with zero. Must be
 *	a multiple of 8, and at least the size of the first version.
 * @nr_results: Number of elements that the array has room for; 0 for no array.
 *	Returned: number of checks that were made. When that is larger, the last
 *	ones did not fit.
 * @error: Returned: 0 if the image could replace the running TDX module now,
 *	else the error of the first check that fails. This is what
 *	TDX_HOST_UPDATE would fail with, unless another update runs, which
 *	comes first there; TDs that are being built are not looked at.
 * @reserved: Must be zero.
 *
 * Makes every check that an update makes, and changes nothing: there is no
 * SEAMCALL but reads. Can be used while an update runs, and by many callers at
 * once; each has one image in memory for as long as it takes.
 *
 * Returns 0 when the checks were made, whatever came out, or one of the errors
 * of the request, or an error of the kernel.
 */
struct tdx_host_check {
	__u32 size;
	__u32 flags;
	__aligned_u64 image;
	__u64 image_size;
	__aligned_u64 results;
	__u32 result_size;
	__u32 nr_results;
	__s32 error;
	__u32 reserved;
};

/**
 * enum tdx_host_outcome - How an update ended
 * @TDX_HOST_OUTCOME_NONE: There was no update: the request was at fault.
 * @TDX_HOST_OUTCOME_UPDATED: The new module runs.
 * @TDX_HOST_OUTCOME_REFUSED: Nothing has changed. The old module runs on, if one
 *	ran.
 * @TDX_HOST_OUTCOME_INTERRUPTED: No module runs. An update with a good image
 *	saves the TDs, as long as nobody runs them meanwhile.
 * @TDX_HOST_OUTCOME_LOST: No module runs until the next reboot, and no TD.
 */
enum tdx_host_outcome {
	TDX_HOST_OUTCOME_NONE		= 0,
	TDX_HOST_OUTCOME_UPDATED	= 1,
	TDX_HOST_OUTCOME_REFUSED	= 2,
	TDX_HOST_OUTCOME_INTERRUPTED	= 3,
	TDX_HOST_OUTCOME_LOST		= 4,
};

/**
 * enum tdx_host_step - The step that an update ended in
 * @TDX_HOST_STEP_DONE: All of them are done.
 * @TDX_HOST_STEP_START: Another update runs, there is no TDX module that could
 *	be updated, or the kernel failed, for want of memory or so.
 * @TDX_HOST_STEP_IMAGE: The file is no image.
 * @TDX_HOST_STEP_PREFLIGHT: The image cannot replace the running module now.
 * @TDX_HOST_STEP_SHUTDOWN: The running module refused to be shut down, to the
 *	end of the wait for TD builds if there was one.
 * @TDX_HOST_STEP_WAIT: The wait for TD builds was canceled.
 * @TDX_HOST_STEP_INSTALL: P-SEAMLDR installs the new module.
 * @TDX_HOST_STEP_INIT: The new module is initialized.
 * @TDX_HOST_STEP_CPU_INIT: The new module is initialized on every CPU.
 * @TDX_HOST_STEP_UPDATE: The new module takes the TDs over.
 */
enum tdx_host_step {
	TDX_HOST_STEP_DONE	= 0,
	TDX_HOST_STEP_START	= 1,
	TDX_HOST_STEP_IMAGE	= 2,
	TDX_HOST_STEP_PREFLIGHT	= 3,
	TDX_HOST_STEP_SHUTDOWN	= 4,
	TDX_HOST_STEP_WAIT	= 5,
	TDX_HOST_STEP_INSTALL	= 6,
	TDX_HOST_STEP_INIT	= 7,
	TDX_HOST_STEP_CPU_INIT	= 8,
	TDX_HOST_STEP_UPDATE	= 9,
};

/**
 * enum tdx_host_reason - What kept the running module from shutting down
 * @TDX_HOST_REASON_NONE: No such thing.
 * @TDX_HOST_REASON_TD_BUILD: TDs are being built.
 * @TDX_HOST_REASON_MIGRATION: The migrations of TDs were interrupted.
 * @TDX_HOST_REASON_OTHER: Something that the kernel does not know; bits 15:0 of
 *	the status say what.
 */
enum tdx_host_reason {
	TDX_HOST_REASON_NONE		= 0,
	TDX_HOST_REASON_TD_BUILD	= 1,
	TDX_HOST_REASON_MIGRATION	= 2,
	TDX_HOST_REASON_OTHER		= 3,
};

/**
 * struct tdx_host_update - ioctl(TDX_HOST_UPDATE)
 * @size: sizeof(struct tdx_host_update)
 * @flags: Must be zero.
 * @image: Pointer to the image.
 * @image_size: Its size in bytes.
 * @wait_ms: How long to wait for TDs that are being built, in milliseconds. 0
 *	is not at all.
 * @reserved: Must be zero.
 * @outcome: Returned: one of enum tdx_host_outcome.
 * @step: Returned: one of enum tdx_host_step.
 * @error: Returned: 0 or the negative error code that the ioctl fails with.
 * @cpu: Returned: number of the CPU that a step after the shutdown failed on,
 *	or -1.
 * @leaf: Returned: RAX of the SEAMCALL that failed: the leaf's number, in bits
 *	23:16 its version, and bit 63 set when it is P-SEAMLDR's. 0 when none
 *	failed.
 * @status: Returned: its completion status.
 * @reason: Returned: one of enum tdx_host_reason.
 * @count: Returned: how many operations of that kind there were; 0 when the TDX
 *	module does not say.
 * @attempts: Returned: how often all CPUs were stopped.
 * @reserved2: Returned as zero.
 * @blackout_ns: Returned: for how long they were the last time, in nanoseconds.
 * @total_blackout_ns: Returned: for how long they were in all attempts.
 * @from: Returned: version of the TDX module before, if there was one; it may
 *	be shut down already.
 * @to: Returned: version of the TDX module after, if there is one.
 * @text: Returned: why there was no update in words, without a line break;
 *	empty when there was one.
 *
 * Replaces the running TDX module by the one in the image. Blocks until that
 * has ended. Only a fatal signal ends the wait for TD builds; nothing ends an
 * update whose shutdown of the running module has begun.
 *
 * Returns 0 when the new module runs, and else an error. @outcome tells an
 * update that has failed, of which all is returned, from a request that was at
 * fault, of which nothing is: set @outcome to TDX_HOST_OUTCOME_NONE before. The
 * errors of an update are:
 *
 *  - EBUSY: TDs are being built, see @reason and @count, or another update runs:
 *    try again. Or a present CPU is offline: bring it online, and try again.
 *  - EINVAL: The file is no image, or one that cannot replace the running
 *    module.
 *  - ENOSPC: No updates are left before the next reboot.
 *  - ETIMEDOUT: TDs were still being built after @wait_ms.
 *  - ECANCELED: The caller was killed while it waited.
 *  - EIO: A SEAMCALL failed, see @leaf and @status, or TDX is lost, or
 *    P-SEAMLDR was shut down.
 *  - ENOMEM and others: The kernel failed.
 */
struct tdx_host_update {
	__u32 size;
	__u32 flags;
	__aligned_u64 image;
	__u64 image_size;
	__u32 wait_ms;
	__u32 reserved;
	__u32 outcome;
	__u32 step;
	__s32 error;
	__s32 cpu;
	__u64 leaf;
	__u64 status;
	__u32 reason;
	__u32 count;
	__u32 attempts;
	__u32 reserved2;
	__u64 blackout_ns;
	__u64 total_blackout_ns;
	struct tdx_host_version from;
	struct tdx_host_version to;
	char text[TDX_HOST_TEXT_SIZE];
};

#define TDX_HOST_INFO	_IO(TDX_HOST_IOC_TYPE, 0x00)
#define TDX_HOST_CHECK	_IO(TDX_HOST_IOC_TYPE, 0x01)
#define TDX_HOST_UPDATE	_IO(TDX_HOST_IOC_TYPE, 0x02)

#endif /* _UAPI_LINUX_TDX_HOST_H */
