//! The control database: SQLite or PostgreSQL behind one door, with portable SQL.
//!
//! Columns are `TEXT`, `BIGINT` and `DOUBLE PRECISION` only, truth values are 0 and 1, times are microseconds,
//! placeholders are `$1`. On SQLite there is one writer at a time, in the order of asking, so that no transaction ever
//! meets a lock; readers go on beside it (WAL).
//!
//! Columns that name people are sealed ([`columns`], [`seal`]): a room writes `seal.put(COLUMN, text)` and reads
//! `seal.get(&row, COLUMN)`, with the [`Sealer`] of its tenant.

pub mod columns;
mod migrations;
pub(crate) mod rows;
pub mod seal;
mod statement;
mod turn;

pub use seal::{SealError, Sealer};
pub use statement::Statement;

use garrison_model::TenantId;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Connection as _, Executor as _, Transaction};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// The database failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A step failed.
    #[error("cannot {step}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// A migration failed.
    #[error("cannot apply migration `{name}`")]
    Migration {
        /// Its name.
        name: &'static str,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// The database was made by a newer program.
    #[error("the database has migration {0}, which this program does not know: a newer version has used it")]
    Newer(i64),
    /// The columns are sealed, and not with this key.
    #[error(
        "control data of {of} is sealed with key `{known}`, and this server has {given}; restore `{file}` from the \
         backup that belongs to this database: nothing else opens it"
    )]
    Key {
        /// The tenant, or the server.
        of: String,
        /// What it is sealed with.
        known: String,
        /// What was given.
        given: String,
        /// The file that holds the key.
        file: &'static str,
    },
    /// The address is neither SQLite's nor PostgreSQL's.
    #[error("`{0}` is no database address; use `sqlite:PATH` or `postgres://…`")]
    Url(String),
}

impl DbError {
    /// For `map_err`: names the step that failed.
    pub fn step(step: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}

impl From<sqlx::Error> for DbError {
    fn from(source: sqlx::Error) -> Self {
        Self::Step { step: "use the database", source }
    }
}

/// An open database.
#[derive(Debug, Clone)]
pub struct Db {
    pool: AnyPool,
    dialect: Dialect,
    writer: Arc<Mutex<()>>,
    seals: Arc<RwLock<Seals>>,
}

/// What the columns of this database are sealed with.
#[derive(Debug)]
struct Seals {
    server: Sealer,
    tenants: HashMap<TenantId, Sealer>,
}

/// Readers at once: the API's requests; more would only wait for the disk.
const CONNECTIONS_MAX: u32 = 8;

impl Db {
    /// Opens SQLite at a path, creating it where it is missing.
    pub async fn open_file(path: &Path) -> Result<Self, DbError> {
        Self::open(&format!("sqlite:{}?mode=rwc", path.display())).await
    }

