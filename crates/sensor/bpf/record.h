/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * Records as they lie in the ring buffer, and the maps they pass through. `observe/record.rs` reads the same bytes;
 * docs/internals/observe.md has the tables. Every record is a `head`, a fixed part of its kind, and variable parts
 * whose lengths the fixed part tells, in the order they are named there.
 *
 * Accounting: every record that should have been sent takes one number of its CPU's sequence, sent or not. One that
 * finds no room is counted in `lost` of its kind. So received + lost = numbers given out, exactly.
 */
#pragma once

enum kind {
	KIND_EXEC = 1,
	KIND_FORK = 2,
	KIND_EXIT = 3,
	KIND_CONNECT = 4,
	KIND_ACCEPT = 5,
	KIND_LISTEN = 6,
	KIND_CLOSE = 7,
	KIND_UDP = 8,
	KIND_DNS = 9,
	KIND_OPEN = 10,   /* a file made, or a watched one read */
	KIND_WRITTEN = 11,/* a file closed after change */
	KIND_PATH = 12,   /* a call that names one or two files: rename, unlink, mkdir, link, chmod by path, mount ... */
	KIND_FILE = 13,   /* chmod, chown by descriptor */
	KIND_IMAGE = 14,
	KIND_CALL = 15,   /* a call that is told by its numbers alone: ptrace, process_vm_writev, bpf, setuid ... */
	KIND_SIGNAL = 16,
	KIND_MAX = 32,
};

struct head {
	u32 length;
	u16 kind;
	u16 cpu;
	u64 sequence;
	u64 time_ns;
	u64 start_ns;
	u64 parent_start_ns;
	u64 cgroup_id;
	u64 capabilities;
	u32 pid;
	u32 tid;
	u32 parent_pid;
	u32 uid;
	u32 gid;
	u32 euid;
	u32 egid;
	u32 login_uid;
	u32 session;
	u32 ns_pid;
	u32 ns_mnt;
	u32 ns_net;
	u32 ns_user;
	u32 task_flags;
	char comm[16];
};

struct file_identity {
	u64 inode;
	u64 size;
	u64 changed_ns;
	u64 modified_ns;
	u64 magic;
	u32 device;
	u32 mode;
	u32 uid;
	u32 gid;
	u32 links;
	u32 unhashed;
};

struct exec_record {
	struct head head;
	struct file_identity image;
	u32 script;
	u32 path_length;      /* reversed components */
	u32 cwd_length;       /* reversed components */
	u32 filename_length;
	u32 tty_length;
	u32 arguments_length; /* captured */
	u32 arguments_total;
	u32 environment_length;
	u32 environment_total;
	u32 unused;
};

struct fork_record { struct head head; u64 child_start_ns; u32 child_pid; u32 child_ns_pid; };
struct exit_record { struct head head; u64 user_ns; u64 system_ns; u32 status; u32 unused; };

struct ends { u8 local[16]; u8 remote[16]; u16 local_port; u16 remote_port; u16 family; u16 unused; };
struct socket_record {
	struct head head;
	struct ends ends;
	u64 duration_ns;
	u64 bytes_sent;
	u64 bytes_received;
	u32 error;
	u32 accepted;
};
struct dns_record { struct head head; struct ends ends; u32 answer; u32 message_length; u32 message_total; u32 unused; };

struct open_record { struct head head; struct file_identity file; u32 created; s32 error; u32 path_length; u32 call; };
struct path_record {
	struct head head;
	u64 argument;         /* mode, flags or owner: by the call */
	u64 argument2;
	u32 call;
	s32 result;
	u32 base_length;      /* reversed components of the folder the first path is relative to; 0 if absolute */
	u32 path_length;
	u32 base2_length;
	u32 path2_length;
	u32 word_length;      /* kind of filesystem, module parameters */
	u32 unused;
};
struct file_record {
	struct head head;
	struct file_identity file;
	u64 argument;
	u64 argument2;
	u32 call;
	u32 path_length;
};
struct call_record { struct head head; s64 result; u64 arguments[4]; u32 call; char name[16]; u32 unused; };
struct signal_record { struct head head; u64 target_start_ns; u32 target_pid; u32 signal; char target_comm[16]; };

/* Ring of 8 MiB by default, set by user space: a full storm writes about 8 MB a second, so it bridges a second in
 * which nobody reads. */
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 8 << 20); } ring SEC(".maps");

struct cpu_state { u64 sequence; u64 lost[KIND_MAX]; u64 capped[KIND_MAX]; };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cpu_state);
} cpu_states SEC(".maps");

/* Space to build long records in: two for each CPU, since a program may be preempted by another on newer kernels.
 * Lengths are masked to LONG_MASK; what is behind it is slack for the longest single read. */
