/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps, and what user space sets before the programs are loaded. Sizes given here are defaults. */
#ifndef VETHFLOW_MAPS_H
#define VETHFLOW_MAPS_H

#include "flow.h"

/* Number of the network namespace whose interfaces these programs are attached to; 0 is the agent's own. */
const volatile __u32 netns_number = 0;

/* Whether DNS messages are copied to the ring `dns`. */
const volatile __u32 capture_dns = 0;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct key4);
	__type(value, struct view4);
} views4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct key6);
	__type(value, struct view6);
} views6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 * 1024 * 1024);
} events SEC(".maps");

/* DNS messages, apart from the events: whoever floods port 53 drowns no connection. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1024 * 1024);
} dns SEC(".maps");

/* Attached hooks, by hook number. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct hook_counters);
} hooks SEC(".maps");

/* By enum loss. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOSS_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} losses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct tunnel_key);
	__type(value, struct tunnel_device);
} tunnels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

/* Ports of first fragments, for the later ones (RFC 791, RFC 8200 section 4.5). Only the kernel side uses it. */
struct fragment_key {
	__u32 source[4];
	__u32 destination[4];
	__u32 id;
	__u8 protocol; /* IPv4; 0 for IPv6, where headers may stand between the fragment header and the transport's */
	__u8 family;
	__u16 reserved;
};

struct fragment_ports {
	__u16 source;
	__u16 destination;
	__u8 kind;
	__u8 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct fragment_ports);
} fragments SEC(".maps");

#endif
