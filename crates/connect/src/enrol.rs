//! Connecting a machine: a token becomes an identity that is bound to this machine. The token carries the fingerprint
//! of the server's CA, so the first contact is pinned already.

use crate::identity::{Identity, IdentityFileError, Pending};
use crate::layout::Layout;
use crate::{host, words};
use garrison_wire::connect::binding;
use garrison_wire::connect::token::ConnectorToken;
use garrison_wire::connect::v1::{self, connector_client::ConnectorClient};
use garrison_wire::identity::{device_request, fingerprint};
use garrison_wire::tls::{TlsError, Trust, connect, sensor_config};
use std::time::Duration;

/// How long the whole of it may take.
const ENROL_MAX: Duration = Duration::from_secs(30);

/// The machine was not connected.
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
    /// The server does not take the token, or not for this place.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server asks to come later.
    #[error("the server cannot connect machines now: {0}")]
    Later(String),
    /// Nothing names this machine.
    #[error(
        "nothing names this machine: `/etc/machine-id` is empty and the firmware gives no UUID; \
         run `systemd-machine-id-setup`, or give the container an /etc/machine-id of its own"
    )]
    Nameless,
    /// The token is none.
    #[error(transparent)]
    Token(#[from] garrison_wire::connect::token::ConnectorTokenError),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
    /// The identity cannot be kept.
    #[error(transparent)]
    File(#[from] IdentityFileError),
}

/// Connects the machine and writes the identity. An identity that is there already is kept unless `force`, or unless
/// it is another machine's. Says whether it is new: one that is of the same server stays.
pub async fn enrol(layout: &Layout, wanted: &Pending, force: bool) -> Result<(Identity, bool), EnrolError> {
    let bound = host::binding_of(layout);
    if !binding::is_bound(&bound) {
        return Err(EnrolError::Nameless);
    }
    match Identity::load(&layout.state) {
        Ok(present) if !force && !binding::differ(&present.binding, &bound) => {
            let token = wanted.token.parse::<ConnectorToken>()?;
            // Said again for the same server, as scripts and inventories do.
            if fingerprint(&present.ca) == token.0.ca_fingerprint {
                return Ok((present, false));
            }
            return Err(IdentityFileError::Present(present.connector).into());
        }
        Ok(_) | Err(IdentityFileError::Absent) => {}
        Err(_) if force => {}
        Err(error) => return Err(error.into()),
    }
    let answer = tokio::time::timeout(ENROL_MAX, ask(layout, wanted, bound)).await;
    let unreachable = || EnrolError::Unreachable { server: wanted.server.clone(), why: "no answer".to_owned() };
    let identity = answer.map_err(|_| unreachable())??;
    identity.store(&layout.state)?;
    Ok((identity, true))
}

async fn ask(layout: &Layout, wanted: &Pending, bound: v1::Binding) -> Result<Identity, EnrolError> {
    let failed = |e: &dyn std::error::Error| EnrolError::Failed(words(e));
    let token: ConnectorToken = wanted.token.parse()?;
    let pin = token.0.ca_fingerprint;
    let server = wanted.server.as_str();
    let config = sensor_config(&Trust::Fingerprint(pin), None).map_err(|e| failed(&e))?;
    let channel = connect(server, config).await.map_err(|e| connect_error(server, &e))?;
    let (key, csr) = device_request().map_err(|e| failed(&e))?;
    let request = v1::EnrolRequest {
        token: token.to_string(),
        csr: csr.into(),
        facts: Some(host::facts(layout)),
        binding: Some(bound.clone()),
        subscription: wanted.subscription.clone(),
        resource_group: wanted.resource_group.clone(),
        tags: wanted.tags.iter().map(|(key, value)| v1::Tag { key: key.clone(), value: value.clone() }).collect(),
        name: wanted.name.clone(),
    };
    let response = ConnectorClient::new(channel).enrol(request).await.map_err(|s| refused(&s))?.into_inner();
    if fingerprint(&response.ca_certificate) != pin {
        let why = "it names another CA than the token".to_owned();
        return Err(EnrolError::WrongServer { server: server.to_owned(), why });
    }
    Identity::from_response(&response, key, vec![server.to_owned()], bound).map_err(EnrolError::Failed)
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

/// What a gateway's refusal says.
pub fn status_words(status: &tonic::Status) -> String {
    let message: String = status.message().chars().filter(|c| !c.is_control()).take(300).collect();
    if message.is_empty() { status.code().description().to_owned() } else { message }
}

fn refused(status: &tonic::Status) -> EnrolError {
    let text = status_words(status);
    match status.code() {
        tonic::Code::Unauthenticated
        | tonic::Code::PermissionDenied
        | tonic::Code::NotFound
        | tonic::Code::FailedPrecondition
        | tonic::Code::InvalidArgument => EnrolError::Refused(text),
        tonic::Code::Unavailable | tonic::Code::ResourceExhausted | tonic::Code::DeadlineExceeded => {
            EnrolError::Later(text)
        }
        _ => EnrolError::Failed(text),
    }
}
