//! Who may do what: the certificate authority, the content key, users, sessions and tokens.
//!
//! The CA's key and the content key live in files of mode 0600 under `DIR/keys`, never in the database. Of sessions,
//! links and tokens only SHA-256 hashes are stored: each secret has 192 random bits or more, so a slow hash would add
//! nothing; passwords have argon2id.

pub mod commands;
mod failures;
pub(crate) mod keys;
mod people;
mod secret;
pub(crate) mod tokens;

pub use failures::Failures;
pub use people::{Principal, SignInError, SignedIn, UserRecord};
pub(crate) use people::{insert_user, is_disabled, is_enabled, switch, user_id, user_names};
pub use secret::{equal_in_constant_time, random_text};
pub use tokens::{ApiTokenRecord, EnrolmentTokenRecord, TOKEN_EXPIRY_HOURS_DEFAULT, TOKEN_USES_DEFAULT, TokenRefused};

use crate::db::{Db, DbError};
use ed25519_dalek::SigningKey;
use garrison_model::{Micros, TenantId};
use garrison_wire::identity::{Authority, IdentityError};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Something in identity failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key file.
    #[error("cannot {step} key file `{path}`")]
    KeyFile {
        /// What was tried.
        step: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A key file holds no key.
    #[error("key file `{0}` is damaged")]
    KeyDamaged(PathBuf),
    /// A certificate.
    #[error(transparent)]
    Certificate(#[from] IdentityError),
    /// The database.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A password could not be hashed.
    #[error("cannot hash a password: {0}")]
    Hash(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// There is one of this name.
    #[error("a user `{0}` exists")]
    UserExists(String),
    /// There is none.
    #[error("there is no {kind} `{name}`")]
    NotFound {
        /// What kind of thing.
        kind: &'static str,
        /// Which.
        name: String,
    },
    /// A name, password or figure is not usable.
    #[error("{0}")]
    Invalid(&'static str),
}

impl From<sqlx::Error> for Error {
    fn from(source: sqlx::Error) -> Self {
        Self::Db(source.into())
    }
}

/// Keys, users, sessions and tokens, as one tenant sees them: keys and users are the server's, tokens are the tenant's.
pub struct Identity {
    /// The server's own.
    db: Db,
    /// The tenant's: tokens that let machines in are used where the machine is written down, in one transaction.
    control: Db,
    keys: Arc<Keys>,
    tenant: TenantId,
}

/// What a server has once.
struct Keys {
    authority: Authority,
    content_key: SigningKey,
    audit_key: SigningKey,
    failures: Mutex<Failures>,
    /// A hash that no password fits, so that a sign-in with an unknown name takes as long as with a known one.
    decoy_hash: String,
    /// Token of this start for commands on the same host.
    local_token: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Failed sign-ins that one address or one name may make in [`SIGN_IN_WINDOW`].
const SIGN_IN_FAILURES_MAX: u32 = 10;
/// See [`SIGN_IN_FAILURES_MAX`].
const SIGN_IN_WINDOW: Duration = Duration::from_mins(5);

impl Identity {
    /// Reads the keys, making them at the first start; as the first tenant sees them.
    pub async fn open(db: Db, keys: PathBuf, now: Micros) -> Result<Self, Error> {
        let (authority, content_key, audit_key) = keys::open(&keys, now)?;
        let decoy_hash = people::hash_password(random_text::<16>()?).await?;
        let local_token = format!("gat_{}", random_text::<32>()?);
        let failures = Mutex::new(Failures::new(SIGN_IN_FAILURES_MAX, SIGN_IN_WINDOW));
        let keys = Keys { authority, content_key, audit_key, failures, decoy_hash, local_token };
        Ok(Self { control: db.clone(), db, keys: Arc::new(keys), tenant: TenantId::first() })
    }

    /// The same server's, as a tenant with its own control data sees it.
    pub fn of(&self, tenant: &TenantId, control: &Db) -> Self {
        let (db, control) = (self.db.clone(), control.clone());
        Self { db, control, keys: Arc::clone(&self.keys), tenant: tenant.clone() }
    }

    /// The certificate authority.
    pub fn authority(&self) -> &Authority {
        &self.keys.authority
    }

    /// The key that content and orders are signed with.
    pub fn content_key(&self) -> &SigningKey {
        &self.keys.content_key
    }

    /// The key that the head of the audit log is signed with.
    pub fn audit_key(&self) -> &SigningKey {
        &self.keys.audit_key
    }

    /// SHA-256 of the CA certificate.
    pub fn ca_fingerprint(&self) -> [u8; 32] {
        garrison_wire::identity::fingerprint(self.keys.authority.certificate())
    }

    /// The administrator's token that holds until the server stops; written to a file that only its owner reads.
    pub fn local_token(&self) -> &str {
        &self.keys.local_token
    }

    /// Forgets sessions and links that are over.
    pub async fn sweep(&self, now: Micros) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        people::sweep(tx.conn(), now).await?;
        Ok(tx.commit().await?)
    }
}
