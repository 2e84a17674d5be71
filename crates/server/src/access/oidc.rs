//! Sign-in through an OpenID provider: authorization code with PKCE, state and nonce.
//!
//! What a sign-in must remember until the browser comes back lies in a short-lived cookie of that browser and nowhere
//! else: a server keeps nothing for strangers, and several servers need not share it. The state in the cookie must be the
//! one that comes back, the nonce the one in the signed ID token, and the provider checks the verifier.

use super::{Access, AccessError, store};
use crate::db::{columns, is_unique_violation};
use crate::identity::{SignInError, SignedIn};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::StreamExt as _;
use garrison_model::{Micros, Role, TenantId, UserId};
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata};
use openidconnect::{
    AuthorizationCode, ClientId, ClientSecret, CsrfToken, HttpRequest, HttpResponse, IssuerUrl, Nonce,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope, TokenResponse as _,
};
use serde_json::Value;
use sqlx::Row as _;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long what the provider says of itself, and its keys, are kept. A signature with a key that is not known makes
/// them be read anew at once.
const METADATA_KEPT: i64 = 3_600_000_000;
/// Bytes of an answer of the provider: discovery, keys and tokens have a few kilobytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Time for an answer of the provider.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How to sign in through a provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OidcSettings {
    /// Its issuer address.
    pub issuer: String,
    /// What it is called on the button.
    pub name: String,
    /// Our id there.
    pub client_id: String,
    /// File with our secret there; `None` for a public client.
    pub client_secret_file: Option<PathBuf>,
    /// Address of this server as browsers see it; not needed on loopback.
    pub url: Option<String>,
    /// Domains of verified mail addresses that may sign in; empty: all.
    pub domains: Vec<String>,
    /// Claim that roles are mapped from.
    pub role_claim: String,
    /// Values of the claim, and the roles they give on the first tenant, or (`TENANT/ROLE`) on another one.
    pub roles: BTreeMap<String, String>,
    /// Role of everybody who may sign in.
    pub default_role: Option<String>,
    /// Scopes that are asked for beside `openid`.
    pub scopes: Vec<String>,
}

/// No sign-in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// It is not configured.
    #[error("sign-in through a provider is not configured")]
    Off,
    /// The account may not.
    #[error("{0}")]
    Refused(&'static str),
    /// The provider, or the way to it, failed.
    #[error("cannot {step}: {cause}")]
    Provider {
        /// What was tried.
        step: &'static str,
        /// Why it failed.
        cause: String,
    },
    /// The server failed.
    #[error(transparent)]
    Internal(#[from] AccessError),
    /// No session.
    #[error(transparent)]
    SignIn(#[from] SignInError),
}

fn failed<E: std::fmt::Display>(step: &'static str) -> impl FnOnce(E) -> OidcError {
    move |cause| OidcError::Provider { step, cause: cause.to_string().chars().take(300).collect() }
}

impl From<sqlx::Error> for OidcError {
    fn from(error: sqlx::Error) -> Self {
        Self::Internal(error.into())
    }
}

impl From<crate::db::DbError> for OidcError {
    fn from(error: crate::db::DbError) -> Self {
        Self::Internal(error.into())
    }
}

/// Whether an address of an issuer can be used: TLS, or plain on loopback for tests.
pub fn issuer_check(text: &str) -> Result<(), &'static str> {
    let url = reqwest::Url::parse(text).map_err(|_| "is no address")?;
    let loopback = match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        None => return Err("is no address"),
    };
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback => Ok(()),
        _ => Err("must begin with `https://`; `http://` is for loopback only"),
    }
}

/// A request to the provider could not be made.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the provider does not answer: {0}")]
    Http(#[from] reqwest::Error),
    #[error("the provider's answer is too long")]
    TooLong,
    #[error("the provider's answer cannot be read: {0}")]
    Form(#[from] http::Error),
}

async fn fetch(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, FetchError> {
    let (parts, body) = request.into_parts();
    let response = client
        .request(parts.method, parts.uri.to_string())
        .headers(parts.headers)
        .body(body)
        .timeout(ANSWER_WAIT)
        .send()
        .await?;
    let mut built = http::Response::builder().status(response.status());
    for (name, value) in response.headers() {
        built = built.header(name, value);
    }
    let mut bytes = Vec::new();
    let mut stream = response.bytes_stream();
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part?);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(FetchError::TooLong);
        }
    }
    Ok(built.body(bytes)?)
}

