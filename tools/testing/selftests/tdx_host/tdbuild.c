// SPDX-License-Identifier: GPL-2.0
/*
 * tdbuild: build TDs through KVM's ioctls, step by step, for tests that need
 * a TD at a certain stage of its life.
 *
 * A TD is never entered, so it needs no guest code: its memory holds a fixed
 * pattern, which makes its measurement the same in every run. The order of
 * the ioctls is that of Documentation/virt/kvm/x86/intel-tdx.rst; what KVM
 * accepts was read in arch/x86/kvm/vmx/tdx.c of Linux 7.3.
 *
 * Every command answers with one line, "ok COMMAND ..." or
 * "error STEP errno NAME hw_error 0x...", where hw_error is the SEAMCALL's
 * completion status if KVM passed one on. See print_usage() for the commands.
 *
 * A shell keeps a TD at hand with two FIFOs:
 *
 *	mkfifo cmd reply
 *	tdbuild serve <cmd >reply & exec 3>cmd 4<reply
 *	echo "init" >&3; read -r answer <&4
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/const.h>
#include <linux/kvm.h>

#define PAGE_SIZE		4096ULL
#define MAX_TDS			64
#define MAX_VCPUS		64
#define MAX_REGIONS		32
/* Keeps every region below the local APIC's page at 0xfee00000. */
#define MAX_PAGES		8192ULL
/* KVM_MAX_CPUID_ENTRIES of arch/x86/kvm */
#define MAX_CPUID		256
#define FIRST_GPA		0x100000ULL

/* Guest physical address width: CPUID 0x80000008, EAX[23:16]. */
#define GUEST_PA_WIDTH		48
#define GUEST_PA_SHIFT		16
#define GUEST_PA_MASK		(0xffU << GUEST_PA_SHIFT)

#define CPUID_1_ECX_X2APIC	_BITUL(21)
/* x87 and SSE, which no TD can do without. */
#define XFAM_MINIMUM		0x3ULL

/* A race that fails this often has nothing more to tell. */
#define MAX_FAILURES		20

struct region {
	int gmem;
	void *shared;
	__u64 pages;
};

struct td {
	bool exists;
	int vm;
	int vcpus[MAX_VCPUS];
	unsigned int nr_vcpus;
	struct region regions[MAX_REGIONS];
	unsigned int nr_regions;
	__u64 next_gpa;
};

static struct td tds[MAX_TDS];
static int kvm = -1;
/* A file whose lock is shared while a TD is destroyed, if there is one. */
static int lock = -1;

/* Reports the step that failed with errno as its reason. Returns -1. */
static int fail_hw(const char *step, __u64 hw_error)
{
	const char *name = strerrorname_np(errno);

	printf("error %s errno %s hw_error 0x%llx\n", step, name ? name : "?",
	       (unsigned long long)hw_error);
	return -1;
}

static int fail(const char *step)
{
	return fail_hw(step, 0);
}

static int fail_errno(const char *step, int err)
{
	errno = err;
	return fail_hw(step, 0);
}

static int kvm_open(void)
{
	if (kvm < 0)
		kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	return kvm < 0 ? fail("open_kvm") : 0;
}

static int tdx_ioctl(int fd, const char *step, __u32 id, __u32 flags, void *data)
{
	struct kvm_tdx_cmd cmd = {
		.id = id,
		.flags = flags,
		.data = (__u64)(unsigned long)data,
	};

	if (ioctl(fd, KVM_MEMORY_ENCRYPT_OP, &cmd))
		return fail_hw(step, cmd.hw_error);
	return 0;
}

static struct kvm_cpuid2 *supported_cpuid(void)
{
	struct kvm_cpuid2 *cpuid;

	cpuid = calloc(1, sizeof(*cpuid) + MAX_CPUID * sizeof(cpuid->entries[0]));
	if (!cpuid) {
		fail("supported_cpuid");
		return NULL;
	}
	cpuid->nent = MAX_CPUID;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid)) {
		fail("supported_cpuid");
		free(cpuid);
		return NULL;
	}
	return cpuid;
}

