/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whose sockets they are. Watches TCP's states in every network namespace: a connecting process is caught in the act, an
 * accepted connection belongs to who listens. What was there before, and UDP, is found by a walk over all open files
 * (iter/task_file), which user space asks for now and then. Nothing here runs for a packet; it runs for each change of a
 * connection's state.
 *
 * The kernel's structures hold just the members that are read; CO-RE finds where they are.
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "socket.h"

#define AF_INET 2
#define AF_INET6 10
#define PROTOCOL_TCP 6
#define PROTOCOL_UDP 17
#define SOCKFS_MAGIC 0x534f434b

/* include/net/tcp_states.h */
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_SYN_RECV 3
#define TCP_FIN_WAIT1 4
#define TCP_CLOSE 7
#define TCP_LAST_ACK 9
#define TCP_LISTEN 10

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	const char *name;
	__u64 id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

/* Numbers of controllers depend on how the kernel was built. */
enum cgroup_subsys_id {
	memory_cgrp_id = 0,
};

struct css_set {
	struct cgroup_subsys_state *subsys[16];
	struct cgroup *dfl_cgrp;
};

struct task_struct {
	int tgid;
	char comm[COMMAND_SIZE];
	__u64 start_boottime;
	struct task_struct *group_leader;
	struct css_set *cgroups;
};

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct in6_addr {
	union {
		__u32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

/* Before 5.15: a pointer, or with its lowest bit set something else. */
struct sock_cgroup_data___old {
	__u64 val;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	struct sock_cgroup_data sk_cgrp_data;
};

struct inet_sock {
	__u16 inet_sport;
};

struct socket {
	struct sock *sk;
};

struct super_block {
	unsigned long s_magic;
};

struct inode {
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop

/* Inode number of the agent's own network namespace. */
const volatile __u32 own_netns = 0;
/* Whether connections over loopback addresses are told. */
const volatile __u32 with_loopback = 0;

/* Layouts that appear only behind ring buffer pointers must be named once to be in the object's BTF. */
const struct cgroup_record *unused_cgroup_record __attribute__((unused));
const enum socket_kind *unused_socket_kind __attribute__((unused));
const enum socket_flag *unused_socket_flag __attribute__((unused));
const enum socket_loss *unused_socket_loss __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 512 * 1024);
} socket_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SOCKET_LOSS_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} socket_losses SEC(".maps");

/* Sockets between connect(2) and an answer, by their address: the local port is not known before. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct socket_owner);
} socket_opening SEC(".maps");

struct listener_key {
	__u32 netns;
	__u16 port; /* network order */
	__u16 family;
	__u32 address[4]; /* zero: any */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct listener_key);
	__type(value, struct socket_owner);
} socket_listeners SEC(".maps");

/* Control groups whose names have been told. User space deletes those that it has forgotten. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 2048);
	__type(key, __u64);
	__type(value, __u8);
} socket_cgroups SEC(".maps");

static __always_inline void count_lost(void)
{
	__u32 which = SOCKET_LOSS_RING_FULL;
	__u64 *cell = bpf_map_lookup_elem(&socket_losses, &which);

	if (cell)
		*cell += 1;
}

static __noinline int read_names(__u8 *names, struct cgroup *cgroup)
{
	for (int level = 0; level < CGROUP_LEVELS; level++) {
		struct cgroup *parent = BPF_CORE_READ(cgroup, self.parent, cgroup);
		const char *name = BPF_CORE_READ(cgroup, kn, name);

		/* the root has no name */
		if (!parent || bpf_probe_read_kernel_str(names + level * CGROUP_NAME, CGROUP_NAME, name) <= 0) {
			names[level * CGROUP_NAME] = 0;
			return 0;
		}
		cgroup = parent;
	}
	return 0;
}