    /// Opens a database by its address and brings its tables up to date.
    pub async fn open(url: &str) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let dialect = if url.starts_with("sqlite:") {
            Dialect::Sqlite
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Dialect::Postgres
        } else {
            // The address may hold a password: only its scheme is told.
            return Err(DbError::Url(url.split(':').next().unwrap_or_default().chars().take(20).collect()));
        };
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(Duration::from_secs(30))
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if dialect == Dialect::Sqlite {
                        // NORMAL in WAL mode survives a killed process; a power cut may take the last commits, never
                        // the file. What must not be taken back (revocation) asks for `Db::sync`.
                        for pragma in [
                            "PRAGMA journal_mode = WAL",
                            "PRAGMA synchronous = NORMAL",
                            "PRAGMA busy_timeout = 10000",
                            "PRAGMA foreign_keys = ON",
                            "PRAGMA cache_size = -16000",
                        ] {
                            connection.execute(pragma).await?;
                        }
                    }
                    Ok(())
                })
            })
            .connect(url)
            .await
            .map_err(DbError::step("open the database"))?;
        let seals = Seals { server: Sealer::plain(""), tenants: HashMap::new() };
        let seals = Arc::new(RwLock::new(seals));
        let db = Self { pool, dialect, writer: Arc::new(Mutex::new(())), seals };
        migrations::run(&db).await?;
        Ok(db)
    }

    /// Whether this is another handle of the same open database.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.seals, &other.seals)
    }

    /// Which engine it is.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What a tenant's columns are sealed with: nothing until [`Db::seal_with`].
    pub fn seal(&self, tenant: &TenantId) -> Sealer {
        let seals = self.seals.read().unwrap_or_else(PoisonError::into_inner);
        seals.tenants.get(tenant).cloned().unwrap_or_else(|| Sealer::plain(tenant.as_str()))
    }

    /// What the server's own columns are sealed with.
    pub fn seal_own(&self) -> Sealer {
        self.seals.read().unwrap_or_else(PoisonError::into_inner).server.clone()
    }

    /// Brings all columns of a tenant (`None`: of the server) to the form that a sealer writes, and uses it from here on.
    /// Refuses another key than the one that they are sealed with. Says how many rows were changed.
    pub async fn seal_with(&self, tenant: Option<&TenantId>, sealer: Sealer) -> Result<u64, DbError> {
        let changed = turn::turn(self, tenant, &sealer).await?;
        let mut seals = self.seals.write().unwrap_or_else(PoisonError::into_inner);
        match tenant {
            Some(tenant) => drop(seals.tenants.insert(tenant.clone(), sealer)),
            None => seals.server = sealer,
        }
        Ok(changed)
    }

    /// Reads a tenant's columns with this sealer and leaves them as they are: for commands beside a stopped server.
    pub fn read_with(&self, tenant: &TenantId, sealer: Sealer) {
        self.seals.write().unwrap_or_else(PoisonError::into_inner).tenants.insert(tenant.clone(), sealer);
    }

    /// Forgets what a tenant's columns were sealed with, after its rows and key are gone.
    pub async fn seal_forget(&self, tenant: &TenantId) -> Result<(), DbError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM db_seals WHERE scope = $1").bind(tenant.as_str()).execute(tx.conn()).await?;
        tx.commit().await
    }

    /// For reading.
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Begins a transaction that writes. Keep it short: on SQLite all other writers wait.
    pub async fn write(&self) -> Result<WriteTx, DbError> {
        let failed = DbError::step("begin a transaction");
        match self.dialect {
            Dialect::Sqlite => {
                let turn = Arc::clone(&self.writer).lock_owned().await;
                let tx = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
                Ok(WriteTx { tx, _turn: Some(turn) })
            }
            Dialect::Postgres => Ok(WriteTx { tx: self.pool.begin().await.map_err(failed)?, _turn: None }),
        }
    }

    /// Makes everything committed so far survive a power cut.
    pub async fn sync(&self) -> Result<(), DbError> {
        if self.dialect == Dialect::Sqlite {
            let _turn = self.writer.lock().await;
            self.pool.execute("PRAGMA wal_checkpoint(PASSIVE)").await.map_err(DbError::step("sync the database"))?;
        }
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A transaction that writes; dropped without [`WriteTx::commit`], it leaves no trace.
#[derive(Debug)]
pub struct WriteTx {
    tx: Transaction<'static, Any>,
    _turn: Option<OwnedMutexGuard<()>>,
}

impl WriteTx {
    /// The connection to execute statements on.
    pub fn conn(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }

    /// Makes it so.
    pub async fn commit(self) -> Result<(), DbError> {
        self.tx.commit().await.map_err(DbError::step("commit a transaction"))
    }
}

/// Whether an error says that a row with this key exists.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

async fn ping(connection: &mut AnyConnection) -> bool {
    connection.ping().await.is_ok()
}

impl Db {
    /// Whether it answers.
    pub async fn is_well(&self) -> bool {
        match self.pool.acquire().await {
            Ok(mut connection) => ping(&mut connection).await,
            Err(_) => false,
        }
    }
}
