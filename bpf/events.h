/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What cannot wait for the next drain, written to the ring. Nothing here blocks or wakes: user space polls. */
#ifndef VETHFLOW_EVENTS_H
#define VETHFLOW_EVENTS_H

#include "atomic.h"
#include "packet.h"

static __always_inline void count_loss(__u32 which, __u64 count)
{
	__u64 *cell = bpf_map_lookup_elem(&losses, &which);

	if (cell)
		/* another task may get in between where programs are preemptible */
		__sync_fetch_and_add(cell, count);
}

static __always_inline void fill_head(struct event *event, const struct packet *p, __u8 kind)
{
	event->time = p->now;
	event->hook = p->hook;
	event->bytes = p->bytes;
	event->packets = p->segments;
	event->kind = kind;
	event->family = p->family;
	event->dir = p->dir;
	event->tcp_flags = p->flags;
	event->icmp_type = p->icmp_type;
	event->icmp_code = p->icmp_code;
}

static __always_inline void fill_event(struct event *event, const struct packet *p, __u8 kind)
{
	fill_head(event, p, kind);
	event->key = p->key;
}

_Static_assert(offsetof(struct event, key) + sizeof(struct key4) == EVENT_BYTES4, "EVENT_BYTES4");

/* False when the ring is full. */
static __noinline int tell(const struct packet *p, __u8 kind)
{
	struct event *event;

	if (p->family == 4) {
		event = bpf_ringbuf_reserve(&events, EVENT_BYTES4, 0);
		if (!event)
			return 0;
		fill_head(event, p, kind);
		*(struct key4 *)&event->key = *(const struct key4 *)&p->key;
	} else {
		event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
		if (!event)
			return 0;
		fill_event(event, p, kind);
	}
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	return 1;
}

/* The same with the whole view. */
static __noinline int tell_view(const struct packet *p, const struct view *view, __u8 kind)
{
	struct event_view *record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);

	if (!record) {
		count_loss(LOSS_RING_FULL, 1);
		return 0;
	}
	fill_event(&record->event, p, kind);
	record->view = *view;
	record->peer = p->peer;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

static __noinline int tell_tunnel(struct __sk_buff *skb, const struct packet *p)
{
	struct event_tunnel *record;
	__u32 address[8] = {};

	if (p->outer_family == 4) {
		if (bpf_skb_load_bytes(skb, p->outer + 12, address, 4) || bpf_skb_load_bytes(skb, p->outer + 16, address + 4, 4))
			return 0;
	} else if (bpf_skb_load_bytes(skb, p->outer + 8, address, 32))
		return 0;
	record = bpf_ringbuf_reserve(&events, sizeof(*record), 0);
	if (!record) {
		count_loss(LOSS_RING_FULL, 1);
		return 0;
	}
	fill_event(&record->event, p, EVENT_TUNNEL);
	__builtin_memcpy(record->source, address, 16);
	__builtin_memcpy(record->destination, address + 4, 16);
	record->id = p->tunnel_id;
	record->type = p->tunnel;
	record->family = p->outer_family;
	record->reserved = 0;
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

#endif
