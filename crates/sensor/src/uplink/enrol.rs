//! Enrolment: a token becomes an identity. The token carries the fingerprint of the server's CA, so the first contact
//! is pinned already.

use super::identity::{Identity, IdentityFileError};
use super::{status_words, words};
use garrison_wire::identity::{device_request, fingerprint};
use garrison_wire::tls::{TlsError, Trust, connect, sensor_config};
use garrison_wire::token::EnrolmentToken;
use garrison_wire::v1::{self, enrolment_client::EnrolmentClient};
use std::path::Path;
use std::time::Duration;

/// How long the whole of it may take.
const ENROL_MAX: Duration = Duration::from_secs(30);

/// Enrolment did not work.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The server cannot be reached.
    #[error("cannot reach `{server}`: {why}")]
    Unreachable {
        /// Address.
        server: String,
        /// Why.
        why: String,
    },
    /// Somebody answers who is not the server that made the token.
    #[error("`{server}` is not the server that this token is for: {why}")]
    WrongServer {
        /// Address.
        server: String,
        /// Why.
        why: String,
    },
    /// The token is used up, expired, revoked or unknown.
    #[error("the server refuses the token: {0}")]
    Token(String),
    /// Try again later.
    #[error("the server cannot enrol now: {0}")]
    Later(String),
    /// Anything else the server says.
    #[error("enrolment failed: {0}")]
    Failed(String),
    /// The identity cannot be kept.
    #[error(transparent)]
    File(#[from] IdentityFileError),
}

/// Enrols and writes the identity. An identity that is there already is kept unless `force`.
pub async fn enrol(
    server: &str,
    token: &EnrolmentToken,
    host: v1::HostFacts,
    state_dir: &Path,
    force: bool,
) -> Result<Identity, EnrolError> {
    match Identity::load(state_dir) {
        Ok(present) if !force => return Err(IdentityFileError::Present(present.device).into()),
        Ok(_) | Err(IdentityFileError::Absent) => {}
        Err(_) if force => {}
        Err(error) => return Err(error.into()),
    }
    let answer = tokio::time::timeout(ENROL_MAX, ask(server, token, host)).await;
    let identity =
        answer.map_err(|_| EnrolError::Unreachable { server: server.to_owned(), why: "no answer".to_owned() })??;
    identity.store(state_dir)?;
    Ok(identity)
}

async fn ask(server: &str, token: &EnrolmentToken, host: v1::HostFacts) -> Result<Identity, EnrolError> {
    let failed = |e: &dyn std::error::Error| EnrolError::Failed(words(e));
    let config = sensor_config(&Trust::Fingerprint(token.ca_fingerprint), None).map_err(|e| failed(&e))?;
    let channel = connect(server, config).await.map_err(|e| connect_error(server, &e))?;
    let (key, csr) = device_request().map_err(|e| failed(&e))?;
    let request = v1::EnrolRequest { token: token.to_string(), csr: csr.into(), host: Some(host) };
    let response = EnrolmentClient::new(channel).enrol(request).await.map_err(|s| refused(&s))?.into_inner();
    if fingerprint(&response.ca_certificate) != token.ca_fingerprint {
        let why = "it names another CA than the token".to_owned();
        return Err(EnrolError::WrongServer { server: server.to_owned(), why });
    }
    Identity::from_response(&response, key, vec![server.to_owned()]).map_err(EnrolError::Failed)
}

/// Whether nobody answers or the wrong one does.
pub fn connect_error(server: &str, error: &TlsError) -> EnrolError {
    // The address is in our own words already.
    let why = std::error::Error::source(error).map_or_else(|| words(error), words);
    let server = server.to_owned();
    match error {
        TlsError::Connect { .. } if why.contains("invalid peer certificate") => {
            EnrolError::WrongServer { server, why: "its certificate is not under the pinned CA".to_owned() }
        }
        // As rustls says of bytes that are none of TLS, such as an answer of HTTP.
        TlsError::Connect { .. } if why.contains("InvalidContentType") => {
            let why =
                "what answers there speaks no TLS, so it is no gateway; name the gateway's port, not the console's";
            EnrolError::Unreachable { server, why: why.to_owned() }
        }
        TlsError::Connect { .. } => EnrolError::Unreachable { server, why },
        _ => EnrolError::Failed(why),
    }
}

fn refused(status: &tonic::Status) -> EnrolError {
    let text = status_words(status);
    match status.code() {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied | tonic::Code::NotFound => EnrolError::Token(text),
        tonic::Code::Unavailable | tonic::Code::ResourceExhausted | tonic::Code::DeadlineExceeded => {
            EnrolError::Later(text)
        }
        _ => EnrolError::Failed(text),
    }
}
