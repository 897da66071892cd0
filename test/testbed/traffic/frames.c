// SPDX-License-Identifier: Apache-2.0
// Frames as they are: given ones again and again, or one from ever new sources.

#include "traffic.h"

int frames(void)
{
	if (!option.interface)
		usage("frames needs --interface");
	unsigned ifindex = if_nametoindex(option.interface);
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = (int)ifindex, .sll_halen = 6 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (!ifindex || fd < 0)
		die(option.interface);
	static struct { uint8_t data[9216]; size_t size; } list[256];
	size_t count = 0;
	static char line[20480];
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t size = 0;
		const char *p = line;
		unsigned octet;
		if (count == 256)
			usage("at most 256 frames");
		while (size < sizeof(list[0].data) && sscanf(p, "%2x", &octet) == 1) {
			list[count].data[size++] = (uint8_t)octet;
			p += 2;
		}
		if (*p != '\n' && *p != 0)
			usage("a frame that is not hex");
		if (size > 0)
			list[count++].size = size;
	}
	if (count == 0)
		usage("no frames on stdin");
	uint64_t started = now_ns(), sent = 0, bytes = 0;
	while (sent < option.count) {
		uint64_t until = due(now_ns() - started, option.count, option.rate);
		for (; sent < until; sent++)
			for (size_t i = 0; i < count; i++) {
				while (sendto(fd, list[i].data, list[i].size, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
					if (errno != ENOBUFS)
						die("sendto");
				bytes += list[i].size;
			}
		if (sent < option.count)
			usleep(1000);
	}
	printf("{\"sent\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n", sent * count, bytes);
	return 0;
}

/*
 * Sends an IPv4 frame (no options, TCP or UDP) with another random source address of 198.18.0.0/15 (RFC 2544) and source
 * port each time, past the queueing discipline. Checksums are not put right: what lies behind the first hooks drops them.
 */
int flood(void)
{
	if (!option.interface)
		usage("flood needs --interface");
	unsigned ifindex = if_nametoindex(option.interface);
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = (int)ifindex, .sll_halen = 6 };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1;
	if (!ifindex || fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on)))
		die(option.interface);
	static uint8_t frame[64][1514];
	static struct iovec vector[64];
	static struct mmsghdr message[64];
	size_t size = 0;
	unsigned octet;
	while (size < sizeof(frame[0]) && scanf("%2x", &octet) == 1)
		frame[0][size++] = (uint8_t)octet;
	if (size < 54)
		usage("flood needs a frame of 54 bytes or more");
	for (int i = 0; i < 64; i++) {
		memcpy(frame[i], frame[0], size);
		vector[i] = (struct iovec){ frame[i], size };
		message[i].msg_hdr = (struct msghdr){ .msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = &vector[i], .msg_iovlen = 1 };
	}
	uint64_t started = now_ns(), sent = 0, seed = 0x9e3779b97f4a7c15ull;
	uint64_t end = started + (uint64_t)option.seconds * 1000000000ull;
	while (sent < option.count && now_ns() < end) {
		uint64_t until = due(now_ns() - started, option.count, option.rate);
		while (sent < until) {
			unsigned batch = until - sent < 64 ? (unsigned)(until - sent) : 64;
			for (unsigned i = 0; i < batch; i++) {
				seed ^= seed << 13;
				seed ^= seed >> 7;
				seed ^= seed << 17;
				frame[i][26] = 198;
				frame[i][27] = 18 | (seed & 1);
				memcpy(&frame[i][28], &(uint32_t){ (uint32_t)(seed >> 8) }, 2);
				memcpy(&frame[i][34], &(uint32_t){ (uint32_t)(seed >> 32) }, 2);
			}
			int done = sendmmsg(fd, message, batch, 0);
			if (done < 0 && errno != ENOBUFS)
				die("sendmmsg");
			if (done > 0)
				sent += (uint64_t)done;
			if (now_ns() >= end)
				break;
		}
		if (sent < option.count)
			usleep(200);
	}
	printf("{\"sent\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"milliseconds\":%" PRIu64 "}\n", sent, sent * size,
	       (now_ns() - started) / 1000000);
	return 0;
}
