// SPDX-License-Identifier: Apache-2.0
// Traffic whose numbers are known exactly: connections, bytes, datagrams, and what the sockets themselves counted.
// One thread, epoll, every run bounded in time. Results are one line of JSON on stdout; servers print "READY PORT" when
// they can be reached and their result on SIGTERM. Exit codes: 0 done, 1 failed, 2 wrong usage.
//
// A TCP connection here: the client sends --bytes-out octets, of which the first 16 say how many there are and how many
// it wants back; the server reads them all, answers with so many, and the client closes first.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_packet.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHUNK (256 * 1024)
#define BATCH 64

static uint8_t chunk[CHUNK];

static void die(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void usage(const char *what)
{
	fprintf(stderr,
		"traffic: %s\n"
		"tcp-server  --listen ADDR:PORT [--hold]\n"
		"tcp-connect --to ADDR:PORT [--count N] [--rate N/s] [--parallel N] [--bytes-out N] [--bytes-in N]\n"
		"            [--from ADDR] [--source-port P] [--reset] [--connect-timeout MS] [--ports] [--seconds N]\n"
		"udp-server  --listen ADDR:PORT [--echo]\n"
		"udp-send    --to ADDR:PORT [--count N] [--rate N/s] [--size N] [--sockets N] [--window N]\n"
		"            [--from ADDR] [--source-port P] [--seconds N]\n"
		"frames      --interface NAME [--count N] [--rate N/s] < frames in hex, one a line\n"
		"flood       --interface NAME [--count N] [--rate N/s] [--seconds N] < one IPv4 frame in hex\n",
		what);
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

// "1.2.3.4:80", "[::1]:80" or, with bare set, an address alone.
static union address parse(const char *text, int bare)
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

static socklen_t size_of(const union address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

static uint16_t port_of(int fd)
{
	union address a;
	socklen_t length = sizeof(a);
	if (getsockname(fd, &a.any, &length) < 0)
		return 0;
	return ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);
}

static struct {
	const char *to, *listen, *from, *interface;
	uint64_t count, rate, parallel, bytes_out, bytes_in, size, sockets, window, seconds, connect_timeout;
	unsigned source_port;
	int reset, ports, echo, hold;
} option = { .count = 1, .parallel = 256, .bytes_out = 16, .size = 64, .sockets = 1, .seconds = 60,
	     .connect_timeout = 5000 };

static uint64_t number(const char *text)
{
	char *end;
	errno = 0;
	uint64_t value = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-')
		usage(text);
	return value;
}

static void options(int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		const char *name = argv[i];
		if (!strcmp(name, "--reset")) { option.reset = 1; continue; }
		if (!strcmp(name, "--ports")) { option.ports = 1; continue; }
		if (!strcmp(name, "--echo")) { option.echo = 1; continue; }
		if (!strcmp(name, "--hold")) { option.hold = 1; continue; }
		if (i + 1 >= argc)
			usage(name);
		const char *value = argv[++i];
		if (!strcmp(name, "--to")) option.to = value;
		else if (!strcmp(name, "--listen")) option.listen = value;
		else if (!strcmp(name, "--from")) option.from = value;
		else if (!strcmp(name, "--interface")) option.interface = value;
		else if (!strcmp(name, "--count")) option.count = number(value);
		else if (!strcmp(name, "--rate")) option.rate = number(value);
		else if (!strcmp(name, "--parallel")) option.parallel = number(value);
		else if (!strcmp(name, "--bytes-out")) option.bytes_out = number(value);
		else if (!strcmp(name, "--bytes-in")) option.bytes_in = number(value);
		else if (!strcmp(name, "--size")) option.size = number(value);
		else if (!strcmp(name, "--sockets")) option.sockets = number(value);
		else if (!strcmp(name, "--window")) option.window = number(value);
		else if (!strcmp(name, "--seconds")) option.seconds = number(value);
		else if (!strcmp(name, "--connect-timeout")) option.connect_timeout = number(value);
		else if (!strcmp(name, "--source-port")) option.source_port = (unsigned)number(value);
		else usage(name);
	}
	if (option.bytes_out < 16)
		usage("--bytes-out takes 16 or more");
	if (option.size > 65507 || option.sockets < 1 || option.sockets > 60000 || option.parallel < 1)
		usage("--size, --sockets or --parallel out of range");
}

static int epoll;

static void watch(int fd, uint32_t events, void *data)
{
	struct epoll_event event = { .events = events, .data.ptr = data };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
}

static void ready(int fd)
{
	printf("READY %u\n", port_of(fd));
	fflush(stdout);
}

// SIGTERM and SIGINT as a descriptor, so that a server prints its result between two events and not inside one.
static int end_signal(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// How many of `count` are due after `elapsed` ns at `rate` a second; all of them without a rate.
static uint64_t due(uint64_t elapsed, uint64_t count, uint64_t rate)
{
	if (!rate)
		return count;
	unsigned __int128 n = (unsigned __int128)elapsed * rate / 1000000000ull + 1;
	return n < count ? (uint64_t)n : count;
}

/* TCP */

static struct totals {
	uint64_t connections, ok, refused, timed_out, reset, failed;
	uint64_t bytes_out, bytes_in, segments_out, segments_in, data_segments_out, data_segments_in, retransmits;
	uint64_t rtt_us; // the last connection's
} totals;

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		memset(&info, 0, sizeof(info));
	return info;
}

static void add_info(int fd)
{
	struct tcp_info info = info_of(fd);
	totals.segments_out += info.tcpi_segs_out;
	totals.segments_in += info.tcpi_segs_in;
	totals.data_segments_out += info.tcpi_data_segs_out;
	totals.data_segments_in += info.tcpi_data_segs_in;
	totals.retransmits += info.tcpi_total_retrans;
	totals.rtt_us = info.tcpi_rtt;
}

static void print_totals(uint64_t started)
{
	printf("{\"connections\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"timedOut\":%" PRIu64
	       ",\"reset\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"bytesOut\":%" PRIu64 ",\"bytesIn\":%" PRIu64
	       ",\"segmentsOut\":%" PRIu64 ",\"segmentsIn\":%" PRIu64 ",\"dataSegmentsOut\":%" PRIu64
	       ",\"dataSegmentsIn\":%" PRIu64 ",\"retransmits\":%" PRIu64 ",\"rttUs\":%" PRIu64 ",\"milliseconds\":%" PRIu64,
	       totals.connections, totals.ok, totals.refused, totals.timed_out, totals.reset, totals.failed,
	       totals.bytes_out, totals.bytes_in, totals.segments_out, totals.segments_in, totals.data_segments_out,
	       totals.data_segments_in, totals.retransmits, totals.rtt_us, (now_ns() - started) / 1000000);
}

struct connection {
	int fd;
	enum { CONNECTING, SENDING, RECEIVING, CLOSING, LINGERING } state;
	uint64_t to_send, to_receive;
	uint8_t header[16];
	unsigned header_bytes; // sent by the client, received by the server
	uint64_t since;
	uint16_t port;
	struct connection *next, **back; // list of all
};

static struct connection *all;
static uint64_t open_now, lingering;

static struct connection *make_connection(int fd)
{
	struct connection *c = calloc(1, sizeof(*c));
	if (!c)
		die("calloc");
	c->fd = fd;
	c->since = now_ns();
	c->next = all;
	c->back = &all;
	if (all)
		all->back = &c->next;
	all = c;
	open_now++;
	totals.connections++;
	return c;
}

static void free_connection(struct connection *c)
{
	close(c->fd);
	*c->back = c->next;
	if (c->next)
		c->next->back = c->back;
	if (c->state == LINGERING)
		lingering--;
	free(c);
	open_now--;
}

// A connection is over; its socket's counters are final once the kernel has closed it (both FINs acknowledged).
static void finish(struct connection *c, uint64_t *how)
{
	(*how)++;
	add_info(c->fd);
	free_connection(c);
}

static uint64_t *kind_of_error(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return &totals.refused;
	case ETIMEDOUT:
		return &totals.timed_out;
	case ECONNRESET:
	case EPIPE:
		return &totals.reset;
	default:
		return &totals.failed;
	}
}

