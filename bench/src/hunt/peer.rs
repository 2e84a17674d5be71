//! The peers: DuckDB, and ClickHouse as a library, each in a Python process that stays open, over the very same files.

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running peer; it ends when this is dropped.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Name and version.
    pub name: String,
}

/// What a query gave.
pub struct Answer {
    pub seconds: f64,
    pub rows: usize,
    pub checksum: u64,
}

/// Python with DuckDB, in a virtual environment of the cache folder.
fn python(cache: &Path) -> anyhow::Result<PathBuf> {
    let folder = cache.join("venv");
    let python = folder.join("bin/python");
    let ready = folder.join("ready");
    if !ready.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "duckdb>=2", "pyarrow"]))?;
        // Where it does not install, the table has no column for it.
        if let Err(error) = run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "chdb"])) {
            println!("  chdb skipped because {error:#}");
        }
        std::fs::write(&ready, "")?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

impl Peer {
    /// Starts `engine`: `duckdb` or `clickhouse`.
    pub fn start(
        engine: &str,
        cache: &Path,
        tables: &BTreeMap<String, Vec<PathBuf>>,
        threads: usize,
    ) -> anyhow::Result<Self> {
        let mut child = Command::new(python(cache)?)
            .args(["-c", include_str!("peer.py")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the peer")?;
        let mut input = child.stdin.take().context("the peer has no input")?;
        let mut output = BufReader::new(child.stdout.take().context("the peer has no output")?);
        writeln!(input, "{}", json!({"engine": engine, "tables": tables, "threads": threads}))?;
        let hello = read(&mut output)?;
        if let Some(error) = hello["error"].as_str() {
            bail!("{error}");
        }
        let name = hello["name"].as_str().unwrap_or_default().to_owned();
        Ok(Self { child, input, output, name })
    }

    pub fn ask(&mut self, sql: &str) -> anyhow::Result<Answer> {
        writeln!(self.input, "{}", json!({"sql": sql}))?;
        let answer = read(&mut self.output)?;
        if let Some(error) = answer["error"].as_str() {
            bail!("the peer refused `{sql}`: {error}");
        }
        Ok(Answer {
            seconds: answer["seconds"].as_f64().context("no time in the peer's answer")?,
            rows: answer["rows"].as_u64().unwrap_or_default() as usize,
            checksum: answer["checksum"].as_str().and_then(|text| text.parse().ok()).unwrap_or_default(),
        })
    }
}

fn read(output: &mut impl std::io::BufRead) -> anyhow::Result<Value> {
    let mut line = String::new();
    if output.read_line(&mut line)? == 0 {
        bail!("the peer ended; its words are above");
    }
    serde_json::from_str(&line).context("the peer's answer is no JSON")
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
