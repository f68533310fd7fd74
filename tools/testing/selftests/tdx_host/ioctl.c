// SPDX-License-Identifier: GPL-2.0
/*
 * ioctl: make one ioctl of /dev/tdx_host, right or wrong in the ways that the
 * options say, and print what it returns, one "key=value" a line. See
 * print_usage().
 *
 * The first line is that of the system call: "errno=0", or the error's name.
 * Whatever is returned in the structure follows. What the kernel wrote that it
 * should not have is an error of its own: "overrun=", the exit status is 3.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/tdx_host.h>

/* The ABI: structures may grow, but not move. */
static_assert(sizeof(struct tdx_host_version) == 8, "struct tdx_host_version");
static_assert(offsetof(struct tdx_host_info, module_signer) == 120, "struct tdx_host_info");
static_assert(sizeof(struct tdx_host_info) >= 168, "struct tdx_host_info");
static_assert(offsetof(struct tdx_host_check_result, text) == 32, "struct tdx_host_check_result");
static_assert(sizeof(struct tdx_host_check_result) >= 256, "struct tdx_host_check_result");
static_assert(offsetof(struct tdx_host_check, reserved) == 44, "struct tdx_host_check");
static_assert(sizeof(struct tdx_host_check) >= 48, "struct tdx_host_check");
static_assert(offsetof(struct tdx_host_update, text) == 112, "struct tdx_host_update");
static_assert(sizeof(struct tdx_host_update) >= 336, "struct tdx_host_update");

#define DEVICE		"/dev/tdx_host"
#define PAGE_SIZE	4096
/* A structure and what is behind it; the kernel takes no more than a page. */
#define ROOM		(4 * PAGE_SIZE)
/* What memory holds that the kernel has no business with. */
#define UNTOUCHED	0xA5
#define MAX_RESULTS	64
/* Any value of an option that was not given. */
#define DEFAULT		UINT64_MAX

enum option_id {
	SIZE, TAIL, FLAGS, RESERVED, STRUCTURE, IMAGE, IMAGE_SIZE, WAIT,
	RESULTS, RESULT_SIZE, NR_RESULTS, UID, OPEN_UID, WITHOUT_CAP, OPTIONS,
};

static const struct option long_options[] = {
	{ "size", required_argument, NULL, SIZE },
	{ "tail", required_argument, NULL, TAIL },
	{ "flags", required_argument, NULL, FLAGS },
	{ "reserved", required_argument, NULL, RESERVED },
	{ "structure", required_argument, NULL, STRUCTURE },
	{ "image", required_argument, NULL, IMAGE },
	{ "image-size", required_argument, NULL, IMAGE_SIZE },
	{ "wait", required_argument, NULL, WAIT },
	{ "results", required_argument, NULL, RESULTS },
	{ "result-size", required_argument, NULL, RESULT_SIZE },
	{ "nr-results", required_argument, NULL, NR_RESULTS },
	{ "uid", required_argument, NULL, UID },
	{ "open-uid", required_argument, NULL, OPEN_UID },
	{ "without-cap", required_argument, NULL, WITHOUT_CAP },
	{}
};

static uint64_t values[OPTIONS];

/* The value of an option, or what there is without it. */
static uint64_t value(enum option_id option, uint64_t otherwise)
{
	return values[option] == DEFAULT ? otherwise : values[option];
}

static void print_error(int err)
{
	const char *name = strerrorname_np(err);

	printf("errno=%s\n", err ? name : "0");
}

static int complain(const char *what)
{
	perror(what);
	return 2;
}

static void print_version(const char *name, const struct tdx_host_version *version)
{
	printf("%s=%u.%u.%02u\n", name, version->major, version->minor, version->update);
}

static void print_hash(const char *name, const __u8 *hash)
{
	printf("%s=", name);
	for (int i = 0; i < 48; i++)
		printf("%02x", hash[i]);
	putchar('\n');
}