// Sends what is left; 1 when all of it is with the kernel, 0 when it must wait, -1 on an error in errno.
static int send_rest(struct connection *c)
{
	while (c->to_send > 0) {
		const uint8_t *from = chunk;
		size_t size = c->to_send < CHUNK ? c->to_send : CHUNK;
		ssize_t n = send(c->fd, from, size, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		c->to_send -= (uint64_t)n;
		totals.bytes_out += (uint64_t)n;
	}
	return 1;
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
		c->state = SENDING;
	}
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

static int tcp_connect(void)
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
	if (ports) {
		printf(",\"ports\":[");
		for (uint64_t i = 0; i < begun; i++)
			printf("%s%u", i ? "," : "", ports[i]);
		printf("]");
	}
	printf("}\n");
	return 0;
}

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

static int tcp_server(void)
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

/* UDP */

static int udp_server(void)
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
static int udp_send(void)
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

/* Frames as they are */

static int frames(void)
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
static int flood(void)
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

int main(int argc, char **argv)
{
	if (argc < 2)
		usage("which?");
	options(argc, argv);
	memset(chunk, 'v', sizeof(chunk));
	// As many descriptors as this process may have.
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	signal(SIGPIPE, SIG_IGN);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!strcmp(argv[1], "tcp-server")) return tcp_server();
	if (!strcmp(argv[1], "tcp-connect")) return tcp_connect();
	if (!strcmp(argv[1], "udp-server")) return udp_server();
	if (!strcmp(argv[1], "udp-send")) return udp_send();
	if (!strcmp(argv[1], "frames")) return frames();
	if (!strcmp(argv[1], "flood")) return flood();
	usage(argv[1]);
}
