/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Where the packet that is not ordinary lies while it is looked at. The verifier checks a static function once for each
 * road that leads to it, which comes to more than its million instructions on 5.10 and 6.1, and a global one just once.
 * Global functions take no pointers but the context's on 5.10, so they find the packet here. Programs on these hooks run
 * with softirqs off: a CPU has one packet at a time. Nothing in here outlives the packet.
 */
#ifndef VETHFLOW_SCRATCH_H
#define VETHFLOW_SCRATCH_H

#include "packet.h"

/* A function that the verifier checks once, by itself. Takes the context and numbers only. */
#define ALONE __attribute__((noinline))

struct scratch {
	struct packet packet;
	struct transport transport;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* This CPU's; never NULL, though the verifier wants to see that asked. */
static __always_inline struct scratch *get_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratch, &zero);
}

#endif
