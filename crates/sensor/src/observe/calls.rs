//! The system calls that are looked at: one line each. The kernel side jumps by number (`bpf/calls.h`).

/// Which program of `bpf/calls.h` handles a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handler {
    /// `observe_open`.
    Open,
    /// `observe_path`.
    Path,
    /// `observe_file`.
    File,
    /// `observe_mmap`.
    Mmap,
    /// `observe_accept`.
    Accept,
    /// `observe_number`.
    Number,
}

impl Handler {
    /// Name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Handler::Open => "observe_open",
            Handler::Path => "observe_path",
            Handler::File => "observe_file",
            Handler::Mmap => "observe_mmap",
            Handler::Accept => "observe_accept",
            Handler::Number => "observe_number",
        }
    }
}

/// What a call does, as the kernel side reports it. Numbers are shared with `bpf/calls.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Call {
    Open = 1,
    Unlink = 10,
    Rmdir = 11,
    Mkdir = 12,
    Rename = 13,
    Link = 14,
    Symlink = 15,
    Chmod = 16,
    Chown = 17,
    Fchmod = 20,
    Fchown = 21,
    Mount = 30,
    Unmount = 31,
    MoveMount = 32,
    ModuleMemory = 40,
    ModuleFile = 41,
    Ptrace = 50,
    MemoryWrite = 51,
    Bpf = 60,
    SetUser = 70,
    SetGroup = 71,
    SetCapabilities = 72,
    Mmap = 80,
    Accept = 81,
}

const ALL: &[Call] = &[
    Call::Open,
    Call::Unlink,
    Call::Rmdir,
    Call::Mkdir,
    Call::Rename,
    Call::Link,
    Call::Symlink,
    Call::Chmod,
    Call::Chown,
    Call::Fchmod,
    Call::Fchown,
    Call::Mount,
    Call::Unmount,
    Call::MoveMount,
    Call::ModuleMemory,
    Call::ModuleFile,
    Call::Ptrace,
    Call::MemoryWrite,
    Call::Bpf,
    Call::SetUser,
    Call::SetGroup,
    Call::SetCapabilities,
    Call::Mmap,
    Call::Accept,
];

impl Call {
    /// From the number in a record.
    pub fn from_number(number: u32) -> Option<Self> {
        ALL.iter().copied().find(|call| *call as u32 == number)
    }
}

/// No such argument.
const NO: u8 = 0xff;
const EVEN_IF_FAILED: u8 = 1;
const NOT_FILTERED: u8 = 2;

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct CallLine {
    /// System call number on this processor.
    pub number: i64,
    /// Who handles it.
    pub handler: Handler,
    /// What it does.
    pub call: Call,
    arguments: [u8; 7],
    flags: u8,
}

impl CallLine {
    /// As `struct call` of `bpf/calls.h`.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = self.call as u8;
        bytes[1..8].copy_from_slice(&self.arguments);
        bytes[8] = self.flags;
        bytes
    }
}

const fn line(number: i64, handler: Handler, call: Call, arguments: [u8; 7], flags: u8) -> CallLine {
    CallLine { number, handler, call, arguments, flags }
}

/// `fchmodat2`, which `libc` does not name everywhere: the same number on every processor.
const FCHMODAT2: i64 = 452;

