//! What every cloud's inventory gives, whatever its own interface is. A cloud is one file that does this, and one line
//! where the order names it.

use super::aws::Aws;
use super::vault::SecretKind;
use garrison_model::{MachineSystem, PowerState, Tags};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::str::FromStr;

/// Machines of one listing: more are refused in words, not cut off in silence.
pub const INSTANCES_MAX: usize = 20_000;

/// Clouds that machines are taken in from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CloudKind {
    /// Amazon's; its scope is a region.
    #[default]
    Aws,
}

impl CloudKind {
    /// All of them.
    pub const ALL: &'static [CloudKind] = &[CloudKind::Aws];

    /// Its word, which is also the resource group of its machines where none is named.
    pub fn as_str(self) -> &'static str {
        match self {
            CloudKind::Aws => "aws",
        }
    }

    /// What opens it.
    pub fn secret(self) -> SecretKind {
        match self {
            CloudKind::Aws => SecretKind::Aws,
        }
    }

    /// For a region, with the text of a secret; what is wrong in words.
    pub fn open(self, secret: &str, region: &str, endpoint: Option<&str>) -> Result<Box<dyn Cloud>, String> {
        match self {
            CloudKind::Aws => Ok(Box::new(Aws::new(secret, region, endpoint)?)),
        }
    }
}

impl FromStr for CloudKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = CloudKind::ALL.iter().copied().find(|k| k.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| "use one of aws".to_owned())
    }
}

/// A machine of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Id in its cloud.
    pub id: String,
    /// Name for people; empty if it has none.
    pub name: String,
    /// Whether it runs.
    pub power: PowerState,
    /// Tags, cut to what the plane takes.
    pub tags: Tags,
    /// What is known of its system.
    pub system: MachineSystem,
}

/// How a command on a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether it ended well.
    pub ok: bool,
    /// The cloud's word for how it ended.
    pub status: String,
    /// What it said, cut.
    pub said: String,
}

/// Why a cloud did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// It does not answer.
    #[error("the cloud does not answer: {0}")]
    Unreachable(String),
    /// It refuses; its own code and words, cut.
    #[error("the cloud refuses with `{code}`: {message}")]
    Refused {
        /// Code.
        code: String,
        /// Words.
        message: String,
    },
    /// It answers what cannot be read.
    #[error("the cloud's answer cannot be read: {0}")]
    Answer(&'static str),
    /// There are more than a listing holds.
    #[error("there are more than {INSTANCES_MAX} machines; name a smaller region or account")]
    TooMany,
}

/// A cloud's inventory and the way onto its machines.
#[async_trait::async_trait]
pub trait Cloud: Send + Sync {
    /// `aws`, `azure` or `gcp`.
    fn name(&self) -> &'static str;

    /// All machines of the region or project that are not gone for good.
    async fn list(&self) -> Result<Vec<Instance>, CloudError>;

    /// Runs a shell script as root on some machines; an id of the command for each.
    async fn run(&self, instances: &[String], script: &str) -> Result<BTreeMap<String, String>, CloudError>;

    /// How a command stands; `None` while it runs.
    async fn ended(&self, instance: &str, command: &str) -> Result<Option<Ended>, CloudError>;
}
