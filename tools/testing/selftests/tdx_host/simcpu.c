// SPDX-License-Identifier: GPL-2.0
/*
 * What a CPU answers to instructions that few programs use, for tests of the
 * simulator:
 *
 *	simcpu rdmsr CPU NUMBER		the value, or "fault"
 *	simcpu wrmsr CPU NUMBER VALUE	"done" or "fault"
 *	simcpu tsc CPU			"between", if IA32_TSC is between what two RDTSC say
 *	simcpu seamcall			"ud" or "gp", what SEAMCALL raises in ring 3
 *	simcpu movdir64b		"copied", or what it raises
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <x86intrin.h>

static sigjmp_buf resume;

static void raised(int signal)
{
	siglongjmp(resume, signal);
}

/* The fault that the code behind this ends in; 0 at first. */
#define FAULT() (signal(SIGILL, raised), signal(SIGSEGV, raised), sigsetjmp(resume, 1))

static const char *fault_name(int signal)
{
	return signal == SIGILL ? "ud" : "gp";
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

static int seamcall(void)
{
	int fault = FAULT();

	if (!fault)
		asm volatile(".byte 0x66, 0x0f, 0x01, 0xcf" : : "a"(0) : "memory", "cc");
	puts(fault ? fault_name(fault) : "done");
	return 0;
}

static int movdir64b(void)
{
	static char memory[256];
	char *from = memory + (-(uintptr_t)memory & 63), *to = from + 64;
	int fault;

	memset(from, 0x5a, 64);
	memset(to, 0, 128);
	fault = FAULT();
	if (fault) {
		puts(fault_name(fault));
		return 0;
	}
	/* movdir64b (%rsi), %rdi */
	asm volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x3e" : : "S"(from), "D"(to) : "memory");
	puts(memcmp(from, to, 64) || to[64] ? "wrong" : "copied");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "rdmsr"))
		return access_msr(argv[2], argv[3], NULL);
	if (argc == 5 && !strcmp(argv[1], "wrmsr"))
		return access_msr(argv[2], argv[3], argv[4]);
	if (argc == 3 && !strcmp(argv[1], "tsc"))
		return tsc(argv[2]);
	if (argc == 2 && !strcmp(argv[1], "seamcall"))
		return seamcall();
	if (argc == 2 && !strcmp(argv[1], "movdir64b"))
		return movdir64b();
	fputs("usage: simcpu rdmsr CPU NUMBER | wrmsr CPU NUMBER VALUE | tsc CPU | seamcall | movdir64b\n",
	      stderr);
	return 2;
}
