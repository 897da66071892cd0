/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * From an IP header at any offset to a struct packet. Reads by bpf_skb_load_bytes, so packets need not be linear and
 * are never pulled. The ordinary IPv4 and IPv6 packet does not come here: flow.bpf.c reads it in place.
 */
#ifndef VETHFLOW_PARSE_H
#define VETHFLOW_PARSE_H

#include "scratch.h"

#define MAX_VLAN_TAGS 2
#define MAX_EXTENSIONS 8

struct ipv4_header {
	__u8 version_ihl;
	__u8 tos;
	__u16 length;
	__u16 id;
	__u16 fragment;
	__u8 ttl;
	__u8 protocol;
	__u16 check;
	__u32 source;
	__u32 destination;
};

struct ipv6_header {
	__u8 version_class;
	__u8 flow[3];
	__u16 length;
	__u8 next;
	__u8 hops;
	__u32 source[4];
	__u32 destination[4];
};

/* Reads ports, flags and ICMP type at the packet's `transport`. `left` is how many bytes it has from there on. */
ALONE int parse_transport(struct __sk_buff *skb, __u32 left, __u32 place)
{
	struct scratch *s = get_scratch(place);
	struct transport *t;
	struct packet *p;
	__u8 head[16] = {};

	if (!s)
		return 0;
	p = &s->packet;
	t = &s->transport;
	t->source = 0;
	t->destination = 0;
	t->header = 0;
	t->kind = 0;
	switch (p->protocol) {
	case PROTOCOL_TCP:
		if (left >= 14) {
			if (bpf_skb_load_bytes(skb, p->transport, head, 14))
				return 0;
			p->flags = head[13];
			t->header = (head[12] >> 4) * 4;
		} else if (left < 4 || bpf_skb_load_bytes(skb, p->transport, head, 4))
			return 0;
		break;
	case PROTOCOL_UDP:
	case PROTOCOL_UDPLITE:
	case PROTOCOL_SCTP:
		if (left < 4 || bpf_skb_load_bytes(skb, p->transport, head, 4))
			return 0;
		t->header = p->protocol == PROTOCOL_SCTP ? 12 : 8;
		break;
	case PROTOCOL_ICMP:
	case PROTOCOL_ICMP6:
		if (left < 2)
			return 0;
		if (left >= 8) {
			if (bpf_skb_load_bytes(skb, p->transport, head, 8))
				return 0;
		} else if (bpf_skb_load_bytes(skb, p->transport, head, 2))
			return 0;
		if ((p->protocol == PROTOCOL_ICMP) != (p->family == 4))
			return 0;
		t->header = 8;
		p->icmp_type = head[0];
		p->icmp_code = head[1];
		t->kind = icmp_kind(p->protocol, head[0]);
		if (icmp_echo(p->protocol, head[0])) {
			/* both directions carry the same identifier: it stands for both ports */
			t->source = *(__u16 *)(head + 4);
			t->destination = t->source;
		} else if (left >= 8) {
			p->quotes = p->protocol == PROTOCOL_ICMP ? head[0] == ICMP_UNREACHABLE || head[0] == ICMP_TIME_EXCEEDED ||
									   head[0] == ICMP_PARAMETER
								 : head[0] >= 1 && head[0] <= 4;
		}
		return 0;
	default:
		return 0;
	}
	t->source = *(__u16 *)head;
	t->destination = *(__u16 *)(head + 2);
	return 0;
}

/* First fragments leave their ports for the later ones, which have none of their own. */
static __noinline int join_fragment(struct packet *p, struct transport *t, struct fragment_key *key)
{
	struct fragment_ports *ports;

	key->protocol = p->family == 4 ? p->protocol : 0;
	key->family = p->family;
	if (p->fragment == FRAGMENT_FIRST) {
		struct fragment_ports fresh = { t->source, t->destination, t->kind, p->protocol };

		if (!p->quoted)
			bpf_map_update_elem(&fragments, key, &fresh, BPF_ANY);
		return 0;
	}
	ports = bpf_map_lookup_elem(&fragments, key);
	if (ports) {
		t->source = ports->source;
		t->destination = ports->destination;
		t->kind = ports->kind;
		p->protocol = ports->protocol;
	}
	return 0;
}

