// SPDX-License-Identifier: Apache-2.0
// TCP connections of either side and the sums of what their sockets counted.

#ifndef TRAFFIC_TCP_H
#define TRAFFIC_TCP_H

#include "traffic.h"

struct totals {
	uint64_t connections, ok, refused, timed_out, reset, failed;
	uint64_t bytes_out, bytes_in, segments_out, segments_in, data_segments_out, data_segments_in, retransmits;
	uint64_t rtt_us; // the last connection's
};

struct connection {
	int fd;
	enum { CONNECTING, HELD, SENDING, RECEIVING, CLOSING, LINGERING } state;
	uint64_t to_send, to_receive;
	uint8_t header[16];
	unsigned header_bytes; // sent by the client, received by the server
	uint64_t since;
	uint16_t port;
	struct connection *next, **back; // list of all
};

extern struct totals totals;
extern struct connection *all;
extern uint64_t open_now, lingering;

struct tcp_info info_of(int fd);
// The line of JSON, without its closing brace.
void print_totals(uint64_t started);
struct connection *make_connection(int fd);
// A connection is over; its socket's counters are final once the kernel has closed it (both FINs acknowledged).
void finish(struct connection *c, uint64_t *how);
uint64_t *kind_of_error(int error);
// Sends what is left; 1 when all of it is with the kernel, 0 when it must wait, -1 on an error in errno.
int send_rest(struct connection *c);

#endif
