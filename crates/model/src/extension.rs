//! Extensions: what the cloud plane installs on a connected machine, and the closed list of what can go wrong.
//!
//! Codes below 100 are those of the installer that administrators of the product this replaces know; their numbers and
//! names carry over. Codes from 100 on are ours.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! codes {
    ($($variant:ident = $code:literal $name:literal $words:literal, $fix:literal;)+) => {
        /// What became of an install, by number, as exit codes and provisioning states show it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "u16", into = "u16")]
        pub enum ExtensionCode { $(#[doc = $words] $variant),+ }

        impl ExtensionCode {
            /// Every code, in order of number.
            pub const ALL: &'static [ExtensionCode] = &[$(ExtensionCode::$variant),+];

            /// Its number.
            pub fn number(self) -> u16 {
                match self { $(ExtensionCode::$variant => $code),+ }
            }

            /// Its name, what it means, and what to do.
            pub fn words(self) -> (&'static str, &'static str, &'static str) {
                match self { $(ExtensionCode::$variant => ($name, $words, $fix)),+ }
            }
        }
    };
}

codes! {
    Ok = 0 "OK" "Done.", "Nothing is to be done.";
    Internal = 1 "INTERNAL" "The connector failed in a way that has no code of its own.", "Read the detail and the connector's log; deleting the extension tries anew.";
    InvalidArguments = 2 "INVALID_ARGUMENTS" "The order names something that the connector does not know.", "Bring connector and server to versions that fit.";
    InsufficientPrivileges = 3 "INSUFFICIENT_PRIVILEGES" "The connector may not write where the sensor is to be.", "Run the connector as root, or give it a prefix that it may write to.";
    ConflictingApps = 5 "CONFLICTING_APPS" "Another product blocks file access and leaves no room for the sensor.", "Remove the other product, or let the sensor be passive.";
    UnsupportedDistro = 10 "UNSUPPORTED_DISTRO" "The distribution is not supported.", "See the list of supported machines; exclude the machine, or move it to a supported distribution.";
    UnsupportedVersion = 11 "UNSUPPORTED_VERSION" "This version of the distribution is not supported.", "Upgrade the distribution, or exclude the machine.";
    InsufficientRequirements = 12 "INSUFFICIENT_REQUIREMENTS" "Kernel, memory, disk or processor are below what the sensor needs.", "The detail names what is missing; give the machine more, or exclude it.";
    CorruptInstall = 15 "CORRUPT_INSTALL" "What is installed is not what was put there.", "Delete the extension: it is deployed anew.";
    NotInstalled = 20 "NOT_INSTALLED" "There is no sensor where one was expected.", "Delete the extension: it is deployed anew.";
    InstallFailed = 21 "INSTALL_FAILED" "The files of the package could not be put in place.", "The detail names the file; look at permissions and mounts.";
    UninstallFailed = 22 "UNINSTALL_FAILED" "The files of the sensor could not be removed.", "The detail names the file; remove it by hand and try again.";
    Dependency = 23 "DEPENDENCY" "A library or program that the sensor needs is missing.", "Install what the detail names.";
    OnboardingNotFound = 30 "ONBOARDING_NOT_FOUND" "The server gave no token for the sensor.", "Look at the server's log; the next try asks again.";
    OnboardingFailed = 31 "ONBOARDING_FAILED" "The sensor could not enrol.", "See whether the machine reaches the gateway, and the detail.";
    OffboardingFailed = 33 "OFFBOARDING_FAILED" "The sensor could not be off-boarded.", "Read the detail; off-board again.";
    ParameterSetFailed = 41 "PARAMETER_SET_FAILED" "The sensor refuses its configuration.", "Run `garrison-sensor config check` on the machine.";
    InstallPathSetup = 51 "INSTALL_PATH_SETUP" "The folder of the installation could not be made.", "See that its parent exists and is no read-only mount.";
    InstallPathPermissions = 52 "INSTALL_PATH_PERMISSIONS" "The folder of the installation may be written by others.", "Make root its owner and take write permission from others.";
    SignatureWrong = 100 "SIGNATURE_WRONG" "Package or order is not signed with the key that was pinned at enrolment.", "Nothing was unpacked. Find out who changed it; if the server has a new key, enrol the machine anew.";
    PackageDamaged = 101 "PACKAGE_DAMAGED" "The package is not the one that was signed: half of it, or other bytes.", "Nothing was unpacked. The next try fetches it again.";
    NoSpace = 102 "NO_SPACE" "The disk has no room for the sensor.", "Free space on the disk that the detail names.";
    Unhealthy = 103 "UNHEALTHY" "The sensor did not become healthy within a minute; what was there before runs again.", "Run `garrison-sensor health` and read the sensor's log.";
    PackageMissing = 104 "PACKAGE_MISSING" "The server has no package of the sensor for this architecture.", "Put the package into the server's folder `packages`.";
    DownloadFailed = 105 "DOWNLOAD_FAILED" "The package could not be fetched.", "See whether the machine reaches the gateway; the next try goes by itself.";
    OrderRefused = 106 "ORDER_REFUSED" "The order is expired, older than one that was obeyed, or for another machine.", "Compare the clocks of machine and server.";
    RollBackFailed = 107 "ROLL_BACK_FAILED" "The sensor before could not be brought back.", "The sensor is down: delete the extension, it is deployed anew.";
    Interrupted = 108 "INTERRUPTED" "The connector was stopped in the middle and undid what it had begun.", "The next try goes by itself.";
    PathInArchive = 109 "PATH_IN_ARCHIVE" "The package holds a path, link or size that no package may hold.", "Nothing was put in place. Make the package anew with `cargo xtask dist`.";
    SensorStopped = 110 "SENSOR_STOPPED" "The sensor was stopped, or ends again and again after it was started.", "Start the unit that was stopped, or read the sensor's log; who started it goes on trying.";
}

/// The number is no code of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no code of an extension")]
pub struct UnknownCode(pub u16);

impl TryFrom<u16> for ExtensionCode {
    type Error = UnknownCode;
    fn try_from(number: u16) -> Result<Self, UnknownCode> {
        Self::ALL.iter().copied().find(|c| c.number() == number).ok_or(UnknownCode(number))
    }
}

impl From<ExtensionCode> for u16 {
    fn from(code: ExtensionCode) -> u16 {
        code.number()
    }
}

impl ExtensionCode {
    /// What a machine says, which may be newer than we are: what is not known is `Internal`.
    pub fn from_claim(number: u32) -> Self {
        u16::try_from(number).ok().and_then(|n| Self::try_from(n).ok()).unwrap_or(Self::Internal)
    }

    /// Whether the machine itself stands in the way: trying again changes nothing until the machine changes.
    pub fn is_unsupported(self) -> bool {
        matches!(self, Self::UnsupportedDistro | Self::UnsupportedVersion | Self::InsufficientRequirements)
    }
}

impl fmt::Display for ExtensionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.words().0)
    }
}

