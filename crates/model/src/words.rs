//! Closed enumerations with their wire spelling.

/// A text that is none of an enumeration's words; `words` lists what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}; use one of {words}")]
pub struct WordError {
    /// Which enumeration.
    pub kind: &'static str,
    /// What was given, cut to 80 characters.
    pub text: String,
    /// The words that exist, separated by a comma.
    pub words: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $kind:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// All words, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The wire spelling.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::WordError;
            /// Case does not matter.
            fn from_str(text: &str) -> Result<Self, $crate::words::WordError> {
                Self::ALL.iter().copied().find(|w| w.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| $crate::words::WordError {
                    kind: $kind,
                    text: text.chars().take(80).collect(),
                    words: Self::ALL.iter().map(|w| w.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}
pub(crate) use words;

words!(
    /// How bad an alert or incident is; ordered from least to most.
    Severity, "severity" {
        /// Not rated.
        Unspecified = "UnSpecified",
        /// For the record.
        Informational = "Informational",
        /// Low.
        Low = "Low",
        /// Medium.
        Medium = "Medium",
        /// High.
        High = "High",
    }
);
words!(
    /// Where an alert stands.
    AlertStatus, "alert status" {
        /// Nobody looked yet.
        New = "New",
        /// Somebody is on it.
        InProgress = "InProgress",
        /// Done.
        Resolved = "Resolved",
        /// Only for alerts imported without a status.
        Unknown = "Unknown",
    }
);
words!(
    /// Where an incident stands. `Redirected` incidents were merged into another one.
    IncidentStatus, "incident status" {
        /// Open, nobody on it.
        Active = "Active",
        /// Somebody is on it.
        InProgress = "InProgress",
        /// Closed.
        Resolved = "Resolved",
        /// Merged into another incident.
        Redirected = "Redirected",
    }
);
words!(
    /// What an analyst found an alert to be.
    Classification, "classification" {
        /// A real attack.
        TruePositive = "TruePositive",
        /// Real, but wanted.
        InformationalExpectedActivity = "InformationalExpectedActivity",
        /// Not what the rule meant.
        FalsePositive = "FalsePositive",
    }
);
words!(
    /// The finer word below a classification; only some go with each (see [`Determination::fits`]).
    Determination, "determination" {
        /// Several stages of one attack.
        MultiStagedAttack = "MultiStagedAttack",
        /// A user did harm.
        MaliciousUserActivity = "MaliciousUserActivity",
        /// A user's account was taken.
        CompromisedUser = "CompromisedUser",
        /// Malware.
        Malware = "Malware",
        /// Phishing.
        Phishing = "Phishing",
        /// Unwanted software.
        UnwantedSoftware = "UnwantedSoftware",
        /// A test of the defences.
        SecurityTesting = "SecurityTesting",
        /// An application of the business.
        LineOfBusinessApplication = "LineOfBusinessApplication",
        /// The user confirmed it.
        ConfirmedUserActivity = "ConfirmedUserActivity",
        /// Nothing wrong.
        Clean = "Clean",
        /// Cannot be told.
        InsufficientData = "InsufficientData",
        /// None of the others.
        Other = "Other",
    }
);
words!(
    /// What saw it.
    DetectionSource, "detection source" {
        /// A rule of the shipped content.
        EndpointDetection = "EndpointDetection",
        /// A rule the operator imported or wrote.
        CustomDetection = "CustomDetection",
        /// Antimalware.
        Antivirus = "Antivirus",
        /// An indicator of compromise.
        CustomTi = "CustomTI",
        /// Automated investigation.
        AutomatedInvestigation = "AutomatedInvestigation",
        /// An analyst, in the rows of a hunt.
        Hunting = "Hunting",
    }
);
words!(
    /// State of an automated investigation.
    InvestigationState, "investigation state" {
        /// Not known.
        Unknown = "Unknown",
        /// Ended early.
        Terminated = "Terminated",
        /// All repaired.
        SuccessfullyRemediated = "SuccessfullyRemediated",
        /// Nothing found.
        Benign = "Benign",
        /// Went wrong.
        Failed = "Failed",
        /// Some repaired.
        PartiallyRemediated = "PartiallyRemediated",
        /// Under way.
        Running = "Running",
        /// Waits for approval.
        PendingApproval = "PendingApproval",
        /// Waits for a resource.
        PendingResource = "PendingResource",
        /// Partly looked into.
        PartiallyInvestigated = "PartiallyInvestigated",
        /// Ended by a user.
        TerminatedByUser = "TerminatedByUser",
        /// Ended by the system.
        TerminatedBySystem = "TerminatedBySystem",
        /// Waits.
        Queued = "Queued",
        /// Failed inside.
        InnerFailure = "InnerFailure",
        /// The alert was there already.
        PreexistingAlert = "PreexistingAlert",
        /// Not for this operating system.
        UnsupportedOs = "UnsupportedOs",
        /// Not for this kind of alert.
        UnsupportedAlertType = "UnsupportedAlertType",
        /// The alert is suppressed.
        SuppressedAlert = "SuppressedAlert",
    }
);
words!(
    /// Kind of an evidence entity.
    EntityType, "entity type" {
        /// A process.
        Process = "Process",
        /// A file.
        File = "File",
        /// An address.
        Ip = "Ip",
        /// A URL or domain.
        Url = "Url",
        /// An account.
        User = "User",
        /// A machine.
        Machine = "Machine",
    }
);
words!(
    /// Role of an entity in an alert.
    EvidenceRole, "evidence role" {
        /// The thing the alert is about.
        Impacted = "Impacted",
        /// Belongs to the story.
        Related = "Related",
    }
);
words!(
    /// Health of a sensor as the server sees it.
    SensorHealthState, "sensor health state" {
        /// Heard of lately, all well.
        Active = "Active",
        /// Nothing heard for a while.
        Inactive = "Inactive",
        /// Heard of, but reports trouble.
        Impaired = "ImpairedCommunication",
        /// Heard of, but some of its sight is missing.
        NoSensorData = "NoSensorData",
        /// Revoked or off-boarded.
        Offboarded = "Offboarded",
    }
);
words!(
    /// What a user may do; richer policies come with cedar.
    Role, "role" {
        /// Reads.
        Reader = "reader",
        /// Reads and works on alerts, incidents and rules.
        Analyst = "analyst",
        /// Everything.
        Admin = "admin",
    }
);
words!(
    /// Why rows were lost; the closed list of the loss ledger.
    LossCause, "loss cause" {
        /// The kernel ring buffer was full.
        RingFull = "RingFull",
        /// A rate cap of the sensor's policy.
        RateCap = "RateCap",
        /// The sensor's queue in memory was full.
        QueueFull = "QueueFull",
        /// The disk queue was at its cap, the oldest or least important was shed.
        SpoolCap = "SpoolCap",
        /// The disk was full or failed.
        SpoolDisk = "SpoolDisk",
        /// A damaged part of the disk queue.
        SpoolDamage = "SpoolDamage",
        /// The sensor was not running.
        SensorStopped = "SensorStopped",
        /// A probe could not be loaded.
        ProbeMissing = "ProbeMissing",
        /// The server shed by quota.
        ServerQuota = "ServerQuota",
    }
);

impl Determination {
    /// Whether this determination may go with that classification (the documented table).
    pub fn fits(self, classification: Classification) -> bool {
        use Determination as D;
        match classification {
            Classification::TruePositive => matches!(
                self,
                D::MultiStagedAttack
                    | D::MaliciousUserActivity
                    | D::CompromisedUser
                    | D::Malware
                    | D::Phishing
                    | D::UnwantedSoftware
                    | D::Other
            ),
            Classification::InformationalExpectedActivity => {
                matches!(self, D::SecurityTesting | D::LineOfBusinessApplication | D::ConfirmedUserActivity | D::Other)
            }
            Classification::FalsePositive => matches!(self, D::Clean | D::InsufficientData | D::Other),
        }
    }

    /// The determinations that go with a classification.
    pub fn of(classification: Classification) -> Vec<Determination> {
        Self::ALL.iter().copied().filter(|d| d.fits(classification)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_in_any_case() {
        for severity in Severity::ALL {
            assert_eq!(severity.as_str().to_uppercase().parse::<Severity>().as_ref(), Ok(severity));
        }
        let error = "bad".parse::<AlertStatus>().unwrap_err().to_string();
        assert!(error.contains("InProgress"), "{error}");
    }

    #[test]
    fn a_determination_goes_with_its_classification_only() {
        assert_eq!(Determination::of(Classification::TruePositive).len(), 7);
        assert_eq!(Determination::of(Classification::InformationalExpectedActivity).len(), 4);
        assert_eq!(Determination::of(Classification::FalsePositive).len(), 3);
        assert!(!Determination::Malware.fits(Classification::FalsePositive));
    }
}
