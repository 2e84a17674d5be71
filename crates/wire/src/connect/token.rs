//! Tokens that connect machines. The same secret and pinned CA as an enrolment token of a sensor, under another
//! prefix, so that one given in the place of the other is noticed before it is sent.

use crate::token::EnrolmentToken;
use std::fmt;
use std::str::FromStr;

const PREFIX: &str = "gc1_";
const SENSOR_PREFIX: &str = "ge1_";

/// A token that connects machines. Its `Debug` form hides the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectorToken(pub EnrolmentToken);

/// The text is no such token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectorTokenError {
    /// It is a sensor's.
    #[error("this token enrols sensors: make one with `garrison token create --kind connector`")]
    Sensor,
    /// It is none.
    #[error("this is no connector token: it must start with `gc1_` and be copied whole")]
    Malformed,
}

impl fmt::Display for ConnectorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        write!(f, "{PREFIX}{}", text.strip_prefix(SENSOR_PREFIX).unwrap_or(&text))
    }
}

impl FromStr for ConnectorToken {
    type Err = ConnectorTokenError;
    fn from_str(text: &str) -> Result<Self, ConnectorTokenError> {
        let text = text.trim();
        if text.starts_with(SENSOR_PREFIX) {
            return Err(ConnectorTokenError::Sensor);
        }
        let body = text.strip_prefix(PREFIX).ok_or(ConnectorTokenError::Malformed)?;
        format!("{SENSOR_PREFIX}{body}").parse().map(Self).map_err(|_| ConnectorTokenError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_a_sensors_token_is_told_apart() {
        let token = ConnectorToken(EnrolmentToken::generate([7; 32]).unwrap());
        let text = token.to_string();
        assert!(text.starts_with(PREFIX));
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(token.0.to_string().parse::<ConnectorToken>(), Err(ConnectorTokenError::Sensor));
        assert_eq!(text[..text.len() - 2].parse::<ConnectorToken>(), Err(ConnectorTokenError::Malformed));
    }
}
