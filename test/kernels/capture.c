/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loads the BPF object on whatever kernel it is started on, attaches it, plays frames or runs a command, and prints
 * what the maps hold, a line each. Statically linked: a guest without any library can run it. It judges nothing;
 * test/kernels/kernels.test.ts does.
 *
 *   capture verify OBJECT     each program alone, with no capability but the agent's three: what the verifier said
 *   capture run OBJECT tcx|clsact [-f FRAMES] [-t TYPE:PROTOCOL:PORT]... IFACE:ROLE:PEER... [-- COMMAND...]
 *
 * PEER is the other end of a veth, where a frame is sent to arrive at IFACE; `tun` makes IFACE a TUN device. FRAMES is a
 * file of records: device number, 1 for egress, length (16 bits, little-endian), then so many bytes.
 * Exit code 3: this kernel does not attach in that way.
 */
#define _GNU_SOURCE
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../bpf/flow.h"

#define TCX_INGRESS 46
#define TCX_EGRESS 47
#define AT_HEAD (1u << 3) /* BPF_F_BEFORE */
#define MAX_DEVICES 4
#define UNSUPPORTED 3
#define ARRIVAL_MS 5000

struct device {
	const char *name, *role, *peer;
	int ifindex;
	int programs[2]; /* file descriptors, by ingress and egress */
	int ways[2]; /* where a frame is put to pass there */
};

static char verifier_log[0xffffff];

static void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	printf("error ");
	vprintf(format, arguments);
	printf(": %s\n", strerror(errno));
	va_end(arguments);
	exit(1);
}

static double milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* libbpf's own words, for people who debug this. */
static int say(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return getenv("LIBBPF_TELLS") ? vprintf(format, arguments) : 0;
}

static struct bpf_object *open_object(const char *path, unsigned int log_level)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .kernel_log_buf = verifier_log, .kernel_log_size = sizeof(verifier_log),
		    .kernel_log_level = log_level);
	struct bpf_object *object = bpf_object__open_file(path, &options);
	const char *big[] = { "views4", "views6" };

	if (!object)
		fail("open %s", path);
	for (int i = 0; i < 2; i++)
		bpf_map__set_max_entries(bpf_object__find_map_by_name(object, big[i]), 1024);
	bpf_map__set_max_entries(bpf_object__find_map_by_name(object, "events"), 1024 * 1024);
	return object;
}

/* The verifier's reason: the last line before its statistics. */
static const char *last_words(void)
{
	char *found = strstr(verifier_log, "\nprocessed ");

	if (found)
		*found = 0;
	found = strrchr(verifier_log, '\n');
	return found ? found + 1 : verifier_log;
}

/* Loads one program alone; prints `program NAME loaded INSTRUCTIONS STATES MS` or `program NAME refused ERRNO REASON`. */
static void verify(const char *path, const char *name)
{
	struct bpf_object *object = open_object(path, 4);
	struct bpf_program *program;
	unsigned int instructions = 0, states = 0;
	double started;
	char *found;
	int error;

	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	verifier_log[0] = 0;
	started = milliseconds();
	error = bpf_object__load(object);
	started = milliseconds() - started;
	bpf_object__close(object);
	if (!error) {
		found = strstr(verifier_log, "processed ");
		if (found)
			sscanf(found, "processed %u insns (limit %*u) max_states_per_insn %*u total_states %u", &instructions, &states);
		printf("program %s loaded %u %u %.1f\n", name, instructions, states, started);
		return;
	}
	/* once more, to hear why */
	object = open_object(path, 1);
	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, !strcmp(bpf_program__name(program), name));
	verifier_log[0] = 0;
	bpf_object__load(object);
	bpf_object__close(object);
	printf("program %s refused %d %s\n", name, -error, last_words());
}

/* Leaves what an agent has that is not privileged; kernels before 5.11 charge maps to RLIMIT_MEMLOCK. */
static void drop_privileges(void)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};
	const int kept[] = { CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF };

	for (int i = 0; i < 3; i++) {
		data[kept[i] / 32].effective |= 1u << kept[i] % 32;
		data[kept[i] / 32].permitted |= 1u << kept[i] % 32;
	}
	setrlimit(RLIMIT_MEMLOCK, &unlimited); /* where that is refused and matters, the maps tell */
	if (syscall(SYS_capset, &header, data))
		fail("drop capabilities");
}

static void verify_all(const char *path)
{
	struct bpf_object *object = open_object(path, 0);
	struct bpf_program *program;

	drop_privileges();
	bpf_object__for_each_program(program, object)
		verify(path, bpf_program__name(program));
	bpf_object__close(object);
}

/* What the agent would load for these devices: with conntrack where the kernel takes it. */
static struct bpf_object *load(const char *path, struct device *devices, int count, bool conntrack)
{
	struct bpf_object *object = open_object(path, 0);
	struct bpf_program *program;
	bool missing = false;
	char name[64];