static struct kvm_cpuid_entry2 *find_cpuid(struct kvm_cpuid2 *cpuid,
					   __u32 function, __u32 index)
{
	for (__u32 i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function == function &&
		    cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	}
	return NULL;
}

static struct kvm_tdx_capabilities *tdx_capabilities(int vm)
{
	struct kvm_tdx_capabilities *caps;

	caps = calloc(1, sizeof(*caps) +
			 MAX_CPUID * sizeof(caps->cpuid.entries[0]));
	if (!caps) {
		fail("capabilities");
		return NULL;
	}
	caps->cpuid.nent = MAX_CPUID;
	if (tdx_ioctl(vm, "capabilities", KVM_TDX_CAPABILITIES, 0, caps)) {
		free(caps);
		return NULL;
	}
	return caps;
}

/* A VM for a TD: KVM knows of it, the TDX module does not yet. */
static int create_vm(void)
{
	struct kvm_enable_cap split_irqchip = {
		.cap = KVM_CAP_SPLIT_IRQCHIP,
		.args = { 24 },
	};
	int vm;

	if (kvm_open())
		return -1;
	vm = ioctl(kvm, KVM_CREATE_VM, KVM_X86_TDX_VM);
	if (vm < 0)
		return fail("create_vm");
	if (ioctl(vm, KVM_ENABLE_CAP, &split_irqchip)) {
		fail("split_irqchip");
		close(vm);
		return -1;
	}
	return vm;
}

/* KVM wants the TD's CPUID and those of its vCPUs to agree about this. */
static void set_guest_pa_width(struct kvm_cpuid_entry2 *addresses)
{
	addresses->eax = (addresses->eax & ~GUEST_PA_MASK) |
			 GUEST_PA_WIDTH << GUEST_PA_SHIFT;
}

/*
 * Configure what the module lets a VMM configure and KVM supports besides:
 * the module offers bits that depend on each other or on the CPU.
 */
static int init_vm(int vm)
{
	struct kvm_tdx_capabilities *caps = NULL;
	struct kvm_tdx_init_vm *init = NULL;
	struct kvm_cpuid2 *supported;
	int ret = -1;

	supported = supported_cpuid();
	if (!supported)
		return -1;
	caps = tdx_capabilities(vm);
	if (!caps)
		goto out;
	init = calloc(1, sizeof(*init) +
			 caps->cpuid.nent * sizeof(init->cpuid.entries[0]));
	if (!init) {
		fail("init_vm");
		goto out;
	}

	init->xfam = caps->supported_xfam & XFAM_MINIMUM;
	init->cpuid.nent = caps->cpuid.nent;
	for (__u32 i = 0; i < caps->cpuid.nent; i++) {
		struct kvm_cpuid_entry2 *entry = &init->cpuid.entries[i];
		struct kvm_cpuid_entry2 *host;

		*entry = caps->cpuid.entries[i];
		host = find_cpuid(supported, entry->function, entry->index);
		entry->eax &= host ? host->eax : 0;
		entry->ebx &= host ? host->ebx : 0;
		entry->ecx &= host ? host->ecx : 0;
		entry->edx &= host ? host->edx : 0;
		if (entry->function == 0x80000008)
			set_guest_pa_width(entry);
	}
	ret = tdx_ioctl(vm, "init_vm", KVM_TDX_INIT_VM, 0, init);
out:
	free(init);
	free(caps);
	free(supported);
	return ret;
}

static int td_init(struct td *td)
{
	if (td->exists)
		return fail_errno("init", EEXIST);

	memset(td, 0, sizeof(*td));
	td->next_gpa = FIRST_GPA;
	td->vm = create_vm();
	if (td->vm < 0)
		return -1;
	if (init_vm(td->vm)) {
		close(td->vm);
		return -1;
	}
	td->exists = true;
	return 0;
}

