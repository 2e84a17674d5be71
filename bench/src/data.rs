//! The rule corpus beside the checkout.

use anyhow::Context;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Path and text of every rule file of the public corpus.
pub fn rules() -> anyhow::Result<Vec<(String, String)>> {
    let folder = std::env::var_os("GARRISON_TEST_DATA").map_or_else(
        || {
            PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()))
                .join("../../shared/data")
        },
        PathBuf::from,
    );
    let path = folder.join("sigma-rules.tar.zst");
    let file = std::fs::File::open(&path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let mut bytes = Vec::new();
    zstd::stream::read::Decoder::new(file)?.read_to_end(&mut bytes).context("cannot unpack the rules")?;
    let mut files = Vec::new();
    let (mut at, mut long) = (0, None::<String>);
    while let Some(header) = bytes.get(at..at + 512).filter(|h| h.iter().any(|b| *b != 0)) {
        let text = |from: usize, to: usize| {
            String::from_utf8_lossy(&header[from..to]).split('\0').next().unwrap_or_default().to_owned()
        };
        let size = usize::from_str_radix(text(124, 136).trim(), 8).context("damaged archive")?;
        let body = bytes.get(at + 512..at + 512 + size).context("damaged archive")?;
        match header[156] {
            b'L' => long = Some(String::from_utf8_lossy(body).trim_end_matches('\0').to_owned()),
            b'0' | 0 => {
                let name = long.take().unwrap_or_else(|| text(0, 100));
                if Path::new(&name).extension().is_some_and(|e| e == "yml") {
                    files.push((name, String::from_utf8_lossy(body).into_owned()));
                }
            }
            _ => {}
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    files.sort();
    Ok(files)
}
