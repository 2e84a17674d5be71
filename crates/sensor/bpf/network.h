/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * TCP by its changes of state, UDP and DNS by packets.
 *
 * A TCP socket changes state in the context of whoever's packet arrives, so the process is noted when the call is made
 * (`connect`, `accept`) and looked up by the socket's address later.
 */
#pragma once

enum { FAMILY_4 = 2, FAMILY_6 = 10, PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };
enum { STATE_ESTABLISHED = 1, STATE_SYN_SENT = 2, STATE_CLOSE = 7, STATE_LISTEN = 10 };

/* The ends are kept, since a socket has lost its own port when it reaches CLOSE. */
struct socket_owner { struct head head; struct ends ends; u64 since_ns; u32 accepted; u32 established; };
/* Connections that are followed at once: 128 Ki, about 24 MB if all are used; what is more is counted as lost. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct socket_owner);
} sockets SEC(".maps");

static __always_inline void ends_fill(struct ends *ends, struct sock *sk)
{
	ends->family = sk->__sk_common.skc_family;
	ends->local_port = sk->__sk_common.skc_num;
	ends->remote_port = bpf_ntohs(sk->__sk_common.skc_dport);
	ends->unused = 0;
	if (ends->family == FAMILY_4) {
		__builtin_memset(ends->local, 0, 32);
		*(u32 *)ends->local = sk->__sk_common.skc_rcv_saddr;
		*(u32 *)ends->remote = sk->__sk_common.skc_daddr;
	} else {
		BPF_CORE_READ_INTO(&ends->local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&ends->remote, sk, __sk_common.skc_v6_daddr);
	}
}

static __always_inline void owner_note(struct sock *sk, struct socket_owner *owner, u32 kind)
{
	u64 key = (u64)sk;
	if (bpf_map_update_elem(&sockets, &key, owner, BPF_ANY)) {
		struct cpu_state *state = cpu_state();
		if (state) {
			__sync_fetch_and_add(&state->sequence, 1);
			__sync_fetch_and_add(&state->lost[kind], 1);
		}
	}
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(observe_tcp, struct sock *sk, int old_state, int new_state)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 key = (u64)sk;
	if (sk->sk_protocol != PROTOCOL_TCP)
		return 0;

	if (new_state == STATE_SYN_SENT) {
		struct socket_owner owner = {};
		if ((u32)task->tgid == self_pid)
			return 0;
		head_fill(&owner.head, task, KIND_CONNECT);
		owner.since_ns = owner.head.time_ns;
		owner_note(sk, &owner, KIND_CONNECT);
		return 0;
	}
	if (new_state == STATE_LISTEN) {
		struct socket_record record = {};
		if ((u32)task->tgid == self_pid)
			return 0;
		head_fill(&record.head, task, KIND_LISTEN);
		ends_fill(&record.ends, sk);
		send(&record, sizeof(record));
		return 0;
	}
	if (new_state != STATE_ESTABLISHED && new_state != STATE_CLOSE)
		return 0;
	struct socket_owner *owner = bpf_map_lookup_elem(&sockets, &key);
	if (!owner)
		return 0;
	struct socket_record record = {};
	record.head = owner->head;
	record.head.time_ns = bpf_ktime_get_boot_ns();
	record.duration_ns = record.head.time_ns - owner->since_ns;
	ends_fill(&record.ends, sk);
	if (new_state == STATE_ESTABLISHED) {
		owner->established = 1;
		owner->since_ns = record.head.time_ns;
		owner->ends = record.ends;
		record.head.kind = KIND_CONNECT;
	} else if (!owner->established) {
		record.head.kind = KIND_CONNECT;
		/* A socket closed by its own process before an answer came has no error: that is ECANCELED. */
		int error = sk->sk_err;
		record.error = error ? error : 125;
		bpf_map_delete_elem(&sockets, &key);
	} else {
		struct tcp_sock *tcp = (void *)sk;
		record.head.kind = KIND_CLOSE;
		record.accepted = owner->accepted;
		record.ends = owner->ends;
		record.bytes_sent = BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
		record.bytes_received = BPF_CORE_READ(tcp, bytes_received);
		/* The kernel counts the other end's FIN as a byte; SOCK_DONE (bit 1) says that it came. */
		if ((sk->__sk_common.skc_flags & 2) && record.bytes_received)
			record.bytes_received--;
		bpf_map_delete_elem(&sockets, &key);
	}
	send(&record, sizeof(record));
	return 0;
}

