/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs: one for each role of an interface and direction. They never change a packet and always leave the
 * verdict to whoever comes next on the hook.
 *
 *   veth     a pod's veth, a bridge, an overlay device that carries Ethernet
 *   uplink   the node's way out: opens the tunnels that end on this node
 *   l3       a device without Ethernet header (ipip, gre, wireguard, tun)
 *
 * The ordinary packet is read in place and costs one lookup and two additions: that is all of this file but the calls
 * to account(), which does the rest (account.h).
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "account.h"
#include "tunnel.h"

/* TCX_NEXT and TC_ACT_UNSPEC: go on with the next program as if we were not here. */
#define NEXT (-1)

enum role { VETH, UPLINK, L3 };

/* Layouts that appear only behind ring buffer pointers must be named once to be in the object's BTF. */
const struct event_view *unused_event_view __attribute__((unused));
const struct event_tunnel *unused_event_tunnel __attribute__((unused));
const enum abi *unused_abi __attribute__((unused));
const struct event_dns *unused_event_dns __attribute__((unused));
const enum mark *unused_mark __attribute__((unused));
const enum event_kind *unused_event_kind __attribute__((unused));
const enum tunnel_type *unused_tunnel_type __attribute__((unused));
const enum loss *unused_loss __attribute__((unused));

static __noinline int count_other(struct __sk_buff *skb, __u32 hook, __u32 link_header)
{
	struct hook_counters *counters = bpf_map_lookup_elem(&hooks, &hook);

	if (counters) {
		__sync_fetch_and_add(&counters->other_packets, 1);
		__sync_fetch_and_add(&counters->other_bytes, skb->len > link_header ? skb->len - link_header : 0);
	}
	return NEXT;
}

static __always_inline const struct settings *get_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

/* There is no place to look at the packet in: it is in no record. */
static __noinline int lose(struct __sk_buff *skb, __u32 hook, __u32 link_header)
{
	struct hook_counters *counters = bpf_map_lookup_elem(&hooks, &hook);
	__u32 segments = skb->gso_segs > 1 ? skb->gso_segs : 1;

	count_loss(LOSS_PACKET, segments);
	if (counters) {
		__sync_fetch_and_add(&counters->lost_packets, segments);
		__sync_fetch_and_add(&counters->lost_bytes, skb->len > link_header ? skb->len - link_header : 0);
	}
	return NEXT;
}

/* May this UDP port (network order) be that of a tunnel of this node? */
static __always_inline bool is_tunnel(__u16 port)
{
	const struct settings *settings = get_settings();

	if (!settings)
		return false;
	for (int i = 0; i < TUNNEL_PORTS; i++)
		if (settings->tunnel_ports[i] == port)
			return true;
	return !settings->tunnel_ports_told;
}

/* The boot clock as it was at the last tick: half as dear as the clock itself. Kernels before 5.11 do not have it. */
static __always_inline __u64 tick_clock(void)
{
#ifdef VETHFLOW_NO_FETCH
	return bpf_ktime_get_boot_ns();
#else
	const struct settings *settings = get_settings();

	return bpf_ktime_get_coarse_ns() + (settings ? settings->boot_ahead : 0);
#endif
}

/*
 * What an ICMP error quotes was refused: told once for each connection. `p` held the error and is used up.
 */
static __noinline int quote(struct __sk_buff *skb, struct packet *p, __u32 place)
{
	__u32 offset = p->transport + 8, hook = p->hook;
	__u8 type = p->icmp_type, code = p->icmp_code, family = p->family;
	__u64 now = p->now;
	struct view *view;

	if (type != (family == 4 ? ICMP_UNREACHABLE : ICMP6_UNREACHABLE) || (family == 4 && code == ICMP_FRAGMENTATION_NEEDED))
		return 0;
	__builtin_memset(p, 0, sizeof(*p));
	p->network = offset;
	p->quoted = 1;
	if (parse_ip(skb, p, place) || p->family != family)
		return 0;
	view = find_view(p);
	if (!view || view->marks & MARK_TOLD_REFUSED)
		return 0;
	p->now = now;
	p->hook = hook;
	p->icmp_type = type;
	p->icmp_code = code;
	if (set_marks(&view->marks, MARK_TOLD_REFUSED) && !tell(p, EVENT_ICMP_ERROR))
		clear_marks(&view->marks, MARK_TOLD_REFUSED);
	return 0;
}

/*
 * A packet out of a tunnel whose device accounts it: adds this hook and the tunnel to the flow's view. False when there
 * is none and the outer packet is to be accounted as it is: on the way out the device has seen what it sent, so this is
 * somebody else's. On the way in the first packet of a connection has yet to reach the device.
 */
