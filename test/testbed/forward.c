// SPDX-License-Identifier: Apache-2.0
// Leads 127.0.0.1:PORT of the namespace it is started in to an address inside another one. A socket belongs to the
// namespace in which it was made: the listener is made first, then setns(2), and all later sockets are made there.
// Usage: forward --netns PATH --to ADDR:PORT [--listen PORT]; prints "READY PORT". Ends on SIGTERM.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS 256
#define CHUNK 65536

struct pair;

// One direction's buffer stands with the side it was read from.
struct side {
	struct pair *pair;
	int fd;
	uint8_t *data;
	size_t start, end;
	int read_end; // the peer said that no more comes
	int write_shut;
};

struct pair {
	struct side side[2];
	int used;
};

static struct pair pairs[PAIRS];
static int epoll;

static void die(const char *what)
{
	fprintf(stderr, "forward: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void drop(struct pair *pair)
{
	for (int i = 0; i < 2; i++) {
		if (pair->side[i].fd >= 0)
			close(pair->side[i].fd);
		free(pair->side[i].data);
	}
	memset(pair, 0, sizeof(*pair));
}

// Moves what can be moved from `from` to `to`. Returns -1 when the pair is over.
static int move(struct side *from, struct side *to)
{
	for (;;) {
		if (from->start == from->end) {
			from->start = from->end = 0;
			if (from->read_end) {
				if (!to->write_shut) {
					shutdown(to->fd, SHUT_WR);
					to->write_shut = 1;
				}
				return 0;
			}
			ssize_t n = read(from->fd, from->data, CHUNK);
			if (n < 0)
				return errno == EAGAIN ? 0 : -1;
			if (n == 0) {
				from->read_end = 1;
				continue;
			}
			from->end = (size_t)n;
		}
		ssize_t n = send(to->fd, from->data + from->start, from->end - from->start, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == ENOTCONN ? 0 : -1;
		from->start += (size_t)n;
	}
}

static void watch(struct side *side)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = side };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, side->fd, &event) < 0)
		die("epoll_ctl");
}

static void take(int listener, const struct sockaddr_in *to)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	struct pair *pair = NULL;
	for (int i = 0; i < PAIRS && !pair; i++)
		if (!pairs[i].used)
			pair = &pairs[i];
	int other = pair ? socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
	if (other < 0 || (connect(other, (const struct sockaddr *)to, sizeof(*to)) < 0 && errno != EINPROGRESS)) {
		close(fd);
		if (other >= 0)
			close(other);
		return;
	}
	pair->used = 1;
	int fds[2] = { fd, other };
	for (int i = 0; i < 2; i++) {
		pair->side[i] = (struct side){ .pair = pair, .fd = fds[i], .data = malloc(CHUNK) };
		if (!pair->side[i].data)
			die("malloc");
	}
	watch(&pair->side[0]);
	watch(&pair->side[1]);
}

int main(int argc, char **argv)
{
	const char *netns = NULL, *target = NULL;
	struct sockaddr_in listen_at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--netns"))
			netns = argv[i + 1];
		else if (!strcmp(argv[i], "--to"))
			target = argv[i + 1];
		else if (!strcmp(argv[i], "--listen"))
			listen_at.sin_port = htons((uint16_t)atoi(argv[i + 1]));
	}
	struct sockaddr_in to = { .sin_family = AF_INET };
	char host[64];
	unsigned port;
	if (!netns || !target || sscanf(target, "%63[0-9.]:%u", host, &port) != 2 ||
	    inet_pton(AF_INET, host, &to.sin_addr) != 1) {
		fprintf(stderr, "usage: forward --netns PATH --to ADDR:PORT [--listen PORT]\n");
		return 2;
	}
	to.sin_port = htons((uint16_t)port);

	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	socklen_t length = sizeof(listen_at);
	if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(listener, (struct sockaddr *)&listen_at, length) < 0 || listen(listener, 128) < 0 ||
	    getsockname(listener, (struct sockaddr *)&listen_at, &length) < 0)
		die("listen");
	int ns = open(netns, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
		die(netns);
	close(ns);
	signal(SIGPIPE, SIG_IGN);

	epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) < 0)
		die("epoll");
	printf("READY %u\n", ntohs(listen_at.sin_port));
	fflush(stdout);

	for (;;) {
		struct epoll_event event;
		// One at a time: dropping a pair would leave its other side's event pointing nowhere.
		if (epoll_wait(epoll, &event, 1, -1) < 0) {
			if (errno == EINTR)
				continue;
			die("epoll_wait");
		}
		struct side *side = event.data.ptr;
		if (!side) {
			take(listener, &to);
			continue;
		}
		struct pair *pair = side->pair;
		struct side *a = &pair->side[0], *b = &pair->side[1];
		if (move(a, b) < 0 || move(b, a) < 0 || (event.events & EPOLLERR) || (a->write_shut && b->write_shut))
			drop(pair);
	}
}