/*
 * KVM_TDX_INIT_VCPU, on one CPU. TDH.VP.INIT associates the vCPU with the CPU
 * that it runs on, but Linux 7.3 flushes it from there when the thread migrates
 * only once the whole ioctl is done. A migration before that loses the TD: the
 * TDH.VP.WR that follow fail, and so does TDH.MNG.VPFLUSHDONE in the end, so
 * that a TD which is being built stays behind for ever.
 *
 * The first CPU is the one that cannot be taken offline.
 */
static int init_vcpu(int vcpu)
{
	cpu_set_t allowed, first;
	int cpu = 0, ret;

	if (sched_getaffinity(0, sizeof(allowed), &allowed))
		return fail("getaffinity");
	while (!CPU_ISSET(cpu, &allowed))
		cpu++;
	CPU_ZERO(&first);
	CPU_SET(cpu, &first);
	if (sched_setaffinity(0, sizeof(first), &first))
		return fail("setaffinity");

	ret = tdx_ioctl(vcpu, "init_vcpu", KVM_TDX_INIT_VCPU, 0, NULL);
	if (sched_setaffinity(0, sizeof(allowed), &allowed))
		return fail("setaffinity");
	return ret;
}

static int td_vcpu(struct td *td)
{
	struct kvm_cpuid_entry2 *features, *addresses;
	struct kvm_cpuid2 *cpuid;
	int vcpu, ret = -1;

	if (!td->exists)
		return fail_errno("vcpu", ENOENT);
	if (td->nr_vcpus == MAX_VCPUS)
		return fail_errno("vcpu", ENOSPC);

	vcpu = ioctl(td->vm, KVM_CREATE_VCPU, td->nr_vcpus);
	if (vcpu < 0)
		return fail("create_vcpu");

	cpuid = supported_cpuid();
	if (!cpuid)
		goto out;
	features = find_cpuid(cpuid, 1, 0);
	if (features)
		features->ecx |= CPUID_1_ECX_X2APIC;
	addresses = find_cpuid(cpuid, 0x80000008, 0);
	if (addresses)
		set_guest_pa_width(addresses);
	if (ioctl(vcpu, KVM_SET_CPUID2, cpuid)) {
		fail("set_cpuid");
		goto out;
	}
	ret = init_vcpu(vcpu);
out:
	free(cpuid);
	/*
	 * KVM does not forget a vCPU: one that failed keeps its id, and goes
	 * away with the TD.
	 */
	td->vcpus[td->nr_vcpus++] = vcpu;
	return ret;
}

/* Gives the TD private memory at its next free address; nothing is in it yet. */
static struct region *add_region(struct td *td, const char *step, __u64 pages)
{
	struct kvm_create_guest_memfd gmem = { .size = pages * PAGE_SIZE };
	struct kvm_userspace_memory_region2 slot = {
		.slot = td->nr_regions,
		.flags = KVM_MEM_GUEST_MEMFD,
		.guest_phys_addr = td->next_gpa,
		.memory_size = pages * PAGE_SIZE,
	};
	struct kvm_memory_attributes private = {
		.address = td->next_gpa,
		.size = pages * PAGE_SIZE,
		.attributes = KVM_MEMORY_ATTRIBUTE_PRIVATE,
	};
	struct region *region = &td->regions[td->nr_regions];

	if (!td->exists) {
		fail_errno(step, ENOENT);
		return NULL;
	}
	if (!td->nr_vcpus) {
		fail_errno(step, ENXIO);
		return NULL;
	}
	if (td->nr_regions == MAX_REGIONS) {
		fail_errno(step, ENOSPC);
		return NULL;
	}
	if (!pages || pages > MAX_PAGES) {
		fail_errno(step, EINVAL);
		return NULL;
	}

