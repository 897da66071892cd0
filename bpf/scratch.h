/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the packet that is not ordinary lies while it is looked at. The verifier checks a static function once for each
 * road that leads to it, which comes to more than its million instructions on 5.10 and 6.1, and a global one just once.
 * Global functions take no pointers but the context's on 5.10, so they find the packet here. Nothing in here outlives the
 * packet.
 *
 * Programs on these hooks run with softirqs off. That means one packet at a time on a CPU, but for kernels with PREEMPT_RT
 * from 6.18 on: there a task in such a program may be preempted by another that comes to it on the same CPU
 * (CONFIG_PREEMPT_RT_NEEDS_BH_LOCK is off; neither moves to another CPU). So there are several places for each CPU, and a
 * packet takes one that is free.
 */
#ifndef VETHFLOW_SCRATCH_H
#define VETHFLOW_SCRATCH_H

#include "atomic.h"
#include "packet.h"

/* A function that the verifier checks once, by itself. Takes the context and numbers only. */
#define ALONE __attribute__((noinline))

/* Tasks that may be in a program at once on one CPU; what comes while all are taken is counted as lost. */
#define PLACES 8

struct scratch {
	struct packet packet;
	struct transport transport;
	__u32 taken;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PLACES);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Only kernels with PREEMPT_RT (5.15) have this field. */
struct task_struct___rt {
	int softirq_disable_cnt;
} __attribute__((preserve_access_index));

/* May a task be preempted in here by another that comes here? Known when the program is loaded, where the kernel has BTF. */
static __always_inline bool preemptible(void)
{
#if defined(VETHFLOW_NO_FETCH)
	return false; /* kernels before 5.12 */
#elif defined(VETHFLOW_NO_CONNTRACK)
	return true; /* this object has to load without BTF */
#else
	return bpf_core_field_exists(((struct task_struct___rt *)0)->softirq_disable_cnt);
#endif
}

/* This CPU's; NULL where `place` is none. */
static __always_inline struct scratch *get_scratch(__u32 place)
{
	return bpf_map_lookup_elem(&scratch, &place);
}

static __noinline __u32 find_place(void)
{
	for (__u32 place = 0; place < PLACES; place++) {
		struct scratch *s = get_scratch(place);

		if (s && claim(&s->taken, 0, 1))
			return place;
	}
	return PLACES;
}

/* A place for a packet, to be left when it has been accounted; PLACES when there is none. */
static __always_inline __u32 take_place(void)
{
	return preemptible() ? find_place() : 0;
}

static __always_inline void leave_place(struct scratch *s)
{
	asm volatile("" : : : "memory");
	if (preemptible())
		WRITE_ONCE(s->taken, 0);
}

#endif