/// What a browser keeps between leaving and coming back.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Kept {
    state: String,
    nonce: String,
    verifier: String,
    next: String,
    back: String,
}

/// A sign-in that has begun.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub url: String,
    /// What it keeps meanwhile.
    pub cookie: String,
}

/// A provider.
#[derive(Debug)]
pub struct Oidc {
    settings: OidcSettings,
    http: reqwest::Client,
    metadata: Mutex<Option<(Micros, Arc<CoreProviderMetadata>)>>,
}

/// Roles of an account by its claims, and whether it may sign in at all. Pure.
fn roles_of(settings: &OidcSettings, claims: &Value) -> Result<Vec<(TenantId, String)>, &'static str> {
    if !settings.domains.is_empty() {
        let email = claims.get("email").and_then(Value::as_str).unwrap_or_default();
        let domain = email.rsplit_once('@').map(|(_, domain)| domain).unwrap_or_default();
        if claims.get("email_verified").and_then(Value::as_bool) != Some(true) {
            return Err("the provider does not vouch for the account's mail address");
        }
        if !settings.domains.iter().any(|d| d.eq_ignore_ascii_case(domain)) {
            return Err("accounts of this domain may not sign in here");
        }
    }
    let held: Vec<&str> = match claims.get(&settings.role_claim) {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).take(1_000).collect(),
        _ => Vec::new(),
    };
    let mapped = settings.roles.iter().filter(|(value, _)| held.contains(&value.as_str())).map(|(_, role)| role);
    let mut roles: Vec<_> = mapped.chain(&settings.default_role).filter_map(|text| role_read(text).ok()).collect();
    roles.sort();
    roles.dedup();
    if roles.is_empty() { Err("none of the account's groups has a role here") } else { Ok(roles) }
}

/// Reads `ROLE` (on the first tenant) or `TENANT/ROLE`.
pub fn role_read(text: &str) -> Result<(TenantId, String), &'static str> {
    let (tenant, role) = text.split_once('/').map_or((None, text), |(tenant, role)| (Some(tenant), role));
    let tenant = tenant.map_or_else(|| Ok(TenantId::first()), TenantId::new);
    match tenant {
        Ok(tenant) if !role.is_empty() && !role.contains('/') => Ok((tenant, role.to_owned())),
        _ => Err("must be a role, or TENANT/ROLE"),
    }
}

/// The name of a new user.
fn name_of(claims: &Value) -> Option<String> {
    let text = |key: &str| claims.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
    let verified = claims.get("email_verified").and_then(Value::as_bool) == Some(true);
    let name = text("email").filter(|_| verified).or_else(|| text("preferred_username")).or_else(|| text("sub"))?;
    Some(name.chars().take(80).collect())
}

impl Oidc {
    /// Makes the client.
    pub fn new(settings: OidcSettings) -> Result<Self, OidcError> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // An issuer that sends us elsewhere is not followed.
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(failed("prepare requests"))?;
        Ok(Self { settings, http, metadata: Mutex::default() })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// Address of this server, where it is set.
    pub fn url(&self) -> Option<&str> {
        self.settings.url.as_deref()
    }

