//! Every identity has its own type; all of them are born in this list.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use std::str::FromStr;

/// The text is not a valid id of the kind named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {kind}")]
pub struct IdError {
    /// Which kind of id was expected.
    pub kind: &'static str,
    /// What was given, cut to 80 characters.
    pub text: String,
}

pub(crate) fn id_error(kind: &'static str, text: &str) -> IdError {
    IdError { kind, text: text.chars().take(80).collect() }
}

/// Longest id text that is accepted anywhere: ids travel in URLs, logs and keys.
pub const ID_BYTES_MAX: usize = 80;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The only gate: checks the text.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let valid: fn(&str) -> bool = $valid;
                if text.is_empty() || text.len() > ID_BYTES_MAX || !valid(&text) {
                    return Err(id_error($kind, &text));
                }
                Ok(Self(text))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

fn is_slug(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') && !text.starts_with('-')
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

text_id!(
    /// A tenant: lower-case letters, digits and `-`. It names folders, so nothing else is let in.
    TenantId, "tenant id", is_slug
);
text_id!(
    /// A device: 40 lower-case hexadecimal digits, given by the server at enrolment.
    DeviceId, "device id", |t| t.len() == 40 && is_hex(t)
);
text_id!(
    /// A connector: 40 lower-case hexadecimal digits, given by the server when the machine is connected.
    ConnectorId, "connector id", |t| t.len() == 40 && is_hex(t)
);
text_id!(
    /// One start of one machine's kernel, as the kernel names it (`/proc/sys/kernel/random/boot_id`): 36 characters.
    BootId, "boot id", |t| t.len() == 36 && t.bytes().enumerate().all(|(i, b)| {
        if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_digit() || (b'a'..=b'f').contains(&b) }
    })
);
text_id!(
    /// An alert: `al` and 32 hexadecimal digits, derived from what fired and on which row (see [`AlertId::derive`]).
    AlertId, "alert id", |t| t.len() == 34 && t.starts_with("al") && is_hex(&t[2..])
);
text_id!(
    /// A rule: the rule's own id, letters, digits and `-_.`.
    RuleId, "rule id", |t| t.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
);
text_id!(
    /// A user of the console and the API.
    UserId, "user id", |t| t.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
);
text_id!(
    /// A suppression rule.
    SuppressionId, "suppression id", is_slug
);

impl TenantId {
    /// The tenant that exists from the first start.
    pub fn first() -> Self {
        Self("default".to_owned())
    }
}

impl AlertId {
    /// The same rule on the same row is the same alert, whoever evaluates it and however often: the id is the first
    /// 16 bytes of SHA-256 over tenant, device, boot, sequence number and rule, each followed by a zero byte.
    pub fn derive(tenant: &TenantId, device: &DeviceId, boot: &BootId, sequence: u64, rule: &RuleId) -> Self {
        let mut hash = Sha256::new();
        for part in [tenant.as_str(), device.as_str(), boot.as_str(), &sequence.to_string(), rule.as_str()] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        Self(format!("al{}", hex::encode(&hash.finalize()[..16])))
    }
}

/// An incident: a running number in its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct IncidentId(pub i64);

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for IncidentId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.parse::<i64>() {
            Ok(number) if number > 0 => Ok(Self(number)),
            _ => Err(id_error("incident id", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_could_be_a_path_or_a_header() {
        for bad in ["", "../x", "a/b", "A", "a\nb", &"a".repeat(81)] {
            assert!(TenantId::new(bad).is_err(), "{bad:?}");
        }
        assert!(DeviceId::new("ab".repeat(20)).is_ok());
        assert!(DeviceId::new("AB".repeat(20)).is_err());
        assert!(BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab").is_ok());
        assert!("-3".parse::<IncidentId>().is_err());
    }

    #[test]
    fn the_same_rule_on_the_same_row_is_the_same_alert() {
        let device = DeviceId::new("ab".repeat(20)).unwrap();
        let boot = BootId::new("0f1e2d3c-0000-4000-8000-0123456789ab").unwrap();
        let rule = RuleId::new("r1").unwrap();
        let first = AlertId::derive(&TenantId::first(), &device, &boot, 7, &rule);
        assert_eq!(first, AlertId::derive(&TenantId::first(), &device, &boot, 7, &rule));
        assert_ne!(first, AlertId::derive(&TenantId::first(), &device, &boot, 8, &rule));
        assert!(AlertId::new(first.as_str()).is_ok());
    }
}
