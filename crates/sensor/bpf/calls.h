/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * System calls. One small program at the end of every system call jumps by number to the program that knows it, if
 * there is one; all others cost two loads. We look at the end of a call, not at its start: then the result is known,
 * the strings it named have been paged in, and a descriptor it returned leads to the very file that was opened, so
 * no path trick (symbolic link, bind mount, swapped string) hides it.
 *
 * `calls` says of each number which arguments name what; user space fills it from one table (`observe/calls.rs`).
 */
#pragma once

enum { NO_ARGUMENT = 0xff };
struct call {
	u8 call;     /* word of observe/calls.rs */
	u8 dirfd;    /* argument with the folder's descriptor, or NO_ARGUMENT for the working folder */
	u8 path;     /* argument with the path */
	u8 dirfd2;
	u8 path2;
	u8 first;    /* argument sent as `argument` */
	u8 second;
	u8 word;     /* argument with a further text */
	u8 flags;    /* CALL_* */
	u8 unused[7];
};
enum {
	CALL_EVEN_IF_FAILED = 1, /* the try is telling */
	CALL_NOT_FILTERED = 2,   /* not subject to the folder policy */
};

struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 512); __type(key, u32); __type(value, u32); } handlers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 512); __type(key, u32); __type(value, struct call); } calls SEC(".maps");

/* Policy, filled by user space. Flags are FileAction bits of observe/policy.rs. */
struct folder_key { u64 inode; u32 device; u32 unused; };
enum { WATCH_PASS_UP = 1u << 31 }; /* a watched folder lies below: let user space decide */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct folder_key);
	__type(value, u32);
} folders SEC(".maps");
struct prefix_key { u32 bits; u8 text[255]; };
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, u32);
} prefixes SEC(".maps");
/* Names of credential files; user space checks the whole path. */
#define NAME_KEY 32
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, char[NAME_KEY]);
	__type(value, u32);
} names SEC(".maps");
/* Protected processes, by pid. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, u32);
} protected SEC(".maps");

/* Files open for writing under policy, by the kernel's `struct file`; the oldest are forgotten. */
struct writer { u64 modified_ns; u64 size; u32 pid; u32 flags; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, u64);
	__type(value, struct writer);
} writers SEC(".maps");
/* Whether anything was ever put in `writers`, so that closes cost nothing where nothing is watched. */
u64 writers_count = 0;

/* Libraries seen, by library and program; the longest unused are forgotten (and told again). */
struct image_key { u64 library; u64 program; u32 library_device; u32 program_device; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct image_key);
	__type(value, u32);
} images SEC(".maps");

enum { MODE_WRITE = 2, MODE_CREATED = 0x100000, TYPE_MASK = 0170000, TYPE_REGULAR = 0100000 };
enum { PROC_MAGIC = 0x9fa0, TMPFS_MAGIC = 0x01021994 };
enum { OPEN_TRUNCATE = 01000 };

enum { DO_CREATE = 1, DO_MODIFY = 2, DO_RENAME = 4, DO_DELETE = 8, DO_ATTRIBUTE = 16, DO_READ = 32, DO_IMAGE = 64 };

SEC("tp_btf/sys_exit")
int BPF_PROG(observe_call, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 number = SYSCALL_NUMBER(regs);
	if (number >= 512 || IS_COMPAT(task))
		return 0;
	bpf_tail_call(ctx, &handlers, number);
	return 0;
}

static __always_inline u64 argument(struct pt_regs *regs, u8 index)
{
	switch (index) {
	case 0: return ARG0(regs);
	case 1: return ARG1(regs);
	case 2: return ARG2(regs);
	case 3: return ARG3(regs);
	case 4: return ARG4(regs);
	default: return 0;
	}
}

static __always_inline struct call *call_of(struct pt_regs *regs)
{
	u32 number = SYSCALL_NUMBER(regs);
	return bpf_map_lookup_elem(&calls, &number);
}

static __always_inline struct file *file_of(struct task_struct *task, u32 fd)
{
	struct fdtable *table = task->files->fdt;
	struct file **slots = table->fd;
	struct file *file = 0;
	if (fd >= table->max_fds)
		return 0;
	bpf_probe_read_kernel(&file, sizeof(file), &slots[fd]);
	return file;
}

