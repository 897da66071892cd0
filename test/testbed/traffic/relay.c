// SPDX-License-Identifier: Apache-2.0
// One end of a tunnel that hides what it carries, as WireGuard or IPsec do where they run in user space: packets of a TUN
// device travel turned round bit by bit inside UDP. Makes the device; it goes with the process.

#include "traffic.h"
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>

static void turn(uint8_t *data, ssize_t size)
{
	for (ssize_t i = 0; i < size; i++)
		data[i] ^= 0xff;
}

int relay(void)
{
	if (!option.interface || !option.listen || !option.to)
		usage("relay needs --interface, --listen and --to");
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	strncpy(request.ifr_name, option.interface, IFNAMSIZ - 1);
	int tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (tun < 0 || ioctl(tun, TUNSETIFF, &request) < 0)
		die(option.interface);
	union address own = parse(option.listen, 0), peer = parse(option.to, 0);
	int fd = socket(own.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, &own.any, size_of(&own)) < 0 || connect(fd, &peer.any, size_of(&peer)) < 0)
		die(option.listen);
	uint64_t carried[2] = { 0 };
	struct pollfd wait[3] = { { tun, POLLIN, 0 }, { fd, POLLIN, 0 }, { end_signal(), POLLIN, 0 } };
	ready(fd);
	while (poll(wait, 3, -1) >= 0 && !wait[2].revents)
		for (int from = 0; from < 2; from++) {
			if (!wait[from].revents)
				continue;
			ssize_t size = read(wait[from].fd, chunk, CHUNK);
			if (size <= 0)
				continue;
			turn(chunk, size);
			if (write(wait[1 - from].fd, chunk, (size_t)size) == size)
				carried[from]++;
		}
	printf("{\"sent\":%" PRIu64 ",\"received\":%" PRIu64 "}\n", carried[0], carried[1]);
	return 0;
}
