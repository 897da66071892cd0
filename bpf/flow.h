/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The boundary between kernel and agent: every record layout, map key and number that both sides know. It is the only
 * definition; agent/kernel/layout.gen.ts is generated from the compiled object's BTF and checked when the object is
 * loaded. It may hold no code.
 *
 * Words used here
 *   view       the account of one tuple as it is on the wire. A connection that is translated on this node has several
 *              views; user space joins them by what conntrack says (`peer`) and reads each direction from one of them.
 *   end        one side of a tuple. The two ends are sorted, so both directions of a connection share one key.
 *   dir        0 when the packet's source is end 0, 1 when it is end 1.
 *   hook       one direction of one interface: see HOOK_*.
 *   owner      the hook that counts a view's direction; all others only note that they saw it.
 */
#ifndef VETHFLOW_FLOW_H
#define VETHFLOW_FLOW_H

/* Raised when anything here changes its meaning without changing its layout: stands in the type information. */
enum abi { VETHFLOW_ABI = 1 };

/*
 * Hook numbers. In the agent's own network namespace (number 0): ifindex << 1 | egress. In another one that the agent
 * entered: bit 31, then ten bits of its number, twenty of the ifindex, one of egress. 0 is no hook.
 */
#define HOOK_EGRESS 1u
#define HOOK_FOREIGN (1u << 31)
#define HOOK_NETNS_SHIFT 21

/* Addresses and ports in network order. Ends are sorted by (address words as loaded, then port). 16 bytes. */
struct key4 {
	__u32 address[2];
	__u16 port[2];
	__u8 protocol;
	__u8 kind; /* ICMP: the message type, echo replies under their request's; else 0 */
	__u16 netns; /* number of the namespace where addresses mean something only there (loopback), else 0 */
};

/* 40 bytes. */
struct key6 {
	__u32 address[2][4];
	__u16 port[2];
	__u8 protocol;
	__u8 kind;
	__u16 netns;
};

/* marks: TCP flags (RFC 9293, low 8 bits) or'ed by dir, then the state bits below. */
enum mark {
	MARK_FLAGS_SHIFT = 8, /* flags of dir 1 start here, of dir 0 at bit 0 */
	MARK_OPENER_KNOWN = 1 << 16, /* by SYN, or by conntrack's original tuple */
	MARK_OPENER_DIR = 1 << 17, /* the opener's packets have dir 1 */
	MARK_HANDSHAKE = 1 << 18, /* first[] are of one SYN and its SYN+ACK: their difference is a round trip */
	MARK_PEER_IS_ROOT = 1 << 19, /* peer is conntrack's original tuple: this view is what it became */
	MARK_PEER_IS_ALIAS = 1 << 20, /* this view is the original tuple, peer what it became */
	MARK_PEER_FORWARD_DIR = 1 << 21, /* forward packets have dir 1 in the peer's key */
	MARK_TOLD_OPEN = 1 << 22, /* the events below have been written to the ring */
	MARK_TOLD_LINK = 1 << 23,
	MARK_TOLD_END = 1 << 24,
	MARK_TOLD_REFUSED = 1 << 25,
	MARK_TOLD_TUNNEL = 1 << 26,
	MARK_FRAGMENTS = 1 << 27, /* later fragments were joined to it */
	MARK_MIDSTREAM = 1 << 28, /* TCP whose first packet seen was no SYN */
};

#define SEEN_HOOKS 6

/*
 * The account of one tuple. The first 64 bytes are all that an ordinary packet touches. Counters only grow; packets
 * wrap at 2^32 (user space takes differences). Segments as on the wire and IP octets (IPFIX elements 2 and 1).
 */
struct view {
	__u64 bytes[2]; /* by dir */
	__u64 last[2]; /* boot clock, ns, up to a tick (10 ms) early; 0: none yet */
	__u32 packets[2];
	__u32 owner[2]; /* hook; 0: nobody yet */
	__u32 other[2]; /* the hook that was noted last besides the owner */
	__u32 conntrack; /* the nf_conn seen at egress, its address >> 6, cut to 32 bits; 0: none */
	__u32 marks; /* enum mark */

	__u64 first[2]; /* boot clock, ns */
	__u32 seen[SEEN_HOOKS]; /* hooks besides the owners that saw it; 0: free */
	__u8 generation; /* raised by a SYN on a closed connection; counters go on */
	__u8 icmp_type; /* of the first packet */
	__u8 icmp_code;
	__u8 reserved;
	__u32 reserved2;
};

struct view4 {
	struct view view;
	struct key4 peer; /* the other tuple of a translated connection; see MARK_PEER_* */
};

struct view6 {
	struct view view;
	struct key6 peer;
};

