//! Users and their sessions.

use super::secret::{equal_in_constant_time, hash_text, random_text};
use super::{Error, Identity};
use crate::db::{Sealer, columns, is_unique_violation};
use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use base64::Engine as _;
use garrison_model::{Micros, Role, TenantId, UserId};
use sqlx::AnyConnection;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use std::net::IpAddr;
use std::time::Duration;

const HOUR: i64 = 3_600_000_000;
/// A session ends when it was not used for this long: a working day with its breaks.
const SESSION_IDLE: i64 = 12 * HOUR;
/// A session ends after this long in any case.
const SESSION_MAX: i64 = 7 * 24 * HOUR;
/// How long a sign-in link holds.
pub const LINK_EXPIRY: i64 = HOUR;
/// Use of a session is written down at most this often.
const USE_NOTED_EVERY: i64 = 60_000_000;
/// Passwords hashed at once: each takes 19 MiB and some ten milliseconds of a core.
const HASHES_MAX: usize = 4;
/// Characters of a password: shorter ones are guessed, longer ones only cost time.
const PASSWORD_CHARACTERS: std::ops::RangeInclusive<usize> = 10..=256;

static HASHING: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(HASHES_MAX);

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user; `None` for API tokens.
    pub user: Option<UserId>,
    /// Id of the API token; `None` for users and for the local administrator.
    pub token: Option<String>,
    /// Name of the user or token.
    pub name: String,
    /// In one word, what they may do. Rights are worked out of assignments; behind the gate this is their summary.
    pub role: Role,
    /// Whether the user has a password.
    pub password_set: bool,
}

/// A user, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UserRecord {
    /// Id.
    pub id: UserId,
    /// Name.
    pub name: String,
    /// Role.
    pub role: Role,
    /// Whether a password is set.
    pub password_set: bool,
    /// Whether the user may not sign in.
    pub disabled: bool,
    /// Since when, microseconds.
    #[serde(skip)]
    pub created: Micros,
}

/// A new session.
#[derive(Debug)]
pub struct SignedIn {
    /// Value of the session cookie.
    pub cookie: String,
    /// Seconds until it ends in any case.
    pub max_age_seconds: i64,
    /// Who it is.
    pub principal: Principal,
}

