//! The few file operations that the write-ahead log needs, as a trait, so that tests can make each of them fail.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A folder that holds log segments. Names are plain file names.
pub trait WalDisk: Send + Sync {
    /// Creates a segment that must not exist yet.
    fn create(&self, name: &str) -> io::Result<Box<dyn WalFile>>;
    /// Reads a whole file.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Names of all files, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Replaces a file by these bytes, atomically and durably.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Makes creations and removals durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// Bytes that an unprivileged writer may still use.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open segment.
pub trait WalFile: Send {
    /// Appends some of the bytes and says how many, as `write(2)` does.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;
    /// Makes everything appended so far durable.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

/// A real folder.
pub struct FolderDisk {
    folder: PathBuf,
}

impl FolderDisk {
    /// Opens the folder, creating it where it is missing.
    pub fn open(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        create_folder_durably(&folder)?;
        Ok(Self { folder })
    }
}

struct FolderFile {
    file: File,
}

impl WalDisk for FolderDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn WalFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.folder.join(name))?;
        Ok(Box::new(FolderFile { file }))
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        replace_durably(&self.folder.join(name), bytes)
    }

    fn sync_folder(&self) -> io::Result<()> {
        sync_folder(&self.folder)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.folder)
    }
}

impl WalFile for FolderFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Creates a folder and its parents, and makes each new entry durable.
pub(crate) fn create_folder_durably(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|p| !p.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_folder_durably(parent)?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    parent.map_or(Ok(()), sync_folder)
}

/// Writes beside, makes durable, renames over, makes the rename durable.
pub(crate) fn replace_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("tmp");
    let mut file = File::create(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&beside, path)) {
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    path.parent().map_or(Ok(()), sync_folder)
}

/// Bytes free for an unprivileged writer on the file system of this path.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let figures = nix::sys::statvfs::statvfs(path).map_err(io::Error::from)?;
    #[allow(clippy::useless_conversion)] // the widths differ between targets
    Ok(u64::from(figures.blocks_available()).saturating_mul(u64::from(figures.fragment_size())))
}
