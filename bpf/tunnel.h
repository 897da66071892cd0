/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Looks into the tunnels that end on this node, on uplinks only: outer port, protocol, local address and id must be those
 * of a tunnel device that user space put into the map `tunnels`. Anything else stays the packet that it is. One level deep.
 *
 * Whoever can send such a packet could make up flows with it, so what is found is counted here only when nobody else
 * does: where the device has hooks of its own, they account what the kernel took out of the tunnel or put into it, and the
 * uplink adds that the flow came by and which tunnel carried it (note_tunnelled() in flow.bpf.c).
 */
#ifndef VETHFLOW_TUNNEL_H
#define VETHFLOW_TUNNEL_H

#include "parse.h"

/* Is this node's end of the outer packet the device's own address? */
static __noinline int is_local_tunnel(struct __sk_buff *skb, struct packet *p, struct tunnel_device *device, bool egress)
{
	__u32 address[4] = {};

	if (!(device->local[0] | device->local[1] | device->local[2] | device->local[3]))
		return 1;
	if (p->family == 4) {
		if (bpf_skb_load_bytes(skb, p->network + (egress ? 12 : 16), address, 4))
			return 0;
	} else if (bpf_skb_load_bytes(skb, p->network + (egress ? 8 : 24), address, 16))
		return 0;
	return compare_address6(address, device->local) == 0;
}

/* Does the device take this VNI or key? */
static __always_inline bool takes_id(const struct tunnel_device *device, __u32 id)
{
	if (!device->id_count)
		return true;
	for (int i = 0; i < TUNNEL_IDS; i++)
		if (i < device->id_count && device->ids[i] == id)
			return true;
	return false;
}

/*
 * Replaces the outer packet in `p` by the inner one when the node has such a tunnel (p->tunnel says so; counts are then
 * those of the inner flow's segments) and leaves it as it is otherwise. -1: there was no packet inside, p is spoilt.
 */
static __noinline int open_tunnel(struct __sk_buff *skb, struct packet *p, bool egress, __u32 place)
{
	struct tunnel_device *device;
	struct tunnel_key key = { .protocol = p->protocol, .family = p->family };
	__u8 head[8] = {};
	__u32 at = p->transport;
	__u16 protocol = 0;
	__u32 outer = p->network, id = 0;
	__u8 outer_family = p->family, type, inside;

	if (p->fragment)
		return 0;
	if (p->protocol == PROTOCOL_UDP) {
		if (bpf_skb_load_bytes(skb, at + 2, &key.port, 2))
			return 0;
		at += 8;
	}
	device = bpf_map_lookup_elem(&tunnels, &key);
	if (!device || !is_local_tunnel(skb, p, device, egress))
		return 0;
	type = device->type;
	inside = device->inside;
	if (type == TUNNEL_VXLAN || type == TUNNEL_GENEVE) { /* RFC 7348, RFC 8926 */
		if (bpf_skb_load_bytes(skb, at, head, 8))
			return 0;
		/* without its I flag it is no VXLAN; other versions of Geneve are not known */
		if (type == TUNNEL_VXLAN ? !(head[0] & 0x08) : head[0] & 0xc0)
			return 0;
		id = bpf_ntohl(*(__u32 *)(head + 4)) >> 8;
		protocol = type == TUNNEL_VXLAN ? bpf_htons(ETHERTYPE_BRIDGED) : *(__u16 *)(head + 2);
		at += 8;
		if (type == TUNNEL_GENEVE)
			at += (head[0] & 0x3f) * 4;
	} else if (type == TUNNEL_GRE) { /* RFC 2784, RFC 2890; not PPTP's version 1, nor RFC 1701's routing */
		if (bpf_skb_load_bytes(skb, at, head, 4) || head[1] & 7 || head[0] & 0x40)
			return 0;
		protocol = *(__u16 *)(head + 2);
		at += 4 + (head[0] & 0x80 ? 4 : 0);
		if (head[0] & 0x20) {
			if (bpf_skb_load_bytes(skb, at, &id, 4))
				return 0;
			id = bpf_ntohl(id);
			at += 4;
		}
		if (head[0] & 0x10)
			at += 4;
	} else if (type != TUNNEL_IPIP) /* RFC 2003, RFC 4213 */
		return 0;
	/* MPLS, ERSPAN and their like may begin with a 4 or a 6 all the same */
	if (type != TUNNEL_IPIP && protocol != bpf_htons(ETHERTYPE_BRIDGED) && protocol != bpf_htons(ETHERTYPE_IPV4) &&
	    protocol != bpf_htons(ETHERTYPE_IPV6))
		return 0;
	if (!takes_id(device, id))
		return 0;
	__builtin_memset(p, 0, sizeof(*p));
	p->network = at;
	if (protocol == bpf_htons(ETHERTYPE_BRIDGED) ? parse_ethernet(skb, p, at, place) : parse_ip(skb, p, place))
		return -1;
	p->tunnel = type;
	p->tunnel_id = id;
	p->outer = outer;
	p->outer_family = outer_family;
	p->inside = inside;
	return 0;
}

#endif