static __noinline int note_tunnelled(struct __sk_buff *skb, struct packet *p, bool egress)
{
	struct hook_counters *counters;
	struct view *view;

	p->hook = hook_number(skb, egress);
	p->now = bpf_ktime_get_boot_ns();
	view = find_view(p);
	if (view) {
		__u8 dir = p->dir & 1;

		note_tunnel(skb, p, view);
		if (READ_ONCE(view->owner[dir]) == p->hook) {
			/* from before the device had its hooks: they count from now on, on the way out with the next packet */
			if (egress)
				add(view, dir, p->now, p->bytes, p->segments);
			claim(&view->owner[dir], p->hook, 0);
		}
		if (view->other[dir] != p->hook)
			note_hook(view, p->hook, dir);
		return true;
	}
	if (egress)
		return false;
	counters = bpf_map_lookup_elem(&hooks, &p->hook);
	if (counters) {
		__sync_fetch_and_add(&counters->tunnel_packets, p->segments);
		__sync_fetch_and_add(&counters->tunnel_bytes, p->bytes);
	}
	return true;
}

/*
 * Parses the packet that is not ordinary: fragments, options, extension headers, VLAN, ICMP, tunnels, not linear.
 * -1: there is nothing (more) to account.
 */
static __noinline int parse_general(struct __sk_buff *skb, struct packet *p, enum role role, bool egress, __u32 place)
{
	__u32 network;

	__builtin_memset(p, 0, sizeof(*p));
	if (role == L3 ? parse_ip(skb, p, place) : parse_ethernet(skb, p, 0, place)) {
		count_other(skb, hook_number(skb, egress), role == L3 ? 0 : 14);
		return -1;
	}
	if (role != UPLINK || (p->protocol != PROTOCOL_UDP && p->protocol != PROTOCOL_IPIP && p->protocol != PROTOCOL_IP6IP &&
			       p->protocol != PROTOCOL_GRE))
		return 0;
	network = p->network;
	if (!open_tunnel(skb, p, egress, place)) {
		if (!p->inside)
			return 0;
		if (note_tunnelled(skb, p, egress))
			return -1;
	}
	/* the outer packet, as it is */
	__builtin_memset(p, 0, sizeof(*p));
	p->network = network;
	return parse_ip(skb, p, place);
}

/*
 * Reads the ordinary packet in place: TCP or UDP in IPv4 without options or IPv6 without extension headers, whole, and
 * no tunnel's, and no DNS. Fills the key, p->hook and what is counted. False: parse_general() must look.
 */
static __always_inline bool parse_ordinary(struct __sk_buff *skb, struct packet *p, enum role role)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 network = role == L3 ? 0 : 14, stated, header;
	__u16 type;
	__u8 *transport;

	if (role == L3)
		type = skb->protocol;
	else {
		if (data + 14 > end)
			return false;
		type = *(__u16 *)(data + 12);
	}
	if (type == bpf_htons(ETHERTYPE_IPV4)) {
		struct ipv4_header *ip = data + network;

		transport = (void *)(ip + 1);
		if ((void *)transport + 8 > end || ip->version_ihl != 0x45 || ip->fragment & bpf_htons(0x3fff))
			return false;
		p->protocol = ip->protocol;
		p->family = 4;
		header = 20;
		stated = bpf_ntohs(ip->length);
		/* nobody looks at the rest of the key, but kernels before 6.3 want to see all of it written */
		__builtin_memset((char *)&p->key + sizeof(struct key4), 0, sizeof(p->key) - sizeof(struct key4));
		p->dir = make_key4((struct key4 *)&p->key, ip->source, ip->destination, *(__u16 *)transport,
				   *(__u16 *)(transport + 2), ip->protocol, 0);
	} else if (type == bpf_htons(ETHERTYPE_IPV6)) {
		struct ipv6_header *ip = data + network;

		transport = (void *)(ip + 1);
		if ((void *)transport + 8 > end || ip->version_class >> 4 != 6)
			return false;
		p->protocol = ip->next;
		p->family = 6;
		header = 40;
		stated = bpf_ntohs(ip->length) + 40;
		p->dir = make_key6(&p->key, ip->source, ip->destination, *(__u16 *)transport, *(__u16 *)(transport + 2), ip->next,
				   0);
	} else
		return false;
	if (capture_dns && (is_dns_port(*(__u16 *)transport) || is_dns_port(*(__u16 *)(transport + 2))))
		return false;
	if (p->protocol == PROTOCOL_TCP) {
		if ((void *)transport + 20 > end || stated < header + 20)
			return false;
		p->flags = transport[13];
		header += (transport[12] >> 4) * 4;
	} else if (p->protocol == PROTOCOL_UDP) {
		if (stated < header + 8 || (role == UPLINK && is_tunnel(*(__u16 *)(transport + 2))))
			return false;
		p->flags = 0;
		header += 8;
	} else
		return false;
	measure(skb, skb->len - network, stated, header, &p->bytes, &p->segments);
	return true;
}