	bpf_object__for_each_program(program, object)
		bpf_program__set_autoload(program, false);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s_ingress", devices[i].role);
		bpf_program__set_autoload(bpf_object__find_program_by_name(object, name), true);
		snprintf(name, sizeof(name), "%s_egress%s", devices[i].role, conntrack ? "_ct" : "");
		program = bpf_object__find_program_by_name(object, name);
		if (program)
			bpf_program__set_autoload(program, true);
		else
			missing = true;
	}
	if (missing || bpf_object__load(object)) {
		bpf_object__close(object);
		if (!conntrack)
			fail("load %s: %s", path, last_words());
		return load(path, devices, count, false);
	}
	printf("conntrack %d\n", conntrack);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%s_ingress", devices[i].role);
		devices[i].programs[0] = bpf_program__fd(bpf_object__find_program_by_name(object, name));
		snprintf(name, sizeof(name), "%s_egress%s", devices[i].role, conntrack ? "_ct" : "");
		devices[i].programs[1] = bpf_program__fd(bpf_object__find_program_by_name(object, name));
	}
	return object;
}

static int packet_socket(int ifindex)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_ifindex = ifindex };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("packet socket");
	return fd;
}

static int make_tun(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int tun = open("/dev/net/tun", O_RDWR), control = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
	if (tun < 0 || control < 0 || ioctl(tun, TUNSETIFF, &request))
		fail("tun device");
	request.ifr_flags = IFF_UP;
	if (ioctl(control, SIOCSIFFLAGS, &request))
		fail("raise tun device");
	close(control);
	return tun;
}

static void prepare(struct device *device)
{
	bool tun = !strcmp(device->peer, "tun");

	if (tun)
		device->ways[0] = make_tun(device->name);
	device->ifindex = if_nametoindex(device->name);
	if (!device->ifindex)
		fail("interface %s", device->name);
	if (!tun)
		device->ways[0] = packet_socket(if_nametoindex(device->peer));
	device->ways[1] = packet_socket(device->ifindex);
	printf("device %s %d\n", device->name, device->ifindex);
}

static void attach(struct device *device, bool tcx, int hooks)
{
	LIBBPF_OPTS(bpf_link_create_opts, head, .flags = AT_HEAD);
	LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = device->ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	struct hook_counters zero = {};

	if (!tcx && bpf_tc_hook_create(&both))
		fail("clsact on %s", device->name);
	for (int egress = 0; egress < 2; egress++) {
		LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = device->ifindex,
			    .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
		LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = device->programs[egress]);
		__u32 number = (__u32)device->ifindex << 1 | egress;

		if (bpf_map_update_elem(hooks, &number, &zero, BPF_ANY))
			fail("hook entry");
		if (tcx) {
			int link = bpf_link_create(device->programs[egress], device->ifindex, egress ? TCX_EGRESS : TCX_INGRESS,
						   &head);

			if (link == -EINVAL) {
				printf("unsupported tcx\n");
				exit(UNSUPPORTED);
			}
			if (link < 0)
				fail("tcx on %s", device->name);
		} else if (bpf_tc_attach(&hook, &filter))
			fail("filter on %s", device->name);
	}
}

static unsigned long long runs(int program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size))
		fail("program info");
	return info.run_cnt;
}

/* Sends each frame when the one before has gone through its program. */
static void play(const char *path, struct device *devices)
{
	FILE *file = fopen(path, "r");
	unsigned char head[4], frame[65536];
	int sent = 0;

	if (!file)
		fail("open %s", path);
	while (fread(head, sizeof(head), 1, file) == 1) {
		struct device *device = &devices[head[0]];
		size_t length = head[2] | head[3] << 8;
		unsigned long long before = runs(device->programs[head[1]]);
		double deadline = milliseconds() + ARRIVAL_MS;
		struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = device->ifindex };
		bool l3 = !strcmp(device->peer, "tun");
		ssize_t done;

		if (fread(frame, 1, length, file) != length)
			fail("%s ends early", path);
		to.sll_protocol = htons(frame[0] >> 4 == 6 ? ETH_P_IPV6 : ETH_P_IP);
		if (l3 && head[1])
			done = sendto(device->ways[1], frame, length, 0, (struct sockaddr *)&to, sizeof(to));
		else
			done = write(device->ways[head[1]], frame, length);
		if (done != (ssize_t)length)
			fail("frame %d on %s", sent, device->name);
		while (runs(device->programs[head[1]]) == before) {
			if (milliseconds() > deadline) {
				errno = ETIMEDOUT;
				fail("frame %d did not pass %s", sent, device->name);
			}
			sched_yield();
		}
		sent++;
	}
	fclose(file);
	printf("sent %d\n", sent);
}

static void print_hex(const void *data, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)data)[i]);
}

