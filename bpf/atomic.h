/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What several CPUs do to one word. Kernels before 5.12 know only an add without a result; for them the object is
 * compiled with VETHFLOW_NO_FETCH, where two CPUs in the same nanoseconds may undo each other. What that costs: one
 * packet counted at two hooks; one event told twice (user space takes the second for nothing); marks lost, since each
 * writes back the word as it read it. A lost mark is a TCP flag that does not show, an opener that is inferred, or an
 * event that is told again; one that comes back after it was cleared is an event not told, so that only the next
 * drain of the map shows what it was about. Packets and bytes are added to atomically here, too.
 */
#ifndef VETHFLOW_ATOMIC_H
#define VETHFLOW_ATOMIC_H

#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))

/* True for the one CPU that replaced `from` by `to`. */
static __always_inline bool claim(__u32 *word, __u32 from, __u32 to)
{
#ifdef VETHFLOW_NO_FETCH
	if (READ_ONCE(*word) != from)
		return false;
	WRITE_ONCE(*word, to);
	return READ_ONCE(*word) == to;
#else
	return __sync_val_compare_and_swap(word, from, to) == from;
#endif
}

/* Sets bits; true when at least one of them was not set before. */
static __always_inline bool set_marks(__u32 *marks, __u32 bits)
{
#ifdef VETHFLOW_NO_FETCH
	__u32 before = READ_ONCE(*marks);

	WRITE_ONCE(*marks, before | bits);
	return ~before & bits;
#else
	return ~__sync_fetch_and_or(marks, bits) & bits;
#endif
}

static __always_inline void clear_marks(__u32 *marks, __u32 bits)
{
#ifdef VETHFLOW_NO_FETCH
	WRITE_ONCE(*marks, READ_ONCE(*marks) & ~bits);
#else
	__sync_fetch_and_and(marks, ~bits);
#endif
}

#endif