/* A text that has an end, and nothing behind it. */
static void print_text(const char *name, const char *text, size_t size)
{
	size_t length = strnlen(text, size);

	for (size_t i = length; i < size; i++) {
		if (text[i]) {
			length = size;
			break;
		}
	}
	if (length == size)
		printf("%s=(no end)\n", name);
	else
		printf("%s=%s\n", name, text);
}

static int become(uint64_t uid)
{
	return uid == DEFAULT ? 0 : setresuid(uid, uid, uid);
}

static int drop_capability(uint64_t number)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (number == DEFAULT)
		return 0;
	if (syscall(SYS_capget, &header, data))
		return -1;
	data[CAP_TO_INDEX(number)].effective &= ~CAP_TO_MASK(number);
	return syscall(SYS_capset, &header, data);
}

static int open_device(void)
{
	int fd;

	if (become(values[OPEN_UID]))
		return -1;
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (fd >= 0 && (become(values[UID]) || drop_capability(values[WITHOUT_CAP])))
		return -1;
	return fd;
}

/* Memory that is its own, and not next to anything else. */
static void *allocate(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
	return memory;
}

/* The file's content, of which the kernel gets the address. Nothing follows. */
static int read_image(const char *path, uint64_t *address, uint64_t *size)
{
	struct stat stat;
	char *image;
	size_t room;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &stat))
		return complain(path);
	room = (stat.st_size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
	image = allocate(room + PAGE_SIZE);
	if (read(fd, image, stat.st_size) != stat.st_size ||
	    mprotect(image + room, PAGE_SIZE, PROT_NONE))
		return complain(path);
	close(fd);
	*address = value(IMAGE, (uintptr_t)image);
	*size = value(IMAGE_SIZE, stat.st_size);
	return 0;
}

/*
 * Makes the ioctl with a structure of the size that was asked for: what is
 * behind the known part of it is filled with the tail. Returns the error.
 * Afterwards only the known part may have changed.
 */
static int call(unsigned long request, void *structure, size_t known, bool *overrun)
{
	size_t size = value(SIZE, known);
	unsigned char *memory = allocate(ROOM);
	size_t inside = size < ROOM ? size : ROOM;
	int fd, err;

	memset(memory, UNTOUCHED, ROOM);
	if (inside > known)
		memset(memory + known, value(TAIL, 0), inside - known);
	memcpy(memory, structure, inside < known ? inside : known);
	/* The size is there in any case. */
	*(__u32 *)memory = size;

	fd = open_device();
	if (fd < 0)
		return errno;
	err = ioctl(fd, request, value(STRUCTURE, (uintptr_t)memory)) ? errno : 0;
	close(fd);

	*overrun = false;
	for (size_t i = inside < 4 ? 4 : inside; i < ROOM; i++)
		*overrun |= memory[i] != UNTOUCHED;
	for (size_t i = known; i < inside; i++)
		*overrun |= memory[i] != value(TAIL, 0);
	memcpy(structure, memory, inside < known ? inside : known);
	return err;
}

static int finish(int err, bool overrun)
{
	if (overrun) {
		printf("overrun=the kernel wrote behind the structure\n");
		return 3;
	}
	return err ? 1 : 0;
}

static int cmd_info(void)
{
	struct tdx_host_info info = {};
	bool overrun = false;
	int err;

	/* What is returned is not read. */
	memset(&info, 0xFF, sizeof(info));
	info.flags = value(FLAGS, 0);
	err = call(TDX_HOST_INFO, &info, sizeof(info), &overrun);
	print_error(err);
	if (!err) {
		printf("valid=%#llx\n", (unsigned long long)info.valid);
		printf("state=%u\ncaps=%#x\n", info.state, info.caps);
		print_version("module_version", &info.module_version);
		print_version("seamldr_version", &info.seamldr_version);
		printf("features_offered=%#018llx\n", (unsigned long long)info.features_offered);
		printf("features_configured=%#018llx\n",
		       (unsigned long long)info.features_configured);
		printf("cpus_online=%u\ncpus_present=%u\n", info.cpus_online, info.cpus_present);
		printf("updates_left=%u\nhandoff_version=%u\n", info.updates_left,
		       info.handoff_version);
		printf("svn=%u.%u\n", info.svn_major, info.svn_minor);
		print_hash("module_hash", info.module_hash);
		print_hash("module_signer", info.module_signer);
	}
	return finish(err, overrun);
}

