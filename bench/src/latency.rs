//! From a kernel event to the alert on the event stream: a marked program is executed, the stream is read, the time
//! between the two is taken. Needs root and BPF for the real figure; the sight is printed.

use crate::harness;
use anyhow::{Context as _, anyhow};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RULE: &str = "title: Latency marker\nid: 6f6f0c1e-4e0e-4a52-9a2b-5d1d7f3f9a01\nstatus: test\nlogsource:\n  \
product: linux\n  category: process_creation\ndetection:\n  marker:\n    CommandLine|contains: garrison-latency-\n  \
condition: marker\nlevel: high\n";

/// Entry.
pub fn run(count: usize) -> anyhow::Result<()> {
    let mut stage = harness::stage()?;
    stage.start_sensor().map_err(|e| anyhow!(e.0))?;
    let rule = stage.folder().join("latency.yml");
    std::fs::write(&rule, RULE)?;
    let rule = rule.display().to_string();
    stage.garrison(&["rule", "import", &rule]).map_err(|e| anyhow!(e.0))?;
    let token = std::fs::read_to_string(stage.folder().join("server/run/admin.token"))?;
    let address = stage.console_url().trim_start_matches("http://").to_owned();
    println!("bench latency: {}", harness::machine());
    let mut stream = TcpStream::connect(&address)?;
    write!(
        stream,
        "GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\n\r\n",
        token.trim()
    )?;
    let (sender, seen) = std::sync::mpsc::sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if line.starts_with("data:") && line.contains("Latency marker") && sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    std::thread::sleep(Duration::from_secs(3));
    let mut times = Vec::new();
    let mut missed = 0;
    for i in 0..count {
        while seen.try_recv().is_ok() {}
        let start = Instant::now();
        Command::new("/bin/sh")
            .args(["-c", &format!("exec /bin/true garrison-latency-{i}")])
            .stdin(Stdio::null())
            .status()
            .context("cannot run sh")?;
        match seen.recv_timeout(Duration::from_secs(5)) {
            Ok(at) => times.push(at.duration_since(start).as_secs_f64() * 1000.0),
            Err(_) => missed += 1,
        }
        // Away from any period of flushing, so that waits are spread evenly.
        std::thread::sleep(Duration::from_millis(150 + (i as u64 * 37) % 100));
    }
    println!(
        "  {} of {count} alerts seen, {missed} not within 5 s; median {:.0} ms, 99th percentile {:.0} ms, longest {:.0} ms",
        times.len(),
        harness::percentile(&mut times, 0.5),
        harness::percentile(&mut times, 0.99),
        harness::percentile(&mut times, 1.0)
    );
    stage.stop().map_err(|e| anyhow!(e.0))
}
