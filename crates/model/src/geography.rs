//! Where a tenant's data rests: geographies, and which of them a location belongs to.

use crate::id::{IdError, id_error};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Longest code of a geography; it names folders.
pub const GEOGRAPHY_BYTES_MAX: usize = 16;
/// Longest name of a location.
pub const LOCATION_BYTES_MAX: usize = 64;

/// Code of a geography, such as `EU`: 2 to 16 upper-case letters, digits and `-`, beginning with a letter. Read in any
/// case. It names folders, so nothing else is let in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
#[serde(try_from = "String", into = "String")]
pub struct Geography(String);

impl Geography {
    /// The only gate.
    pub fn new(text: &str) -> Result<Self, IdError> {
        let upper = text.to_ascii_uppercase();
        let valid = (2..=GEOGRAPHY_BYTES_MAX).contains(&upper.len())
            && upper.starts_with(|c: char| c.is_ascii_uppercase())
            && upper.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-');
        if valid { Ok(Self(upper)) } else { Err(id_error("geography", text)) }
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Geography {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Geography {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Geography {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        Self::new(&text)
    }
}

impl From<Geography> for String {
    fn from(geography: Geography) -> String {
        geography.0
    }
}

/// A location in the one form that is compared: lower case, without spaces, dashes and underscores, so that
/// `West Europe`, `westeurope` and `west-europe` are one. `None` where it is empty, too long or has other characters.
pub fn location_key(text: &str) -> Option<String> {
    let text = text.trim();
    if text.is_empty() || text.len() > LOCATION_BYTES_MAX {
        return None;
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b' ' | b'-' | b'_')) {
        return None;
    }
    let key: String = text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    (!key.is_empty()).then_some(key)
}

/// A geography that every server knows.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn {
    /// Code.
    pub code: &'static str,
    /// Name.
    pub name: &'static str,
    /// Locations in it, as [`location_key`] writes them: regions of the large clouds, and plain words for sites of one's
    /// own. Regions that are not here (such as Canada) belong to no geography until the operator configures one.
    pub locations: &'static [&'static str],
}

/// The geographies that every server knows (reference: the six that the vendor offers).
pub const GEOGRAPHIES: &[BuiltIn] = &[
    BuiltIn {
        code: "EU",
        name: "European Union",
        locations: &[
            "eu",
            "europe",
            "westeurope",
            "northeurope",
            "francecentral",
            "francesouth",
            "germanywestcentral",
            "germanynorth",
            "swedencentral",
            "swedensouth",
            "polandcentral",
            "italynorth",
            "spaincentral",
            "austriaeast",
            "belgiumcentral",
            "denmarkeast",
            "eucentral1",
            "eunorth1",
            "euwest1",
            "euwest3",
            "eusouth1",
            "eusouth2",
            "europewest1",
            "europewest3",
            "europewest4",
            "europewest8",
            "europewest9",
            "europewest10",
            "europewest12",
            "europenorth1",
            "europecentral2",
            "europesouthwest1",
        ],
    },
    BuiltIn {
        code: "UK",
        name: "United Kingdom",
        locations: &["uk", "unitedkingdom", "uksouth", "ukwest", "euwest2", "europewest2"],
    },
    BuiltIn {
        code: "US",
        name: "United States",
        locations: &[
            "us",
            "unitedstates",
            "eastus",
            "eastus2",
            "centralus",
            "northcentralus",
            "southcentralus",
            "westcentralus",
            "westus",
            "westus2",
            "westus3",
            "useast1",
            "useast2",
            "uswest1",
            "uswest2",
            "uscentral1",
            "useast4",
            "useast5",
            "ussouth1",
            "uswest3",
            "uswest4",
        ],
    },
    BuiltIn {
        code: "AU",
        name: "Australia",
        locations: &[
            "au",
            "australia",
            "australiaeast",
            "australiasoutheast",
            "australiacentral",
            "australiacentral2",
            "apsoutheast2",
            "apsoutheast4",
            "australiasoutheast1",
            "australiasoutheast2",
        ],
    },
    BuiltIn {
        code: "CH",
        name: "Switzerland",
        locations: &["ch", "switzerland", "switzerlandnorth", "switzerlandwest", "eucentral2", "europewest6"],
    },
    BuiltIn {
        code: "IN",
        name: "India",
        locations: &[
            "in",
            "india",
            "centralindia",
            "southindia",
            "westindia",
            "jioindiawest",
            "jioindiacentral",
            "apsouth1",
            "apsouth2",
            "asiasouth1",
            "asiasouth2",
        ],
    },
];

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_location_lies_in_one_geography_and_is_written_as_it_is_compared() {
        let mut seen = HashSet::new();
        for geography in GEOGRAPHIES {
            assert!(Geography::new(geography.code).is_ok());
            for location in geography.locations {
                assert!(seen.insert(location), "{location} is there twice");
                assert_eq!(location_key(location).as_deref(), Some(*location));
            }
        }
        assert_eq!(GEOGRAPHIES.len(), 6);
    }

    #[test]
    fn spellings_of_one_location_are_one() {
        for text in ["West Europe", "westeurope", " west-europe ", "WEST_EUROPE"] {
            assert_eq!(location_key(text).as_deref(), Some("westeurope"), "{text}");
        }
        for bad in ["", " ", "--", "a/b", "\u{00fc}", &"a".repeat(65)] {
            assert_eq!(location_key(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_geography_names_a_folder_and_nothing_else() {
        assert_eq!(Geography::new("eu").unwrap().as_str(), "EU");
        for bad in ["", "E", "..", "E/U", "1A", "-A", "E U", "E\u{0}", "ABCDEFGHIJKLMNOPQ"] {
            assert!(Geography::new(bad).is_err(), "{bad:?}");
        }
    }
}
