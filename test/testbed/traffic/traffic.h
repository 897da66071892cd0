// SPDX-License-Identifier: Apache-2.0
// Traffic whose numbers are known exactly: connections, bytes, datagrams, and what the sockets themselves counted.
// One thread, epoll, every run bounded in time. Results are one line of JSON on stdout; servers print "READY PORT" when
// they can be reached and their result on SIGTERM. Exit codes: 0 done, 1 failed, 2 wrong usage.
//
// A TCP connection here: the client sends --bytes-out octets, of which the first 16 say how many there are and how many
// it wants back; the server reads them all, answers with so many, and the client closes first.
//
// This file is what the subcommands share: options, addresses, waiting.

#ifndef TRAFFIC_H
#define TRAFFIC_H

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

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct options {
	const char *to, *listen, *from, *interface;
	uint64_t count, rate, parallel, bytes_out, bytes_in, size, sockets, window, seconds, connect_timeout;
	unsigned source_port;
	int reset, ports, echo, hold;
};

extern struct options option;
// What is sent, and where it is received to.
extern uint8_t chunk[CHUNK];
extern int epoll;

// Both end the process.
void die(const char *what) __attribute__((noreturn));
void usage(const char *what) __attribute__((noreturn));
void read_options(int argc, char **argv);

uint64_t now_ns(void);
// "1.2.3.4:80", "[::1]:80" or, with bare set, an address alone.
union address parse(const char *text, int bare);
socklen_t size_of(const union address *a);
uint16_t port_of(int fd);
void watch(int fd, uint32_t events, void *data);
void ready(int fd);
// SIGTERM and SIGINT as a descriptor, so that a server prints its result between two events and not inside one.
int end_signal(void);
// How many of `count` are due after `elapsed` ns at `rate` a second; all of them without a rate.
uint64_t due(uint64_t elapsed, uint64_t count, uint64_t rate);

// The subcommands; each gives the exit code.
int tcp_connect(void);
int tcp_server(void);
int tcp_proxy(void);
int udp_server(void);
int udp_send(void);
int frames(void);
int flood(void);
int relay(void);

#endif
