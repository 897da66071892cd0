/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two threads on one CPU that send frames out of a device, one of them from time to time in the midst of the other's
 * work: `contend DEVICE FRAMES INTERRUPTIONS`. Where the kernel lets a task be preempted on its way through the BPF
 * programs (PREEMPT_RT), the two meet there. Each frame has IP options, so it is looked at in the programs' scratch.
 * Thread 0 sends FRAMES of 64 octets of IP from UDP port 1, thread 1 INTERRUPTIONS of 96 octets from port 2.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define PAUSE_NS 50000
#define OPTIONS 8

struct sender {
	const char *device;
	long count;
	int port, octets, priority;
};

static void fail(const char *what)
{
	printf("error contend: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

static void *send_all(void *argument)
{
	const struct sender *sender = argument;
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_protocol = htons(0x0800),
				  .sll_ifindex = if_nametoindex(sender->device) };
	struct timespec pause = { .tv_nsec = PAUSE_NS };
	struct sched_param parameters = { .sched_priority = sender->priority };
	unsigned char frame[14 + 128] = { [12] = 0x08 };
	unsigned char *ip = frame + 14, *udp = ip + 20 + OPTIONS;
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)))
		fail(sender->device);
	if (sender->priority && (errno = pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters)))
		fail("real-time priority");
	ip[0] = 0x40 | (20 + OPTIONS) / 4;
	ip[3] = sender->octets;
	ip[8] = 64;
	ip[9] = 17;
	memcpy(ip + 12, "\12\1\0\11\12\2\0\4", 8); /* 10.1.0.9 to 10.2.0.4 */
	memset(ip + 20, 1, OPTIONS);
	udp[1] = sender->port;
	udp[3] = 9;
	udp[5] = sender->octets - 20 - OPTIONS;
	for (long i = 0; i < sender->count; i++) {
		if (send(fd, frame, 14 + sender->octets, 0) < 0)
			fail("send");
		if (sender->priority)
			nanosleep(&pause, NULL);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct sender senders[2] = { { .port = 1, .octets = 64 }, { .port = 2, .octets = 96, .priority = 50 } };
	pthread_t threads[2];
	cpu_set_t first;

	if (argc != 4) {
		fprintf(stderr, "usage: contend DEVICE FRAMES INTERRUPTIONS\n");
		return 2;
	}
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	if (sched_setaffinity(0, sizeof(first), &first))
		fail("one CPU");
	for (int i = 0; i < 2; i++) {
		senders[i].device = argv[1];
		senders[i].count = atol(argv[2 + i]);
		if ((errno = pthread_create(&threads[i], NULL, send_all, &senders[i])))
			fail("thread");
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return 0;
}
