// SPDX-License-Identifier: Apache-2.0
// A proxy: each connection that it takes goes on as one of its own, one after the other. Of each of its own it says what
// the socket counted, in a line "PROXIED {...}".

#include "tcp.h"
#include <poll.h>

// Copies what there is from one socket to the other; 0 at the end of the stream, which is passed on.
static int copy(int from, int to)
{
	ssize_t size = recv(from, chunk, CHUNK, 0);
	for (ssize_t done = 0; done < size;) {
		ssize_t n = send(to, chunk + done, (size_t)(size - done), MSG_NOSIGNAL);
		if (n < 0)
			return 0;
		done += n;
	}
	if (size <= 0)
		shutdown(to, SHUT_WR);
	return size > 0;
}

static void carry(int client, const union address *to)
{
	int own = socket(to->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	setsockopt(own, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (own < 0 || connect(own, &to->any, size_of(to)) < 0)
		die("connect");
	int ends[2] = { client, own };
	struct pollfd wait[2] = { { client, POLLIN, 0 }, { own, POLLIN, 0 } };
	while (wait[0].fd >= 0 || wait[1].fd >= 0) {
		if (poll(wait, 2, -1) < 0)
			die("poll");
		for (int i = 0; i < 2; i++)
			if (wait[i].fd >= 0 && wait[i].revents && !copy(ends[i], ends[1 - i]))
				wait[i].fd = -1; // poll leaves it out
	}
	struct tcp_info info = info_of(own);
	printf("PROXIED {\"port\":%u,\"segmentsOut\":%u,\"segmentsIn\":%u}\n", port_of(own), info.tcpi_segs_out,
	       info.tcpi_segs_in);
	fflush(stdout);
	close(own);
}

int tcp_proxy(void)
{
	if (!option.listen || !option.to)
		usage("tcp-proxy needs --listen and --to");
	union address at = parse(option.listen, 0), to = parse(option.to, 0);
	int listener = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, &at.any, size_of(&at)) < 0 || listen(listener, 128) < 0)
		die(option.listen);
	ready(listener);
	for (;;) {
		int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (client < 0)
			die("accept");
		carry(client, &to);
		close(client);
	}
}
