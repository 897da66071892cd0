// SPDX-License-Identifier: Apache-2.0
// What the subcommands share: addresses, clocks, events.

#include "traffic.h"

uint8_t chunk[CHUNK];
int epoll;

void die(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

union address parse(const char *text, int bare)
{
	union address a = { 0 };
	char host[64] = "";
	unsigned port = 0;
	int ok = bare ? sscanf(text, "%63s", host) == 1
		      : (sscanf(text, "[%63[^]]]:%u", host, &port) == 2 || sscanf(text, "%63[0-9.]:%u", host, &port) == 2);
	if (ok && port < 65536 && inet_pton(AF_INET, host, &a.v4.sin_addr) == 1) {
		a.v4.sin_family = AF_INET;
		a.v4.sin_port = htons((uint16_t)port);
	} else if (ok && port < 65536 && inet_pton(AF_INET6, host, &a.v6.sin6_addr) == 1) {
		a.v6.sin6_family = AF_INET6;
		a.v6.sin6_port = htons((uint16_t)port);
	} else {
		usage(text);
	}
	return a;
}

socklen_t size_of(const union address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

uint16_t port_of(int fd)
{
	union address a;
	socklen_t length = sizeof(a);
	if (getsockname(fd, &a.any, &length) < 0)
		return 0;
	return ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
}

void watch(int fd, uint32_t events, void *data)
{
	struct epoll_event event = { .events = events, .data.ptr = data };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

void ready(int fd)
{
	printf("READY %u\n", port_of(fd));
	fflush(stdout);
}

int end_signal(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

uint64_t due(uint64_t elapsed, uint64_t count, uint64_t rate)
{
	if (!rate)
		return count;
	unsigned __int128 n = (unsigned __int128)elapsed * rate / 1000000000ull + 1;
	return n < count ? (uint64_t)n : count;
}
