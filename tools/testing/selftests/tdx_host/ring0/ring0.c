// SPDX-License-Identifier: GPL-2.0
/*
 * What a CPU answers in ring 0 to instructions that the kernel would not
 * execute there, for tests of the simulator:
 *
 *	insmod ring0.ko what=WHAT; cat /sys/module/ring0/parameters/result
 *
 * WHAT is one of the names in cases[]. The result is "done", "fail" (VMfail),
 * "ud", "gp" or "pf".
 */
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/string.h>
#include <asm/asm.h>
#include <asm/special_insns.h>
#include <asm/tlbflush.h>
#include <asm/trapnr.h>

static char *what = "";
module_param(what, charp, 0444);
static char *result = "";
module_param(result, charp, 0444);

/* No vector is that. */
#define FAIL 256

/* The vector of what an instruction raises; 0 if nothing, FAIL if it sets CF or ZF. */
#define VECTOR(instruction, input, ...) ({				\
	int vector = input;						\
	bool fail;							\
									\
	asm volatile("1: " instruction "\n\t"				\
		     "seta %b1\n\t"					\
		     "xorb $1, %b1\n\t"					\
		     "xorl %%eax, %%eax\n"				\
		     "2:\n"						\
		     _ASM_EXTABLE_FAULT(1b, 2b)				\
		     : "+a"(vector), "=&q"(fail)			\
		     : __VA_ARGS__					\
		     : "memory", "cc");					\
	vector ? vector : fail ? FAIL : 0;				\
})

/* MOVDIR64B (%rsi), %rdi, which leaves the flags alone: TEST makes them those of a success. */
#define MOVDIR64B ".byte 0x66, 0x0f, 0x38, 0xf8, 0x3e; test %%rsp, %%rsp"

/* Linux has nothing there; see Documentation/arch/x86/x86_64/mm.rst. */
#define HOLE 0xffffffffffe00000ul

/* A leaf that no TDX module has, so that nothing but RAX changes. */
static int seamcall(void)
{
	return VECTOR(".byte 0x66, 0x0f, 0x01, 0xcf", 0xffff, "c"(0));
}

static int enter_vmx(void *region)
{
	u64 pa = virt_to_phys(region);

	return VECTOR("vmxon %2", 0, "m"(pa));
}

/* CR4.VMXE, which the kernel's own copy of CR4 does not know of. */
static void set_vmxe(bool on)
{
	unsigned long cr4 = native_read_cr4();

	asm volatile("mov %0, %%cr4" : : "r"(on ? cr4 | X86_CR4_VMXE : cr4 & ~X86_CR4_VMXE));
}

/* VMXON here must be #UD without CR4.VMXE, even where it would be #PF with. */
static int vmxon_without_vmxe(void *region)
{
	return VECTOR("vmxon (%2)", 0, "D"(HOLE));
}

/* In VMX operation VMXON fails, and does not look at its operand. */
static int vmxon_twice(void *region)
{
	int vector;

	set_vmxe(true);
	vector = enter_vmx(region);
	if (!vector) {
		vector = VECTOR("vmxon (%2)", 0, "D"(HOLE));
		asm volatile("vmxoff");
	}
	set_vmxe(false);
	return vector;
}

static int vmxon_absent(void *region)
{
	int vector;

	set_vmxe(true);
	vector = VECTOR("vmxon (%2)", 0, "D"(HOLE));
	set_vmxe(false);
	return vector;
}

static int seamcall_in_vmx(void *region)
{
	int vector;

	set_vmxe(true);
	vector = enter_vmx(region);
	if (!vector) {
		vector = seamcall();
		asm volatile("vmxoff");
	}
	set_vmxe(false);
	return vector;
}

static int seamcall_outside(void *region)
{
	return seamcall();
}

static int movdir64b_copies(void *region)
{
	u8 *from = region + 1024, *to = region + 2048;
	int vector;

	memset(from, 0x5a, 64);
	vector = VECTOR(MOVDIR64B, 0, "S"(from), "D"(to));
	if (!vector && (memcmp(from, to, 64) || to[64]))
		vector = FAIL;
	return vector;
}

static int movdir64b_absent(void *region)
{
	return VECTOR(MOVDIR64B, 0, "S"(region), "D"(HOLE));
}

static const struct {
	const char *name;
	int (*run)(void *region);
} cases[] = {
	{ "seamcall", seamcall_outside },
	{ "seamcall-in-vmx", seamcall_in_vmx },
	{ "vmxon-without-vmxe", vmxon_without_vmxe },
	{ "vmxon-absent", vmxon_absent },
	{ "vmxon-twice", vmxon_twice },
	{ "movdir64b", movdir64b_copies },
	{ "movdir64b-absent", movdir64b_absent },
};

static char *name_of(int vector)
{
	switch (vector) {
	case 0:
		return "done";
	case FAIL:
		return "fail";
	case X86_TRAP_UD:
		return "ud";
	case X86_TRAP_GP:
		return "gp";
	case X86_TRAP_PF:
		return "pf";
	default:
		return "?";
	}
}

static int __init ring0_init(void)
{
	void *region = (void *)get_zeroed_page(GFP_KERNEL);
	unsigned long flags;
	u64 basic;
	int i;

	if (!region)
		return -ENOMEM;
	/* A VMXON region begins with the revision that VMCSs have. */
	if (!rdmsrq_safe(MSR_IA32_VMX_BASIC, &basic))
		*(u32 *)region = (u32)basic & 0x7fffffff;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		if (strcmp(cases[i].name, what))
			continue;
		local_irq_save(flags);
		result = name_of(cases[i].run(region));
		local_irq_restore(flags);
	}
	free_page((unsigned long)region);
	return *result ? 0 : -EINVAL;
}
module_init(ring0_init);

static void __exit ring0_exit(void)
{
}
module_exit(ring0_exit);

MODULE_DESCRIPTION("What a CPU answers in ring 0, for tests of the simulator");
MODULE_LICENSE("GPL");
