//! `garrison audit …`: the audit log, its export and its proof.

use super::client::{CliError, Client, query};
use super::output::{Printer, clean, short_time};
use crate::access::audit::AuditLine;
use crate::access::audit::chain::{Proof, SignedHead};
use clap::Subcommand;
use garrison_model::Page;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Bytes of a line; entries stay under a few kilobytes.
const LINE_MAX: u64 = 64 << 10;

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Entries, newest first.
    List {
        /// Name of the user or token.
        #[arg(long)]
        who: Option<String>,
        /// `Read`, `Change`, `SignIn` or `Refused`.
        #[arg(long)]
        kind: Option<String>,
        /// The action that was needed.
        #[arg(long)]
        action: Option<String>,
        /// On what, such as `incidents/12`.
        #[arg(long)]
        target: Option<String>,
        /// Not before (RFC 3339 or `24h`).
        #[arg(long)]
        from: Option<String>,
        /// Before (RFC 3339).
        #[arg(long)]
        to: Option<String>,
        /// Entries, 1 to 500.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Writes the whole log to a file, a line an entry, and its signed head beside it (`FILE.head`).
    Export {
        /// Where to.
        file: PathBuf,
    },
    /// Proves an exported log: no byte changed, no line missing, and up to its signed head nothing cut off.
    Verify {
        /// The log.
        file: PathBuf,
        /// The signed head; `FILE.head` where it is there.
        #[arg(long)]
        head: Option<PathBuf>,
        /// The public key that the head must be signed with, hexadecimal, as you know it.
        #[arg(long)]
        key: Option<String>,
    },
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> CliError + '_ {
    move |source| CliError::File { path: path.display().to_string(), source }
}

fn head_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".head");
    name.into()
}

async fn export(file: &Path, client: &Client) -> Result<(), CliError> {
    // The head first: what comes meanwhile lies behind it and does no harm.
    let head: SignedHead = client.fetch("/audit/head").await?;
    let mut out = BufWriter::new(std::fs::File::create(file).map_err(at(file))?);
    let mut last = 0;
    while last < head.head.seq {
        let text = client.text(&format!("/audit/export?after={last}")).await?;
        let mut lines = 0_i64;
        for line in text.lines() {
            out.write_all(line.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(at(file))?;
            lines += 1;
        }
        if lines == 0 {
            return Err(CliError::Failed(format!("the log ends with entry {last}, its head says {}", head.head.seq)));
        }
        last += lines;
    }
    out.into_inner().map_err(|e| at(file)(e.into_error()))?.sync_all().map_err(at(file))?;
    let beside = head_path(file);
    let text = serde_json::to_string(&head).map_err(|e| CliError::Answer(e.to_string()))?;
    std::fs::write(&beside, text + "\n").map_err(at(&beside))?;
    eprintln!(
        "{last} entries; the head is in {}. Keep it, and the key {}, elsewhere.",
        beside.display(),
        clean(&head.public_key)
    );
    Ok(())
}

/// Goes through a file.
fn verify(file: &Path, head: Option<&Path>, key: Option<&str>) -> Result<String, CliError> {
    let beside = head_path(file);
    let head = head.or_else(|| beside.exists().then_some(beside.as_path()));
    let signed = match head {
        None => None,
        Some(path) => {
            let mut text = String::new();
            std::fs::File::open(path).and_then(|f| f.take(LINE_MAX).read_to_string(&mut text)).map_err(at(path))?;
            let head: SignedHead = serde_json::from_str(&text)
                .map_err(|_| CliError::Failed(format!("`{}` is no signed head", path.display())))?;
            Some(head)
        }
    };
    let broken = |error: crate::access::audit::chain::Broken| CliError::Failed(error.to_string());
    let is_signed = signed.is_some();
    let mut proof = Proof::new(signed, key).map_err(broken)?;
    let mut lines = BufReader::new(std::fs::File::open(file).map_err(at(file))?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = lines.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(at(file))?;
        if read == 0 {
            break;
        }
        // Bytes that are no text are none of ours; the proof says which line it is.
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
        proof.take(&text).map_err(broken)?;
    }
    let (last, hash) = proof.finish().map_err(broken)?;
    let tail = if is_signed { "its signed head fits" } else { "without a signed head, a cut tail cannot be seen" };
    Ok(format!("{last} entries are whole, the last is {hash}; {tail}"))
}

/// The part that needs no server; `None` for the rest.
pub fn offline(command: &Command) -> Option<Result<(), CliError>> {
    let Command::Verify { file, head, key } = command else { return None };
    Some(verify(file, head.as_deref(), key.as_deref()).map(|words| println!("{words}")))
}

pub(super) async fn run(command: Command, client: &Client, printer: &Printer) -> Result<(), CliError> {
    match command {
        Command::List { who, kind, action, target, from, to, limit } => {
            let pairs = [
                ("who", who),
                ("kind", kind),
                ("action", action),
                ("target", target),
                ("from", from),
                ("to", to),
                ("limit", Some(limit.to_string())),
            ];
            let page: Page<AuditLine> = client.fetch(&query("/audit", &pairs)).await?;
            printer.list(&["NO", "TIME", "WHO", "KIND", "STATUS", "COUNT", "WHAT"], &page.items, |l| {
                let e = &l.entry;
                let what = if e.target.is_empty() { &e.route } else { &e.target };
                vec![
                    e.seq.to_string(),
                    short_time(&e.time),
                    clean(&e.who),
                    e.kind.clone(),
                    e.status.to_string(),
                    e.count.map(|c| c.to_string()).unwrap_or_default(),
                    clean(&format!("{} {what}", e.method)),
                ]
            })
        }
        Command::Export { file } => export(&file, client).await,
        Command::Verify { file, head, key } => {
            printer.line(&verify(&file, head.as_deref(), key.as_deref())?);
            Ok(())
        }
    }
}