/* In one batch where the kernel has that (5.6), else key by key. */
static void dump_map(const char *word, struct bpf_map *map, bool *batched)
{
	__u32 key_size = bpf_map__key_size(map), value_size = bpf_map__value_size(map), count = bpf_map__max_entries(map);
	char *keys = calloc(count, key_size), *values = calloc(count, value_size);
	__u32 cursor = 0;
	int error = bpf_map_lookup_batch(bpf_map__fd(map), NULL, &cursor, keys, values, &count, NULL);

	*batched = !error || error == -ENOENT;
	if (!*batched) {
		void *previous = NULL;

		for (count = 0; count < bpf_map__max_entries(map); count++) {
			if (bpf_map_get_next_key(bpf_map__fd(map), previous, keys + count * key_size))
				break;
			previous = keys + count * key_size;
			bpf_map_lookup_elem(bpf_map__fd(map), previous, values + count * value_size);
		}
	}
	for (__u32 i = 0; i < count; i++) {
		printf("%s ", word);
		print_hex(keys + i * key_size, key_size);
		printf(" ");
		print_hex(values + i * value_size, value_size);
		printf("\n");
	}
	free(keys);
	free(values);
}

static int print_event(void *context, void *data, size_t size)
{
	printf("event ");
	print_hex(data, size);
	printf("\n");
	return 0;
}

static void dump(struct bpf_object *object)
{
	struct ring_buffer *ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "events"), print_event, NULL, NULL);
	int losses = bpf_object__find_map_fd_by_name(object, "losses"), cpus = libbpf_num_possible_cpus();
	__u64 *cells = calloc(cpus, sizeof(*cells));
	bool batched;

	dump_map("view4", bpf_object__find_map_by_name(object, "views4"), &batched);
	dump_map("view6", bpf_object__find_map_by_name(object, "views6"), &batched);
	dump_map("hook", bpf_object__find_map_by_name(object, "hooks"), &batched);
	printf("batch %d\n", batched);
	for (__u32 which = 0; which < LOSS_COUNT; which++) {
		__u64 sum = 0;

		bpf_map_lookup_elem(losses, &which, cells);
		for (int cpu = 0; cpu < cpus; cpu++)
			sum += cells[cpu];
		printf("loss %u %llu\n", which, (unsigned long long)sum);
	}
	if (!ring || ring_buffer__consume(ring) < 0)
		fail("ring");
	printf("ring 1\n");
	ring_buffer__free(ring);
	free(cells);
}

static void add_tunnel(int tunnels, const char *text)
{
	struct tunnel_key key = { .family = 4 };
	struct tunnel_device device = {};
	unsigned int type, protocol, port;

	if (sscanf(text, "%u:%u:%u", &type, &protocol, &port) != 3)
		fail("tunnel %s", text);
	key.port = htons(port);
	key.protocol = protocol;
	device.type = type;
	if (bpf_map_update_elem(tunnels, &key, &device, BPF_ANY))
		fail("tunnel entry");
}

static void detach(struct device *devices, int count, bool tcx)
{
	for (int i = 0; i < count && !tcx; i++) {
		LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = devices[i].ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

		bpf_tc_hook_destroy(&both);
	}
}

static int run(int argc, char **argv)
{
	const char *path = argv[2], *frames = NULL, *tunnels[8];
	bool tcx = !strcmp(argv[3], "tcx");
	struct device devices[MAX_DEVICES] = {};
	int count = 0, tunnel_count = 0, at = 4, status = 0;
	struct bpf_object *object;

	for (; at < argc && strcmp(argv[at], "--"); at++) {
		if (!strcmp(argv[at], "-f") && at + 1 < argc)
			frames = argv[++at];
		else if (!strcmp(argv[at], "-t") && at + 1 < argc && tunnel_count < 8)
			tunnels[tunnel_count++] = argv[++at];
		else if (count < MAX_DEVICES) {
			devices[count].name = strtok(argv[at], ":");
			devices[count].role = strtok(NULL, ":");
			devices[count].peer = strtok(NULL, ":");
			prepare(&devices[count++]);
		}
	}
	object = load(path, devices, count, true);
	for (int i = 0; i < tunnel_count; i++)
		add_tunnel(bpf_object__find_map_fd_by_name(object, "tunnels"), tunnels[i]);
	for (int i = 0; i < count; i++)
		attach(&devices[i], tcx, bpf_object__find_map_fd_by_name(object, "hooks"));
	printf("attached %s\n", argv[3]);
	if (bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		fail("program statistics");
	if (frames)
		play(frames, devices);
	if (at + 1 < argc) {
		pid_t child;

		fflush(stdout);
		child = fork();
		if (child == 0) {
			execvp(argv[at + 1], argv + at + 1);
			_exit(127);
		}
		if (child < 0 || waitpid(child, &status, 0) != child || status)
			fail("%s ended with %d", argv[at + 1], status);
	}
	dump(object);
	detach(devices, count, tcx);
	bpf_object__close(object);
	printf("done\n");
	return 0;
}

int main(int argc, char **argv)
{
	cpu_set_t first;

	/* on one CPU a frame put into a veth has passed, or waits where the loop in play() sees it */
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	sched_setaffinity(0, sizeof(first), &first);
	setvbuf(stdout, NULL, _IOLBF, 0);
	libbpf_set_print(say);
	if (argc == 3 && !strcmp(argv[1], "verify")) {
		verify_all(argv[2]);
		return 0;
	}
	if (argc > 4 && !strcmp(argv[1], "run"))
		return run(argc, argv);
	fprintf(stderr, "usage: capture verify OBJECT | capture run OBJECT tcx|clsact ... (see the head of capture.c)\n");
	return 2;
}
