/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The account of a packet. Every direction of a view is counted at one hook, its owner: the first one that saw it. The
 * others only leave their number. NAT is not joined here: each tuple keeps counters of its own, `peer` says which other
 * tuple is the same connection, and user space reads each direction from one of the two. So nothing ever has to be
 * moved or taken back, whenever the two become known to belong together.
 */
#ifndef VETHFLOW_ACCOUNT_H
#define VETHFLOW_ACCOUNT_H

#include "conntrack.h"
#include "dns.h"
#include "events.h"
#include "parse.h"

/*
 * Between one packet at its owner and the same packet at the next hook lie microseconds, under load a millisecond; and
 * two ticks of the slowest clock (CONFIG_HZ=100), since what is compared may be early by one.
 */
#define OWNER_LATE_NS 20000000ull
/* An owner that is attached but sees nothing for so long, while others do, gives up the direction. */
#define OWNER_SILENT_NS 1000000000ull

/*
 * The packet's view, or NULL. Both value types begin with their struct view. Each map has a call of its own, which the
 * two barriers (no two alike, or they would be merged too) keep the compiler from making one again: the kernel looks up a map that it knows when it loads
 * the program in place, and one that is chosen by the packet through an indirect call (some 30 ns with retpolines).
 */
static __always_inline struct view *find_view(struct packet *p)
{
	struct view *view;

	if (p->family == 4) {
		view = bpf_map_lookup_elem(&views4, &p->key);
		asm volatile("" : "+r"(view));
	} else {
		view = bpf_map_lookup_elem(&views6, &p->key);
		asm volatile("" : "+r"(view) : : "memory");
	}
	return view;
}

static __always_inline void add(struct view *view, __u8 dir, __u64 now, __u32 bytes, __u16 segments)
{
	dir &= 1;
	__sync_fetch_and_add(&view->bytes[dir], bytes);
	__sync_fetch_and_add(&view->packets[dir], segments);
	view->last[dir] = now;
}

static __noinline int note_hook(struct view *view, __u32 hook, __u8 dir)
{
	view->other[dir & 1] = hook;
	for (int i = 0; i < SEEN_HOOKS; i++) {
		__u32 seen = READ_ONCE(view->seen[i]);

		if (seen == hook)
			return 0;
		if (seen == 0 && claim(&view->seen[i], 0, hook))
			return 0;
	}
	return 0;
}

/* Whether this hook counts the packet: it owns the direction, or takes it over now. */
static __noinline int own(struct view *view, struct packet *p)
{
	__u8 dir = p->dir & 1;
	__u32 owner = READ_ONCE(view->owner[dir]);
	__u64 last;

	if (owner == p->hook)
		return 1;
	if (owner == 0) {
		/* before the claim: whoever sees it must not take the new owner for a silent one */
		WRITE_ONCE(view->last[dir], p->now);
		if (!claim(&view->owner[dir], 0, p->hook))
			/* on another CPU, a packet at this very hook may have been faster */
			return READ_ONCE(view->owner[dir]) == p->hook;
		view->first[dir] = p->now;
		if ((p->flags & (TCP_SYN | TCP_ACK)) == (TCP_SYN | TCP_ACK) && view->packets[dir ^ 1] == 1 &&
		    (view->marks >> (dir ? 0 : MARK_FLAGS_SHIFT)) & TCP_SYN)
			set_marks(&view->marks, MARK_HANDSHAKE);
		return 1;
	}
	if (view->other[dir] != p->hook)
		note_hook(view, p->hook, dir);
	last = READ_ONCE(view->last[dir]);
	if (p->now < last + OWNER_LATE_NS)
		return 0;
	if (p->now < last + OWNER_SILENT_NS && bpf_map_lookup_elem(&hooks, &owner))
		return 0;
	WRITE_ONCE(view->last[dir], p->now);
	if (!claim(&view->owner[dir], owner, p->hook))
		return READ_ONCE(view->owner[dir]) == p->hook;
	note_hook(view, owner, dir);
	return 1;
}

/* A SYN on a closed connection: the same tuple, another connection. Counters go on; user space subtracts. */
static __noinline int reopen(struct view *view, struct packet *p)
{
	tell_view(p, view, EVENT_REOPEN);
	view->generation++;
	view->owner[0] = 0;
	view->owner[1] = 0;
	view->other[0] = 0;
	view->other[1] = 0;
	view->conntrack = 0;
	for (int i = 0; i < SEEN_HOOKS; i++)
		view->seen[i] = 0;
	view->first[0] = 0;
	view->first[1] = 0;
	WRITE_ONCE(view->marks, MARK_TOLD_OPEN);
	return 0;
}