/* Flags of the nearest folder above that is under policy; 0 if none. Not static: then the verifier looks at its loop
 * once, not once for each use. */
__attribute__((noinline)) u32 folder_flags(u64 dentry_address, u64 vfsmount_address)
{
	struct dentry *dentry = (void *)dentry_address;
	struct vfsmount *vfsmount = (void *)vfsmount_address;
	struct mount *mount = (void *)vfsmount - bpf_core_field_offset(struct mount, mnt);
	struct dentry *root = BPF_CORE_READ(vfsmount, mnt_root);
	for (int i = 0; i < DEPTH_MAX; i++) {
		struct inode *inode = BPF_CORE_READ(dentry, d_inode);
		struct folder_key key = {};
		key.inode = BPF_CORE_READ(inode, i_ino);
		key.device = BPF_CORE_READ(inode, i_sb, s_dev);
		u32 *flags = bpf_map_lookup_elem(&folders, &key);
		if (flags)
			return *flags;
		if (dentry == root) {
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);
			if (above == mount)
				return 0;
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mount = above;
			root = BPF_CORE_READ(mount, mnt.mnt_root);
		}
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		if (parent == dentry)
			return 0;
		dentry = parent;
	}
	return 0;
}

/* Like identity_fill, for a file that was reached through plain pointers. */
static __always_inline void identity_probe(struct file_identity *id, struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	id->inode = BPF_CORE_READ(inode, i_ino);
	id->size = BPF_CORE_READ(inode, i_size);
	id->mode = BPF_CORE_READ(inode, i_mode);
	id->uid = BPF_CORE_READ(inode, i_uid.val);
	id->gid = BPF_CORE_READ(inode, i_gid.val);
	id->links = BPF_CORE_READ(inode, i_nlink);
	id->device = BPF_CORE_READ(inode, i_sb, s_dev);
	id->magic = BPF_CORE_READ(inode, i_sb, s_magic);
	id->unhashed = BPF_CORE_READ(file, f_path.dentry, d_hash.pprev) == 0;
	if (bpf_core_field_exists(inode->i_ctime_sec)) {
		id->changed_ns = BPF_CORE_READ(inode, i_ctime_sec) * 1000000000ULL + (BPF_CORE_READ(inode, i_ctime_nsec) & NANOSECONDS_MASK);
		id->modified_ns = BPF_CORE_READ(inode, i_mtime_sec) * 1000000000ULL + BPF_CORE_READ(inode, i_mtime_nsec);
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

static __always_inline u32 file_path_write(struct scratch *scratch, u32 offset, struct file *file)
{
	return path_write(scratch, offset, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
}

static __always_inline void open_send(struct task_struct *task, struct file *file, u32 kind, u32 created)
{
	struct scratch *scratch = scratch_take(kind);
	if (!scratch)
		return;
	struct open_record *record = (void *)scratch->bytes;
	head_fill(&record->head, task, kind);
	identity_probe(&record->file, file);
	record->created = created;
	record->error = 0;
	record->call = 0;
	u32 offset = file_path_write(scratch, sizeof(*record), file);
	record->path_length = offset - sizeof(*record);
	scratch_send(scratch, offset);
}

/* open, openat, openat2, creat. */
SEC("tp_btf/sys_exit")
int BPF_PROG(observe_open, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	if ((u32)task->tgid == self_pid || result < 0)
		return 0;
	struct file *file = file_of(task, result);
	if (!file)
		return 0;
	u32 mode = BPF_CORE_READ(file, f_mode);
	struct dentry *dentry = BPF_CORE_READ(file, f_path.dentry);
	if (mode & MODE_WRITE) {
		struct inode *inode = BPF_CORE_READ(file, f_inode);
		u64 magic = BPF_CORE_READ(inode, i_sb, s_magic);
		if (magic == PROC_MAGIC) {
			/* Writing to another process's memory by /proc/PID/mem. */
			char name[4] = {};
			bpf_probe_read_kernel(name, 4, BPF_CORE_READ(dentry, d_name.name));
			if (name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && name[3] == 0)
				open_send(task, file, KIND_OPEN, 0);
			return 0;
		}
		if ((BPF_CORE_READ(inode, i_mode) & TYPE_MASK) != TYPE_REGULAR)
			return 0;
		u32 flags = folder_flags((u64)dentry, (u64)BPF_CORE_READ(file, f_path.mnt));
		if (!(flags & (DO_CREATE | DO_MODIFY)))
			return 0;
		u32 created = (mode & MODE_CREATED) != 0;
		if (flags & DO_MODIFY) {
			struct writer writer = {};
			u64 key = (u64)file;
			struct file_identity id = {};
			identity_probe(&id, file);
			writer.modified_ns = id.modified_ns;
			/* A file made or emptied by this open has changed if it has bytes at the end. */
			writer.size = created || (BPF_CORE_READ(file, f_flags) & OPEN_TRUNCATE) ? 0 : id.size;
			writer.pid = task->tgid;
			bpf_map_update_elem(&writers, &key, &writer, BPF_ANY);
			__sync_fetch_and_add(&writers_count, 1);
		}
		if (created && (flags & DO_CREATE) && !is_capped(task->tgid, KIND_OPEN))
			open_send(task, file, KIND_OPEN, 1);
		return 0;
	}
	char name[NAME_KEY] = {};
	long n = bpf_probe_read_kernel_str(name, NAME_KEY, BPF_CORE_READ(dentry, d_name.name));
	if (n > 0 && bpf_map_lookup_elem(&names, name) && !is_capped(task->tgid, KIND_OPEN))
		open_send(task, file, KIND_OPEN, 0);
	return 0;
}

static __always_inline u64 references(struct file *file)
{
	if (bpf_core_field_exists(file->f_ref))
		return BPF_CORE_READ(file, f_ref.refcnt.counter) + 1;
	struct file___old *old = (void *)file;
	return BPF_CORE_READ(old, f_count.counter);
}

/* Not static: then the verifier looks at it once, not for each of the 64 descriptors below. */
__attribute__((noinline)) int writer_close(u64 address, int ending)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct file *file = (void *)address;
	u64 key = address;
	struct writer *writer = bpf_map_lookup_elem(&writers, &key);
	if (!writer)
		return 0;
	/* Others still hold it, so that it may change yet. */
	if (references(file) > 1 && !(ending && writer->pid == (u32)task->tgid))
		return 0;
	struct file_identity id = {};
	identity_probe(&id, file);
	int changed = id.modified_ns != writer->modified_ns || id.size != writer->size;
	bpf_map_delete_elem(&writers, &key);
	if (changed && !is_capped(task->tgid, KIND_WRITTEN))
		open_send(task, file, KIND_WRITTEN, 0);
	return 0;
}

/* The file is gone at the end of `close`, so this one looks at its start; `dup2` and `dup3` close what their second
 * argument was, which is how shells end a redirection. */
SEC("tp_btf/sys_enter")
int BPF_PROG(observe_close, struct pt_regs *regs, long number)
{
	if (!writers_count)
		return 0;
	if (number != settings.close_number && number != settings.dup2_number && number != settings.dup3_number)
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	if ((u32)task->tgid == self_pid || IS_COMPAT(task))
		return 0;
	struct file *file = file_of(task, number == settings.close_number ? ARG0(regs) : ARG1(regs));
	if (file && (BPF_CORE_READ(file, f_mode) & MODE_WRITE))
		writer_close((u64)file, 0);
	return 0;
}

/* Descriptors that a process leaves open when it ends are closed for it: the first 64 are looked at. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(observe_close_at_exit, struct task_struct *task)
{
	if (!writers_count || task->signal->live.counter != 0 || !task->files)
		return 0;
	u64 open = 0;
	bpf_probe_read_kernel(&open, sizeof(open), task->files->fdt->open_fds);
	for (u32 fd = 0; fd < 64; fd++) {
		if (!(open >> fd))
			break;
		if (!((open >> fd) & 1))
			continue;
		struct file *file = file_of(task, fd);
		if (file && (BPF_CORE_READ(file, f_mode) & MODE_WRITE))
			writer_close((u64)file, 1);
	}
	return 0;
}

static __always_inline struct path *base_of(struct task_struct *task, struct pt_regs *regs, u8 index)
{
	s32 fd = index == NO_ARGUMENT ? -100 : (s32)argument(regs, index);
	if (fd == -100)
		return &task->fs->pwd;
	struct file *file = file_of(task, fd);
	return file ? (void *)file + bpf_core_field_offset(struct file, f_path) : 0;
}

/* "..", "//" or "/./" in a path: only user space can tell where it leads. */
__attribute__((noinline)) int is_odd(u32 key, u32 offset)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	if (!scratch)
		return 1;
	u8 *text = scratch->bytes + (offset & LONG_MASK);
	/* Without branches, which the verifier would follow both ways each time: 1 if the byte is the other, else 0. */
#define SAME(a, b) (((((u32)(a)) ^ (u32)(b)) - 1) >> 31)
	u32 last = '/', ended = 0, odd = SAME(text[0], '.');
	for (int block = 0; block < 8; block++) {
		for (int i = 0; i < 32; i++) {
			u32 c = text[block * 32 + i];
			ended |= SAME(c, 0);
			if (block + i > 0)
				odd |= SAME(last, '/') & (SAME(c, '.') | SAME(c, '/')) & ~ended;
			last = c;
		}
		if (ended)
			break;
	}
	return odd;
}

/* Whether a path as written, at this offset of the scratch space, may lie under policy: absolute ones by prefix,
 * relative ones by their folder. Not static, like `folder_flags`. */
__attribute__((noinline)) u32 text_flags(u32 key, u32 offset, u64 dentry, u64 vfsmount)
{
	struct scratch *scratch = bpf_map_lookup_elem(&scratches, &key);
	if (!scratch || is_odd(key, offset))
		return WATCH_PASS_UP;
	u8 *text = scratch->bytes + (offset & LONG_MASK);
	if (text[0] != '/')
		return dentry ? folder_flags(dentry, vfsmount) : 0;
	struct prefix_key prefix;
	prefix.bits = 255 * 8;
	bpf_probe_read_kernel(prefix.text, 255, text);
	u32 *flags = bpf_map_lookup_elem(&prefixes, &prefix);
	return flags ? *flags : 0;
}

/* Calls that name one or two paths. */
SEC("tp_btf/sys_exit")
int BPF_PROG(observe_path, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call *call = call_of(regs);
	if (!call || (u32)task->tgid == self_pid)
		return 0;
	if (result < 0 && !(call->flags & CALL_EVEN_IF_FAILED))
		return 0;
	struct scratch *scratch = scratch_take(KIND_PATH);
	if (!scratch)
		return 0;
	struct path_record *record = (void *)scratch->bytes;
	u32 offset = sizeof(*record), before, first = 0, second = 0;
	struct path *base = 0, *base2 = 0;

	/* The paths first, since they decide whether anything is sent. */
	if (call->path != NO_ARGUMENT) {
		first = offset;
		offset = text_write(scratch, offset, (void *)argument(regs, call->path), 1);
		record->path_length = offset - first;
		base = base_of(task, regs, call->dirfd);
	} else {
		record->path_length = 0;
	}
	if (call->path2 != NO_ARGUMENT) {
		second = offset;
		offset = text_write(scratch, offset, (void *)argument(regs, call->path2), 1);
		record->path2_length = offset - second;
		base2 = base_of(task, regs, call->dirfd2);
	} else {
		record->path2_length = 0;
	}
	if (!(call->flags & CALL_NOT_FILTERED)) {
		u32 flags = 0;
		if (record->path_length)
			flags = text_flags(scratch->key, first, (u64)BPF_CORE_READ(base, dentry), (u64)BPF_CORE_READ(base, mnt));
		if (!flags && record->path2_length)
			flags = text_flags(scratch->key, second, (u64)BPF_CORE_READ(base2, dentry), (u64)BPF_CORE_READ(base2, mnt));
		if (!flags || is_capped(task->tgid, KIND_PATH)) {
			scratch->busy = 0;
			return 0;
		}
	}
	head_fill(&record->head, task, KIND_PATH);
	record->call = call->call;
	record->result = result;
	record->argument = argument(regs, call->first);
	record->argument2 = argument(regs, call->second);
	record->unused = 0;

	before = offset;
	if (base && scratch->bytes[first & LONG_MASK] != '/')
		offset = path_write(scratch, offset, BPF_CORE_READ(base, dentry), BPF_CORE_READ(base, mnt));
	record->base_length = offset - before;
	before = offset;
	if (base2 && scratch->bytes[second & LONG_MASK] != '/')
		offset = path_write(scratch, offset, BPF_CORE_READ(base2, dentry), BPF_CORE_READ(base2, mnt));
	record->base2_length = offset - before;
	before = offset;
	if (call->word != NO_ARGUMENT) {
		long n = bpf_probe_read_user_str(scratch->bytes + (offset & LONG_MASK), 256, (void *)argument(regs, call->word));
		if (n > 0)
			offset = (offset + (n & 0x1ff)) & LONG_MASK;
	}
	record->word_length = offset - before;
	scratch_send(scratch, offset);
	return 0;
}

/* Calls that name a file by descriptor: fchmod, fchown, finit_module. */
SEC("tp_btf/sys_exit")
int BPF_PROG(observe_file, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call *call = call_of(regs);
	if (!call || (u32)task->tgid == self_pid)
		return 0;
	if (result < 0 && !(call->flags & CALL_EVEN_IF_FAILED))
		return 0;
	struct file *file = file_of(task, ARG0(regs));
	if (!file)
		return 0;
	if (!(call->flags & CALL_NOT_FILTERED)) {
		u32 flags = folder_flags((u64)BPF_CORE_READ(file, f_path.dentry), (u64)BPF_CORE_READ(file, f_path.mnt));
		if (!(flags & DO_ATTRIBUTE) || is_capped(task->tgid, KIND_FILE))
			return 0;
	}
	struct scratch *scratch = scratch_take(KIND_FILE);
	if (!scratch)
		return 0;
	struct file_record *record = (void *)scratch->bytes;
	head_fill(&record->head, task, KIND_FILE);
	identity_probe(&record->file, file);
	record->argument = argument(regs, call->first);
	record->argument2 = result;
	record->call = call->call;
	u32 offset = file_path_write(scratch, sizeof(*record), file);
	record->path_length = offset - sizeof(*record);
	scratch_send(scratch, offset);
	return 0;
}

/* mmap of a file for execution. */
SEC("tp_btf/sys_exit")
int BPF_PROG(observe_mmap, struct pt_regs *regs, long result)
{
	enum { EXECUTABLE = 4, ANONYMOUS = 0x20 };
	if (!(ARG2(regs) & EXECUTABLE) || (ARG3(regs) & ANONYMOUS) || (result < 0 && result > -4096))
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	if ((u32)task->tgid == self_pid)
		return 0;
	struct file *file = file_of(task, ARG4(regs));
	if (!file)
		return 0;
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct image_key key = {};
	u32 seen = 1;
	key.library = BPF_CORE_READ(inode, i_ino);
	key.library_device = BPF_CORE_READ(inode, i_sb, s_dev);
	struct inode *program = BPF_CORE_READ(task, mm, exe_file, f_inode);
	key.program = BPF_CORE_READ(program, i_ino);
	key.program_device = BPF_CORE_READ(program, i_sb, s_dev);
	if (bpf_map_lookup_elem(&images, &key))
		return 0;
	bpf_map_update_elem(&images, &key, &seen, BPF_ANY);
	/* Here DO_IMAGE marks the trusted folders: what lies in them is the system's own. */
	if (folder_flags((u64)BPF_CORE_READ(file, f_path.dentry), (u64)BPF_CORE_READ(file, f_path.mnt)) & DO_IMAGE)
		return 0;
	if (!is_capped(task->tgid, KIND_IMAGE))
		open_send(task, file, KIND_IMAGE, 0);
	return 0;
}

/* accept, accept4: from now on the connection is known by its process. */
SEC("tp_btf/sys_exit")
int BPF_PROG(observe_accept, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	if (result < 0 || (u32)task->tgid == self_pid)
		return 0;
	struct file *file = file_of(task, result);
	struct socket *socket = file ? BPF_CORE_READ(file, private_data) : 0;
	struct sock *sk = socket ? BPF_CORE_READ(socket, sk) : 0;
	if (!sk)
		return 0;
	u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family != FAMILY_4 && family != FAMILY_6) || BPF_CORE_READ(sk, sk_protocol) != PROTOCOL_TCP)
		return 0;
	struct socket_owner owner = {};
	struct socket_record record = {};
	head_fill(&owner.head, task, KIND_ACCEPT);
	owner.since_ns = owner.head.time_ns;
	owner.accepted = 1;
	owner.established = 1;
	record.head = owner.head;
	record.accepted = 1;
	record.ends.family = family;
	record.ends.local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
	record.ends.remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (family == FAMILY_4) {
		*(u32 *)record.ends.local = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
		*(u32 *)record.ends.remote = BPF_CORE_READ(sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO(&record.ends.local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&record.ends.remote, sk, __sk_common.skc_v6_daddr);
	}
	owner.ends = record.ends;
	owner_note(sk, &owner, KIND_ACCEPT);
	send(&record, sizeof(record));
	return 0;
}

