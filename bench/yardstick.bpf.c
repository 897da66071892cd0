/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the datapath is measured against: the least that counts connections. Reads a 5-tuple in place and adds to one
 * preallocated hash entry of 64 bytes, under a key of 16 bytes (IPv4) or 40 (IPv6). `empty` is what the hook and the
 * statistics timer cost by themselves. No options, fragments, tunnels, ends, ownership or translation.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define NEXT (-1)

struct tuple4 {
	__u32 from, to;
	__u16 from_port, to_port;
	__u8 protocol, pad;
	__u16 device;
};

struct tuple6 {
	struct in6_addr from, to;
	__u16 from_port, to_port;
	__u8 protocol, pad;
	__u16 device;
};

struct account {
	__u64 began, latest, octets;
	__u32 packets;
	__u16 flags, pad;
	__u64 rest[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct tuple4);
	__type(value, struct account);
} accounts4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct tuple6);
	__type(value, struct account);
} accounts6 SEC(".maps");

/* Ports and flags of the transport header at `at`; false when it is cut short. */
static __always_inline bool ports(void *at, void *end, __u8 protocol, __u16 *from, __u16 *to, __u16 *flags)
{
	if (protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = at;

		if ((void *)(tcp + 1) > end)
			return false;
		*from = tcp->source;
		*to = tcp->dest;
		*flags = ((__u8 *)tcp)[13];
	} else if (protocol == IPPROTO_UDP) {
		struct udphdr *udp = at;

		if ((void *)(udp + 1) > end)
			return false;
		*from = udp->source;
		*to = udp->dest;
	}
	return true;
}

static __always_inline void count(void *map, const void *key, __u32 length, __u16 flags)
{
	__u64 now = bpf_ktime_get_ns();
	struct account *known = bpf_map_lookup_elem(map, key);

	if (known) {
		__sync_fetch_and_add(&known->octets, length);
		__sync_fetch_and_add(&known->packets, 1);
		known->latest = now;
		known->flags |= flags;
	} else {
		struct account first = { .began = now, .latest = now, .octets = length, .packets = 1, .flags = flags };

		bpf_map_update_elem(map, key, &first, BPF_ANY);
	}
}

SEC("tc") int empty(struct __sk_buff *skb __attribute__((unused)))
{
	return NEXT;
}

SEC("tc") int count4(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct iphdr *ip = data + ETH_HLEN;
	struct tuple4 key = {};
	__u16 flags = 0;

	if ((void *)(ip + 1) > end || ((struct ethhdr *)data)->h_proto != bpf_htons(ETH_P_IP))
		return NEXT;
	key.from = ip->saddr;
	key.to = ip->daddr;
	key.protocol = ip->protocol;
	key.device = skb->ifindex;
	if (!ports(ip + 1, end, ip->protocol, &key.from_port, &key.to_port, &flags))
		return NEXT;
	count(&accounts4, &key, skb->len, flags);
	return NEXT;
}

SEC("tc") int count6(struct __sk_buff *skb)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	struct ipv6hdr *ip = data + ETH_HLEN;
	struct tuple6 key = {};
	__u16 flags = 0;

	if ((void *)(ip + 1) > end || ((struct ethhdr *)data)->h_proto != bpf_htons(ETH_P_IPV6))
		return NEXT;
	key.from = ip->saddr;
	key.to = ip->daddr;
	key.protocol = ip->nexthdr;
	key.device = skb->ifindex;
	if (!ports(ip + 1, end, ip->nexthdr, &key.from_port, &key.to_port, &flags))
		return NEXT;
	count(&accounts6, &key, skb->len, flags);
	return NEXT;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