/// No session.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Name, password or link is wrong, used or expired; which of them is not told.
    #[error("the name, password or link is wrong or no longer valid")]
    Wrong,
    /// Too many failures.
    #[error("too many failed sign-ins")]
    TooMany {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The server failed.
    #[error(transparent)]
    Internal(#[from] Error),
}

impl From<sqlx::Error> for SignInError {
    fn from(source: sqlx::Error) -> Self {
        Self::Internal(source.into())
    }
}

impl From<crate::db::DbError> for SignInError {
    fn from(source: crate::db::DbError) -> Self {
        Self::Internal(source.into())
    }
}

/// argon2id with its defaults (19 MiB, 2 passes), off the async threads.
pub(super) async fn hash_password(password: String) -> Result<String, Error> {
    let _turn = HASHING.acquire().await;
    let mut salt = [0; 16];
    rand::TryRngCore::try_fill_bytes(&mut rand::rngs::OsRng, &mut salt).map_err(|_| Error::Random)?;
    tokio::task::spawn_blocking(move || {
        let salt = SaltString::encode_b64(&salt).map_err(|e| Error::Hash(e.to_string()))?;
        let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
        hash.map(|h| h.to_string()).map_err(|e| Error::Hash(e.to_string()))
    })
    .await
    .map_err(|e| Error::Hash(e.to_string()))?
}

async fn password_fits(password: String, hash: String) -> bool {
    if !(1..=1024).contains(&password.len()) {
        return false;
    }
    let _turn = HASHING.acquire().await;
    let check = move || {
        PasswordHash::new(&hash).is_ok_and(|h| Argon2::default().verify_password(password.as_bytes(), &h).is_ok())
    };
    tokio::task::spawn_blocking(check).await.unwrap_or(false)
}

fn damaged() -> Error {
    Error::Invalid("a stored user is damaged")
}

fn read_user(seal: &Sealer, row: &AnyRow) -> Result<(UserRecord, Option<String>), Error> {
    let hash: Option<String> = row.try_get("password_hash")?;
    let user = UserRecord {
        id: UserId::new(row.try_get::<String, _>("id")?).map_err(|_| damaged())?,
        name: seal.get(row, columns::USER_NAME)?,
        role: row.try_get::<String, _>("role")?.parse().map_err(|_| damaged())?,
        password_set: hash.is_some(),
        disabled: row.try_get::<i64, _>("disabled")? != 0,
        created: Micros(row.try_get("created")?),
    };
    Ok((user, hash))
}

impl From<UserRecord> for Principal {
    fn from(user: UserRecord) -> Self {
        Self { user: Some(user.id), token: None, name: user.name, role: user.role, password_set: user.password_set }
    }
}

pub(super) async fn sweep(connection: &mut AnyConnection, now: Micros) -> Result<(), Error> {
    sqlx::query("DELETE FROM identity_sessions WHERE last_used < $1 OR created < $2")
        .bind(now.0 - SESSION_IDLE)
        .bind(now.0 - SESSION_MAX)
        .execute(&mut *connection)
        .await?;
    sqlx::query("DELETE FROM identity_links WHERE expires < $1").bind(now.0).execute(connection).await?;
    Ok(())
}

impl Identity {
    /// The users of this tenant, by name: those who were made in it, and those to whom something is given in it.
    pub async fn user_list(&self) -> Result<Vec<UserRecord>, Error> {
        let rows = sqlx::query(
            "SELECT id, name, role, password_hash, created, disabled FROM identity_users u WHERE of_tenant = $1 \
             OR EXISTS (SELECT 1 FROM access_assignments WHERE tenant_id = $1 AND principal = u.id) \
             OR EXISTS (SELECT 1 FROM access_members WHERE tenant_id = $1 AND user_id = u.id) LIMIT 10000",
        )
        .bind(self.tenant.as_str())
        .fetch_all(self.db.pool())
        .await?;
        let seal = self.db.seal_own();
        let mut users = rows.iter().map(|row| Ok(read_user(&seal, row)?.0)).collect::<Result<Vec<_>, Error>>()?;
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(users)
    }

    /// A user by name.
    pub async fn user_fetch(&self, name: &str) -> Result<Option<UserRecord>, Error> {
        Ok(self.user_with_hash(name).await?.map(|(user, _)| user))
    }

    async fn user_with_hash(&self, name: &str) -> Result<Option<(UserRecord, Option<String>)>, Error> {
        let seal = self.db.seal_own();
        sqlx::query("SELECT id, name, role, password_hash, created, disabled FROM identity_users WHERE name = $1")
            .bind(seal.put(columns::USER_NAME, name)?)
            .fetch_optional(self.db.pool())
            .await?
            .as_ref()
            .map(|row| read_user(&seal, row))
            .transpose()
    }

    /// Whether somebody of this tenant may let a user in or shut him out: in the first tenant all users, elsewhere those
    /// who were made there and work nowhere else.
    pub async fn user_is_own(&self, user: &UserId) -> Result<bool, Error> {
        if self.tenant == TenantId::first() {
            return Ok(true);
        }
        let made = sqlx::query("SELECT 1 FROM identity_users WHERE id = $1 AND of_tenant = $2")
            .bind(user.as_str().to_owned())
            .bind(self.tenant.as_str())
            .fetch_optional(self.db.pool())
            .await?;
        Ok(made.is_some() && self.user_places(user).await?.iter().all(|tenant| *tenant == self.tenant))
    }

    /// The tenants in which something is given to a user, the first one first.
    pub async fn user_places(&self, user: &UserId) -> Result<Vec<TenantId>, Error> {
        let rows = sqlx::query(
            "SELECT tenant_id FROM access_assignments WHERE principal_kind = 'User' AND principal = $1 UNION \
             SELECT a.tenant_id FROM access_assignments a JOIN access_members m ON m.tenant_id = a.tenant_id AND \
             m.user_group = a.principal WHERE a.principal_kind = 'UserGroup' AND m.user_id = $1",
        )
        .bind(user.as_str().to_owned())
        .fetch_all(self.db.pool())
        .await?;
        let mut places = rows
            .iter()
            .map(|row| TenantId::new(row.try_get::<String, _>(0)?).map_err(|_| damaged()))
            .collect::<Result<Vec<_>, Error>>()?;
        places.sort_by_key(|tenant| (*tenant != TenantId::first(), tenant.clone()));
        Ok(places)
    }

    /// The tenant that a session works in, or that an API token was made in; none for what is not known.
    pub async fn place_of(&self, cookie: Option<&str>, token: Option<&str>) -> Result<Option<TenantId>, Error> {
        let (sql, secret) = match (cookie, token) {
            (_, Some(token)) => ("SELECT of_tenant FROM identity_api_tokens WHERE hash = $1", token),
            (Some(cookie), None) => ("SELECT of_tenant FROM identity_sessions WHERE hash = $1", cookie),
            (None, None) => return Ok(None),
        };
        if secret.len() > 128 {
            return Ok(None);
        }
        let row = sqlx::query(sql).bind(hash_text(secret)).fetch_optional(self.db.pool()).await?;
        row.map(|row| TenantId::new(row.try_get::<String, _>(0)?).map_err(|_| damaged())).transpose()
    }

    /// From now on a session works in this tenant.
    pub async fn session_place_set(&self, cookie: &str, tenant: &TenantId) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE identity_sessions SET of_tenant = $1 WHERE hash = $2")
            .bind(tenant.as_str())
            .bind(hash_text(cookie))
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    }

    /// A new user without a password; a link lets them in first.
    pub async fn user_create(&self, name: &str, role: Role, now: Micros) -> Result<UserRecord, Error> {
        let mut tx = self.db.write().await?;
        let id = insert_user(tx.conn(), &self.db.seal_own(), &self.tenant, name, role, now).await?;
        crate::access::store::assign_new_user(tx.conn(), &self.tenant, &id, role, now).await?;
        tx.commit().await?;
        Ok(UserRecord { id, name: name.to_owned(), role, password_set: false, disabled: false, created: now })
    }

    /// A one-time sign-in link for a user: the secret that goes behind `/sign-in?link=`. It holds for an hour.
    pub async fn link_create(&self, user: &str, now: Micros) -> Result<String, Error> {
        let found = self.user_fetch(user).await?;
        let found = found.ok_or_else(|| Error::NotFound { kind: "user", name: user.chars().take(80).collect() })?;
        let link = random_text::<32>()?;
        let mut tx = self.db.write().await?;
        sqlx::query("INSERT INTO identity_links (hash, user_id, expires) VALUES ($1, $2, $3)")
            .bind(hash_text(&link))
            .bind(found.id.as_str().to_owned())
            .bind(now.0 + LINK_EXPIRY)
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        Ok(link)
    }

    /// At the first start, makes the user `admin` and a link to sign in; `None` once any user has a password.
    pub async fn first_link(&self, now: Micros) -> Result<Option<String>, Error> {
        let users = self.user_list().await?;
        if users.iter().any(|u| u.password_set) {
            return Ok(None);
        }
        if users.is_empty() {
            self.user_create("admin", Role::Admin, now).await?;
        }
        match users.iter().find(|u| u.role == Role::Admin) {
            Some(user) => self.link_create(&user.name, now).await.map(Some),
            None => self.link_create("admin", now).await.map(Some),
        }
    }

    fn waiting(&self, keys: &[String], now: Micros) -> Result<(), SignInError> {
        let mut failures = self.keys.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match keys.iter().filter_map(|k| failures.wait(k, now)).max() {
            Some(retry_after) => Err(SignInError::TooMany { retry_after }),
            None => Ok(()),
        }
    }

    fn failed(&self, keys: &[String], now: Micros) -> SignInError {
        let mut failures = self.keys.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for key in keys {
            failures.note(key, now);
        }
        SignInError::Wrong
    }

    fn succeeded(&self, keys: &[String]) {
        let mut failures = self.keys.failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for key in keys {
            failures.forget(key);
        }
    }

    /// Signs in with name and password.
    pub async fn sign_in(&self, user: &str, password: &str, ip: IpAddr, now: Micros) -> Result<SignedIn, SignInError> {
        let keys = [format!("ip {ip}"), format!("user {}", user.chars().take(80).collect::<String>())];
        self.waiting(&keys, now)?;
        let found = self.user_with_hash(user).await?;
        let hash = found.as_ref().and_then(|(_, hash)| hash.clone());
        let known = hash.is_some();
        let fits = password_fits(password.to_owned(), hash.unwrap_or_else(|| self.keys.decoy_hash.clone())).await;
        match found {
            Some((user, _)) if known && fits => {
                self.succeeded(&keys);
                self.session_open(user, now).await
            }
            _ => Err(self.failed(&keys, now)),
        }
    }

    /// Signs in with a one-time link.
    pub async fn sign_in_link(&self, link: &str, ip: IpAddr, now: Micros) -> Result<SignedIn, SignInError> {
        let keys = [format!("ip {ip}")];
        self.waiting(&keys, now)?;
        let mut tx = self.db.write().await?;
        let row = sqlx::query("DELETE FROM identity_links WHERE hash = $1 AND expires > $2 RETURNING user_id")
            .bind(hash_text(link))
            .bind(now.0)
            .fetch_optional(tx.conn())
            .await?;
        tx.commit().await?;
        let Some(row) = row else { return Err(self.failed(&keys, now)) };
        let id: String = row.try_get(0)?;
        let user = self.user_by_id(&id).await?.ok_or(SignInError::Wrong)?;
        self.session_open(user, now).await
    }

    async fn user_by_id(&self, id: &str) -> Result<Option<UserRecord>, Error> {
        let row =
            sqlx::query("SELECT id, name, role, password_hash, created, disabled FROM identity_users WHERE id = $1")
                .bind(id.to_owned())
                .fetch_optional(self.db.pool())
                .await?;
        row.as_ref().map(|r| read_user(&self.db.seal_own(), r).map(|(u, _)| u)).transpose()
    }

    /// Opens a session for a user who proved himself elsewhere.
    pub(crate) async fn sign_in_known(&self, id: &str, now: Micros) -> Result<SignedIn, SignInError> {
        let user = self.user_by_id(id).await?.ok_or(SignInError::Wrong)?;
        self.session_open(user, now).await
    }

    async fn session_open(&self, user: UserRecord, now: Micros) -> Result<SignedIn, SignInError> {
        if user.disabled {
            return Err(SignInError::Wrong);
        }
        let cookie = random_text::<32>()?;
        let place = self.user_places(&user.id).await?.into_iter().next().unwrap_or_else(TenantId::first);
        let mut tx = self.db.write().await?;
        let sql =
            "INSERT INTO identity_sessions (hash, user_id, created, last_used, of_tenant) VALUES ($1, $2, $3, $3, $4)";
        sqlx::query(sql)
            .bind(hash_text(&cookie))
            .bind(user.id.as_str().to_owned())
            .bind(now.0)
            .bind(place.as_str())
            .execute(tx.conn())
            .await?;
        tx.commit().await?;
        Ok(SignedIn { cookie, max_age_seconds: SESSION_MAX / 1_000_000, principal: user.into() })
    }

    /// Who a session cookie stands for; `None` if it is unknown or over.
    pub async fn session_check(&self, cookie: &str, now: Micros) -> Result<Option<Principal>, Error> {
        if cookie.len() > 128 {
            return Ok(None);
        }
        let hash = hash_text(cookie);
        let row = sqlx::query(
            "SELECT u.id, u.name, u.role, u.password_hash, u.created, u.disabled, s.last_used
             FROM identity_sessions s JOIN identity_users u ON u.id = s.user_id
             WHERE s.hash = $1 AND s.last_used > $2 AND s.created > $3 AND u.disabled = 0",
        )
        .bind(hash.clone())
        .bind(now.0 - SESSION_IDLE)
        .bind(now.0 - SESSION_MAX)
        .fetch_optional(self.db.pool())
        .await?;
        let Some(row) = row else { return Ok(None) };
        if now.0 - row.try_get::<i64, _>("last_used")? > USE_NOTED_EVERY {
            let mut tx = self.db.write().await?;
            sqlx::query("UPDATE identity_sessions SET last_used = $1 WHERE hash = $2")
                .bind(now.0)
                .bind(hash)
                .execute(tx.conn())
                .await?;
            tx.commit().await?;
        }
        Ok(Some(read_user(&self.db.seal_own(), &row)?.0.into()))
    }

    /// Ends a session.
    pub async fn sign_out(&self, cookie: &str) -> Result<(), Error> {
        let mut tx = self.db.write().await?;
        sqlx::query("DELETE FROM identity_sessions WHERE hash = $1").bind(hash_text(cookie)).execute(tx.conn()).await?;
        Ok(tx.commit().await?)
    }

    /// Sets a password. Whoever has one must give it; all other sessions of the user end.
    pub async fn password_set(
        &self,
        user: &UserId,
        current: Option<&str>,
        new: &str,
        keep_cookie: Option<&str>,
    ) -> Result<(), SignInError> {
        if !PASSWORD_CHARACTERS.contains(&new.chars().count()) {
            return Err(Error::Invalid("a password has 10 to 256 characters").into());
        }
        let record = self.user_by_id(user.as_str()).await?.ok_or(SignInError::Wrong)?;
        let (_, hash) = self.user_with_hash(&record.name).await?.ok_or(SignInError::Wrong)?;
        if let Some(hash) = hash
            && !password_fits(current.unwrap_or_default().to_owned(), hash).await
        {
            return Err(SignInError::Wrong);
        }
        let hash = hash_password(new.to_owned()).await?;
        let mut tx = self.db.write().await?;
        sqlx::query("UPDATE identity_users SET password_hash = $1 WHERE id = $2")
            .bind(hash)
            .bind(user.as_str().to_owned())
            .execute(tx.conn())
            .await?;
        sqlx::query("DELETE FROM identity_sessions WHERE user_id = $1 AND hash <> $2")
            .bind(user.as_str().to_owned())
            .bind(keep_cookie.map(hash_text).unwrap_or_default())
            .execute(tx.conn())
            .await?;
        Ok(tx.commit().await?)
    }

    /// Whether this is the token of this start for commands on the same host.
    pub(crate) fn is_local_token(&self, token: &str) -> bool {
        equal_in_constant_time(token.as_bytes(), self.keys.local_token.as_bytes())
    }
}

