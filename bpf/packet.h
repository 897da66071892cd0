/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* A parsed packet on its way through the programs, and the keys made from it. Holds no map access. */
#ifndef VETHFLOW_PACKET_H
#define VETHFLOW_PACKET_H

#include "maps.h"

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_IPV6 0x86dd
#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_QINQ 0x88a8
#define ETHERTYPE_BRIDGED 0x6558

#define PROTOCOL_ICMP 1
#define PROTOCOL_IPIP 4
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define PROTOCOL_IP6IP 41
#define PROTOCOL_GRE 47
#define PROTOCOL_ICMP6 58
#define PROTOCOL_SCTP 132
#define PROTOCOL_UDPLITE 136

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_BOTH_FIN (TCP_FIN | TCP_FIN << MARK_FLAGS_SHIFT)
#define TCP_ANY_END ((TCP_FIN | TCP_RST) | (TCP_FIN | TCP_RST) << MARK_FLAGS_SHIFT)

#define ICMP_ECHOREPLY 0
#define ICMP_UNREACHABLE 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETER 12
#define ICMP_FRAGMENTATION_NEEDED 4
#define ICMP6_UNREACHABLE 1
#define ICMP6_ECHO 128
#define ICMP6_ECHOREPLY 129

#define FRAGMENT_FIRST 1
#define FRAGMENT_LATER 2

/* One TCP/IP packet or one GSO/GRO buffer that stands for several. */
struct packet {
	struct key6 key; /* family 4: a key4 in its first 16 bytes, the rest zero */
	__u64 now;
	__u32 hook;
	__u32 bytes; /* IP octets as on the wire, over all segments */
	__u16 segments;
	__u8 family;
	__u8 dir;
	__u8 flags; /* TCP header flags */
	__u8 protocol;
	__u8 icmp_type;
	__u8 icmp_code;

	/* an ordinary packet on the stack ends here */
	struct key6 peer; /* from conntrack; meaningful with MARK_PEER_* in link */
	__u32 network; /* offset of the (inner) IP header from skb->data */
	__u32 transport; /* offset of the transport header */
	__u32 outer; /* offset of the outer IP header when `tunnel` */
	__u32 conntrack; /* nf_conn as in struct view; 0: none or not to be used */
	__u32 link; /* marks that conntrack gave */
	__u32 tunnel_id;
	__u8 fragment;
	__u8 tunnel; /* enum tunnel_type of the header it came out of; 0: none */
	__u8 outer_family;
	__u8 quotes; /* an ICMP error: a packet is quoted 8 bytes into `transport` */
	__u8 quoted; /* this packet is what an ICMP error quotes: anybody's word */
	__u8 inside; /* out of a tunnel whose device has hooks of its own */
};

/* What the transport header says; zero where the packet is too short to say it. */
struct transport {
	__u16 source;
	__u16 destination;
	__u32 header; /* its length in bytes */
	__u8 kind;
};

static __always_inline __u32 hook_number(struct __sk_buff *skb, bool egress)
{
	__u32 hook = skb->ifindex << 1 | (egress ? HOOK_EGRESS : 0);

	if (netns_number)
		hook = HOOK_FOREIGN | netns_number << HOOK_NETNS_SHIFT | (hook & ((1u << HOOK_NETNS_SHIFT) - 1));
	return hook;
}

typedef __u32 __attribute__((may_alias)) key_word;

/*
 * The last eight bytes of either key: ports, protocol, kind, netns, as two whole words. The hash reads words, and a CPU
 * cannot forward two small stores to one larger load.
 */
static __always_inline void end_key(key_word *end, __u32 sport, __u32 dport, __u8 dir, __u32 protocol, __u32 kind,
				    __u32 netns)
{
	end[0] = dir ? dport | sport << 16 : sport | dport << 16;
	end[1] = protocol | kind << 8 | netns << 16;
}

static __always_inline bool is_loopback4(__u32 address)
{
	return (address & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline bool is_loopback6(const __u32 *address)
{
	return !(address[0] | address[1] | address[2]) && address[3] == bpf_htonl(1);
}

/* Fills a key4 from a packet's ends (network order) and says the packet's direction in it. */
static __always_inline __u8 make_key4(struct key4 *key, __u32 source, __u32 destination, __u16 sport, __u16 dport,
				      __u8 protocol, __u8 kind)
{
	__u8 dir = source > destination || (source == destination && sport > dport);

	key->address[0] = dir ? destination : source;
	key->address[1] = dir ? source : destination;
	/* 127.0.0.0/8 means something only in its own namespace */
	end_key((key_word *)key + 2, sport, dport, dir, protocol, kind,
		netns_number && (is_loopback4(source) || is_loopback4(destination)) ? netns_number : 0);
	return dir;
}

static __always_inline int compare_address6(const __u32 *a, const __u32 *b)
{
	for (int i = 0; i < 4; i++)
		if (a[i] != b[i])
			return a[i] > b[i] ? 1 : -1;
	return 0;
}

static __always_inline __u8 make_key6(struct key6 *key, const __u32 *source, const __u32 *destination, __u16 sport,
				      __u16 dport, __u8 protocol, __u8 kind)
{
	int order = compare_address6(source, destination);
	__u8 dir = order > 0 || (order == 0 && sport > dport);

	for (int i = 0; i < 4; i++) {
		key->address[0][i] = dir ? destination[i] : source[i];
		key->address[1][i] = dir ? source[i] : destination[i];
	}
	end_key((key_word *)key + 8, sport, dport, dir, protocol, kind,
		netns_number && (is_loopback6(source) || is_loopback6(destination)) ? netns_number : 0);
	return dir;
}

/* Echo replies belong to the flow of their requests. */
static __always_inline __u8 icmp_kind(__u8 protocol, __u8 type)
{
	if (protocol == PROTOCOL_ICMP)
		return type == ICMP_ECHOREPLY ? ICMP_ECHO : type;
	return type == ICMP6_ECHOREPLY ? ICMP6_ECHO : type;
}

static __always_inline bool icmp_echo(__u8 protocol, __u8 type)
{
	if (protocol == PROTOCOL_ICMP)
		return type == ICMP_ECHO || type == ICMP_ECHOREPLY;
	return type == ICMP6_ECHO || type == ICMP6_ECHOREPLY;
}

/*
 * Segments and IP octets of a buffer: `length` bytes from the IP header on, of which `stated` the header claims, `header`
 * bytes of IP and transport header that every segment carries again on the wire.
 */
static __always_inline void measure(struct __sk_buff *skb, __u32 length, __u32 stated, __u32 header, __u32 *bytes,
				    __u16 *segments)
{
	__u32 size = skb->gso_size, segs = size ? skb->gso_segs : 1;

	if (segs == 0) {
		/* virtio and tun leave the count to whoever segments it */
		__u32 payload = length > header ? length - header : 0;

		segs = (payload + size - 1) / size;
	}
	if (segs <= 1) {
		/* Ethernet padding is no part of the packet; a header that promises more than there is gets what there is */
		*bytes = stated < length ? stated : length;
		*segments = 1;
		return;
	}
	*bytes = length + (segs - 1) * header;
	*segments = segs > 65535 ? 65535 : segs;
}

#endif