static __always_inline __u32 opener_marks(const struct packet *p)
{
	if (!(p->flags & TCP_SYN))
		return 0;
	/* a SYN comes from who opens, a SYN+ACK goes there */
	return MARK_OPENER_KNOWN | (!(p->flags & TCP_ACK) == !p->dir ? 0 : MARK_OPENER_DIR);
}

#define PEER_MARKS (MARK_PEER_IS_ROOT | MARK_PEER_IS_ALIAS | MARK_PEER_FORWARD_DIR)

/* Writes the peer into its view; false when it stood there already. The verifier wants the value's own type. */
static __noinline int store_peer(struct packet *p)
{
	if (p->family == 4) {
		struct view4 *view = bpf_map_lookup_elem(&views4, &p->key);
		const __u64 *from = (const __u64 *)&p->peer;
		__u64 *to;

		if (!view)
			return 0;
		to = (__u64 *)&view->peer;
		if (to[0] == from[0] && to[1] == from[1])
			return 0;
		to[0] = from[0];
		to[1] = from[1];
	} else {
		struct view6 *view = bpf_map_lookup_elem(&views6, &p->key);

		if (!view || same_key(&view->peer, &p->peer))
			return 0;
		view->peer = p->peer;
	}
	return 1;
}

/* Takes over what conntrack says of this packet (p->link, p->peer). */
static __noinline int link_view(struct view *view, struct packet *p)
{
	__u32 link = p->link & PEER_MARKS;

	if (p->link & MARK_OPENER_KNOWN && !(view->marks & MARK_OPENER_KNOWN))
		set_marks(&view->marks, p->link & (MARK_OPENER_KNOWN | MARK_OPENER_DIR));
	if (link) {
		bool news = store_peer(p) || (view->marks & PEER_MARKS) != link;

		if (view->marks & PEER_MARKS & ~link)
			clear_marks(&view->marks, PEER_MARKS);
		set_marks(&view->marks, link);
		if (news)
			clear_marks(&view->marks, MARK_TOLD_LINK);
		if (!(view->marks & MARK_TOLD_LINK)) {
			if (!tell_view(p, view, EVENT_LINK))
				return 0; /* asked again at the next packet */
			set_marks(&view->marks, MARK_TOLD_LINK);
		}
	}
	view->conntrack = p->conntrack;
	return 0;
}

/*
 * The first packet of a tuple. 0: counted, or lost and counted as that. -EEXIST: somebody was faster. `ordinary`: of the
 * packet only what parse_ordinary() fills is there, and conntrack has said nothing.
 */
static __always_inline int create(struct packet *p, bool ordinary)
{
	struct view6 fresh = {};
	struct view *view = &fresh.view;
	__u8 dir = p->dir & 1;
	__u32 link = ordinary ? 0 : p->link;
	__u32 marks = (__u32)p->flags << (dir ? MARK_FLAGS_SHIFT : 0) | link | opener_marks(p) | MARK_TOLD_OPEN;
	int error, told;

	if (dir) {
		view->bytes[1] = p->bytes;
		view->packets[1] = p->segments;
		view->first[1] = p->now;
		view->last[1] = p->now;
		view->owner[1] = p->hook;
	} else {
		view->bytes[0] = p->bytes;
		view->packets[0] = p->segments;
		view->first[0] = p->now;
		view->last[0] = p->now;
		view->owner[0] = p->hook;
	}
	if (p->protocol == PROTOCOL_TCP && !(p->flags & TCP_SYN))
		marks |= MARK_MIDSTREAM;
	if (!ordinary && p->fragment == FRAGMENT_LATER)
		marks |= MARK_FRAGMENTS;
	if (link & (MARK_PEER_IS_ROOT | MARK_PEER_IS_ALIAS))
		marks |= MARK_TOLD_LINK;
	if (p->flags & TCP_RST)
		marks |= MARK_TOLD_END;
	view->marks = marks;
	if (!ordinary) {
		view->conntrack = p->conntrack;
		view->icmp_type = p->icmp_type;
		view->icmp_code = p->icmp_code;
		/* a view4 ends behind the first 16 bytes of it */
		fresh.peer = p->peer;
	}
	if (p->family == 4) {
		error = bpf_map_update_elem(&views4, &p->key, &fresh, BPF_NOEXIST);
		asm volatile("" : "+r"(error));
	} else {
		error = bpf_map_update_elem(&views6, &p->key, &fresh, BPF_NOEXIST);
		asm volatile("" : "+r"(error) : : "memory");
	}
	if (error == -17)
		return error;
	if (error) {
		count_loss(LOSS_MAP_FULL, p->segments);
		if (!tell(p, EVENT_OVERFLOW)) {
			struct hook_counters *counters = bpf_map_lookup_elem(&hooks, &p->hook);

			count_loss(LOSS_PACKET, p->segments);
			if (counters) {
				__sync_fetch_and_add(&counters->lost_packets, p->segments);
				__sync_fetch_and_add(&counters->lost_bytes, p->bytes);
			}
		}
		return 0;
	}
	if (link & (MARK_PEER_IS_ROOT | MARK_PEER_IS_ALIAS)) {
		told = tell_view(p, view, EVENT_OPEN);
	} else {
		told = tell(p, EVENT_OPEN);
		if (!told)
			count_loss(LOSS_RING_FULL, 1);
	}
	return 0;
}