/// A new user to whom nothing is given yet.
pub(crate) async fn insert_user(
    connection: &mut AnyConnection,
    seal: &Sealer,
    tenant: &TenantId,
    name: &str,
    role: Role,
    now: Micros,
) -> Result<UserId, Error> {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '@' | '+');
    if name.is_empty() || name.len() > 80 || !name.chars().all(fits) {
        return Err(Error::Invalid("a user name has 1 to 80 letters, digits and .-_@+"));
    }
    let id = UserId::new(uuid::Uuid::now_v7().to_string()).map_err(|_| damaged())?;
    sqlx::query("INSERT INTO identity_users (id, name, role, created, of_tenant) VALUES ($1, $2, $3, $4, $5)")
        .bind(id.as_str().to_owned())
        .bind(seal.put(columns::USER_NAME, name)?)
        .bind(role.as_str())
        .bind(now.0)
        .bind(tenant.as_str())
        .execute(connection)
        .await
        .map_err(|e| if is_unique_violation(&e) { Error::UserExists(name.to_owned()) } else { e.into() })?;
    Ok(id)
}

/// Whether a user was disabled, or is gone.
pub(crate) async fn is_disabled(db: &crate::db::Db, user: &UserId) -> Result<bool, sqlx::Error> {
    let mut connection = db.pool().acquire().await?;
    Ok(!is_enabled(&mut connection, user.as_str()).await?)
}