/*
 * The key of a pair of control groups (the second may be NULL), told with their names when it is new. Numbers of control
 * groups are the inodes of their directories: unique within a hierarchy, and 32 bits of them are enough to tell those apart
 * that live at one time.
 */
static __noinline __u64 cgroup_key(struct cgroup *unified, struct cgroup *memory)
{
	__u64 key = BPF_CORE_READ(unified, kn, id) ^ (memory ? BPF_CORE_READ(memory, kn, id) << 32 : 0);
	struct cgroup_record *record;
	__u8 told = 1;

	if (bpf_map_lookup_elem(&socket_cgroups, &key))
		return key;
	record = bpf_ringbuf_reserve(&socket_events, sizeof(*record), 0);
	if (!record) {
		count_lost();
		return key;
	}
	record->time = bpf_ktime_get_boot_ns();
	record->kind = SOCKET_CGROUP;
	__builtin_memset(record->reserved, 0, sizeof(record->reserved));
	record->key = key;
	read_names(record->unified, unified);
	record->memory[0] = 0;
	if (memory)
		read_names(record->memory, memory);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	bpf_map_update_elem(&socket_cgroups, &key, &told, BPF_ANY);
	return key;
}

static __always_inline __u64 cgroup_of_task(struct task_struct *task)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup *unified = BPF_CORE_READ(set, dfl_cgrp), *memory = NULL;

	if (bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id)) {
		struct cgroup_subsys_state *state = NULL;

		bpf_probe_read_kernel(&state, sizeof(state),
				      (void *)set + bpf_core_field_offset(struct css_set, subsys) +
					      bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id) * sizeof(void *));
		memory = BPF_CORE_READ(state, cgroup);
	}
	return cgroup_key(unified, memory == unified ? NULL : memory);
}

/* The control group in which the socket, or the one that it was accepted from, was made; version 2 only. */
static __always_inline __u64 cgroup_of_socket(struct sock *sk)
{
	struct cgroup *cgroup;

	if (bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
	else {
		struct sock_cgroup_data___old *data = (void *)sk + bpf_core_field_offset(struct sock, sk_cgrp_data);
		__u64 value = BPF_CORE_READ(data, val);

		cgroup = value & 1 ? NULL : (void *)value;
	}
	return cgroup ? cgroup_key(cgroup, NULL) : 0;
}

static __always_inline void fill_owner(struct socket_owner *owner, struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);

	owner->start = BPF_CORE_READ(leader, start_boottime);
	owner->pid = BPF_CORE_READ(task, tgid);
	owner->reserved = 0;
	owner->cgroup = cgroup_of_task(task);
	BPF_CORE_READ_STR_INTO(&owner->command, leader, comm);
}

static __always_inline bool is_mapped(const __u32 *address)
{
	return !address[0] && !address[1] && address[2] == bpf_htonl(0xffff);
}

static __always_inline bool is_loopback(const struct socket_record *record)
{
	if (record->family == 4)
		return (record->local[0] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
	return !record->local[0] && !record->local[1] && !record->local[2] && record->local[3] == bpf_htonl(1);
}

/* Reads the ends of an inet socket. False: it is none, or nobody wants to hear of it. */
static __noinline int fill_ends(struct socket_record *record, struct sock *sk, __u8 kind)
{
	unsigned short family = BPF_CORE_READ(sk, __sk_common.skc_family);

	__builtin_memset(record, 0, sizeof(*record));
	record->time = bpf_ktime_get_boot_ns();
	record->kind = kind;
	record->protocol = BPF_CORE_READ(sk, sk_protocol);
	record->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	record->local_port = bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));
	/* given back already when a connection is refused, and yet to be read */
	if (!record->local_port)
		record->local_port = BPF_CORE_READ((struct inet_sock *)sk, inet_sport);
	if (record->netns == own_netns)
		record->flags = SOCKET_OWN_NETNS;
	if (family == AF_INET) {
		record->family = 4;
		record->local[0] = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		if (kind == SOCKET_CONNECTED)
			record->remote[0] = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	} else if (family == AF_INET6) {
		record->family = 6;
		BPF_CORE_READ_INTO(&record->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
		if (kind == SOCKET_CONNECTED)
			BPF_CORE_READ_INTO(&record->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr32);
		if (is_mapped(kind == SOCKET_CONNECTED ? record->remote : record->local)) {
			record->family = 4;
			record->local[0] = record->local[3];
			record->remote[0] = record->remote[3];
			for (int i = 1; i < 4; i++) {
				record->local[i] = 0;
				record->remote[i] = 0;
			}
		} else if (BPF_CORE_READ_BITFIELD_PROBED(&sk->__sk_common, skc_ipv6only))
			record->flags |= SOCKET_IPV6_ONLY;
	} else
		return 0;
	if (kind == SOCKET_CONNECTED) {
		record->remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
		if (!record->remote_port)
			return 0;
	}
	return record->local_port && (with_loopback || !is_loopback(record));
}

