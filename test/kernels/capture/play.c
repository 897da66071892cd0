/* SPDX-License-Identifier: Apache-2.0 */
/* Puts the frames of a file into devices, one after the other. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capture.h"

#define ARRIVAL_MS 5000

static unsigned long long runs(int program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size))
		fail("program info");
	return info.run_cnt;
}

/* Sends each frame when the one before has gone through its program. */
void play(const char *path, struct device *devices)
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
