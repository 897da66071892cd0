/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One TCP connection between two network namespaces, both of whose ends tell how many segments they took part in:
 * `stream SERVER_NAMESPACE PORT CLIENT_NAMESPACE ADDRESS PORT BYTES` (names in /run/netns). Prints
 * `tcp client SEGMENTS_OUT SEGMENTS_IN BYTES_SENT` (what was sent twice counts twice), and `tcp server` likewise. When
 * it returns, the last segment has been acknowledged: nothing is on its way any more.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CLOSED 7 /* TCP_CLOSE */
#define PATIENCE_S 30

static char buffer[65536];

static void fail(const char *what)
{
	printf("error stream: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	exit(1);
}

static void enter(const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || setns(fd, CLONE_NEWNET))
		fail(path);
	close(fd);
}

static struct tcp_info information(int fd)
{
	struct tcp_info info = {};
	socklen_t size = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size))
		fail("TCP_INFO");
	return info;
}

static void tell(const char *name, int fd)
{
	struct tcp_info info = information(fd);

	printf("tcp %s %u %u %llu\n", name, info.tcpi_segs_out, info.tcpi_segs_in, info.tcpi_bytes_sent);
	fflush(stdout);
}

static void serve(int port, int ready)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any };
	struct timespec pause = { .tv_nsec = 1000000 };
	int listener = socket(AF_INET6, SOCK_STREAM, 0), connection;

	if (listener < 0 || bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, 1))
		fail("listen");
	if (write(ready, "", 1) != 1)
		fail("pipe");
	connection = accept(listener, NULL, NULL);
	if (connection < 0)
		fail("accept");
	while (read(connection, buffer, sizeof(buffer)) > 0)
		;
	shutdown(connection, SHUT_WR);
	/* nothing to wait on tells of the last acknowledgement; alarm() bounds this */
	while (information(connection).tcpi_state != CLOSED)
		nanosleep(&pause, NULL);
	tell("server", connection);
}

static void send_bytes(const char *address, int port, long bytes)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	int family = strchr(address, ':') ? AF_INET6 : AF_INET, fd = socket(family, SOCK_STREAM, 0);

	if (inet_pton(family, address, family == AF_INET6 ? (void *)&six.sin6_addr : (void *)&four.sin_addr) != 1)
		fail(address);
	if (family == AF_INET6 ? connect(fd, (struct sockaddr *)&six, sizeof(six)) :
				 connect(fd, (struct sockaddr *)&four, sizeof(four)))
		fail("connect");
	while (bytes > 0) {
		ssize_t done = write(fd, buffer, bytes < (long)sizeof(buffer) ? bytes : (long)sizeof(buffer));

		if (done <= 0)
			fail("write");
		bytes -= done;
	}
	shutdown(fd, SHUT_WR);
	if (read(fd, buffer, sizeof(buffer)) != 0)
		fail("read");
	tell("client", fd);
}

int main(int argc, char **argv)
{
	int ready[2], status;
	pid_t server;
	char byte;

	if (argc != 7) {
		fprintf(stderr, "usage: stream SERVER_NAMESPACE PORT CLIENT_NAMESPACE ADDRESS PORT BYTES\n");
		return 2;
	}
	if (pipe(ready))
		fail("pipe");
	server = fork();
	alarm(PATIENCE_S);
	if (server == 0) {
		enter(argv[1]);
		serve(atoi(argv[2]), ready[1]);
		return 0;
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		fail("the server does not start");
	enter(argv[3]);
	send_bytes(argv[4], atoi(argv[5]), atol(argv[6]));
	if (waitpid(server, &status, 0) != server || status)
		fail("the server ended early");
	return 0;
}
