// SPDX-License-Identifier: Apache-2.0
// The options of all subcommands.

#include "traffic.h"

struct options option = { .count = 1, .parallel = 256, .bytes_out = 16, .size = 64, .sockets = 1, .seconds = 60,
			  .connect_timeout = 5000 };

void usage(const char *what)
{
	fprintf(stderr,
		"traffic: %s\n"
		"tcp-server  --listen ADDR:PORT [--hold]\n"
		"tcp-connect --to ADDR:PORT [--count N] [--rate N/s] [--parallel N] [--bytes-out N] [--bytes-in N]\n"
		"            [--from ADDR] [--source-port P] [--reset] [--connect-timeout MS] [--ports] [--hold]\n"
		"            [--seconds N]\n"
		"tcp-proxy   --listen ADDR:PORT --to ADDR:PORT\n"
		"udp-server  --listen ADDR:PORT [--echo]\n"
		"udp-send    --to ADDR:PORT [--count N] [--rate N/s] [--size N] [--sockets N] [--window N]\n"
		"            [--from ADDR] [--source-port P] [--seconds N]\n"
		"frames      --interface NAME [--count N] [--rate N/s] < frames in hex, one a line\n"
		"relay       --interface NAME --listen ADDR:PORT --to ADDR:PORT\n"
		"flood       --interface NAME [--count N] [--rate N/s] [--seconds N] < one IPv4 frame in hex\n",
		what);
	exit(2);
}

static uint64_t number(const char *text)
{
	char *end;
	errno = 0;
	uint64_t value = strtoull(text, &end, 10);
	if (errno || *end || end == text || *text == '-')
		usage(text);
	return value;
}

void read_options(int argc, char **argv)
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
