// SPDX-License-Identifier: Apache-2.0
// Datagrams: sent at a rate or each after the echo of an earlier one, received, echoed.

#include "traffic.h"

int udp_server(void)
{
	if (!option.listen)
		usage("udp-server needs --listen");
	union address at = parse(option.listen, 0);
	int fd = socket(at.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int size = 64 << 20;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 ||
	    bind(fd, &at.any, size_of(&at)) < 0)
		die(option.listen);
	int ending = end_signal();
	watch(fd, EPOLLIN, &fd);
	watch(ending, EPOLLIN, &ending);
	ready(fd);
	static uint8_t data[BATCH][65536];
	static union address peers[BATCH];
	struct mmsghdr messages[BATCH];
	struct iovec parts[BATCH];
	uint64_t received = 0, bytes = 0, sent = 0;
	struct epoll_event events[2];
	for (int ended = 0; !ended;) {
		int n = epoll_wait(epoll, events, 2, -1);
		for (int i = 0; i < n; i++)
			if (events[i].data.ptr == &ending)
				ended = 1;
		for (;;) {
			for (int i = 0; i < BATCH; i++) {
				parts[i] = (struct iovec){ data[i], sizeof(data[i]) };
				messages[i] = (struct mmsghdr){ .msg_hdr = { .msg_name = &peers[i], .msg_namelen = sizeof(peers[i]),
									    .msg_iov = &parts[i], .msg_iovlen = 1 } };
			}
			int got = recvmmsg(fd, messages, BATCH, 0, NULL);
			if (got <= 0)
				break;
			for (int i = 0; i < got; i++) {
				received++;
				bytes += messages[i].msg_len;
				parts[i].iov_len = messages[i].msg_len;
			}
			for (int done = 0; option.echo && done < got;) {
				int n = sendmmsg(fd, messages + done, (unsigned)(got - done), 0);
				if (n <= 0)
					break;
				done += n;
				sent += (uint64_t)n;
			}
		}
	}
	printf("{\"received\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"sent\":%" PRIu64 "}\n", received, bytes, sent);
	return 0;
}

// Without --window datagrams are sent and forgotten; with it at most so many are under way and each waits for its echo
// (for at most a second when one is lost).
int udp_send(void)
{
	if (!option.to)
		usage("udp-send needs --to");
	union address to = parse(option.to, 0), from = { 0 };
	from.any.sa_family = to.any.sa_family;
	if (option.from)
		from = parse(option.from, 1);
	int *fds = calloc(option.sockets, sizeof(*fds));
	for (uint64_t i = 0; i < option.sockets; i++) {
		union address own = from;
		uint16_t port = option.source_port ? htons((uint16_t)(option.source_port + i)) : 0;
		if (own.any.sa_family == AF_INET)
			own.v4.sin_port = port;
		else
			own.v6.sin6_port = port;
		fds[i] = socket(to.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		int size = 16 << 20;
		if (fds[i] < 0 || bind(fds[i], &own.any, size_of(&own)) < 0 || connect(fds[i], &to.any, size_of(&to)) < 0)
			die("socket");
		setsockopt(fds[i], SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
		watch(fds[i], EPOLLIN, &fds[i]);
	}
	uint64_t started = now_ns(), deadline = started + option.seconds * 1000000000ull, heard = started;
	uint64_t sent = 0, received = 0, errors = 0, lost = 0, bytes = 0;
	struct epoll_event events[BATCH];
	while (sent < option.count || (option.window && received + lost < sent)) {
		uint64_t now = now_ns();
		if (now > deadline)
			break;
		uint64_t until = due(now - started, option.count, option.rate);
		while (sent < until && (!option.window || sent - received - lost < option.window)) {
			ssize_t n = send(fds[sent % option.sockets], chunk, option.size, MSG_NOSIGNAL);
			if (n < 0 && errno == EAGAIN)
				break;
			if (n < 0 && errno != ECONNREFUSED)
				die("send");
			if (n < 0) {
				errors++; // what an earlier datagram was answered with; nothing was sent
				continue;
			}
			sent++;
			bytes += (uint64_t)n;
		}
		int idle = option.window ? (sent < option.count && sent - received - lost < option.window ? 1 : 20) : 1;
		if (!option.window && sent < until)
			idle = 0;
		if (!option.window && sent >= option.count)
			break;
		int n = epoll_wait(epoll, events, BATCH, idle);
		for (int i = 0; i < n; i++) {
			int fd = *(int *)events[i].data.ptr;
			for (;;) {
				ssize_t got = recv(fd, chunk, CHUNK, 0);
				if (got < 0 && errno == ECONNREFUSED)
					errors++;
				if (got < 0)
					break;
				received++;
				heard = now_ns();
			}
		}
		if (option.window && sent > received + lost && now_ns() - heard > 1000000000ull) {
			lost = sent - received;
			heard = now_ns();
		}
	}
	printf("{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"errors\":%" PRIu64
	       ",\"milliseconds\":%" PRIu64 "}\n",
	       sent, received, bytes, errors, (now_ns() - started) / 1000000);
	if (sent < option.count) {
		fprintf(stderr, "traffic: not done after %" PRIu64 " s\n", option.seconds);
		return 1;
	}
	return 0;
}