	region->pages = pages;
	region->shared = mmap(NULL, pages * PAGE_SIZE, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (region->shared == MAP_FAILED) {
		fail("mmap");
		return NULL;
	}
	region->gmem = ioctl(td->vm, KVM_CREATE_GUEST_MEMFD, &gmem);
	if (region->gmem < 0) {
		fail("create_guest_memfd");
		goto unmap;
	}
	slot.userspace_addr = (__u64)(unsigned long)region->shared;
	slot.guest_memfd = region->gmem;
	if (ioctl(td->vm, KVM_SET_USER_MEMORY_REGION2, &slot)) {
		fail("set_memory_region");
		goto close;
	}
	/* The slot is in use from here on: it goes away with the TD. */
	td->nr_regions++;
	td->next_gpa += pages * PAGE_SIZE;
	if (ioctl(td->vm, KVM_SET_MEMORY_ATTRIBUTES, &private)) {
		fail("set_memory_attributes");
		return NULL;
	}
	return region;

close:
	close(region->gmem);
unmap:
	munmap(region->shared, pages * PAGE_SIZE);
	return NULL;
}

/* TDH.MEM.PAGE.ADD of every page and sixteen TDH.MR.EXTEND for each. */
static int td_mem(struct td *td, __u64 pages)
{
	struct kvm_tdx_init_mem_region init;
	struct region *region;

	init.gpa = td->next_gpa;
	region = add_region(td, "mem", pages);
	if (!region)
		return -1;

	for (__u64 page = 0; page < pages; page++)
		memset((char *)region->shared + page * PAGE_SIZE, (int)page + 1, PAGE_SIZE);
	init.source_addr = (__u64)(unsigned long)region->shared;
	init.nr_pages = pages;
	return tdx_ioctl(td->vcpus[0], "init_mem_region", KVM_TDX_INIT_MEM_REGION,
			 KVM_TDX_MEASURE_MEMORY_REGION, &init);
}

/*
 * TDH.MEM.PAGE.AUG of new pages, as when a running TD takes memory for the
 * first time. KVM allows it once the TD is finalised, so it shows that such a
 * TD is alive.
 */
static int td_fault(struct td *td, __u64 pages)
{
	struct kvm_pre_fault_memory range = {
		.gpa = td->next_gpa,
		.size = pages * PAGE_SIZE,
	};

	if (!add_region(td, "fault", pages))
		return -1;
	while (range.size) {
		if (ioctl(td->vcpus[0], KVM_PRE_FAULT_MEMORY, &range) && errno != EINTR)
			return fail("pre_fault_memory");
	}
	return 0;
}

static int td_finalize(struct td *td)
{
	if (!td->exists)
		return fail_errno("finalize", ENOENT);
	return tdx_ioctl(td->vm, "finalize_vm", KVM_TDX_FINALIZE_VM, 0, NULL);
}

static int td_destroy(struct td *td)
{
	if (!td->exists)
		return fail_errno("destroy", ENOENT);
	if (lock >= 0 && flock(lock, LOCK_SH))
		return fail("lock");

	while (td->nr_vcpus)
		close(td->vcpus[--td->nr_vcpus]);
	while (td->nr_regions) {
		struct region *region = &td->regions[--td->nr_regions];

		close(region->gmem);
		munmap(region->shared, region->pages * PAGE_SIZE);
	}
	close(td->vm);
	if (lock >= 0)
		flock(lock, LOCK_UN);
	td->exists = false;
	return 0;
}

static int cmd_types(void)
{
	int types;

	if (kvm_open())
		return -1;
	types = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES);
	if (types < 0)
		return fail("vm_types");
	printf("ok types 0x%x\n", types);
	return 0;
}

static int cmd_caps(void)
{
	struct kvm_tdx_capabilities *caps;
	int vm;

	vm = create_vm();
	if (vm < 0)
		return -1;
	caps = tdx_capabilities(vm);
	close(vm);
	if (!caps)
		return -1;
	printf("ok caps attributes 0x%llx xfam 0x%llx cpuid %u\n",
	       (unsigned long long)caps->supported_attrs,
	       (unsigned long long)caps->supported_xfam, caps->cpuid.nent);
	free(caps);
	return 0;
}

/* The rest of a line must be a number, or must not be there: then @missing. */
static bool parse_count(const char *text, __u64 missing, __u64 *count)
{
	char *end;

	if (!text) {
		*count = missing;
		return true;
	}
	errno = 0;
	*count = strtoull(text, &end, 0);
	return !errno && end != text && !*end && *text != '-';
}