    async fn metadata(&self, now: Micros, anew: bool) -> Result<Arc<CoreProviderMetadata>, OidcError> {
        let known = self.metadata.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, metadata)) = known
            && !anew
            && now.0.saturating_sub(at.0) < METADATA_KEPT
        {
            return Ok(metadata);
        }
        let issuer = IssuerUrl::new(self.settings.issuer.clone()).map_err(failed("read the issuer's address"))?;
        let send = |request| fetch(self.http.clone(), request);
        let found = CoreProviderMetadata::discover_async(issuer, &send)
            .await
            .map_err(chain("read the provider's description"))?;
        let found = Arc::new(found);
        *self.metadata.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Arc::clone(&found)));
        Ok(found)
    }

    fn secret(&self) -> Result<Option<ClientSecret>, OidcError> {
        let Some(path) = &self.settings.client_secret_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(failed("read the client's secret"))?;
        Ok(Some(ClientSecret::new(text.trim().to_owned())))
    }

    /// Begins a sign-in. `back` is the address that the provider sends the browser to.
    pub async fn begin(&self, back: String, next: String, now: Micros) -> Result<Begun, OidcError> {
        let metadata = self.metadata(now, false).await?;
        let back_url = RedirectUrl::new(back.clone()).map_err(failed("read our own address"))?;
        let client = CoreClient::from_provider_metadata(
            metadata.as_ref().clone(),
            ClientId::new(self.settings.client_id.clone()),
            self.secret()?,
        )
        .set_redirect_uri(back_url);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .set_pkce_challenge(challenge);
        for scope in &self.settings.scopes {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        let (url, state, nonce) = request.url();
        let kept = Kept {
            state: state.secret().clone(),
            nonce: nonce.secret().clone(),
            verifier: verifier.secret().clone(),
            next,
            back,
        };
        let text = serde_json::to_string(&kept).map_err(failed("keep the sign-in"))?;
        Ok(Begun { url: url.to_string(), cookie: URL_SAFE_NO_PAD.encode(text) })
    }

    /// Takes what the provider sent back: the claims of a proven account, and where the browser goes on.
    async fn claims(&self, cookie: &str, state: &str, code: &str, now: Micros) -> Result<(Value, String), OidcError> {
        let lost = OidcError::Refused("this sign-in was not begun in this browser, or it took too long");
        let kept: Option<Kept> =
            URL_SAFE_NO_PAD.decode(cookie).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(kept) = kept else { return Err(lost) };
        if !crate::identity::equal_in_constant_time(kept.state.as_bytes(), state.as_bytes()) {
            return Err(lost);
        }
        let metadata = self.metadata(now, false).await?;
        let client = CoreClient::from_provider_metadata(
            metadata.as_ref().clone(),
            ClientId::new(self.settings.client_id.clone()),
            self.secret()?,
        )
        .set_redirect_uri(RedirectUrl::new(kept.back).map_err(failed("read our own address"))?);
        let send = |request| fetch(self.http.clone(), request);
        let tokens = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(failed("ask for a token"))?
            .set_pkce_verifier(PkceCodeVerifier::new(kept.verifier))
            .request_async(&send)
            .await
            .map_err(chain("get a token"))?;
        let token = tokens.id_token().ok_or(OidcError::Refused("the provider sent no ID token"))?;
        let nonce = Nonce::new(kept.nonce);
        let verified = token.claims(&client.id_token_verifier(), &nonce).map(|_| ()).map_err(|e| e.to_string());
        if let Err(error) = verified {
            // Its keys may have changed since they were read.
            tracing::info!(error, "an ID token does not verify; the provider's keys are read anew");
            let metadata = self.metadata(now, true).await?;
            let anew = CoreClient::from_provider_metadata(
                metadata.as_ref().clone(),
                ClientId::new(self.settings.client_id.clone()),
                self.secret()?,
            );
            token.claims(&anew.id_token_verifier(), &nonce).map_err(chain("verify the ID token"))?;
        }
        // Verified above: signature, issuer, audience, expiry and nonce. What is read here are the same bytes.
        let text = token.to_string();
        let body = text.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let claims = body.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok((claims.ok_or(OidcError::Refused("the ID token has no claims"))?, kept.next))
    }
}

/// Words of an error with its causes.
fn chain<E: std::error::Error>(step: &'static str) -> impl FnOnce(E) -> OidcError {
    move |error| {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            words = format!("{words}: {cause}");
            source = cause.source();
        }
        failed(step)(words)
    }
}

impl Access {
    /// The provider, where one is configured.
    pub fn oidc(&self) -> Option<&Oidc> {
        self.oidc.as_ref()
    }

