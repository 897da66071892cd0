/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the kernel's connection tracking knows of a packet: which tuple the client used and what it became. To be seen
 * at egress, after NAT has run. Only programs whose names end in _ct may include a call of these: the kfunc is missing
 * on kernels before 6.2.
 */
#ifndef VETHFLOW_CONNTRACK_H
#define VETHFLOW_CONNTRACK_H

#include "scratch.h"

/* Just the members that are read; CO-RE finds where they are. */
struct sk_buff {
	unsigned long _nfct;
} __attribute__((preserve_access_index));

struct nf_conntrack_tuple_hash {
	__u64 words[7];
};

struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
} __attribute__((preserve_access_index));

/* struct nf_conntrack_tuple_hash as it has been since 2.6.20 (net/netfilter/nf_conntrack_tuple.h). */
struct conntrack_tuple {
	__u64 node[2];
	__u32 source[4];
	__u16 source_id;
	__u16 l3num;
	__u32 destination[4];
	union {
		__u16 destination_id;
		struct {
			__u8 type;
			__u8 code;
		} icmp;
	};
	__u8 protocol;
	__u8 dir;
};

extern void *bpf_cast_to_kern_ctx(void *) __ksym __weak;

#define NFCT_INFO_MASK 7ul
#define CT_RELATED 1
#define CT_RELATED_REPLY 4

/* The packet's conntrack entry and how it belongs to it (enum ip_conntrack_info, low three bits); 0: none. */
static __always_inline unsigned long conntrack_of(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);

	return skb->_nfct;
}

/* What is kept of it to see that it is another one. An ICMP error carries its subject's entry, which is not its own. */
static __always_inline __u32 conntrack_fold(unsigned long nfct)
{
	__u32 info = nfct & NFCT_INFO_MASK;

	if (info == CT_RELATED || info == CT_RELATED_REPLY)
		return 0;
	return nfct >> 6;
}

static __noinline int key_of_tuple(struct packet *p, struct conntrack_tuple *t, struct key6 *key, bool invert)
{
	__u8 kind = 0, protocol = t->protocol;
	__u16 sport = t->source_id, dport = t->destination_id;

	__builtin_memset(key, 0, sizeof(*key));
	if (protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMP6) {
		kind = icmp_kind(protocol, t->icmp.type);
		if (!icmp_echo(protocol, t->icmp.type))
			sport = 0;
		dport = sport;
	}
	if (p->family == 4) {
		if (invert)
			return make_key4((struct key4 *)key, t->destination[0], t->source[0], dport, sport, protocol, kind);
		return make_key4((struct key4 *)key, t->source[0], t->destination[0], sport, dport, protocol, kind);
	}
	if (invert)
		return make_key6(key, t->destination, t->source, dport, sport, protocol, kind);
	return make_key6(key, t->source, t->destination, sport, dport, protocol, kind);
}

static __always_inline bool same_key(const struct key6 *a, const struct key6 *b)
{
	const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;

	return x[0] == y[0] && x[1] == y[1] && x[2] == y[2] && x[3] == y[3] && x[4] == y[4];
}

/*
 * Reads the entry's two tuples into the packet's `peer` and `link`: who opened the connection and, when it is translated, the
 * other tuple. Leaves both empty when the entry is not one of this packet's family.
 */
ALONE int read_conntrack(unsigned long nfct, __u32 place)
{
	struct scratch *s = get_scratch(place);
	struct conntrack_tuple tuple[2];
	struct key6 became;
	struct nf_conn *ct = (void *)(nfct & ~NFCT_INFO_MASK);
	__u8 root_dir, became_dir;
	struct packet *p;

	if (!s)
		return 0;
	p = &s->packet;
	p->link = 0;
	if (bpf_probe_read_kernel(tuple, sizeof(tuple), &ct->tuplehash))
		return 0;
	if (tuple[0].l3num != (p->family == 4 ? 2 : 10) || tuple[1].l3num != tuple[0].l3num)
		return 0;
	root_dir = key_of_tuple(p, &tuple[0], &p->peer, false);
	/* what a forward packet looks like on the wire behind the translation is the reply turned round */
	became_dir = key_of_tuple(p, &tuple[1], &became, true);
	if (same_key(&p->key, &p->peer)) {
		p->link = MARK_OPENER_KNOWN | (root_dir ? MARK_OPENER_DIR : 0);
		if (same_key(&became, &p->peer))
			return 0;
		p->peer = became;
		p->link |= MARK_PEER_IS_ALIAS | (became_dir ? MARK_PEER_FORWARD_DIR : 0);
		return 0;
	}
	/* a fragment without ports, another zone's tuple: it says nothing of this packet's */
	if (!same_key(&p->key, &became))
		return 0;
	p->link = MARK_PEER_IS_ROOT | (root_dir ? MARK_PEER_FORWARD_DIR : 0);
	p->link |= MARK_OPENER_KNOWN | (became_dir ? MARK_OPENER_DIR : 0);
	return 0;
}

#endif