static void print_result(const unsigned char *memory, size_t size)
{
	static const char * const verdicts[] = { "none", "pass", "fail", "skip", "note" };
	struct tdx_host_check_result result;
	const char *verdict = "unknown";

	memcpy(&result, memory, sizeof(result));
	if (result.verdict <= TDX_HOST_VERDICT_NOTE)
		verdict = verdicts[result.verdict];
	printf("check=%u %.16s %s %d", result.check, result.name, verdict, result.error);
	print_text(" text", result.text, sizeof(result.text));
	for (size_t i = sizeof(result); i < size; i++) {
		if (memory[i]) {
			printf("padding=not zero\n");
			break;
		}
	}
}

static int cmd_check(const char *path)
{
	struct tdx_host_check check = {
		.flags = value(FLAGS, 0),
		.reserved = value(RESERVED, 0),
		.result_size = value(RESULT_SIZE, sizeof(struct tdx_host_check_result)),
		.nr_results = value(NR_RESULTS, MAX_RESULTS),
		.error = -1,
	};
	uint64_t asked = check.nr_results, stride = check.result_size, address, size, made;
	unsigned char *results = allocate(MAX_RESULTS * PAGE_SIZE);
	bool overrun = false;
	int err;

	if (read_image(path, &address, &size))
		return 2;
	check.image = address;
	check.image_size = size;
	check.results = value(RESULTS, (uintptr_t)results);
	memset(results, UNTOUCHED, MAX_RESULTS * PAGE_SIZE);

	err = call(TDX_HOST_CHECK, &check, sizeof(check), &overrun);
	print_error(err);
	if (!err) {
		printf("error=%d\nnr_results=%u\n", check.error, check.nr_results);
		made = check.nr_results < asked ? check.nr_results : asked;
		for (uint64_t i = 0; i < made; i++)
			print_result(results + i * stride, stride);
		for (uint64_t i = made * stride; i < MAX_RESULTS * PAGE_SIZE; i++)
			overrun |= results[i] != UNTOUCHED;
	}
	return finish(err, overrun);
}

static int cmd_update(const char *path)
{
	struct tdx_host_update update;
	uint64_t address, size;
	bool overrun = false;
	int err;

	if (read_image(path, &address, &size))
		return 2;
	memset(&update, 0xFF, sizeof(update));
	update.flags = value(FLAGS, 0);
	update.image = address;
	update.image_size = size;
	update.wait_ms = value(WAIT, 0);
	update.reserved = value(RESERVED, 0);
	update.outcome = TDX_HOST_OUTCOME_NONE;

	err = call(TDX_HOST_UPDATE, &update, sizeof(update), &overrun);
	print_error(err);
	printf("outcome=%u\n", update.outcome);
	if (update.outcome != TDX_HOST_OUTCOME_NONE) {
		printf("step=%u\nerror=%d\ncpu=%d\n", update.step, update.error, update.cpu);
		printf("leaf=%#llx\nstatus=%#llx\n", (unsigned long long)update.leaf,
		       (unsigned long long)update.status);
		printf("reason=%u\ncount=%u\nattempts=%u\nreserved2=%u\n", update.reason,
		       update.count, update.attempts, update.reserved2);
		printf("blackout_ns=%llu\n", (unsigned long long)update.blackout_ns);
		printf("total_blackout_ns=%llu\n",
		       (unsigned long long)update.total_blackout_ns);
		print_version("from", &update.from);
		print_version("to", &update.to);
		print_text("text", update.text, sizeof(update.text));
	}
	return finish(err, overrun);
}