/* The key under which a bound socket is looked up; `any`: as one that is bound to no address. */
static __always_inline void listener_key(struct listener_key *key, const struct socket_record *record, bool any,
					 __u16 family)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = record->netns;
	key->port = record->local_port;
	key->family = family;
	if (!any)
		__builtin_memcpy(key->address, record->local, sizeof(key->address));
}

/* Who listens where the record's local end is: at this very address, at any, or at any of IPv6. */
static __noinline struct socket_owner *find_listener(const struct socket_record *record)
{
	struct socket_owner *owner;
	struct listener_key key;

	listener_key(&key, record, false, record->family);
	owner = bpf_map_lookup_elem(&socket_listeners, &key);
	if (owner)
		return owner;
	listener_key(&key, record, true, record->family);
	owner = bpf_map_lookup_elem(&socket_listeners, &key);
	if (owner || record->family == 6)
		return owner;
	key.family = 6;
	return bpf_map_lookup_elem(&socket_listeners, &key);
}

static __noinline int tell(const struct socket_record *record)
{
	struct socket_record *told = bpf_ringbuf_reserve(&socket_events, sizeof(*told), 0);

	if (!told) {
		count_lost();
		return 0;
	}
	*told = *record;
	bpf_ringbuf_submit(told, BPF_RB_NO_WAKEUP);
	return 1;
}

static __always_inline void connecting(struct sock *sk)
{
	struct socket_owner owner = {};
	__u64 key = (__u64)sk;

	fill_owner(&owner, (void *)bpf_get_current_task());
	bpf_map_update_elem(&socket_opening, &key, &owner, BPF_ANY);
}

/* The socket that somebody began to connect has its ends. */
static __always_inline void connected(struct sock *sk)
{
	struct socket_record record;
	__u64 key = (__u64)sk;
	struct socket_owner *owner = bpf_map_lookup_elem(&socket_opening, &key);

	if (!owner)
		return;
	if (fill_ends(&record, sk, SOCKET_CONNECTED)) {
		record.owner = *owner;
		tell(&record);
	}
	bpf_map_delete_elem(&socket_opening, &key);
}

/* In an interrupt: whoever runs now has nothing to do with it. */
static __always_inline void accepted(struct sock *sk)
{
	struct socket_record record;
	struct socket_owner *owner;

	if (!fill_ends(&record, sk, SOCKET_CONNECTED))
		return;
	record.flags |= SOCKET_INHERITED;
	owner = find_listener(&record);
	if (owner)
		record.owner = *owner;
	else
		record.owner.cgroup = cgroup_of_socket(sk);
	tell(&record);
}

static __always_inline void listening(struct sock *sk)
{
	struct socket_record record;
	struct listener_key key;

	if (!fill_ends(&record, sk, SOCKET_BOUND))
		return;
	fill_owner(&record.owner, (void *)bpf_get_current_task());
	listener_key(&key, &record, false, record.family);
	bpf_map_update_elem(&socket_listeners, &key, &record.owner, BPF_ANY);
	tell(&record);
}