/* What repeats is told once a second: file servers change their credentials all day, debuggers write all day. */
struct change_key { u32 pid; u32 call; u32 euid; u32 egid; };
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct change_key);
	__type(value, u32);
} changes SEC(".maps");
enum { CALL_PTRACE = 50, CALL_VM_WRITE = 51, CALL_BPF = 60, CALL_SET_FIRST = 70, CALL_SET_LAST = 79 };

/* Calls that are told by their numbers alone. */
SEC("tp_btf/sys_exit")
int BPF_PROG(observe_number, struct pt_regs *regs, long result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call *call = call_of(regs);
	if (!call || (u32)task->tgid == self_pid)
		return 0;
	if (result < 0 && !(call->flags & CALL_EVEN_IF_FAILED))
		return 0;
	struct call_record record = {};
	record.call = call->call;
	record.result = result;
	record.arguments[0] = ARG0(regs);
	record.arguments[1] = ARG1(regs);
	record.arguments[2] = ARG2(regs);
	record.arguments[3] = ARG3(regs);
	if (call->call == CALL_BPF) {
		/* BPF_PROG_LOAD: type and count at the start of the attributes, name at offset 48. */
		if (ARG0(regs) != 5)
			return 0;
		u32 two[2] = {};
		bpf_probe_read_user(two, sizeof(two), (void *)ARG1(regs));
		record.arguments[2] = two[0];
		record.arguments[3] = two[1];
		bpf_probe_read_user(record.name, 16, (void *)ARG1(regs) + 48);
	}
	if (call->call == CALL_PTRACE) {
		/* Attach, seize, and writes to memory or registers; not the thousand others of a debugging session. */
		u64 request = ARG0(regs);
		if (request != 4 && request != 5 && request != 6 && request != 13 && request != 16 && request != 0x4205 &&
		    request != 0x4206)
			return 0;
	}
	head_fill(&record.head, task, KIND_CALL);
	if (call->call == CALL_PTRACE || call->call == CALL_VM_WRITE) {
		struct change_key key = { record.head.pid, record.call, ARG0(regs), ARG1(regs) };
		u32 second = record.head.time_ns >> 30;
		if (call->call == CALL_VM_WRITE)
			key.egid = 0;
		u32 *last = bpf_map_lookup_elem(&changes, &key);
		if (last && *last == second)
			return 0;
		bpf_map_update_elem(&changes, &key, &second, BPF_ANY);
	}
	if (record.call >= CALL_SET_FIRST && record.call <= CALL_SET_LAST) {
		struct change_key key = { record.head.pid, record.call, record.head.euid, record.head.egid };
		u32 second = record.head.time_ns >> 30;
		u32 *last = bpf_map_lookup_elem(&changes, &key);
		if (last && *last == second)
			return 0;
		bpf_map_update_elem(&changes, &key, &second, BPF_ANY);
	}
	send(&record, sizeof(record));
	return 0;
}

SEC("tp_btf/signal_generate")
int BPF_PROG(observe_signal, int signal, void *info, struct task_struct *target, int group, int result)
{
	u32 pid = target->tgid;
	/* Signals that end, stop or continue; not SIGCHLD, SIGWINCH, SIGALRM and their like. */
	if (signal <= 0 || signal > 31 || !((1u << signal) & ((1u << 1) | (1u << 2) | (1u << 3) | (1u << 6) | (1u << 9) | (1u << 15) | (1u << 19) | (1u << 11))))
		return 0;
	if (!bpf_map_lookup_elem(&protected, &pid))
		return 0;
	struct task_struct *task = bpf_get_current_task_btf();
	struct signal_record record = {};
	head_fill(&record.head, task, KIND_SIGNAL);
	record.target_pid = pid;
	record.target_start_ns = target->group_leader->start_boottime;
	record.signal = signal;
	__builtin_memcpy(record.target_comm, target->comm, 16);
	send(&record, sizeof(record));
	return 0;
}
