//! Rules on the sensor: what they fire on is sent at once. The server runs all rules anyway and alone decides what an
//! alert is; this room only says "hurry". Correlations are the server's, which sees more than one batch and machine.
//!
//! The engine is swapped while the pipeline runs: the uplink compiles, the pipeline picks it up with its next batch.
//! Evaluation is bounded by the engine itself; a rule set that fails to compile leaves the former one in use.

use crate::status::ContentInfo;
use arrow::array::RecordBatch;
use ed25519_dalek::VerifyingKey;
use garrison_model::Micros;
use garrison_sigma::{Engine, HuntingMap, Matches, Options, Platform, RuleSet, Scratch};
use garrison_wire::content::{Bundle, ContentError, unpack};
use garrison_wire::v1;
use prost::Message as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Name of the file in the state folder that holds the content as it came, signature and all.
pub const CONTENT_FILE: &str = "content.bin";

/// Why content is not in use.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// Signature, roll-back or form.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The pinned key is no key.
    #[error("the pinned content key is not valid")]
    Key,
    /// It cannot be kept.
    #[error("cannot keep content in `{path}`")]
    Keep {
        /// File.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is damaged.
    #[error("kept content `{0}` is damaged")]
    Damaged(PathBuf),
}

/// Where the uplink puts a new engine and the pipeline finds it.
#[derive(Debug, Default)]
pub struct EngineSlot {
    engine: Mutex<Option<Arc<Engine>>>,
    version: AtomicU64,
}

impl EngineSlot {
    /// Puts an engine in.
    pub fn put(&self, engine: Engine) {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(engine));
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// Compiles a bundle. Rules that cannot be used are counted, the others run.
pub fn compile(bundle: &Bundle) -> (Engine, u32, u32) {
    let sources = bundle.rules.iter().map(|r| (r.name.as_str(), r.source.as_str()));
    let (rules, _) = RuleSet::load(sources, &Options::default());
    let all: Vec<_> = rules.iter().map(|(index, _)| index).collect();
    let engine = Engine::compile(Arc::new(rules), Arc::new(HuntingMap));
    let usable = all.iter().filter(|i| engine.is_usable(**i)).count();
    let refused = all.len() - usable;
    (engine, u32::try_from(usable).unwrap_or(u32::MAX), u32::try_from(refused).unwrap_or(u32::MAX))
}

/// Verifies content, compiles it, keeps it, and puts it into use. `current` is the generation in use.
pub fn take(
    content: &v1::Content,
    content_key: &[u8; 32],
    current: u64,
    state_dir: &Path,
    slot: &EngineSlot,
    now: Micros,
) -> Result<ContentInfo, DetectError> {
    let info = install(content, content_key, current, slot, now)?;
    let path = state_dir.join(CONTENT_FILE);
    crate::uplink::identity::write_whole(&path, &content.encode_to_vec())
        .map_err(|source| DetectError::Keep { path, source })?;
    Ok(info)
}

/// Puts the content kept by a former run into use; `None` if there is none. It is verified again.
pub fn restore(
    content_key: &[u8; 32],
    state_dir: &Path,
    slot: &EngineSlot,
) -> Result<Option<ContentInfo>, DetectError> {
    let path = state_dir.join(CONTENT_FILE);
    let Ok(meta) = std::fs::metadata(&path) else { return Ok(None) };
    let damaged = || DetectError::Damaged(path.clone());
    if meta.len() > garrison_wire::MESSAGE_BYTES_MAX as u64 {
        return Err(damaged());
    }
    let bytes = std::fs::read(&path).map_err(|_| damaged())?;
    let content = v1::Content::decode(bytes.as_slice()).map_err(|_| damaged())?;
    let taken = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    install(&content, content_key, 0, slot, Micros(i64::try_from(taken.as_micros()).unwrap_or(0))).map(Some)
}

fn install(
    content: &v1::Content,
    content_key: &[u8; 32],
    current: u64,
    slot: &EngineSlot,
    now: Micros,
) -> Result<ContentInfo, DetectError> {
    let key = VerifyingKey::from_bytes(content_key).map_err(|_| DetectError::Key)?;
    let bundle = unpack(content, &key, current)?;
    let (engine, rules_usable, rules_refused) = compile(&bundle);
    slot.put(engine);
    Ok(ContentInfo {
        version: content.version.clone(),
        generation: content.generation,
        taken: now.0,
        rules_usable,
        rules_refused,
        error: String::new(),
    })
}

/// Runs the rules in the pipeline.
pub struct Detector {
    slot: Arc<EngineSlot>,
    version: u64,
    engine: Option<Arc<Engine>>,
    scratch: Scratch,
    matches: Matches,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Detector").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Detector {
    /// Takes its engines from this slot.
    pub fn new(slot: Arc<EngineSlot>) -> Self {
        Self { slot, version: 0, engine: None, scratch: Scratch::new(), matches: Matches::new() }
    }

    /// How many times rules fire on the batch.
    pub fn evaluate(&mut self, table: &str, batch: &RecordBatch) -> usize {
        let version = self.slot.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.engine = self.slot.engine.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.scratch = Scratch::new();
        }
        let Some(engine) = &self.engine else { return 0 };
        self.matches = Matches::new();
        engine.evaluate(&mut self.scratch, table, Some(Platform::Linux), batch, &mut self.matches);
        self.matches.alerts(engine).count()
    }
}