/// The table. Arguments: folder descriptor, path, second folder descriptor, second path, first and second number,
/// further text.
pub fn table() -> Vec<CallLine> {
    use Handler::{Accept, File, Mmap, Number, Open, Path};
    let none = [NO; 7];
    #[allow(unused_mut)]
    let mut lines = vec![
        line(libc::SYS_openat, Open, Call::Open, none, 0),
        line(libc::SYS_openat2, Open, Call::Open, none, 0),
        line(libc::SYS_unlinkat, Path, Call::Unlink, [0, 1, NO, NO, 2, NO, NO], 0),
        line(libc::SYS_mkdirat, Path, Call::Mkdir, [0, 1, NO, NO, 2, NO, NO], 0),
        line(libc::SYS_renameat2, Path, Call::Rename, [0, 1, 2, 3, 4, NO, NO], 0),
        line(libc::SYS_renameat, Path, Call::Rename, [0, 1, 2, 3, NO, NO, NO], 0),
        line(libc::SYS_linkat, Path, Call::Link, [0, 1, 2, 3, 4, NO, NO], 0),
        line(libc::SYS_symlinkat, Path, Call::Symlink, [NO, 0, 1, 2, NO, NO, NO], 0),
        line(libc::SYS_fchmodat, Path, Call::Chmod, [0, 1, NO, NO, 2, NO, NO], 0),
        line(FCHMODAT2, Path, Call::Chmod, [0, 1, NO, NO, 2, NO, NO], 0),
        line(libc::SYS_fchownat, Path, Call::Chown, [0, 1, NO, NO, 2, 3, NO], 0),
        line(libc::SYS_fchmod, File, Call::Fchmod, [0, NO, NO, NO, 1, NO, NO], 0),
        line(libc::SYS_fchown, File, Call::Fchown, [0, NO, NO, NO, 1, 2, NO], 0),
        line(libc::SYS_mount, Path, Call::Mount, [NO, 0, NO, 1, 3, NO, 2], NOT_FILTERED | EVEN_IF_FAILED),
        line(libc::SYS_umount2, Path, Call::Unmount, [NO, NO, NO, 0, 1, NO, NO], NOT_FILTERED),
        line(libc::SYS_move_mount, Path, Call::MoveMount, [0, 1, 2, 3, 4, NO, NO], NOT_FILTERED),
        line(
            libc::SYS_init_module,
            Path,
            Call::ModuleMemory,
            [NO, NO, NO, NO, 1, NO, 2],
            NOT_FILTERED | EVEN_IF_FAILED,
        ),
        line(libc::SYS_finit_module, File, Call::ModuleFile, [0, NO, NO, NO, 2, NO, NO], NOT_FILTERED | EVEN_IF_FAILED),
        line(libc::SYS_ptrace, Number, Call::Ptrace, none, EVEN_IF_FAILED),
        line(libc::SYS_process_vm_writev, Number, Call::MemoryWrite, none, EVEN_IF_FAILED),
        line(libc::SYS_bpf, Number, Call::Bpf, none, EVEN_IF_FAILED),
        line(libc::SYS_setuid, Number, Call::SetUser, none, 0),
        line(libc::SYS_setreuid, Number, Call::SetUser, none, 0),
        line(libc::SYS_setresuid, Number, Call::SetUser, none, 0),
        line(libc::SYS_setgid, Number, Call::SetGroup, none, 0),
        line(libc::SYS_setregid, Number, Call::SetGroup, none, 0),
        line(libc::SYS_setresgid, Number, Call::SetGroup, none, 0),
        line(libc::SYS_capset, Number, Call::SetCapabilities, none, 0),
        line(libc::SYS_mmap, Mmap, Call::Mmap, none, 0),
        line(libc::SYS_accept, Accept, Call::Accept, none, 0),
        line(libc::SYS_accept4, Accept, Call::Accept, none, 0),
    ];
    #[cfg(target_arch = "x86_64")]
    lines.extend([
        line(libc::SYS_open, Open, Call::Open, none, 0),
        line(libc::SYS_creat, Open, Call::Open, none, 0),
        line(libc::SYS_unlink, Path, Call::Unlink, [NO, 0, NO, NO, NO, NO, NO], 0),
        line(libc::SYS_rmdir, Path, Call::Rmdir, [NO, 0, NO, NO, NO, NO, NO], 0),
        line(libc::SYS_mkdir, Path, Call::Mkdir, [NO, 0, NO, NO, 1, NO, NO], 0),
        line(libc::SYS_rename, Path, Call::Rename, [NO, 0, NO, 1, NO, NO, NO], 0),
        line(libc::SYS_link, Path, Call::Link, [NO, 0, NO, 1, NO, NO, NO], 0),
        line(libc::SYS_symlink, Path, Call::Symlink, [NO, 0, NO, 1, NO, NO, NO], 0),
        line(libc::SYS_chmod, Path, Call::Chmod, [NO, 0, NO, NO, 1, NO, NO], 0),
        line(libc::SYS_chown, Path, Call::Chown, [NO, 0, NO, NO, 1, 2, NO], 0),
        line(libc::SYS_lchown, Path, Call::Chown, [NO, 0, NO, NO, 1, 2, NO], 0),
    ]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_in_the_list_and_the_table_once() {
        let lines = table();
        for call in ALL {
            assert_eq!(Call::from_number(*call as u32), Some(*call));
            // `rmdir` is `unlinkat` with a flag where the processor has no such call.
            assert!(*call == Call::Rmdir || lines.iter().any(|l| l.call == *call), "{call:?} has no line");
        }
        let mut numbers: Vec<i64> = lines.iter().map(|l| l.number).collect();
        numbers.sort_unstable();
        let before = numbers.len();
        numbers.dedup();
        assert_eq!(before, numbers.len(), "one system call has two lines");
        assert!(numbers.iter().all(|n| (0..512).contains(n)));
    }
}