#define LONG_MASK 0xffff
struct scratch { u32 busy; u32 offset; u32 key; u32 unused; u8 bytes[LONG_MASK + 1 + 20480]; };
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2); /* user space sets 2 x CPUs */
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Set before loading; a section of its own, so that user space can fill it as one structure. */
struct settings {
	u32 self_pid;        /* the sensor, whose own doings are not told (they would feed themselves) */
	u32 watermark_bytes; /* wake the reader when this much waits */
	u32 rate_max;        /* most file and UDP records a second of one process; more are counted as capped */
	u32 close_number;    /* numbers of system calls that close descriptors */
	u32 dup2_number;     /* ~0 where the processor has none */
	u32 dup3_number;
};
const volatile struct settings settings SEC(".rodata.settings") = {};
#define self_pid settings.self_pid
#define rate_max settings.rate_max

struct rate { u64 window; u32 count; u32 unused; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, struct rate);
} rates SEC(".maps");

static __always_inline struct cpu_state *cpu_state(void)
{
	u32 zero = 0;
	return bpf_map_lookup_elem(&cpu_states, &zero);
}

static __always_inline int is_capped(u32 pid, u32 kind)
{
	u64 window = bpf_ktime_get_boot_ns() >> 30;
	struct rate *rate = bpf_map_lookup_elem(&rates, &pid);
	if (!rate) {
		struct rate fresh = { .window = window, .count = 1 };
		bpf_map_update_elem(&rates, &pid, &fresh, BPF_ANY);
		return 0;
	}
	if (rate->window != window) {
		rate->window = window;
		rate->count = 1;
		return 0;
	}
	if (rate->count < rate_max) {
		__sync_fetch_and_add(&rate->count, 1);
		return 0;
	}
	struct cpu_state *state = cpu_state();
	if (state)
		__sync_fetch_and_add(&state->capped[kind & (KIND_MAX - 1)], 1);
	return 1;
}

static __always_inline u64 caps_of(const struct cred *cred)
{
	if (bpf_core_field_exists(struct cred___old, cap_effective.cap)) {
		const struct cred___old *old = (const void *)cred;
		u32 low = BPF_CORE_READ(old, cap_effective.cap[0]);
		u32 high = BPF_CORE_READ(old, cap_effective.cap[1]);
		return ((u64)high << 32) | low;
	}
	return cred->cap_effective.val;
}

static __always_inline void head_fill(struct head *head, struct task_struct *task, u16 kind)
{
	const struct cred *cred = task->cred;
	struct task_struct *leader = task->group_leader;
	struct task_struct *parent = leader->real_parent;
	struct nsproxy *namespaces = task->nsproxy;

	head->kind = kind;
	head->cpu = 0;
	head->sequence = 0;
	head->time_ns = bpf_ktime_get_boot_ns();
	head->start_ns = leader->start_boottime;
	head->parent_start_ns = parent->group_leader->start_boottime;
	head->capabilities = caps_of(cred);
	head->pid = task->tgid;
	head->tid = task->pid;
	head->parent_pid = parent->tgid;
	head->uid = cred->uid.val;
	head->gid = cred->gid.val;
	head->euid = cred->euid.val;
	head->egid = cred->egid.val;
	head->login_uid = bpf_core_field_exists(task->loginuid) ? task->loginuid.val : (u32)-1;
	head->session = bpf_core_field_exists(task->sessionid) ? task->sessionid : (u32)-1;
	head->ns_pid = namespaces->pid_ns_for_children->ns.inum;
	head->ns_mnt = namespaces->mnt_ns->ns.inum;
	head->ns_net = namespaces->net_ns->ns.inum;
	head->ns_user = cred->user_ns->ns.inum;
	head->task_flags = task->flags;
	head->cgroup_id = bpf_get_current_cgroup_id();
	__builtin_memcpy(head->comm, task->comm, 16);
}

/* Numbers the record and sends it; counts it if there is no room. Wakes the reader only when a good part of the ring
 * is filled: else it comes by itself every few hundredths of a second. */
static __always_inline void send(void *record, u64 length)
{
	struct head *head = record;
	struct cpu_state *state = cpu_state();
	if (!state)
		return;
	head->length = length;
	head->cpu = bpf_get_smp_processor_id();
	head->sequence = __sync_fetch_and_add(&state->sequence, 1);
	u64 flags = BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) > settings.watermark_bytes)
		flags = BPF_RB_FORCE_WAKEUP;
	if (bpf_ringbuf_output(&ring, record, length, flags))
		__sync_fetch_and_add(&state->lost[head->kind & (KIND_MAX - 1)], 1);
}

static __always_inline struct scratch *scratch_take(u32 kind)
{
	u32 key = bpf_get_smp_processor_id() * 2;
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	if (scratch && __sync_val_compare_and_swap(&scratch->busy, 0, 1) == 0) {
		scratch->key = key;
		return scratch;
	}
	key++;
	scratch = bpf_map_lookup_elem(&scratches, &key);
	if (scratch && __sync_val_compare_and_swap(&scratch->busy, 0, 1) == 0) {
		scratch->key = key;
		return scratch;
	}
	struct cpu_state *state = cpu_state();
	if (state) {
		__sync_fetch_and_add(&state->sequence, 1);
		__sync_fetch_and_add(&state->lost[kind & (KIND_MAX - 1)], 1);
	}
	return 0;
}

