// SPDX-License-Identifier: Apache-2.0
// The client of the TCP exchange: connects, sends, receives, closes first; counts what its sockets did.

#include "tcp.h"

// With --hold the connection stays open after its first segment: "OPEN" says that nothing is under way any more, SIGUSR1
// that it is to go on. What the socket had counted until then is reported beside the rest.
static struct {
	int told, go;
	struct tcp_info before;
} hold;

static void go_on(int signal)
{
	(void)signal;
	hold.go = 1;
}

static void client_step(struct connection *c, uint32_t events)
{
	if (c->state == CONNECTING) {
		int error = 0;
		socklen_t length = sizeof(error);
		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
		if (error) {
			finish(c, kind_of_error(error));
			return;
		}
		// The first 16 octets and the first of the rest in one segment, as a request would be.
		size_t first = option.bytes_out < 1024 ? option.bytes_out : 1024;
		memcpy(chunk, c->header, 16);
		ssize_t n = send(c->fd, chunk, first, MSG_NOSIGNAL);
		memset(chunk, 'v', 16);
		if (n != (ssize_t)first) {
			finish(c, n < 0 ? kind_of_error(errno) : &totals.failed);
			return;
		}
		totals.bytes_out += first;
		c->to_send = option.bytes_out - first;
		c->state = option.hold ? HELD : SENDING;
	}
	if (c->state == HELD)
		return;
	if (c->state == SENDING) {
		int sent = send_rest(c);
		if (sent < 0)
			finish(c, kind_of_error(errno));
		if (sent != 1)
			return;
		c->state = RECEIVING;
	}
	for (;;) {
		if (c->state == RECEIVING && c->to_receive == 0) {
			if (option.reset) {
				struct linger linger = { .l_onoff = 1, .l_linger = 0 };
				setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
				finish(c, &totals.ok);
				return;
			}
			shutdown(c->fd, SHUT_WR);
			c->state = CLOSING;
		}
		ssize_t n = recv(c->fd, chunk, CHUNK, MSG_TRUNC);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			finish(c, kind_of_error(errno));
			return;
		}
		if (n == 0) {
			finish(c, c->state == CLOSING ? &totals.ok : &totals.failed);
			return;
		}
		totals.bytes_in += (uint64_t)n;
		if ((uint64_t)n > c->to_receive) {
			finish(c, &totals.failed);
			return;
		}
		c->to_receive -= (uint64_t)n;
	}
}

int tcp_connect(void)
{
	if (!option.to)
		usage("tcp-connect needs --to");
	union address to = parse(option.to, 0);
	union address from = { 0 };
	if (option.from)
		from = parse(option.from, 1);
	else
		from.any.sa_family = to.any.sa_family;
	uint16_t *ports = option.ports ? calloc(option.count, sizeof(*ports)) : NULL;
	if (option.hold && option.count != 1)
		usage("--hold takes one connection");
	signal(SIGUSR1, go_on);
	uint64_t started = now_ns(), begun = 0;
	uint64_t deadline = started + option.seconds * 1000000000ull;
	struct epoll_event events[BATCH];
	while (begun < option.count || open_now > 0) {
		uint64_t now = now_ns();
		if (now > deadline) {
			fprintf(stderr, "traffic: not done after %" PRIu64 " s\n", option.seconds);
			while (all)
				finish(all, &totals.timed_out);
			break;
		}
		uint64_t until = due(now - started, option.count, option.rate);
		while (begun < until && open_now < option.parallel) {
			int fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
			if (fd < 0)
				die("socket");
			int one = 1;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			if (option.from || option.source_port) {
				union address own = from;
				uint16_t port = option.source_port ? htons((uint16_t)(option.source_port + begun)) : 0;
				if (own.any.sa_family == AF_INET)
					own.v4.sin_port = port;
				else
					own.v6.sin6_port = port;
				setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
				if (!port)
					setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
				if (bind(fd, &own.any, size_of(&own)) < 0)
					die("bind");
			}
			struct connection *c = make_connection(fd);
			uint64_t header[2] = { htobe64(option.bytes_out), htobe64(option.bytes_in) };
			memcpy(c->header, header, 16);
			c->to_receive = option.bytes_in;
			begun++;
			if (connect(fd, &to.any, size_of(&to)) < 0 && errno != EINPROGRESS) {
				if (errno == EADDRNOTAVAIL)
					die("no source port left");
				finish(c, kind_of_error(errno));
				continue;
			}
			c->port = port_of(fd);
			if (ports)
				ports[begun - 1] = c->port;
			watch(fd, EPOLLIN | EPOLLOUT | EPOLLET, c);
		}
		int wait = begun < option.count && open_now < option.parallel ? 1 : 50;
		if (option.hold && all && all->state == HELD) {
			wait = 5;
			hold.before = info_of(all->fd);
			if (!hold.told && hold.before.tcpi_unacked == 0 && hold.before.tcpi_data_segs_out > 0) {
				printf("OPEN\n");
				fflush(stdout);
				hold.told = 1;
			}
			if (hold.told && hold.go) {
				all->state = SENDING;
				client_step(all, EPOLLOUT);
			}
		}
		int n = epoll_wait(epoll, events, BATCH, wait);
		for (int i = 0; i < n; i++)
			client_step(events[i].data.ptr, events[i].events);
		// Connections that nobody answers; the list is looked through at most every 50 ms when nothing else is due.
		if (n == 0 && open_now > 0) {
			now = now_ns();
			for (struct connection *c = all, *next; c; c = next) {
				next = c->next;
				if (c->state == CONNECTING && now - c->since > option.connect_timeout * 1000000ull)
					finish(c, &totals.timed_out);
			}
		}
	}
	print_totals(started);
	if (option.hold)
		printf(",\"segmentsOutBefore\":%u,\"segmentsInBefore\":%u", hold.before.tcpi_segs_out,
		       hold.before.tcpi_segs_in);
	if (ports) {
		printf(",\"ports\":[");
		for (uint64_t i = 0; i < begun; i++)
			printf("%s%u", i ? "," : "", ports[i]);
		printf("]");
	}
	printf("}\n");
	return 0;
}
