/* SPDX-License-Identifier: Apache-2.0 */
/* Devices: a veth whose other end is here, too, or a TUN device; their hooks by tcx or clsact. */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "capture.h"

#define TCX_INGRESS 46
#define TCX_EGRESS 47
#define AT_HEAD (1u << 3) /* BPF_F_BEFORE */

static int packet_socket(int ifindex)
{
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_ifindex = ifindex };
	int fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)))
		fail("packet socket");
	return fd;
}

static int make_tun(const char *name)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int tun = open("/dev/net/tun", O_RDWR), control = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
	if (tun < 0 || control < 0 || ioctl(tun, TUNSETIFF, &request))
		fail("tun device");
	request.ifr_flags = IFF_UP;
	if (ioctl(control, SIOCSIFFLAGS, &request))
		fail("raise tun device");
	close(control);
	return tun;
}

/* Finds or makes the device and what frames are put into. */
void prepare(struct device *device)
{
	bool tun = !strcmp(device->peer, "tun");

	if (tun)
		device->ways[0] = make_tun(device->name);
	device->ifindex = if_nametoindex(device->name);
	if (!device->ifindex)
		fail("interface %s", device->name);
	if (!tun)
		device->ways[0] = packet_socket(if_nametoindex(device->peer));
	device->ways[1] = packet_socket(device->ifindex);
	printf("device %s %d\n", device->name, device->ifindex);
}

/* Both directions; ends with UNSUPPORTED where the kernel does not know tcx. */
void attach(struct device *device, bool tcx, int hooks)
{
	LIBBPF_OPTS(bpf_link_create_opts, head, .flags = AT_HEAD);
	LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = device->ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);
	struct hook_counters zero = {};

	if (!tcx && bpf_tc_hook_create(&both))
		fail("clsact on %s", device->name);
	for (int egress = 0; egress < 2; egress++) {
		LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = device->ifindex,
			    .attach_point = egress ? BPF_TC_EGRESS : BPF_TC_INGRESS);
		LIBBPF_OPTS(bpf_tc_opts, filter, .prog_fd = device->programs[egress]);
		__u32 number = (__u32)device->ifindex << 1 | egress;

		if (bpf_map_update_elem(hooks, &number, &zero, BPF_ANY))
			fail("hook entry");
		if (tcx) {
			int link = bpf_link_create(device->programs[egress], device->ifindex, egress ? TCX_EGRESS : TCX_INGRESS,
						   &head);

			if (link == -EINVAL) {
				printf("unsupported tcx\n");
				exit(UNSUPPORTED);
			}
			if (link < 0)
				fail("tcx on %s", device->name);
		} else if (bpf_tc_attach(&hook, &filter))
			fail("filter on %s", device->name);
	}
}

/* Links go with the process; filters do not. */
void detach(struct device *devices, int count, bool tcx)
{
	for (int i = 0; i < count && !tcx; i++) {
		LIBBPF_OPTS(bpf_tc_hook, both, .ifindex = devices[i].ifindex, .attach_point = BPF_TC_INGRESS | BPF_TC_EGRESS);

		bpf_tc_hook_destroy(&both);
	}
}