static __noinline int create_view(struct packet *p)
{
	return create(p, false);
}

/* Straight from where the packet was parsed: scratch costs as much as the rest of this. */
static __noinline int create_ordinary(struct packet *p)
{
	p->icmp_type = 0;
	p->icmp_code = 0;
	return create(p, true);
}

/* Everything but the ordinary packet of a known connection at the hook that counts it. */
static __noinline int account_view(struct packet *p, struct view *view)
{
	__u8 dir = p->dir & 1;
	__u32 flags = (__u32)p->flags << (dir ? MARK_FLAGS_SHIFT : 0);
	__u32 marks;

	if (p->conntrack)
		link_view(view, p);
	if (!own(view, p))
		return 0;
	marks = READ_ONCE(view->marks);
	if (!(marks & MARK_OPENER_KNOWN))
		flags |= opener_marks(p);
	if (p->fragment == FRAGMENT_LATER)
		flags |= MARK_FRAGMENTS;
	if (flags & ~marks)
		set_marks(&view->marks, flags);
	add(view, dir, p->now, p->bytes, p->segments);
	/* the end: a reset, or what follows when both sides have sent their FIN */
	if (marks & MARK_TOLD_END)
		return 0;
	if (p->flags & TCP_RST || ((marks & TCP_BOTH_FIN) == TCP_BOTH_FIN && !(p->flags & TCP_FIN)))
		if (set_marks(&view->marks, MARK_TOLD_END) && !tell_view(p, view, EVENT_END))
			clear_marks(&view->marks, MARK_TOLD_END);
	return 0;
}

/* Is this packet a new connection on the tuple of one that has ended? */
static __always_inline bool reopens(const struct packet *p, const struct view *view)
{
	return (p->flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN && view->marks & TCP_ANY_END;
}

static __noinline int note_tunnel(struct __sk_buff *skb, struct packet *p, struct view *view)
{
	if (!(view->marks & MARK_TOLD_TUNNEL) && tell_tunnel(skb, p))
		set_marks(&view->marks, MARK_TOLD_TUNNEL);
	return 0;
}

/*
 * Accounts the packet in scratch, which is not the ordinary one. `missed`: its key was looked up just now and is not
 * there. `nfct` is its conntrack entry, 0 where the program cannot see it.
 */
static __always_inline int account_packet(struct __sk_buff *skb, unsigned long nfct, __u32 missed, __u32 place)
{
	struct scratch *s = get_scratch(place);
	__u32 fold = nfct ? conntrack_fold(nfct) : 0;
	struct packet *p;
	struct view *view;

	if (!s)
		return 0;
	p = &s->packet;
	view = missed ? NULL : find_view(p);
	if (!view) {
		if (fold) {
			p->conntrack = fold;
			read_conntrack(nfct, place);
		}
		if (create_view(p) == -17)
			view = find_view(p);
	}
	if (view) {
		if (reopens(p, view))
			reopen(view, p);
		if (fold && (fold != view->conntrack || p->flags & TCP_SYN)) {
			p->conntrack = fold;
			read_conntrack(nfct, place);
		}
		account_view(p, view);
	}
	if (p->tunnel) {
		view = find_view(p);
		if (view)
			note_tunnel(skb, p, view);
	}
	if (capture_dns && (p->protocol == PROTOCOL_UDP || p->protocol == PROTOCOL_TCP)) {
		/* both are read, so that the choice is one of values: of addresses it is too much for the verifier of 6.1 */
		__u32 ports4 = ((const key_word *)&p->key)[2], ports6 = ((const key_word *)&p->key)[8], ports;

		asm volatile("" : "+r"(ports4), "+r"(ports6));
		ports = p->family == 4 ? ports4 : ports6;
		if (is_dns_port(ports) || is_dns_port(ports >> 16)) {
			view = find_view(p);
			if (view && view->owner[p->dir & 1] == p->hook)
				tell_dns(skb, place);
		}
	}
	return 0;
}

ALONE int account(struct __sk_buff *skb, __u32 missed, __u32 place)
{
	return account_packet(skb, 0, missed, place);
}

/* The same for the programs that see conntrack. */
ALONE int account_tracked(struct __sk_buff *skb, unsigned long nfct, __u32 missed, __u32 place)
{
	return account_packet(skb, nfct, missed, place);
}

#endif
