/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Processes: start of a program, of a process, and its end. */
#pragma once

/* One less than 16 KiB, so that a mask shows the verifier the bound. */
#define ARGUMENTS_MASK 0x3fff

static __always_inline u32 user_write(struct scratch *scratch, u32 offset, unsigned long from, unsigned long to, u32 *total)
{
	u64 size = to - from;
	if (to <= from)
		return offset;
	*total = size > 0xffffffff ? 0xffffffff : size;
	if (size > ARGUMENTS_MASK)
		size = ARGUMENTS_MASK;
	/* Keeps the compiler from dropping the mask, which it finds needless and the verifier does not. */
	asm volatile("" : "+r"(size));
	size &= ARGUMENTS_MASK;
	if (bpf_probe_read_user(scratch->bytes + (offset & LONG_MASK), size, (void *)from))
		return offset;
	return (offset + size) & LONG_MASK;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(observe_exec, struct task_struct *task, s32 old_pid, struct linux_binprm *bprm)
{
	struct scratch *scratch = scratch_take(KIND_EXEC);
	if (!scratch)
		return 0;
	struct exec_record *record = (void *)scratch->bytes;
	struct file *file = bprm->file;
	struct mm_struct *mm = task->mm;
	u32 offset = sizeof(*record), before;

	head_fill(&record->head, task, KIND_EXEC);
	identity_fill(&record->image, file->f_inode, file->f_path.dentry);
	record->script = bprm->interp != bprm->filename;
	record->arguments_total = 0;
	record->environment_total = 0;
	record->unused = 0;

	before = offset;
	offset = path_write(scratch, offset, BPF_CORE_READ(file, f_path.dentry), BPF_CORE_READ(file, f_path.mnt));
	record->path_length = offset - before;

	before = offset;
	offset = path_write(scratch, offset, BPF_CORE_READ(task, fs, pwd.dentry), BPF_CORE_READ(task, fs, pwd.mnt));
	record->cwd_length = offset - before;

	before = offset;
	offset = text_write(scratch, offset, bprm->filename, 0);
	record->filename_length = offset - before;

	before = offset;
	struct tty_struct *tty = task->signal->tty;
	if (tty) {
		long n = bpf_probe_read_kernel_str(scratch->bytes + (offset & LONG_MASK), 64, tty->name);
		if (n > 0)
			offset = (offset + (n & 0x7f)) & LONG_MASK;
	}
	record->tty_length = offset - before;

	before = offset;
	offset = user_write(scratch, offset, mm->arg_start, mm->arg_end, &record->arguments_total);
	record->arguments_length = offset - before;

	before = offset;
	offset = user_write(scratch, offset, mm->env_start, mm->env_end, &record->environment_total);
	record->environment_length = offset - before;

	scratch_send(scratch, offset);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(observe_fork, struct task_struct *parent, struct task_struct *child)
{
	struct fork_record record = {};
	if (child->pid != child->tgid)
		return 0;
	head_fill(&record.head, parent, KIND_FORK);
	record.child_pid = child->tgid;
	record.child_start_ns = child->start_boottime;
	record.child_ns_pid = child->nsproxy->pid_ns_for_children->ns.inum;
	send(&record, sizeof(record));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(observe_exit, struct task_struct *task)
{
	struct exit_record record = {};
	/* Threads end without a word; the last one ends the process. */
	if (task->signal->live.counter != 0)
		return 0;
	head_fill(&record.head, task, KIND_EXIT);
	record.status = task->exit_code;
	record.user_ns = task->utime + task->signal->utime;
	record.system_ns = task->stime + task->signal->stime;
	send(&record, sizeof(record));
	return 0;
}