/// Whether a user is there and may sign in.
pub(crate) async fn is_enabled(connection: &mut AnyConnection, id: &str) -> Result<bool, sqlx::Error> {
    let row = sqlx::query("SELECT disabled FROM identity_users WHERE id = $1")
        .bind(id.to_owned())
        .fetch_optional(connection)
        .await?;
    row.map_or(Ok(false), |row| Ok(row.try_get::<i64, _>(0)? == 0))
}

/// Disables a user and ends its sessions, or lets it in again; false if there is none.
pub(crate) async fn switch(
    connection: &mut AnyConnection,
    seal: &Sealer,
    name: &str,
    disabled: bool,
) -> Result<bool, sqlx::Error> {
    let name = seal.put(columns::USER_NAME, name)?;
    let done = sqlx::query("UPDATE identity_users SET disabled = $1 WHERE name = $2")
        .bind(i64::from(disabled))
        .bind(name.clone())
        .execute(&mut *connection)
        .await?
        .rows_affected();
    if disabled {
        for sql in [
            "DELETE FROM identity_sessions WHERE user_id IN (SELECT id FROM identity_users WHERE name = $1)",
            "DELETE FROM identity_links WHERE user_id IN (SELECT id FROM identity_users WHERE name = $1)",
        ] {
            sqlx::query(sql).bind(name.clone()).execute(&mut *connection).await?;
        }
    }
    Ok(done > 0)
}

/// Names of all users, by id.
pub(crate) async fn user_names(db: &crate::db::Db) -> Result<std::collections::HashMap<String, String>, sqlx::Error> {
    let rows = sqlx::query("SELECT id, name FROM identity_users LIMIT 10000").fetch_all(db.pool()).await?;
    let seal = db.seal_own();
    rows.iter().map(|row| Ok((row.try_get(0)?, seal.get(row, columns::USER_NAME)?))).collect()
}

/// Id of the user of a name.
pub(crate) async fn user_id(db: &crate::db::Db, name: &str) -> Result<Option<String>, sqlx::Error> {
    let row = sqlx::query("SELECT id FROM identity_users WHERE name = $1")
        .bind(db.seal_own().put(columns::USER_NAME, name)?)
        .fetch_optional(db.pool())
        .await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// An id of a token: 16 hexadecimal digits.
pub(super) fn token_id() -> Result<String, Error> {
    let text = random_text::<8>()?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|_| Error::Random)?;
    Ok(hex::encode(bytes))
}