/* Puts what parse_ordinary() filled where account() finds it. */
static __always_inline void keep_ordinary(struct packet *to, const struct packet *p)
{
	__builtin_memset(to, 0, sizeof(*to));
	to->key = p->key;
	to->now = p->now;
	to->hook = p->hook;
	to->bytes = p->bytes;
	to->segments = p->segments;
	to->family = p->family;
	to->dir = p->dir;
	to->flags = p->flags;
	to->protocol = p->protocol;
}

static __always_inline int run(struct __sk_buff *skb, enum role role, bool egress, bool conntrack)
{
	unsigned long nfct = conntrack ? conntrack_of(skb) : 0;
	struct view *view = NULL;
	bool missed = false;
	struct scratch *s;
	__u32 place;
	/* as much of it as an ordinary packet fills: the stack is shared with all that is called */
	__u64 first[offsetof(struct packet, peer) / 8];
	struct packet *p = (void *)first;

	if (parse_ordinary(skb, p, role)) {
		p->hook = hook_number(skb, egress);
		view = find_view(p);
		if (view) {
			__u32 fold = conntrack && nfct ? conntrack_fold(nfct) : 0;
			__u32 news = (__u32)p->flags << (p->dir ? MARK_FLAGS_SHIFT : 0), marks = view->marks;

			if (!(news & ~marks) && !(p->flags & (TCP_SYN | TCP_FIN | TCP_RST)) &&
			    (marks & TCP_BOTH_FIN) != TCP_BOTH_FIN && (!fold || fold == view->conntrack)) {
				__u8 dir = p->dir & 1;

				p->now = tick_clock();
				if (view->owner[dir] == p->hook) {
					add(view, dir, p->now, p->bytes, p->segments);
					return NEXT;
				}
				/* counted elsewhere just now, and known to come by here */
				if (view->other[dir] == p->hook && p->now < view->last[dir] + OWNER_LATE_NS)
					return NEXT;
			}
			p->now = bpf_ktime_get_boot_ns();
		} else {
			p->now = bpf_ktime_get_boot_ns();
			if (nfct)
				missed = true;
			else if (!create_ordinary(p))
				return NEXT;
		}
		place = take_place();
		s = get_scratch(place);
		if (!s)
			return lose(skb, p->hook, role == L3 ? 0 : 14);
		keep_ordinary(&s->packet, p);
	} else {
		place = take_place();
		s = get_scratch(place);
		if (!s)
			return lose(skb, hook_number(skb, egress), role == L3 ? 0 : 14);
		if (parse_general(skb, &s->packet, role, egress, place))
			goto done;
		s->packet.hook = hook_number(skb, egress);
		s->packet.now = bpf_ktime_get_boot_ns();
		/* the entry is that of the outer packet */
		if (s->packet.tunnel)
			nfct = 0;
	}
	if (conntrack)
		account_tracked(skb, nfct, missed, place);
	else
		account(skb, missed, place);
	if (s->packet.quotes)
		quote(skb, &s->packet, place);
done:
	leave_place(s);
	return NEXT;
}

#define PROGRAMS(name, role)                                                                                           \
	SEC("tc") int name##_ingress(struct __sk_buff *skb) { return run(skb, role, false, false); }                   \
	SEC("tc") int name##_egress(struct __sk_buff *skb) { return run(skb, role, true, false); }

PROGRAMS(veth, VETH)
PROGRAMS(uplink, UPLINK)
PROGRAMS(l3, L3)

/*
 * A kernel without the kfunc may not even see its name: libbpf would look for it in the BTF of every kernel module, which
 * takes CAP_SYS_ADMIN. So one object comes without these programs.
 */
#ifndef VETHFLOW_NO_CONNTRACK
#define TRACKED(name, role)                                                                                            \
	SEC("tc") int name##_egress_ct(struct __sk_buff *skb) { return run(skb, role, true, true); }

TRACKED(veth, VETH)
TRACKED(uplink, UPLINK)
TRACKED(l3, L3)
#endif

char LICENSE[] SEC("license") = "Dual BSD/GPL";
