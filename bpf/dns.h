/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Copies of DNS messages for user space, which reads them: everything to or from port 53, TCP and UDP, once for each tuple
 * (at the hook that counts the direction). Nothing is parsed here.
 */
#ifndef VETHFLOW_DNS_H
#define VETHFLOW_DNS_H

#include "events.h"
#include "scratch.h"

#define DNS_PORT 53

/*
 * The verifier of 5.10 and 6.1 knows how large a masked number can get, but forgets what it was compared with: so there is
 * room for as much as the mask lets through, and one more.
 */
#define DNS_MASK 0x7ff

struct dns_scratch {
	struct event_dns record;
	__u8 never_used[DNS_MASK + 1 - DNS_BYTES];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct dns_scratch);
} dns_scratch SEC(".maps");

static __always_inline bool is_dns_port(__u16 port)
{
	return port == bpf_htons(DNS_PORT);
}

/* Copies what the packet in this place of the scratch carries. */
ALONE int tell_dns(struct __sk_buff *skb, __u32 place)
{
	__u32 offset, length;
	struct scratch *s = get_scratch(place);
	struct dns_scratch *room = bpf_map_lookup_elem(&dns_scratch, &place);
	struct event_dns *record;
	struct packet *p;
	__u64 copied;

	if (!s || !room)
		return 0;
	p = &s->packet;
	record = &room->record;
	offset = p->transport + s->transport.header;
	if (p->fragment == FRAGMENT_LATER || !s->transport.header || offset >= skb->len)
		return 0;
	length = skb->len - offset;
	copied = length < DNS_BYTES ? length : DNS_BYTES;
	fill_event(&record->event, p, 0);
	record->length = length;
	record->copied = copied;
	/* it is that already, but only so does the verifier see both bounds; the compiler sees no need for it */
	copied--;
	asm volatile("" : "+r"(copied));
	copied = (copied & DNS_MASK) + 1;
	if (bpf_skb_load_bytes(skb, offset, record->payload, copied))
		return 0;
	if (bpf_ringbuf_output(&dns, record, offsetof(struct event_dns, payload) + copied, BPF_RB_NO_WAKEUP))
		count_loss(LOSS_DNS, 1);
	return 0;
}

#endif
