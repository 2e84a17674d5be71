/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/*
 * The few fields of kernel structures that we read, written by hand. `preserve_access_index` makes libbpf place every
 * field by the running kernel's own BTF, so order and gaps here mean nothing, and one build runs on every kernel.
 * A name that ends in `___word` is another shape of the same structure in another kernel.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef s32 __s32;
typedef s64 __s64;
typedef short __s16;
typedef u16 __be16;
typedef u32 __be32;
typedef u64 __be64;
typedef u32 __wsum;
typedef u16 __sum16;
typedef int bool_t;

enum { false_ = 0, true_ = 1 };

/* Map types and flags of the kernel's interface (uapi), by number: the interface is frozen. */
enum map_type_numbers {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_LPM_TRIE = 11,
	BPF_MAP_TYPE_RINGBUF = 27,
};
enum { BPF_F_NO_PREALLOC = 1 };
enum { BPF_ANY = 0, BPF_NOEXIST = 1 };
enum { BPF_RB_NO_WAKEUP = 1, BPF_RB_FORCE_WAKEUP = 2 };
enum { BPF_RB_AVAIL_DATA = 0 };

struct __sk_buff {
	__u32 len;
	__u32 pkt_type;
	__u32 mark;
	__u32 queue_mapping;
	__u32 protocol;
};

#define READS __attribute__((preserve_access_index))

typedef struct { unsigned int val; } READS kuid_t;
typedef struct { unsigned int val; } READS kgid_t;
struct timespec64 { s64 tv_sec; long tv_nsec; } READS;
typedef struct { int counter; } READS atomic_t;
typedef struct { s64 counter; } READS atomic_long_t;

struct qstr { u32 len; const unsigned char *name; } READS;
struct super_block { u32 s_dev; unsigned long s_magic; } READS;
struct inode {
	u16 i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	unsigned int i_nlink;
	unsigned long i_ino;
	s64 i_size;
	struct super_block *i_sb;
	s64 i_ctime_sec;
	u32 i_ctime_nsec;
	s64 i_mtime_sec;
	u32 i_mtime_nsec;
} READS;
/* 6.6 to 6.10. */
struct inode___middle { struct timespec64 __i_ctime; struct timespec64 __i_mtime; } READS;
/* Before 6.6. */
struct inode___old { struct timespec64 i_ctime; struct timespec64 i_mtime; } READS;

struct hlist_bl_node { void *next; void **pprev; } READS;
struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
} READS;
struct vfsmount { struct dentry *mnt_root; struct super_block *mnt_sb; } READS;
struct mount { struct mount *mnt_parent; struct dentry *mnt_mountpoint; struct vfsmount mnt; } READS;
struct path { struct vfsmount *mnt; struct dentry *dentry; } READS;
struct file_ref { atomic_long_t refcnt; } READS;
typedef struct file_ref file_ref_t;
struct file {
	unsigned int f_flags;
	unsigned int f_mode;
	struct path f_path;
	struct inode *f_inode;
	void *private_data;
	file_ref_t f_ref;
} READS;
/* Before 6.13. */
struct file___old { atomic_long_t f_count; } READS;
struct fdtable { unsigned int max_fds; struct file **fd; unsigned long *open_fds; } READS;
struct files_struct { struct fdtable *fdt; } READS;
struct fs_struct { struct path pwd; struct path root; } READS;

struct ns_common { unsigned int inum; } READS;
struct pid_namespace { struct ns_common ns; } READS;
struct mnt_namespace { struct ns_common ns; } READS;
struct net { struct ns_common ns; } READS;
struct user_namespace { struct ns_common ns; } READS;
struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
} READS;

typedef struct { u64 val; } READS kernel_cap_t;
struct cred {
	kuid_t uid;
	kgid_t gid;
	kuid_t euid;
	kgid_t egid;
	kernel_cap_t cap_effective;
	struct user_namespace *user_ns;
} READS;
/* Before 6.3. */
typedef struct { u32 cap[2]; } READS kernel_cap_t___old;
struct cred___old { kernel_cap_t___old cap_effective; } READS;

struct tty_struct { char name[64]; } READS;
struct signal_struct { atomic_t live; struct tty_struct *tty; u64 utime; u64 stime; int group_exit_code; } READS;
struct file;
struct mm_struct { struct file *exe_file; unsigned long arg_start, arg_end, env_start, env_end; } READS;
struct thread_info { unsigned long flags; u32 status; } READS;

struct task_struct {
	struct thread_info thread_info;
	unsigned int flags;
	s32 pid;
	s32 tgid;
	u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	const struct cred *cred;
	char comm[16];
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct files_struct *files;
	struct fs_struct *fs;
	struct mm_struct *mm;
	kuid_t loginuid;
	unsigned int sessionid;
	u64 utime;
	u64 stime;
	int exit_code;
} READS;

struct linux_binprm { struct file *file; const char *filename; const char *interp; } READS;

struct in6_addr { u8 bytes[16]; };
struct sock_common {
	u16 skc_family;
	u8 skc_state;
	unsigned long skc_flags;
	u32 skc_daddr;
	u32 skc_rcv_saddr;
	u16 skc_dport;
	u16 skc_num;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} READS;
struct sock { struct sock_common __sk_common; u16 sk_protocol; u16 sk_type; int sk_err; } READS;
struct tcp_sock { u64 bytes_sent; u64 bytes_retrans; u64 bytes_received; } READS;
struct socket { struct sock *sk; } READS;

#if defined(__TARGET_ARCH_x86)
struct pt_regs { unsigned long di, si, dx, r10, r8, r9, ax, orig_ax; } READS;
#define SYSCALL_NUMBER(regs) ((regs)->orig_ax)
#define ARG0(regs) ((regs)->di)
#define ARG1(regs) ((regs)->si)
#define ARG2(regs) ((regs)->dx)
#define ARG3(regs) ((regs)->r10)
#define ARG4(regs) ((regs)->r8)
/* TS_COMPAT: the call came through the 32-bit gate, where numbers and registers mean other things. */
#define IS_COMPAT(task) ((task)->thread_info.status & 2)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs { u64 regs[31]; u64 orig_x0; s32 syscallno; } READS;
#define SYSCALL_NUMBER(r) ((u32)(r)->syscallno)
#define ARG0(r) ((r)->orig_x0)
#define ARG1(r) ((r)->regs[1])
#define ARG2(r) ((r)->regs[2])
#define ARG3(r) ((r)->regs[3])
#define ARG4(r) ((r)->regs[4])
/* TIF_32BIT. */
#define IS_COMPAT(task) ((task)->thread_info.flags & (1UL << 22))
#else
#error "this processor is not supported yet: write down how its system calls pass arguments"
#endif
