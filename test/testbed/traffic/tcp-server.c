// SPDX-License-Identifier: Apache-2.0
// The server of the TCP exchange: reads all of a request, answers with as many octets as it asks for.

#include "tcp.h"

static void server_step(struct connection *c)
{
	for (;;) {
		if (c->state == SENDING) {
			int sent = send_rest(c);
			if (sent < 0)
				finish(c, kind_of_error(errno));
			if (sent != 1)
				return;
			c->state = CLOSING; // until the client closes
		}
		ssize_t n;
		if (c->header_bytes < 16)
			n = recv(c->fd, c->header + c->header_bytes, 16 - c->header_bytes, 0);
		else
			n = recv(c->fd, chunk, CHUNK, MSG_TRUNC);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			finish(c, kind_of_error(errno));
			return;
		}
		if (n == 0) {
			if (c->state != CLOSING) {
				finish(c, &totals.failed);
				return;
			}
			shutdown(c->fd, SHUT_WR);
			c->state = LINGERING;
			lingering++;
			return;
		}
		totals.bytes_in += (uint64_t)n;
		if (c->header_bytes < 16) {
			c->header_bytes += (unsigned)n;
			if (c->header_bytes < 16)
				continue;
			uint64_t header[2];
			memcpy(header, c->header, 16);
			c->to_receive = be64toh(header[0]) - 16;
			c->to_send = be64toh(header[1]);
		} else if (c->state == CLOSING || (uint64_t)n > c->to_receive) {
			finish(c, &totals.failed);
			return;
		} else {
			c->to_receive -= (uint64_t)n;
		}
		if (c->to_receive == 0)
			c->state = SENDING;
	}
}

int tcp_server(void)
{
	if (!option.listen)
		usage("tcp-server needs --listen");
	union address at = parse(option.listen, 0);
	int listener = socket(at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, &at.any, size_of(&at)) < 0 || listen(listener, 8192) < 0)
		die(option.listen);
	int ending = end_signal(), ended = 0;
	watch(listener, EPOLLIN, &listener);
	watch(ending, EPOLLIN, &ending);
	ready(listener);
	uint64_t started = now_ns(), linger_until = 0;
	struct epoll_event events[BATCH];
	for (;;) {
		int n = epoll_wait(epoll, events, BATCH, lingering > 0 ? 1 : ended ? 0 : -1);
		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			void *who = events[i].data.ptr;
			if (who == &ending) {
				struct signalfd_siginfo info;
				if (read(ending, &info, sizeof(info)) > 0) {
					ended = 1;
					linger_until = now_ns() + 500000000ull;
				}
			} else if (who == &listener) {
				// With --hold connections are left in the backlog: opened by the kernel, served by nobody.
				while (!option.hold) {
					int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
					if (fd < 0)
						break;
					setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
					struct connection *c = make_connection(fd);
					c->state = RECEIVING;
					watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
				}
				if (option.hold)
					epoll_ctl(epoll, EPOLL_CTL_DEL, listener, NULL);
			} else {
				struct connection *c = who;
				if (c->state != LINGERING)
					server_step(c);
			}
		}
		for (struct connection *c = lingering > 0 ? all : NULL, *next; c; c = next) {
			next = c->next;
			if (c->state == LINGERING && info_of(c->fd).tcpi_state == 7 /* TCP_CLOSE */)
				finish(c, &totals.ok);
		}
		// Asked to end: what is only waiting for its last acknowledgement may have it.
		if (ended && n <= 0 && (lingering == 0 || now_ns() > linger_until))
			break;
	}
	while (all)
		finish(all, &totals.failed);
	print_totals(started);
	printf("}\n");
	return 0;
}