static __always_inline void scratch_send(struct scratch *scratch, u64 length)
{
	send(scratch->bytes, length & LONG_MASK);
	scratch->busy = 0;
}

/* The highest bit of the change time is the kernel's own mark that somebody has asked for it. */
#define NANOSECONDS_MASK 0x7fffffff

static __always_inline void identity_fill(struct file_identity *id, struct inode *inode, struct dentry *dentry)
{
	struct super_block *sb = inode->i_sb;
	id->inode = inode->i_ino;
	id->size = inode->i_size;
	id->mode = inode->i_mode;
	id->uid = inode->i_uid.val;
	id->gid = inode->i_gid.val;
	id->links = inode->i_nlink;
	id->device = sb->s_dev;
	id->magic = sb->s_magic;
	id->unhashed = dentry->d_hash.pprev == 0;
	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		id->changed_ns = inode->i_ctime_sec * 1000000000ULL + (inode->i_ctime_nsec & NANOSECONDS_MASK);
		id->modified_ns = inode->i_mtime_sec * 1000000000ULL + inode->i_mtime_nsec;
	} else if (bpf_core_field_exists(struct inode___middle, __i_ctime)) {
		struct inode___middle *middle = (void *)inode;
		id->changed_ns = BPF_CORE_READ(middle, __i_ctime.tv_sec) * 1000000000ULL + BPF_CORE_READ(middle, __i_ctime.tv_nsec);
		id->modified_ns = BPF_CORE_READ(middle, __i_mtime.tv_sec) * 1000000000ULL + BPF_CORE_READ(middle, __i_mtime.tv_nsec);
	} else {
		struct inode___old *old = (void *)inode;
		id->changed_ns = BPF_CORE_READ(old, i_ctime.tv_sec) * 1000000000ULL + BPF_CORE_READ(old, i_ctime.tv_nsec);
		id->modified_ns = BPF_CORE_READ(old, i_mtime.tv_sec) * 1000000000ULL + BPF_CORE_READ(old, i_mtime.tv_nsec);
	}
}

/* Deepest folder nesting that is followed. 40 levels cover every path met in practice; a deeper one starts with "...". */
#define DEPTH_MAX 40
/* Longest name of one component, as the kernel's NAME_MAX. */
#define NAME_BYTES 256

/* Writes the path's components from the file up to the root, each ended by NUL, and returns the new offset. Not static:
 * then the verifier looks at the loop once, not once for each use. The offset is kept in the map during the walk, so
 * that the verifier knows nothing of it and finds every round alike. */
__attribute__((noinline)) u32 path_walk(u32 key, u64 dentry_address, u64 vfsmount_address)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	struct dentry *dentry = (void *)dentry_address;
	struct vfsmount *vfsmount = (void *)vfsmount_address;
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	struct dentry *root = BPF_CORE_READ(vfsmount, mnt_root);

	if (!scratch)
		return 0;
	u32 end = scratch->offset + 4096;
	for (int i = 0; i < DEPTH_MAX; i++) {
		u32 at = scratch->offset & LONG_MASK;
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		if (dentry == root) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount)
				return at;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
			continue;
		}
		if (at > end)
			break;
		long n = bpf_probe_read_kernel_str(scratch->bytes + at, NAME_BYTES, BPF_CORE_READ(dentry, d_name.name));
		if (n > 0)
			scratch->offset = at + n;
		/* A file that is in no folder (memfd, pipe) is its own parent. */
		if (parent == dentry)
			return scratch->offset & LONG_MASK;
		dentry = parent;
	}
	u32 at = scratch->offset & LONG_MASK;
	scratch->bytes[at] = '.';
	scratch->bytes[at + 1] = '.';
	scratch->bytes[at + 2] = '.';
	scratch->bytes[at + 3] = 0;
	return (at + 4) & LONG_MASK;
}

static __always_inline u32 path_write(struct scratch *scratch, u32 offset, struct dentry *dentry, struct vfsmount *vfsmount)
{
	scratch->offset = offset;
	return path_walk(scratch->key, (u64)dentry, (u64)vfsmount) & LONG_MASK;
}

static __always_inline u32 text_write(struct scratch *scratch, u32 offset, const void *text, int user)
{
	long n = user ? bpf_probe_read_user_str(scratch->bytes + (offset & LONG_MASK), 4096, text)
		      : bpf_probe_read_kernel_str(scratch->bytes + (offset & LONG_MASK), 4096, text);
	return n > 0 ? (offset + (n & 0x1fff)) & LONG_MASK : offset;
}