/* An ioctl of that number, of the device's type or with the number as it is. */
static int cmd_raw(const char *number)
{
	unsigned long request = strtoul(number, NULL, 0);
	int fd, err;

	if (request < 0x100)
		request = _IO(TDX_HOST_IOC_TYPE, request);
	fd = open_device();
	err = fd < 0 || ioctl(fd, request, value(STRUCTURE, 0)) ? errno : 0;
	print_error(err);
	return err ? 1 : 0;
}

/* One of those that are at a limit, or anything. */
static uint64_t any_number(void)
{
	static const uint64_t limits[] = {
		0, 0, 0, 1,
		sizeof(struct tdx_host_info) - 1, sizeof(struct tdx_host_info),
		sizeof(struct tdx_host_check) - 1, sizeof(struct tdx_host_check),
		sizeof(struct tdx_host_check_result) - 1, sizeof(struct tdx_host_check_result),
		sizeof(struct tdx_host_update) - 1, sizeof(struct tdx_host_update),
		4096, 4097, TDX_HOST_IMAGE_MAX, TDX_HOST_IMAGE_MAX + 1,
		INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX,
	};
	uint64_t pick = random() % 28;

	if (pick < sizeof(limits) / sizeof(*limits))
		return limits[pick];
	return (uint64_t)random() << 33 ^ random();
}

/*
 * So many ioctls with a structure of anything; the first argument makes it the
 * same in every run. An image that could do something does not come about by
 * chance.
 */
static int cmd_random(const char *seed, const char *number)
{
	unsigned long count = strtoul(number, NULL, 0), done = 0;
	uint64_t *memory = allocate(ROOM);
	int fd;

	srandom(strtoul(seed, NULL, 0));
	fd = open_device();
	if (fd < 0)
		return complain(DEVICE);
	for (unsigned long i = 0; i < count; i++) {
		for (size_t at = 0; at < ROOM / 4 / sizeof(*memory); at++)
			memory[at] = random() % 64 ? 0 : any_number();
		for (size_t at = 1; at < 6; at++)
			memory[at] = random() % 2 ? any_number() : (uintptr_t)memory;
		/* Size and flags */
		memory[0] = (__u32)any_number() | (random() % 4 ? 0 : any_number() << 32);
		if (!ioctl(fd, _IO(TDX_HOST_IOC_TYPE, random() % 4), memory))
			done++;
	}
	close(fd);
	printf("succeeded=%lu\n", done);
	return 0;
}

static int print_usage(void)
{
	fputs("usage: ioctl [OPTION...] COMMAND\n"
	      "  info           TDX_HOST_INFO\n"
	      "  check IMAGE    TDX_HOST_CHECK\n"
	      "  update IMAGE   TDX_HOST_UPDATE\n"
	      "  raw NUMBER     an ioctl of any other number\n"
	      "  random SEED COUNT\n"
	      "                 so many ioctls with anything\n"
	      "What the structure holds:\n"
	      "  --size N --tail BYTE --flags N --reserved N --wait MS --image ADDRESS\n"
	      "  --image-size N --results ADDRESS --result-size N --nr-results N\n"
	      "Where it is, and who opens the device and makes the ioctl:\n"
	      "  --structure ADDRESS --open-uid N --uid N --without-cap N\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const char *command;
	int option;

	for (option = 0; option < OPTIONS; option++)
		values[option] = DEFAULT;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option >= OPTIONS)
			return print_usage();
		values[option] = strtoull(optarg, NULL, 0);
	}
	if (optind == argc)
		return print_usage();
	command = argv[optind++];

	if (!strcmp(command, "info") && optind == argc)
		return cmd_info();
	if (!strcmp(command, "random") && optind + 2 == argc)
		return cmd_random(argv[optind], argv[optind + 1]);
	if (optind + 1 != argc)
		return print_usage();
	if (!strcmp(command, "check"))
		return cmd_check(argv[optind]);
	if (!strcmp(command, "update"))
		return cmd_update(argv[optind]);
	if (!strcmp(command, "raw"))
		return cmd_raw(argv[optind]);
	return print_usage();
}