/* UDP flows seen: 16 Ki, the longest unused ones forgotten (and told again if they wake up). */
struct flow_key { u64 cookie; u8 remote[16]; u16 remote_port; u16 unused; u32 unused2; };
struct flow { struct head head; struct ends ends; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct udp_header { u16 source; u16 dest; u16 length; u16 check; };
#define DNS_MAX 512
#define DNS_PORT 53

/* Returns the offset of the UDP payload, or 0 if this is no UDP packet. `out` says which end is ours. */
static __always_inline u32 udp_read(struct __sk_buff *skb, struct ends *ends, int out)
{
	struct udp_header udp;
	u8 version;
	u32 offset;

	if (bpf_skb_load_bytes(skb, 0, &version, 1))
		return 0;
	if (version >> 4 == 4) {
		u8 ip[20];
		if (bpf_skb_load_bytes(skb, 0, ip, 20) || ip[9] != PROTOCOL_UDP)
			return 0;
		/* Only a first fragment has the ports. */
		if ((ip[6] & 0x1f) || ip[7])
			return 0;
		offset = (ip[0] & 15) * 4;
		ends->family = FAMILY_4;
		__builtin_memcpy(out ? ends->local : ends->remote, ip + 12, 4);
		__builtin_memcpy(out ? ends->remote : ends->local, ip + 16, 4);
	} else {
		u8 ip[40];
		if (bpf_skb_load_bytes(skb, 0, ip, 40) || ip[6] != PROTOCOL_UDP)
			return 0;
		offset = 40;
		ends->family = FAMILY_6;
		__builtin_memcpy(out ? ends->local : ends->remote, ip + 8, 16);
		__builtin_memcpy(out ? ends->remote : ends->local, ip + 24, 16);
	}
	if (bpf_skb_load_bytes(skb, offset, &udp, 8))
		return 0;
	ends->local_port = bpf_ntohs(out ? udp.source : udp.dest);
	ends->remote_port = bpf_ntohs(out ? udp.dest : udp.source);
	return offset + 8;
}

static __always_inline void dns_send(struct __sk_buff *skb, struct flow *flow, u32 payload, u32 answer)
{
	struct scratch *scratch = scratch_take(KIND_DNS);
	if (!scratch)
		return;
	struct dns_record *record = (void *)scratch->bytes;
	u32 total = skb->len - payload;
	u32 length = total > DNS_MAX ? DNS_MAX : total;
	record->head = flow->head;
	record->head.kind = KIND_DNS;
	record->head.time_ns = bpf_ktime_get_boot_ns();
	record->ends = flow->ends;
	record->answer = answer;
	record->message_total = total;
	record->unused = 0;
	/* The verifier wants to see the bounds just before the read. */
	if (length < 1 || length > DNS_MAX || bpf_skb_load_bytes(skb, payload, scratch->bytes + sizeof(*record), length))
		length = 0;
	record->message_length = length;
	scratch_send(scratch, sizeof(*record) + length);
}

static __always_inline void flow_key_fill(struct flow_key *key, struct __sk_buff *skb, struct ends *ends)
{
	key->cookie = bpf_get_socket_cookie(skb);
	__builtin_memcpy(key->remote, ends->remote, 16);
	key->remote_port = ends->remote_port;
}

SEC("cgroup_skb/egress")
int observe_udp_out(struct __sk_buff *skb)
{
	struct flow fresh = {};
	struct flow_key key = {};
	u32 payload = udp_read(skb, &fresh.ends, 1);
	if (!payload)
		return 1;
	struct task_struct *task = bpf_get_current_task_btf();
	if ((u32)task->tgid == self_pid)
		return 1;
	flow_key_fill(&key, skb, &fresh.ends);
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow) {
		head_fill(&fresh.head, task, KIND_UDP);
		bpf_map_update_elem(&flows, &key, &fresh, BPF_ANY);
		if (!is_capped(fresh.head.pid, KIND_UDP)) {
			struct socket_record record = {};
			record.head = fresh.head;
			record.ends = fresh.ends;
			send(&record, sizeof(record));
		}
		flow = &fresh;
	}
	if (fresh.ends.remote_port == DNS_PORT)
		dns_send(skb, flow, payload, 0);
	return 1;
}

SEC("cgroup_skb/ingress")
int observe_udp_in(struct __sk_buff *skb)
{
	struct ends ends = {};
	struct flow_key key = {};
	u32 payload = udp_read(skb, &ends, 0);
	if (!payload || ends.remote_port != DNS_PORT)
		return 1;
	flow_key_fill(&key, skb, &ends);
	struct flow *flow = bpf_map_lookup_elem(&flows, &key);
	if (flow)
		dns_send(skb, flow, payload, 1);
	return 1;
}
