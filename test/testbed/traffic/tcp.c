// SPDX-License-Identifier: Apache-2.0
// The list of connections and the sums of what their sockets counted.

#include "tcp.h"

struct totals totals;
struct connection *all;
uint64_t open_now, lingering;

struct tcp_info info_of(int fd)
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

void print_totals(uint64_t started)
{
	printf("{\"connections\":%" PRIu64 ",\"ok\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"timedOut\":%" PRIu64
	       ",\"reset\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"bytesOut\":%" PRIu64 ",\"bytesIn\":%" PRIu64
	       ",\"segmentsOut\":%" PRIu64 ",\"segmentsIn\":%" PRIu64 ",\"dataSegmentsOut\":%" PRIu64
	       ",\"dataSegmentsIn\":%" PRIu64 ",\"retransmits\":%" PRIu64 ",\"rttUs\":%" PRIu64 ",\"milliseconds\":%" PRIu64,
	       totals.connections, totals.ok, totals.refused, totals.timed_out, totals.reset, totals.failed,
	       totals.bytes_out, totals.bytes_in, totals.segments_out, totals.segments_in, totals.data_segments_out,
	       totals.data_segments_in, totals.retransmits, totals.rtt_us, (now_ns() - started) / 1000000);
}

struct connection *make_connection(int fd)
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

void finish(struct connection *c, uint64_t *how)
{
	(*how)++;
	add_info(c->fd);
	free_connection(c);
}

uint64_t *kind_of_error(int error)
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

int send_rest(struct connection *c)
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