/* 0, or -1 when there is no IPv4 header at the packet's `network`. */
ALONE int parse_ipv4(struct __sk_buff *skb, __u32 place)
{
	struct scratch *s = get_scratch(place);
	struct ipv4_header ip;
	struct transport *t;
	struct packet *p;
	__u32 length, header, left, stated;
	__u16 fragment;

	if (!s)
		return -1;
	p = &s->packet;
	t = &s->transport;
	__builtin_memset(t, 0, sizeof(*t));
	if (bpf_skb_load_bytes(skb, p->network, &ip, sizeof(ip)))
		return -1;
	header = (ip.version_ihl & 15) * 4;
	length = skb->len - p->network;
	if (ip.version_ihl >> 4 != 4 || header < 20 || header > length)
		return -1;
	stated = bpf_ntohs(ip.length);
	/* BIG TCP buffers state zero */
	if (stated < header)
		stated = length;
	p->family = 4;
	p->protocol = ip.protocol;
	p->transport = p->network + header;
	left = (stated < length ? stated : length) - header;
	fragment = bpf_ntohs(ip.fragment);
	if (fragment & 0x1fff)
		p->fragment = FRAGMENT_LATER;
	else {
		if (fragment & 0x2000)
			p->fragment = FRAGMENT_FIRST;
		parse_transport(skb, left, place);
	}
	if (p->fragment) {
		struct fragment_key key = {};

		key.source[0] = ip.source;
		key.destination[0] = ip.destination;
		key.id = ip.id;
		join_fragment(p, t, &key);
	}
	p->dir = make_key4((struct key4 *)&p->key, ip.source, ip.destination, t->source, t->destination, ip.protocol, t->kind);
	measure(skb, length, stated, header + t->header, &p->bytes, &p->segments);
	return 0;
}

/* 0, or -1 when there is no IPv6 header at the packet's `network`. Extension headers: RFC 8200, RFC 7045. */
ALONE int parse_ipv6(struct __sk_buff *skb, __u32 place)
{
	struct scratch *s = get_scratch(place);
	struct ipv6_header ip;
	struct transport *t;
	struct packet *p;
	__u32 length, stated, end, at, id = 0;
	__u8 next;

	if (!s)
		return -1;
	p = &s->packet;
	t = &s->transport;
	__builtin_memset(t, 0, sizeof(*t));
	if (bpf_skb_load_bytes(skb, p->network, &ip, sizeof(ip)))
		return -1;
	if (ip.version_class >> 4 != 6)
		return -1;
	length = skb->len - p->network;
	stated = bpf_ntohs(ip.length) + 40;
	/* jumbograms and BIG TCP buffers state zero */
	if (ip.length == 0)
		stated = length;
	p->family = 6;
	end = p->network + (stated < length ? stated : length);
	at = p->network + 40;
	next = ip.next;
	for (int i = 0; i < MAX_EXTENSIONS; i++) {
		__u8 head[8];

		if (next != 0 && next != 43 && next != 44 && next != 51 && next != 60 && next != 135 && next != 139 && next != 140)
			break;
		if (at + 8 > end || bpf_skb_load_bytes(skb, at, head, 8))
			break;
		if (next == 44) {
			__u16 offset = bpf_ntohs(*(__u16 *)(head + 2));

			id = *(__u32 *)(head + 4);
			if (offset & 0xfff8)
				p->fragment = FRAGMENT_LATER;
			else if (offset & 1)
				p->fragment = FRAGMENT_FIRST;
			at += 8;
		} else if (next == 51)
			at += (head[1] + 2) * 4;
		else
			at += (head[1] + 1) * 8;
		next = head[0];
		if (p->fragment == FRAGMENT_LATER)
			break;
	}
	p->protocol = next;
	p->transport = at;
	if (p->fragment != FRAGMENT_LATER && at < end)
		parse_transport(skb, end - at, place);
	if (p->fragment) {
		struct fragment_key key = {};

		__builtin_memcpy(key.source, ip.source, 16);
		__builtin_memcpy(key.destination, ip.destination, 16);
		key.id = id;
		join_fragment(p, t, &key);
	}
	p->dir = make_key6(&p->key, ip.source, ip.destination, t->source, t->destination, p->protocol, t->kind);
	measure(skb, length, stated, at - p->network + t->header, &p->bytes, &p->segments);
	return 0;
}

/* The IP header at p->network, whatever its version. -1: not IP. */
static __noinline int parse_ip(struct __sk_buff *skb, struct packet *p, __u32 place)
{
	__u8 version;

	if (bpf_skb_load_bytes(skb, p->network, &version, 1))
		return -1;
	if (version >> 4 == 4)
		return parse_ipv4(skb, place);
	if (version >> 4 == 6)
		return parse_ipv6(skb, place);
	return -1;
}

/* An Ethernet frame at `offset`, with up to two VLAN tags. Sets p->network. -1: no IP in it. */
static __noinline int parse_ethernet(struct __sk_buff *skb, struct packet *p, __u32 offset, __u32 place)
{
	__u16 type;

	if (bpf_skb_load_bytes(skb, offset + 12, &type, 2))
		return -1;
	offset += 14;
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		if (type != bpf_htons(ETHERTYPE_VLAN) && type != bpf_htons(ETHERTYPE_QINQ))
			break;
		if (bpf_skb_load_bytes(skb, offset + 2, &type, 2))
			return -1;
		offset += 4;
	}
	if (type != bpf_htons(ETHERTYPE_IPV4) && type != bpf_htons(ETHERTYPE_IPV6))
		return -1;
	p->network = offset;
	return type == bpf_htons(ETHERTYPE_IPV4) ? parse_ipv4(skb, place) : parse_ipv6(skb, place);
}

#endif