    /// Ends a sign-in: who it is, and where the browser goes on. A user is made at the first one.
    pub async fn oidc_sign_in(
        &self,
        identity: &crate::identity::Identity,
        cookie: &str,
        state: &str,
        code: &str,
        now: Micros,
    ) -> Result<(SignedIn, String), OidcError> {
        let oidc = self.oidc.as_ref().ok_or(OidcError::Off)?;
        let (claims, next) = oidc.claims(cookie, state, code, now).await?;
        let roles = roles_of(&oidc.settings, &claims);
        let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let issuer = &oidc.settings.issuer;
        let seal = self.db.seal_own();
        let account = seal.put(columns::OIDC_SUBJECT, &subject)?;
        let mut tx = self.db.write().await?;
        let row = sqlx::query("SELECT user_id FROM access_oidc_accounts WHERE issuer = $1 AND subject = $2")
            .bind(issuer.clone())
            .bind(account.clone())
            .fetch_optional(tx.conn())
            .await?;
        let user = match row {
            Some(row) => row.try_get::<String, _>(0)?,
            None => {
                // Nobody is made who may not sign in.
                roles.as_ref().map_err(|why| OidcError::Refused(why))?;
                let name = name_of(&claims).ok_or(OidcError::Refused("the account has no name"))?;
                let made = crate::identity::insert_user(tx.conn(), &seal, &self.tenant, &name, Role::Reader, now).await;
                let made = made.map_err(|error| match error {
                    crate::identity::Error::UserExists(_) => OidcError::Refused(
                        "a local user has the account's name; an administrator must rename one of them",
                    ),
                    crate::identity::Error::Invalid(_) => OidcError::Refused("the account's name cannot be a user's"),
                    other => OidcError::SignIn(other.into()),
                })?;
                let inserted =
                    sqlx::query("INSERT INTO access_oidc_accounts (issuer, subject, user_id) VALUES ($1, $2, $3)")
                        .bind(issuer.clone())
                        .bind(account)
                        .bind(made.to_string())
                        .execute(tx.conn())
                        .await;
                inserted.map_err(|e| {
                    if is_unique_violation(&e) {
                        OidcError::Refused("this account is being signed in elsewhere; try again")
                    } else {
                        e.into()
                    }
                })?;
                made.to_string()
            }
        };
        let id = UserId::new(user.clone()).map_err(|_| AccessError::Stored("user"))?;
        // What the provider does not say any more is taken away, also from somebody who is refused now.
        let given = roles.as_ref().map(Vec::as_slice).unwrap_or_default();
        store::oidc_roles_set(tx.conn(), &id, given, now).await?;
        tx.commit().await?;
        self.changed();
        roles.map_err(OidcError::Refused)?;
        let signed = identity.sign_in_known(&user, now).await?;
        Ok((signed, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn plain_issuers_are_for_loopback_only() {
        for (issuer, good) in [
            ("https://id.example.org", true),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/x", true),
            ("http://localhost", true),
            ("http://id.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("ftp://127.0.0.1", false),
            ("id.example.org", false),
        ] {
            assert_eq!(issuer_check(issuer).is_ok(), good, "{issuer}");
        }
    }

    #[test]
    fn a_role_is_of_the_first_tenant_unless_it_says_another() {
        let read = |text: &str| role_read(text).ok().map(|(tenant, role)| (tenant.to_string(), role));
        assert_eq!(read("analyst"), Some(("default".to_owned(), "analyst".to_owned())));
        assert_eq!(read("branch/analyst"), Some(("branch".to_owned(), "analyst".to_owned())));
        for wrong in ["", "/analyst", "branch/", "a/b/c", "No Such/reader"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn roles_come_from_claims_and_domains() {
        let settings = OidcSettings {
            domains: vec!["example.org".to_owned()],
            role_claim: "groups".to_owned(),
            roles: BTreeMap::from([("soc".to_owned(), "analyst".to_owned()), ("it".to_owned(), "admin".to_owned())]),
            ..OidcSettings::default()
        };
        let open = OidcSettings { domains: Vec::new(), default_role: Some("reader".to_owned()), ..settings.clone() };
        let of = |email: &str, verified: bool, groups: Value| json!({"email": email, "email_verified": verified, "groups": groups});
        for (settings, claims, expected) in [
            (&settings, of("a@example.org", true, json!(["soc"])), Some(vec!["analyst"])),
            (&settings, of("a@EXAMPLE.org", true, json!(["soc", "it", 7])), Some(vec!["admin", "analyst"])),
            (&settings, of("a@example.org", true, json!("it")), Some(vec!["admin"])),
            (&settings, of("a@example.org", true, json!([])), None),
            (&settings, of("a@example.org", false, json!(["soc"])), None),
            (&settings, of("a@example.org.evil.net", true, json!(["soc"])), None),
            (&settings, json!({"groups": ["soc"]}), None),
            (&open, json!({}), Some(vec!["reader"])),
            (&open, json!({"groups": ["soc"]}), Some(vec!["analyst", "reader"])),
        ] {
            let expected = expected.map(|all| all.into_iter().map(|role| role_read(role).unwrap()).collect::<Vec<_>>());
            assert_eq!(roles_of(settings, &claims).ok(), expected, "{claims}");
        }
    }
}
