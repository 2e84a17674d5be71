//! The list of configuration keys: one line each, from which parsing, checks, `config show` and the reference page
//! come.

use serde::Serialize;
use toml::Value;

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built in.
    Default,
    /// The file.
    File,
    /// An environment variable.
    Environment,
    /// A flag.
    Flag,
}

/// What a key may hold.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number in a range.
    Int {
        /// Least.
        min: i64,
        /// Most.
        max: i64,
    },
    /// True or false.
    Bool,
    /// One of some words.
    Word(&'static [&'static str]),
    /// An absolute path.
    Path,
    /// A list of texts.
    List {
        /// Most entries.
        max: usize,
        /// What each must be.
        each: fn(&str) -> bool,
        /// That in words.
        words: &'static str,
    },
}

/// A key.
pub struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// Default.
    pub default: fn() -> Value,
    /// What it does.
    pub doc: &'static str,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Key {
    /// Name of its environment variable without the prefix.
    pub fn environment(&self) -> String {
        self.name.replace('.', "_").to_ascii_uppercase()
    }
}

/// Variables with our prefix that are no keys: the flags of the program have them.
pub const ENVIRONMENT_OTHER: &[&str] = &["CONFIG", "TOKEN", "SERVER", "STATE_DIR", "RUN_DIR", "LOG"];

fn is_address(text: &str) -> bool {
    text.len() <= 300
        && text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
}

fn is_absolute(text: &str) -> bool {
    text.starts_with('/') && text.len() <= 4096 && !text.contains('\0')
}

fn is_tag(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 200
}

fn empty() -> Value {
    Value::Array(Vec::new())
}

/// All keys.
pub const KEYS: &[Key] = &[
    Key {
        name: "server.addresses",
        kind: Kind::List { max: 16, each: is_address, words: "`host:port`" },
        default: empty,
        doc: "Gateways, tried in turn. Empty: the one given at enrolment.",
    },
    Key {
        name: "paths.state_dir",
        kind: Kind::Path,
        default: || Value::from("/var/lib/garrison-sensor"),
        doc: "Identity, disk queue and detection content.",
    },
    Key {
        name: "paths.run_dir",
        kind: Kind::Path,
        default: || Value::from("/run/garrison-sensor"),
        doc: "The control socket of the running sensor.",
    },
    Key {
        name: "spool.bytes_max",
        kind: Kind::Int { min: 8 << 20, max: 1 << 44 },
        default: || Value::from(2_i64 << 30),
        doc: "Bytes of the disk queue; at the cap rows are shed and the ledger says which. The default holds about ten days of a quiet server and one of a busy one.",
    },
    Key {
        name: "spool.shed",
        kind: Kind::Word(&["priority", "oldest"]),
        default: || Value::from("priority"),
        doc: "What goes first at the cap: `priority` sheds files, libraries and connections before processes and log-ons, and what a rule fired on last; `oldest` goes by age alone.",
    },
    Key {
        name: "spool.sync_ms",
        kind: Kind::Int { min: 50, max: 60_000 },
        default: || Value::from(1_000),
        doc: "Milliseconds until spooled rows are forced to the disk. A killed sensor loses nothing either way; a power cut loses at most this.",
    },
    Key {
        name: "batch.flush_ms",
        kind: Kind::Int { min: 10, max: 10_000 },
        default: || Value::from(100),
        doc: "Longest time that a row waits for its batch, milliseconds. A row that a rule fires on does not wait further.",
    },
    Key {
        name: "batch.rows_max",
        kind: Kind::Int { min: 1, max: 65_536 },
        default: || Value::from(4_096),
        doc: "Rows of a batch.",
    },
    Key {
        name: "batch.bytes_max",
        kind: Kind::Int { min: 4_096, max: 4 << 20 },
        default: || Value::from(1_i64 << 20),
        doc: "Bytes of text and numbers of a batch, before compression.",
    },
    Key {
        name: "hash.enabled",
        kind: Kind::Bool,
        default: || Value::from(true),
        doc: "Whether programs and executable files are hashed (SHA-256, SHA-1, MD5).",
    },
    Key {
        name: "hash.bytes_per_second",
        kind: Kind::Int { min: 1 << 16, max: 1 << 40 },
        default: || Value::from(32_i64 << 20),
        doc: "Bytes a second that are read to hash them; over it rows go without a hash and are counted.",
    },
    Key {
        name: "hash.file_bytes_max",
        kind: Kind::Int { min: 1 << 10, max: 1 << 40 },
        default: || Value::from(128_i64 << 20),
        doc: "Largest file that is hashed.",
    },
    Key {
        name: "limits.cpu_permille_max",
        kind: Kind::Int { min: 10, max: 64_000 },
        default: || Value::from(300),
        doc: "CPU time that the sensor may take, thousandths of one core; over it it sheds work in announced steps.",
    },
    Key {
        name: "limits.memory_bytes_max",
        kind: Kind::Int { min: 32 << 20, max: 1 << 40 },
        default: || Value::from(128_i64 << 20),
        doc: "Resident bytes from which on the sensor sheds work.",
    },
    Key {
        name: "detect.enabled",
        kind: Kind::Bool,
        default: || Value::from(true),
        doc: "Whether rules run on the sensor, so that what they fire on is sent at once. The server runs them in any case.",
    },
    Key {
        name: "files.paths",
        kind: Kind::List { max: 256, each: is_absolute, words: "an absolute path" },
        default: empty,
        doc: "Folders or files whose changes are reported, beside the built-in list.",
    },
    Key {
        name: "files.paths_excluded",
        kind: Kind::List { max: 256, each: is_absolute, words: "an absolute path" },
        default: empty,
        doc: "Folders or files about which nothing is reported.",
    },
    Key {
        name: "log.level",
        kind: Kind::Word(&["error", "warn", "info", "debug", "trace"]),
        default: || Value::from("info"),
        doc: "How much is written to the log (stderr).",
    },
    Key {
        name: "device.tags",
        kind: Kind::List { max: 32, each: is_tag, words: "a text of 1 to 200 characters" },
        default: empty,
        doc: "Tags that the device claims for itself.",
    },
];

