// SPDX-License-Identifier: GPL-2.0
/*
 * What a CPU answers to instructions that few programs use, for tests of the
 * simulator:
 *
 *	simcpu rdmsr CPU NUMBER		the value, or "fault"
 *	simcpu wrmsr CPU NUMBER VALUE	"done" or "fault"
 *	simcpu tsc CPU			"between", if IA32_TSC is between what two RDTSC say
 *	simcpu seamcall			"ud" or "gp", what SEAMCALL raises in ring 3
 *	simcpu movdir64b WHERE		"copied", or what it raises: "ud", "gp", "absent" or
 *					"denied"; WHERE is a case of movdir64b() below
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

static sigjmp_buf resume;
static siginfo_t fault_info;

static void raised(int signal, siginfo_t *info, void *context)
{
	(void)context;
	fault_info = *info;
	siglongjmp(resume, signal);
}

static void catch(int signal)
{
	struct sigaction action = {
		.sa_sigaction = raised,
		.sa_flags = SA_SIGINFO,
	};

	sigaction(signal, &action, NULL);
}

/* The fault that the code behind this ends in; 0 at first. */
#define FAULT() (catch(SIGILL), catch(SIGSEGV), sigsetjmp(resume, 1))

static const char *fault_name(void)
{
	if (fault_info.si_signo == SIGILL)
		return "ud";
	switch (fault_info.si_code) {
	case SEGV_MAPERR:
		return "absent";
	case SEGV_ACCERR:
		return "denied";
	default:
		return "gp";
	}
}

static int access_msr(const char *cpu, const char *number, const char *value)
{
	uint64_t word = value ? strtoull(value, NULL, 0) : 0;
	char path[64];
	ssize_t length;
	int fd;

	snprintf(path, sizeof(path), "/dev/cpu/%s/msr", cpu);
	fd = open(path, (value ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
	if (fd < 0) {
		perror(path);
		return 2;
	}
	if (value)
		length = pwrite(fd, &word, sizeof(word), strtoul(number, NULL, 0));
	else
		length = pread(fd, &word, sizeof(word), strtoul(number, NULL, 0));
	if (length < 0 && errno != EIO) {
		perror(path);
		return 2;
	}
	if (length < 0)
		puts("fault");
	else if (value)
		puts("done");
	else
		printf("%#llx\n", (unsigned long long)word);
	return 0;
}

static int seamcall(void)
{
	int fault = FAULT();

	if (!fault)
		asm volatile(".byte 0x66, 0x0f, 0x01, 0xcf" : : "a"(0) : "memory", "cc");
	puts(fault ? fault_name() : "done");
	return 0;
}

static int tsc(const char *cpu)
{
	uint64_t before, word, after;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/cpu/%s/msr", cpu);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	before = __rdtsc();
	if (fd < 0 || pread(fd, &word, sizeof(word), 0x10) != sizeof(word)) {
		perror(path);
		return 2;
	}
	after = __rdtsc();
	if (before < word && word < after)
		puts("between");
	else
		printf("%#llx is not between %#llx and %#llx\n", (unsigned long long)word,
		       (unsigned long long)before, (unsigned long long)after);
	return 0;
}

enum { PAGE = 4096 };

/* Pages that nobody has used yet. */
static char *fresh(int pages)
{
	char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return memory;
}

static int is_zero(const char *memory)
{
	static const char zero[64];

	return !memcmp(memory, zero, sizeof(zero));
}

static int movdir64b(const char *where)
{
	char *source = fresh(3), *target = fresh(2), *other = fresh(1);
	/* Over the border of two pages. */
	char *from = source + PAGE - 32, *to = target, *wrong = target;
	int fault, status = 0;
	pid_t child = 0;

	memset(from, 0x5a, 64);
	if (!strcmp(where, "used")) {
		*to = 1;
	} else if (!strcmp(where, "fresh")) {
		/* The kernel learns of the page by the instruction. */
	} else if (!strcmp(where, "zero")) {
		/* All that is only read is one page. */
		if (!is_zero(to) || !is_zero(other))
			return 2;
	} else if (!strcmp(where, "shared")) {
		/* Copied when it is written to. */
		*to = 1;
		child = fork();
		if (child < 0) {
			perror("fork");
			return 2;
		}
	} else if (!strcmp(where, "unaligned")) {
		to += 32;
		wrong = NULL;
	} else if (!strcmp(where, "read-only")) {
		*to = 1;
		mprotect(target, PAGE, PROT_READ);
	} else if (!strcmp(where, "absent")) {
		munmap(target, PAGE);
	} else if (!strcmp(where, "kernel")) {
		to = (char *)0xffffffff81000000;
		wrong = to;
	} else if (!strcmp(where, "not-canonical")) {
		to = (char *)(1ull << 62);
		wrong = NULL;
	} else if (!strcmp(where, "from-absent")) {
		munmap(source + PAGE, PAGE);
		wrong = source + PAGE;
	} else {
		fprintf(stderr, "no case \"%s\"\n", where);
		return 2;
	}
	fault = FAULT();
	if (fault) {
		if (fault == SIGSEGV && fault_info.si_addr != wrong)
			printf("%p is not %p\n", fault_info.si_addr, (void *)wrong);
		else
			puts(fault_name());
		return 0;
	}
	/* The other process must keep its own. */
	if (child)
		waitpid(child, &status, 0);
	if (child && !status && (*to != 1 || !is_zero(to + 1))) {
		puts("wrong for others");
		return 0;
	}
	/* movdir64b (%rsi), %rdi */
	asm volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x3e" : : "S"(from), "D"(to) : "memory");
	if (memcmp(from, to, 64) || !is_zero(to + 64) || !is_zero(other) || status) {
		puts("wrong");
		return 1;
	}
	if (strcmp(where, "shared") || child)
		puts("copied");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "rdmsr"))
		return access_msr(argv[2], argv[3], NULL);
	if (argc == 5 && !strcmp(argv[1], "wrmsr"))
		return access_msr(argv[2], argv[3], argv[4]);
	if (argc == 2 && !strcmp(argv[1], "seamcall"))
		return seamcall();
	if (argc == 3 && !strcmp(argv[1], "tsc"))
		return tsc(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "movdir64b"))
		return movdir64b(argv[2]);
	fputs("usage: simcpu rdmsr CPU NUMBER | wrmsr CPU NUMBER VALUE | tsc CPU | seamcall |\n"
	      "       movdir64b WHERE\n", stderr);
	return 2;
}