static __always_inline void listened(struct sock *sk)
{
	struct socket_record record;
	struct socket_owner *owner;
	struct listener_key key;

	if (!fill_ends(&record, sk, SOCKET_UNBOUND))
		return;
	listener_key(&key, &record, false, record.family);
	owner = bpf_map_lookup_elem(&socket_listeners, &key);
	/* another one that shares the port may have taken its place */
	if (!owner || owner->pid != bpf_get_current_pid_tgid() >> 32)
		return;
	record.owner = *owner;
	bpf_map_delete_elem(&socket_listeners, &key);
	tell(&record);
}

/* Closed by a process: where that is not the one that listens, it was its worker who had accepted the connection. */
static __always_inline void closing(struct sock *sk)
{
	struct socket_record record;
	struct socket_owner *owner;

	if (!fill_ends(&record, sk, SOCKET_CONNECTED))
		return;
	owner = find_listener(&record);
	if (!owner || owner->pid == bpf_get_current_pid_tgid() >> 32)
		return;
	fill_owner(&record.owner, (void *)bpf_get_current_task());
	tell(&record);
}

SEC("tp_btf/inet_sock_set_state")
int socket_state(__u64 *arguments)
{
	struct sock *sk = (void *)arguments[0];
	int before = arguments[1], after = arguments[2];

	if (BPF_CORE_READ(sk, sk_protocol) != PROTOCOL_TCP)
		return 0;
	if (after == TCP_SYN_SENT)
		connecting(sk);
	else if (before == TCP_SYN_SENT)
		connected(sk);
	else if (before == TCP_SYN_RECV && after == TCP_ESTABLISHED)
		accepted(sk);
	else if (after == TCP_LISTEN)
		listening(sk);
	else if (before == TCP_LISTEN && after == TCP_CLOSE)
		listened(sk);
	else if (after == TCP_FIN_WAIT1 || after == TCP_LAST_ACK)
		closing(sk);
	return 0;
}

/* A SYN that is sent again: nobody has answered yet, and who sent it shall be known all the same. */
SEC("tp_btf/tcp_retransmit_skb")
int socket_retransmit(__u64 *arguments)
{
	struct sock *sk = (void *)arguments[0];

	if (BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_SYN_SENT)
		connected(sk);
	return 0;
}

/* Every open file of every process that the reader sees: sockets are written as struct socket_record. */
SEC("iter/task_file")
int socket_walk(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct task_struct *task = ctx->task;
	struct socket_record record;
	__u8 kind = SOCKET_BOUND;
	struct socket *socket;
	__u16 protocol;
	struct sock *sk;

	if (!file || !task || BPF_CORE_READ(file, f_inode, i_sb, s_magic) != SOCKFS_MAGIC)
		return 0;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk)
		return 0;
	protocol = BPF_CORE_READ(sk, sk_protocol);
	if (protocol == PROTOCOL_TCP) {
		__u8 state = BPF_CORE_READ(sk, __sk_common.skc_state);

		if (state == TCP_CLOSE)
			return 0;
		if (state != TCP_LISTEN)
			kind = SOCKET_CONNECTED;
	} else if (protocol != PROTOCOL_UDP)
		return 0;
	else if (BPF_CORE_READ(sk, __sk_common.skc_dport))
		kind = SOCKET_CONNECTED;
	if (!fill_ends(&record, sk, kind))
		return 0;
	record.flags |= SOCKET_FOUND;
	fill_owner(&record.owner, task);
	if (kind == SOCKET_BOUND && protocol == PROTOCOL_TCP) {
		struct listener_key key;

		listener_key(&key, &record, false, record.family);
		bpf_map_update_elem(&socket_listeners, &key, &record.owner, BPF_NOEXIST);
	}
	bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
