/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the socket programs tell user space: who opened a socket, who listens, and what control groups are called. The
 * only definition of this boundary; agent/kernel/socket-layout.gen.ts is generated from the compiled object's BTF and
 * checked when it is loaded. It may hold no code.
 *
 * Addresses and ports are in network order, IPv4 in the first word and the rest zero; an IPv4 address that a socket holds
 * in its IPv6 form is IPv4 here.
 */
#ifndef VETHFLOW_SOCKET_H
#define VETHFLOW_SOCKET_H

/* TASK_COMM_LEN */
#define COMMAND_SIZE 16
/* Of a control group's path, the nearest levels, the group itself first. */
#define CGROUP_LEVELS 8
/* Longest name of a level that is kept, its zero included: `cri-containerd-`, 64 digits, `.scope`. */
#define CGROUP_NAME 96

enum socket_kind {
	SOCKET_CONNECTED = 1, /* struct socket_record: both ends are known */
	SOCKET_BOUND = 2, /* struct socket_record: listens (TCP) or receives (UDP) at its local end */
	SOCKET_UNBOUND = 3, /* struct socket_record: listens no more */
	SOCKET_CGROUP = 4, /* struct cgroup_record */
};

enum socket_flag {
	SOCKET_OWN_NETNS = 1, /* in the agent's own network namespace */
	SOCKET_IPV6_ONLY = 2, /* bound to an IPv6 address and takes no IPv4 */
	SOCKET_INHERITED = 4, /* accepted: the owner is who listens, or only its control group is known */
	SOCKET_FOUND = 8, /* by a walk: a process that has it open, one of several perhaps */
};

/* The process behind a socket when it was opened. All zero: not known. 40 bytes. */
struct socket_owner {
	__u64 start; /* when the process began, boot clock, ns: tells apart processes that had one pid */
	__u64 cgroup; /* key of its struct cgroup_record; 0: not known */
	__u32 pid; /* in the initial pid namespace; 0: not known */
	__u32 reserved;
	__u8 command[COMMAND_SIZE]; /* the main thread's; any bytes, zero at the end */
};

/* 96 bytes. */
struct socket_record {
	__u64 time; /* boot clock, ns */
	__u8 kind; /* enum socket_kind */
	__u8 family; /* 4 or 6 */
	__u8 protocol; /* 6 or 17 */
	__u8 flags; /* enum socket_flag */
	__u32 netns; /* inode number of its network namespace */
	__u32 local[4];
	__u32 remote[4]; /* zero unless connected */
	__u16 local_port;
	__u16 remote_port;
	__u32 reserved;
	struct socket_owner owner;
};

/*
 * A control group by the names of its levels. There are two chains: on the unified hierarchy, and on that of the memory
 * controller where that is one of its own (version 1, and both versions side by side). A name that is empty ends a chain
 * at the root.
 */
struct cgroup_record {
	__u64 time;
	__u8 kind; /* SOCKET_CGROUP */
	__u8 reserved[7];
	__u64 key;
	__u8 unified[CGROUP_LEVELS * CGROUP_NAME];
	__u8 memory[CGROUP_LEVELS * CGROUP_NAME];
};

/* Index into the per-CPU array `socket_losses`. */
enum socket_loss {
	SOCKET_LOSS_RING_FULL = 0, /* records not told */
	SOCKET_LOSS_COUNT = 1,
};

#endif