impl Kind {
    /// Whether the value fits; if not, why, as the end of a sentence that begins with the key.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let fits = match (self, value) {
            (Self::Int { min, max }, Value::Integer(n)) => (min..=max).contains(&n),
            (Self::Bool, Value::Boolean(_)) => true,
            (Self::Word(words), Value::String(s)) => words.contains(&s.as_str()),
            (Self::Path, Value::String(s)) => is_absolute(s),
            (Self::List { max, each, .. }, Value::Array(items)) => {
                items.len() <= *max && items.iter().all(|v| v.as_str().is_some_and(each))
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(format!("must be {}", self.words())) }
    }

    /// Reads the text form that flags and environment variables have; lists are separated by commas.
    pub fn parse(&self, text: &str) -> Result<Value, String> {
        let wrong = || format!("must be {}", self.words());
        Ok(match self {
            Self::Int { .. } => Value::Integer(text.trim().parse().map_err(|_| wrong())?),
            Self::Bool => Value::Boolean(match text.trim() {
                "true" | "1" | "enabled" => true,
                "false" | "0" | "disabled" => false,
                _ => return Err(wrong()),
            }),
            Self::Word(_) | Self::Path => Value::String(text.to_owned()),
            Self::List { .. } => Value::Array(
                text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(|t| Value::from(t.to_owned())).collect(),
            ),
        })
    }

    /// The values in words.
    pub fn words(&self) -> String {
        match self {
            Self::Int { min, max } => format!("a number from {min} to {max}"),
            Self::Bool => "true or false".to_owned(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Path => "an absolute path".to_owned(),
            Self::List { max, words, .. } => format!("a list of at most {max}, each {words}"),
        }
    }
}