enum event_kind {
	EVENT_OPEN = 1, /* first packet of a view. Just struct event, or struct event_view when it is translated */
	EVENT_LINK = 2, /* conntrack's tuples became known later: struct event_view */
	EVENT_END = 3, /* RST, or the acknowledgement after both FINs: struct event_view, this packet included */
	EVENT_OVERFLOW = 4, /* the map is full: this packet's worth, counted nowhere else */
	EVENT_ICMP_ERROR = 5, /* an ICMP error about key; icmp_type and icmp_code; dir is that of the packet it quotes */
	EVENT_TUNNEL = 6, /* key was seen inside a tunnel: struct event_tunnel */
	EVENT_REOPEN = 7, /* a SYN on a closed connection: struct event_view with the view as it was before this packet */
};

/*
 * What begins every record in the ring. 64 bytes; a record that is nothing else ends after EVENT_BYTES4 for family 4.
 */
struct event {
	__u64 time; /* boot clock, ns */
	__u32 hook;
	__u32 bytes; /* of this packet, as on the wire */
	__u16 packets; /* segments of this packet */
	__u8 kind; /* enum event_kind */
	__u8 family; /* 4: key holds a key4 in its first 16 bytes; 6 */
	__u8 dir;
	__u8 tcp_flags;
	__u8 icmp_type;
	__u8 icmp_code;
	struct key6 key;
};

/* struct event as far as a key4 reaches in it. */
#define EVENT_BYTES4 40

struct event_view {
	struct event event;
	struct view view; /* as it is after this packet (EVENT_REOPEN: before) */
	struct key6 peer; /* family 4: a key4 in its first 16 bytes */
};

enum tunnel_type {
	TUNNEL_VXLAN = 1,
	TUNNEL_GENEVE = 2,
	TUNNEL_IPIP = 3,
	TUNNEL_GRE = 4,
};

struct event_tunnel {
	struct event event;
	__u32 source[4]; /* outer, network order; IPv4 in the first word */
	__u32 destination[4];
	__u32 id; /* VNI or GRE key, host order */
	__u8 type; /* enum tunnel_type */
	__u8 family; /* 4 or 6, of the outer addresses */
	__u16 reserved;
};

/* Which outer packets an uplink looks into: those of tunnel devices that this node has. Key of the map `tunnels`. */
struct tunnel_key {
	__u16 port; /* UDP destination, network order; 0 for IPIP and GRE */
	__u8 protocol; /* 17, 4, 41 or 47 */
	__u8 family; /* 4 or 6 */
};

#define TUNNEL_PORTS 4

/* What the agent tells all programs while they run. The one entry of the array `settings`. */
struct settings {
	__u64 boot_ahead; /* boot clock less monotonic clock, ns: the time that the machine has slept */
	__u16 tunnel_ports[TUNNEL_PORTS]; /* UDP ports of `tunnels`, network order; 0: none */
	__u32 tunnel_ports_told; /* not 0: there are no others; 0: ask the map */
	__u32 reserved;
};

/*
 * Most bytes of a DNS message that are copied: the size that servers agreed on (DNS flag day 2020), so that none need be cut
 * into fragments. The record in the ring `dns` is as long as what was copied.
 */
#define DNS_BYTES 1232

struct event_dns {
	struct event event; /* kind is not used; packets and bytes are those of the packet */
	__u32 length; /* of the payload on the wire; more than DNS_BYTES: the rest is missing */
	__u32 copied;
	__u8 payload[DNS_BYTES]; /* over TCP two bytes of length come first (RFC 1035, 4.2.2) */
};

#define TUNNEL_IDS 4

struct tunnel_device {
	__u32 local[4]; /* this node's outer address, network order; all zero: any */
	__u32 ids[TUNNEL_IDS]; /* VNIs or keys that it takes, host order */
	__u8 id_count; /* of them; 0: any */
	__u8 type; /* enum tunnel_type */
	__u8 inside; /* inner packets are accounted at the device's own hooks: here they are only noted */
	__u8 reserved;
};

/* Per attached hook (key: hook number). Whoever is in this map is alive; user space inserts and deletes. */
struct hook_counters {
	__u64 other_packets; /* not IP (ARP among them), or too short for what it says it is */
	__u64 other_bytes; /* without the Ethernet header */
	__u64 lost_packets; /* neither map nor ring took them */
	__u64 lost_bytes;
	__u64 tunnel_packets; /* into a tunnel whose device accounts them when they come out of it */
	__u64 tunnel_bytes;
};

/* Index into the per-CPU array `losses`; each is a count of occurrences. */
enum loss {
	LOSS_MAP_FULL = 0, /* packets that found no room in the map (most of them went through the ring) */
	LOSS_PACKET = 1, /* packets accounted nowhere: map and ring full */
	LOSS_RING_FULL = 2, /* events not told; what they speak of is found when the map is drained */
	LOSS_DNS = 3, /* DNS messages that found the ring `dns` full */
	LOSS_COUNT = 4,
};

#endif
