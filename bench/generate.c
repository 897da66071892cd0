// SPDX-License-Identifier: Apache-2.0
// Frames for measurements, out of AF_PACKET sockets on one pinned CPU. The destination MAC is nobody's, so that the
// receiving end's IP layer drops each frame right behind the tc hook. One line of JSON on stdout. Exit codes: 0 done,
// 1 failed, 2 wrong usage.
//
//   flows        as fast as possible: --flows N flows in shuffled order, or with --flows 0 each packet a new flow
//   paced        --rate packets a second over --flows UDP flows in turn; prints when each was sent
//   connections  --rate whole connections a second for --seconds, even numbers TCP (6 packets), odd ones UDP (2):
//                the opener's packets leave --interface, the answers --back-interface in --back-netns. Many
//                connections at once, packet by packet, so that one system call sends many

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FIN 0x01
#define SYN 0x02
#define ACK 0x10

static struct {
	const char *interface, *back_interface, *back_netns;
	uint64_t count, flows, rate, seconds, first, size;
	int family, protocol, flags, cpu, bypass;
} option = { .family = 4, .protocol = 17, .flags = ACK, .cpu = -1, .bypass = 1, .size = 60, .count = 1, .flows = 1,
	     .rate = 1000, .seconds = 1 };

static void die(const char *what)
{
	fprintf(stderr, "generate: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void usage(const char *what)
{
	fprintf(stderr,
		"generate: %s\n"
		"flows       --interface NAME --flows N --count N [--family 4|6] [--protocol 6|17] [--flags N] [--size N]\n"
		"            [--first N] [--bypass 0|1] [--cpu N]\n"
		"paced       --interface NAME --flows N --count N --rate N [--cpu N]\n"
		"connections --interface NAME --back-netns PATH --back-interface NAME --rate N --seconds N [--first N] [--cpu N]\n",
		what);
	exit(2);
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void options(int argc, char **argv)
{
	for (int i = 2; i < argc; i += 2) {
		if (i + 1 == argc)
			usage(argv[i]);
		const char *name = argv[i], *value = argv[i + 1];
		uint64_t number = strtoull(value, NULL, 0);
		if (!strcmp(name, "--interface")) option.interface = value;
		else if (!strcmp(name, "--back-interface")) option.back_interface = value;
		else if (!strcmp(name, "--back-netns")) option.back_netns = value;
		else if (!strcmp(name, "--count")) option.count = number;
		else if (!strcmp(name, "--flows")) option.flows = number;
		else if (!strcmp(name, "--rate")) option.rate = number;
		else if (!strcmp(name, "--seconds")) option.seconds = number;
		else if (!strcmp(name, "--first")) option.first = number;
		else if (!strcmp(name, "--size")) option.size = number;
		else if (!strcmp(name, "--family")) option.family = (int)number;
		else if (!strcmp(name, "--protocol")) option.protocol = (int)number;
		else if (!strcmp(name, "--flags")) option.flags = (int)number;
		else if (!strcmp(name, "--cpu")) option.cpu = (int)number;
		else if (!strcmp(name, "--bypass")) option.bypass = (int)number;
		else usage(name);
	}
	if (!option.interface)
		usage("which interface?");
	if (option.size < 74 && option.family == 6)
		option.size = 74;
	if (option.size < 60 || option.size > 1500 || option.rate == 0)
		usage("out of range");
}

struct port {
	int fd;
	struct sockaddr_ll to;
};

static struct port open_port(const char *interface, int bypass)
{
	struct port port = { .fd = socket(AF_PACKET, SOCK_RAW, 0) };
	if (port.fd < 0)
		die("socket");
	int big = 4 << 20;
	setsockopt(port.fd, SOL_SOCKET, SO_SNDBUF, &big, sizeof(big));
	if (bypass && setsockopt(port.fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass)) < 0)
		die("PACKET_QDISC_BYPASS");
	port.to = (struct sockaddr_ll){ .sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(interface), .sll_halen = 6 };
	if (port.to.sll_ifindex == 0)
		die(interface);
	return port;
}

static void put(struct port *port, const uint8_t *frame, size_t size)
{
	while (sendto(port->fd, frame, size, 0, (struct sockaddr *)&port->to, sizeof(port->to)) < 0)
		if (errno != ENOBUFS && errno != EAGAIN)
			die("sendto");
}

static void put16(uint8_t *at, unsigned value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
	value = htonl(value);
	memcpy(at, &value, 4);
}

// A frame with everything but the ends: addresses at 26 and 30 (22 and 38), ports behind the IP header.
static void blank(uint8_t *frame, size_t size, int family, int protocol, int flags)
{
	memset(frame, 0, size);
	memcpy(frame, "\x02\xfe\xfe\xfe\xfe\xfe\x02\x01\x01\x01\x01\x01", 12);
	put16(frame + 12, family == 4 ? ETH_P_IP : ETH_P_IPV6);
	uint8_t *ip = frame + 14, *transport = ip + (family == 4 ? 20 : 40);
	if (family == 4) {
		ip[0] = 0x45;
		put16(ip + 2, (unsigned)size - 14);
		ip[8] = 64;
		ip[9] = (uint8_t)protocol;
	} else {
		ip[0] = 0x60;
		put16(ip + 4, (unsigned)size - 54);
		ip[6] = (uint8_t)protocol;
		ip[7] = 64;
		memcpy(ip + 8, "\xfd\x00\x00\x01", 4);
		memcpy(ip + 24, "\xfd\x00\x00\x02", 4);
	}
	if (protocol == 6) {
		transport[12] = 0x50;
		transport[13] = (uint8_t)flags;
		put16(transport + 14, 65535);
	} else {
		put16(transport + 4, (unsigned)(frame + size - transport));
	}
}

// Writes the ends of flow `number`: no two below 2^40 are alike.
static void set_ends(uint8_t *frame, int family, uint64_t number, int back)
{
	uint32_t opener = 0x0a000000 + (uint32_t)((number >> 14) & 0x3fffff), answerer = 0x0af40000 + (uint32_t)(number & 3);
	unsigned opener_port = 1024 + (unsigned)((number >> 2) & 0xfff) * 15, answerer_port = 80 + (unsigned)(number >> 36);
	uint8_t *ip = frame + 14, *transport = ip + (family == 4 ? 20 : 40);
	if (family == 4) {
		put32(ip + 12, back ? answerer : opener);
		put32(ip + 16, back ? opener : answerer);
	} else {
		put32(ip + 20, back ? answerer : opener);
		put32(ip + 36, back ? opener : answerer);
	}
	put16(transport, back ? answerer_port : opener_port);
	put16(transport + 2, back ? opener_port : answerer_port);
}

static int flows(void)
{
	static uint8_t frame[2048];
	struct port port = open_port(option.interface, option.bypass);
	uint32_t *order = NULL;
	uint64_t seed = 88172645463325252ull;
	if (option.flows > 0) {
		order = malloc(option.flows * sizeof(*order));
		if (!order)
			die("malloc");
		for (uint64_t i = 0; i < option.flows; i++)
			order[i] = (uint32_t)i;
		for (uint64_t i = option.flows; i > 1; i--) {
			seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
			uint64_t j = seed % i;
			uint32_t other = order[i - 1];
			order[i - 1] = order[j];
			order[j] = other;
		}
	}
	blank(frame, option.size, option.family, option.protocol, option.flags);
	uint64_t began = now_ns(CLOCK_MONOTONIC);
	for (uint64_t i = 0, at = 0; i < option.count; i++) {
		if (order) {
			set_ends(frame, option.family, option.first + order[at], 0);
			if (++at == option.flows)
				at = 0;
		} else {
			set_ends(frame, option.family, option.first + i, 0);
		}
		put(&port, frame, option.size);
	}
	printf("{\"sent\":%" PRIu64 ",\"ns\":%" PRIu64 "}\n", option.count, now_ns(CLOCK_MONOTONIC) - began);
	return 0;
}

static int paced(void)
{
	static uint8_t frame[2048];
	struct port port = open_port(option.interface, 1);
	uint64_t *when = calloc(option.count, sizeof(*when));
	if (!when)
		die("malloc");
	blank(frame, option.size, 4, 17, 0);
	uint64_t began = now_ns(CLOCK_MONOTONIC);
	for (uint64_t i = 0; i < option.count; i++) {
		uint64_t due = began + i * 1000000000ull / option.rate;
		struct timespec until = { .tv_sec = (time_t)(due / 1000000000ull), .tv_nsec = (long)(due % 1000000000ull) };
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
			;
		set_ends(frame, 4, option.first + i % option.flows, 0);
		when[i] = now_ns(CLOCK_REALTIME) / 1000;
		put(&port, frame, option.size);
	}
	printf("{\"sentUs\":[");
	for (uint64_t i = 0; i < option.count; i++)
		printf("%s%" PRIu64, i ? "," : "", when[i]);
	printf("]}\n");
	return 0;
}

// Connections that are made at once: each of their packets is sent for all before the next one.
#define TOGETHER 128

// Frames that wait to be sent through one port.
struct batch {
	struct mmsghdr messages[2 * TOGETHER];
	struct iovec parts[2 * TOGETHER];
	unsigned count;
};

static void add(struct batch *batch, struct port *port, uint8_t *frame, size_t size)
{
	unsigned i = batch->count++;
	batch->parts[i] = (struct iovec){ .iov_base = frame, .iov_len = size };
	batch->messages[i].msg_hdr = (struct msghdr){
		.msg_name = &port->to, .msg_namelen = sizeof(port->to), .msg_iov = &batch->parts[i], .msg_iovlen = 1
	};
}

static void send_all(struct batch *batch, struct port *port)
{
	for (unsigned sent = 0; sent < batch->count;) {
		int done = sendmmsg(port->fd, batch->messages + sent, batch->count - sent, 0);
		if (done > 0)
			sent += (unsigned)done;
		else if (errno != ENOBUFS && errno != EAGAIN)
			die("sendmmsg");
	}
	batch->count = 0;
}

// Connections `number` to `number + count - 1`.
static void connect_all(struct port *ports, uint64_t number, unsigned count)
{
	static const struct {
		int back, flags;
	} script[] = { { 0, SYN }, { 1, SYN | ACK }, { 0, ACK }, { 0, FIN | ACK }, { 1, FIN | ACK }, { 0, ACK } };
	enum { STEPS = sizeof(script) / sizeof(*script), TCP_SIZE = 60 };
	static const size_t udp_size[2] = { 78, 180 };
	static uint8_t tcp[STEPS][TOGETHER][TCP_SIZE], udp[2][TOGETHER][180];
	static struct batch batch;
	static int ready;
	if (!ready) {
		for (unsigned i = 0; i < TOGETHER; i++) {
			for (unsigned step = 0; step < STEPS; step++)
				blank(tcp[step][i], TCP_SIZE, 4, 6, script[step].flags);
			for (int back = 0; back < 2; back++)
				blank(udp[back][i], udp_size[back], 4, 17, 0);
		}
		ready = 1;
	}
	for (unsigned step = 0; step < STEPS; step++) {
		int back = script[step].back;
		struct port *port = &ports[back];
		for (unsigned i = 0; i < count; i++) {
			if (!((number + i) & 1)) {
				set_ends(tcp[step][i], 4, number + i, back);
				add(&batch, port, tcp[step][i], TCP_SIZE);
			} else if (step < 2) {
				set_ends(udp[back][i], 4, number + i, back);
				add(&batch, port, udp[back][i], udp_size[back]);
			}
		}
		// two packets in a row in one direction go together
		if (step + 1 == STEPS || script[step + 1].back != back)
			send_all(&batch, port);
	}
}

static int connections(void)
{
	if (!option.back_netns || !option.back_interface)
		usage("where do the answers come from?");
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), there = open(option.back_netns, O_RDONLY | O_CLOEXEC);
	if (home < 0 || there < 0 || setns(there, CLONE_NEWNET) < 0)
		die(option.back_netns);
	struct port ports[2];
	ports[1] = open_port(option.back_interface, 0); /* past the qdisc there is no egress hook */
	if (setns(home, CLONE_NEWNET) < 0)
		die("setns");
	ports[0] = open_port(option.interface, 1);
	uint64_t total = option.rate * option.seconds, made = 0, began = now_ns(CLOCK_MONOTONIC), late = 0;
	/* where the machine cannot keep up, fewer are made */
	while (made < total && now_ns(CLOCK_MONOTONIC) - began < option.seconds * 1500000000ull) {
		uint64_t due = (now_ns(CLOCK_MONOTONIC) - began) / 1000 * option.rate / 1000000;
		if (due > total)
			due = total;
		if (due - made > late)
			late = due - made;
		for (int rounds = 0; made < due && rounds < 64; rounds++) {
			unsigned count = due - made < TOGETHER ? (unsigned)(due - made) : TOGETHER;
			connect_all(ports, option.first + made, count);
			made += count;
		}
		if (made < total)
			usleep(500);
	}
	printf("{\"connections\":%" PRIu64 ",\"ns\":%" PRIu64 ",\"mostAtOnce\":%" PRIu64 "}\n", made,
	       now_ns(CLOCK_MONOTONIC) - began, late);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		usage("which?");
	options(argc, argv);
	if (option.cpu >= 0) {
		cpu_set_t set;
		CPU_ZERO(&set);
		CPU_SET((unsigned)option.cpu, &set);
		if (sched_setaffinity(0, sizeof(set), &set) < 0)
			die("sched_setaffinity");
	}
	if (!strcmp(argv[1], "flows")) return flows();
	if (!strcmp(argv[1], "paced")) return paced();
	if (!strcmp(argv[1], "connections")) return connections();
	usage(argv[1]);
}