/// The reference page of codes, in Markdown; generated, so that no code is without its fix.
pub fn codes_page() -> String {
    let mut page = String::from(
        "# Codes of extensions\n\nGenerated from `crates/model/src/extension.rs` by `cargo xtask docs`.\n\nThe state of an \
         extension that failed reads `ProvisioningState/failed/CODE`.\nCodes below 100 have the numbers and names of the \
         installer that administrators know; codes from 100 on are Garrison's own.\n\n| code | name | what it means | \
         what to do |\n|---|---|---|---|\n",
    );
    for code in ExtensionCode::ALL {
        let (name, words, fix) = code.words();
        page.push_str(&format!("| {} | `{name}` | {words} | {fix} |\n", code.number()));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_there_once_in_order_and_has_words_and_a_fix() {
        assert!(ExtensionCode::ALL.windows(2).all(|w| w[0].number() < w[1].number()));
        for code in ExtensionCode::ALL {
            let (name, words, fix) = code.words();
            assert!(name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'), "{name}");
            assert!(words.ends_with('.') && fix.ends_with('.'), "{name}");
            assert_eq!(ExtensionCode::try_from(code.number()), Ok(*code));
        }
        assert_eq!(ExtensionCode::from_claim(99_999), ExtensionCode::Internal);
    }

    #[test]
    fn the_reference_page_is_current() {
        let path = format!("{}/../../docs/reference/extension-codes.md", std::env::var("CARGO_MANIFEST_DIR").unwrap());
        if std::env::var_os("GARRISON_BLESS").is_some() {
            std::fs::write(&path, codes_page()).unwrap();
        }
        let page = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(page == codes_page(), "docs/reference/extension-codes.md is old: run `cargo xtask docs`");
    }
}
