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
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "capture.h"

#define MAX_DEVICES 4

/* libbpf's own words, for people who debug this. */
static int say(enum libbpf_print_level level, const char *format, va_list arguments)
{
	return getenv("LIBBPF_TELLS") ? vprintf(format, arguments) : 0;
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
	fprintf(stderr, "usage: capture verify OBJECT | capture run OBJECT tcx|clsact ... (see the head of main.c)\n");
	return 2;
}
