//! What can be done: the closed list that roles, token scopes and routes are made of.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! actions {
    ($($name:ident = $word:literal, $doc:literal;)+) => {
        /// Something that a person or a token may be allowed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum Action { $(#[doc = $doc] #[serde(rename = $word)] $name),+ }

        impl Action {
            /// All of them, in the order of the reference page.
            pub const ALL: &'static [Action] = &[$(Action::$name),+];

            /// Its word in policies, scopes and answers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Action::$name => $word),+ }
            }

            /// What it lets one do.
            pub const fn title(self) -> &'static str {
                match self { $(Action::$name => $doc),+ }
            }
        }
    };
}

actions! {
    ViewSecops = "data.view.secops", "Sees devices, alerts, incidents, events and hunts in them.";
    ViewVulnerability = "data.view.vulnerability", "Sees software, weaknesses, scores and recommendations.";
    RemediateSecops = "remediation.secops", "Acts on devices: isolation, scans, packages, files.";
    RemediateExceptions = "remediation.exceptions", "Makes and ends exceptions from recommendations.";
    RemediateHandling = "remediation.handling", "Opens and closes remediation activities.";
    RemediateApplications = "remediation.applications", "Blocks and allows vulnerable applications.";
    Baselines = "baselines.manage", "Makes and changes baselines.";
    Investigate = "alerts.investigate", "Works on alerts and incidents.";
    SecuritySettings = "settings.security.manage", "Changes rules, detections, indicators, suppressions, tags and device groups' rules.";
    PortalSettings = "settings.portal.manage", "Changes settings of the system: enrolment tokens, certificates of devices, exports.";
    LiveBasic = "response.live.basic", "Opens a session on a device and looks.";
    LiveAdvanced = "response.live.advanced", "Runs programs and moves files in such a session.";
    CloudView = "cloud.view", "Sees subscriptions, machines, plans, coverage and usage.";
    CloudPlans = "cloud.plans.manage", "Switches plans and integration, makes exclusions.";
    CloudMachines = "cloud.machines.manage", "Connects, moves, tags, off-boards and removes machines.";
    AccessView = "access.view", "Sees users, roles, assignments, device groups and tokens.";
    AccessManage = "access.manage", "Changes users, roles, assignments, device groups and tokens.";
    AuditView = "audit.view", "Reads and exports the audit log.";
    Own = "tenant.own", "Gives the role of an owner, and what only an owner may do to the tenant.";
}

/// No such action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no action `{0}`")]
pub struct ActionUnknown(String);

impl FromStr for Action {
    type Err = ActionUnknown;

    fn from_str(text: &str) -> Result<Self, ActionUnknown> {
        let found = Self::ALL.iter().find(|a| a.as_str() == text).copied();
        found.ok_or_else(|| ActionUnknown(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