/* Carries out one line of "serve". Returns false at "quit". */
static bool serve_line(char *line)
{
	char *command, *argument, *rest;
	__u64 index = 0, pages = 1;
	struct td *td;

	command = strtok_r(line, " \t\n", &rest);
	if (!command)
		return true;
	if (*command >= '0' && *command <= '9') {
		if (!parse_count(command, 0, &index) || index >= MAX_TDS) {
			fail_errno("index", ERANGE);
			return true;
		}
		command = strtok_r(NULL, " \t\n", &rest);
		if (!command) {
			fail_errno("command", EINVAL);
			return true;
		}
	}
	td = &tds[index];
	argument = strtok_r(NULL, " \t\n", &rest);
	if (!parse_count(argument, 1, &pages)) {
		fail_errno("argument", EINVAL);
		return true;
	}

	if (!strcmp(command, "quit")) {
		printf("ok quit\n");
		return false;
	} else if (!strcmp(command, "types")) {
		cmd_types();
	} else if (!strcmp(command, "caps")) {
		cmd_caps();
	} else if (!strcmp(command, "init")) {
		if (!td_init(td))
			printf("ok init\n");
	} else if (!strcmp(command, "vcpu")) {
		if (!td_vcpu(td))
			printf("ok vcpu %u\n", td->nr_vcpus - 1);
	} else if (!strcmp(command, "mem")) {
		if (!td_mem(td, pages))
			printf("ok mem %llu\n", (unsigned long long)pages);
	} else if (!strcmp(command, "fault")) {
		if (!td_fault(td, pages))
			printf("ok fault %llu\n", (unsigned long long)pages);
	} else if (!strcmp(command, "finalize")) {
		if (!td_finalize(td))
			printf("ok finalize\n");
	} else if (!strcmp(command, "destroy")) {
		if (!td_destroy(td))
			printf("ok destroy\n");
	} else {
		fail_errno("command", EINVAL);
	}
	return true;
}

static int cmd_serve(void)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin)) {
		if (!serve_line(line))
			break;
	}
	return 0;
}

static int cmd_hold(void)
{
	char byte;

	if (td_init(&tds[0]))
		return -1;
	printf("ok init\n");
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	td_destroy(&tds[0]);
	printf("ok destroy\n");
	return 0;
}

/* How far a build goes before the TD is destroyed. */
enum stage { INIT, VCPU, MEM, FINALIZE, FAULT, STAGES };

static const char * const stage_names[STAGES] = {
	"init", "vcpu", "mem", "finalize", "fault",
};

static int build(struct td *td, enum stage last, __u64 pages, __u64 vcpus)
{
	if (td_init(td))
		return -1;
	for (__u64 i = 0; last >= VCPU && i < vcpus; i++) {
		if (td_vcpu(td))
			goto fail;
	}
	if (last >= MEM && td_mem(td, pages))
		goto fail;
	if (last >= FINALIZE && td_finalize(td))
		goto fail;
	if (last >= FAULT && td_fault(td, pages))
		goto fail;
	return td_destroy(td);

fail:
	td_destroy(td);
	return -1;
}

/*
 * A VM without TDX, with memory and a vCPU. Nothing is run in it either: the
 * simulator cannot enter VMs.
 */
static int cmd_ordinary(void)
{
	struct kvm_userspace_memory_region memory = { .memory_size = 16 * PAGE_SIZE };
	struct kvm_sregs sregs;
	int vm, vcpu, ret = -1;
	void *pages;

	if (kvm_open())
		return -1;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return fail("create_vm");
	pages = mmap(NULL, memory.memory_size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED) {
		fail("mmap");
		goto close_vm;
	}
	memory.userspace_addr = (__u64)(unsigned long)pages;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &memory)) {
		fail("set_memory_region");
		goto unmap;
	}
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0) {
		fail("create_vcpu");
		goto unmap;
	}
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_SREGS, &sregs)) {
		fail("sregs");
	} else {
		printf("ok ordinary\n");
		ret = 0;
	}
	close(vcpu);
