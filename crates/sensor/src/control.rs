//! The control socket of the running sensor: one JSON line asked, one answered. Root only, by the socket's mode.

use crate::status::{Facts, Status, now};
use serde::{Deserialize, Serialize};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Name of the socket in the run folder.
pub const SOCKET: &str = "control.sock";
/// Longest request.
const REQUEST_BYTES_MAX: u64 = 4_096;
/// Longest answer that a client reads.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// How long one exchange may take.
const EXCHANGE_MAX: Duration = Duration::from_secs(5);
/// Exchanges at the same time.
const CLIENTS_MAX: usize = 8;

/// What may be asked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "ask", deny_unknown_fields)]
pub enum Request {
    /// Everything `health` shows.
    Health,
}

fn path(run_dir: &Path) -> PathBuf {
    run_dir.join(SOCKET)
}

/// Opens the socket. A socket that a killed sensor left behind is replaced; that no other sensor runs is held by the
/// lock on the disk queue.
pub fn bind(run_dir: &Path) -> std::io::Result<UnixListener> {
    std::fs::create_dir_all(run_dir)?;
    let path = path(run_dir);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the socket away.
pub fn remove(run_dir: &Path) {
    let _ = std::fs::remove_file(path(run_dir));
}

/// Answers until it is aborted.
pub async fn serve(listener: UnixListener, status: Arc<Status>, facts: Facts) {
    let listener = match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "the control socket cannot be served");
            return;
        }
    };
    let places = Arc::new(tokio::sync::Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answer_to = (Arc::clone(&status), facts.clone());
        tokio::spawn(async move {
            let _place = place;
            let _ = tokio::time::timeout(EXCHANGE_MAX, exchange(stream, &answer_to.0, &answer_to.1)).await;
        });
    }
}

async fn exchange(mut stream: tokio::net::UnixStream, status: &Status, facts: &Facts) -> std::io::Result<()> {
    let mut line = Vec::new();
    let (reader, mut writer) = stream.split();
    let mut reader = tokio::io::BufReader::new(reader.take(REQUEST_BYTES_MAX));
    tokio::io::AsyncBufReadExt::read_until(&mut reader, b'\n', &mut line).await?;
    let answer = match serde_json::from_slice(&line) {
        Ok(Request::Health) => status.health(facts, now()),
        Err(_) => serde_json::json!({"error": "the request is not understood"}),
    };
    writer.write_all(answer.to_string().as_bytes()).await?;
    writer.write_all(b"\n").await?;
    writer.shutdown().await
}

/// Asks the running sensor.
pub fn ask(run_dir: &Path, request: Request) -> std::io::Result<serde_json::Value> {
    let mut stream = UnixStream::connect(path(run_dir))?;
    stream.set_read_timeout(Some(EXCHANGE_MAX))?;
    stream.set_write_timeout(Some(EXCHANGE_MAX))?;
    let mut line = serde_json::to_vec(&request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    serde_json::from_slice(&answer).map_err(std::io::Error::other)
}
