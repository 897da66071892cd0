// SPDX-License-Identifier: Apache-2.0
// Which subcommand.

#include "traffic.h"

int main(int argc, char **argv)
{
	if (argc < 2)
		usage("which?");
	read_options(argc, argv);
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
	if (!strcmp(argv[1], "tcp-proxy")) return tcp_proxy();
	if (!strcmp(argv[1], "udp-server")) return udp_server();
	if (!strcmp(argv[1], "udp-send")) return udp_send();
	if (!strcmp(argv[1], "frames")) return frames();
	if (!strcmp(argv[1], "relay")) return relay();
	if (!strcmp(argv[1], "flood")) return flood();
	usage(argv[1]);
}