unmap:
	munmap(pages, memory.memory_size);
close_vm:
	close(vm);
	return ret;
}

static int cmd_whole(__u64 pages, __u64 vcpus)
{
	if (build(&tds[0], FAULT, pages, vcpus))
		return -1;
	printf("ok whole pages %llu vcpus %llu\n", (unsigned long long)pages,
	       (unsigned long long)vcpus);
	return 0;
}

static bool before(const struct timespec *end)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec < end->tv_sec ||
	       (now.tv_sec == end->tv_sec && now.tv_nsec < end->tv_nsec);
}

/* Builds TDs up to every stage in turn, for so many seconds. */
static int cmd_race(__u64 seconds, __u64 pages, __u64 vcpus)
{
	unsigned long done[STAGES] = {};
	unsigned long failed = 0;
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;

	for (int stage = INIT; before(&end) && failed < MAX_FAILURES;
	     stage = (stage + 1) % STAGES) {
		if (build(&tds[0], stage, pages, vcpus))
			failed++;
		else
			done[stage]++;
	}

	printf("%s race", failed ? "failed" : "ok");
	for (int stage = INIT; stage < STAGES; stage++)
		printf(" %s %lu", stage_names[stage], done[stage]);
	printf(" failed %lu\n", failed);
	return failed ? -1 : 0;
}

static int print_usage(void)
{
	fputs("usage: tdbuild COMMAND\n"
	      "  types          VM types that KVM offers (bit 5: TDX)\n"
	      "  caps           what KVM_TDX_CAPABILITIES says\n"
	      "  ordinary       make a VM without TDX, and destroy it\n"
	      "  hold           begin a TD build and hold it until stdin ends\n"
	      "  whole [--pages N] [--vcpus N]\n"
	      "                 build a TD, finalise it, add a page, destroy it\n"
	      "  race SECONDS [--pages N] [--vcpus N]\n"
	      "                 build TDs in a loop, each up to another stage\n"
	      "  serve          read commands from stdin, one a line:\n"
	      "                 [TD] init, vcpu, mem [PAGES], finalize,\n"
	      "                 fault [PAGES], destroy; types, caps, quit;\n"
	      "                 TD is 0 to 63 and 0 if left out\n"
	      "With --lock FILE no TD is destroyed while somebody has FILE locked.\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "pages", required_argument, NULL, 'p' },
		{ "vcpus", required_argument, NULL, 'v' },
		{ "lock", required_argument, NULL, 'l' },
		{}
	};
	__u64 pages = 4, vcpus = 1, seconds;
	const char *command;
	int option;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'l') {
			lock = open(optarg, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
			if (lock < 0) {
				fail("open_lock");
				return 1;
			}
			continue;
		}
		if (option == 'p' ? !parse_count(optarg, 0, &pages) :
		    option == 'v' ? !parse_count(optarg, 0, &vcpus) : true)
			return print_usage();
	}
	if (optind == argc)
		return print_usage();
	command = argv[optind++];

	if (!strcmp(command, "race")) {
		if (optind + 1 != argc || !parse_count(argv[optind], 0, &seconds))
			return print_usage();
		return cmd_race(seconds, pages, vcpus) ? 1 : 0;
	}
	if (optind != argc)
		return print_usage();
	if (!strcmp(command, "types"))
		return cmd_types() ? 1 : 0;
	if (!strcmp(command, "caps"))
		return cmd_caps() ? 1 : 0;
	if (!strcmp(command, "ordinary"))
		return cmd_ordinary() ? 1 : 0;
	if (!strcmp(command, "hold"))
		return cmd_hold() ? 1 : 0;
	if (!strcmp(command, "whole"))
		return cmd_whole(pages, vcpus) ? 1 : 0;
	if (!strcmp(command, "serve"))
		return cmd_serve() ? 1 : 0;
	return print_usage();
}
